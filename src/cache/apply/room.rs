//! Whether a write fits, where the policy evicts nothing.

use super::step::Step;
use crate::cache::entry::Entry;
use crate::cache::{Cache, CommandError};

/// The size the cache would have, summed up over the steps of a command.
pub(super) struct Room {
    entries: u64,
    bytes: u64,
    /// The first step that grew the cache past its capacity.
    overflowing: Option<Option<u32>>,
}

impl Room {
    pub fn of(cache: &Cache) -> Self {
        Self { entries: cache.len(), bytes: cache.bytes(), overflowing: None }
    }

    /// Counts a step; the keys of steps that write are distinct.
    pub fn count(&mut self, cache: &Cache, step: &Step, op: Option<u32>) {
        let Some(slot) = step.writes() else { return };
        let before = slot.and_then(|slot| cache.store.slab().entry(slot)).map(Entry::cost);
        let after = match step {
            Step::Store { .. } => step.cost(),
            Step::SetLifetime { .. } => before,
            _ => None,
        };
        let (entries, bytes) = (self.entries, self.bytes);
        self.entries = entries - u64::from(before.is_some()) + u64::from(after.is_some());
        self.bytes = bytes - before.unwrap_or(0) + after.unwrap_or(0);
        let past_entries = self.entries > entries && self.entries > cache.config.capacity_entries;
        let past_bytes = self.bytes > bytes && self.bytes > cache.config.capacity_bytes;
        if past_entries || past_bytes {
            self.overflowing.get_or_insert(op);
        }
    }

    /// Refuses what does not fit; only the sum counts, so a batch may delete to make room for its puts.
    /// A write that does not grow the cache is allowed, however full it is.
    pub fn verdict(&self, cache: &Cache) -> Result<(), CommandError> {
        if cache.config.policy.evicts() {
            return Ok(());
        }
        let past_entries = self.entries > cache.len() && self.entries > cache.config.capacity_entries;
        let past_bytes = self.bytes > cache.bytes() && self.bytes > cache.config.capacity_bytes;
        if past_entries || past_bytes {
            return Err(CommandError::CacheFull { op: self.overflowing.flatten() });
        }
        Ok(())
    }
}

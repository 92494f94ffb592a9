//! Checks whether a write fits, where the policy evicts nothing.

use super::checked_op::CheckedOp;
use crate::cache::entry::Entry;
use crate::cache::{Cache, CommandError};

/// The size that the cache would have after the operations of a command.
pub(super) struct CapacityCheck {
    entries: u64,
    bytes: u64,
    /// The first operation that grows the cache past its capacity, by its position in the batch.
    overflowing: Option<Option<u32>>,
}

impl CapacityCheck {
    pub fn new(cache: &Cache) -> Self {
        Self { entries: cache.len(), bytes: cache.bytes(), overflowing: None }
    }

    /// Adds an operation. No two of those that write have the same key.
    pub fn add(&mut self, cache: &Cache, op: &CheckedOp, position: Option<u32>) {
        let Some(slot) = op.writes() else { return };
        let before = slot.and_then(|slot| cache.store.slab().entry(slot)).map(Entry::cost);
        let after = match op {
            CheckedOp::Store { .. } => op.cost(),
            CheckedOp::SetLifetime { .. } => before,
            _ => None,
        };
        let (entries, bytes) = (self.entries, self.bytes);
        self.entries = entries - u64::from(before.is_some()) + u64::from(after.is_some());
        self.bytes = bytes - before.unwrap_or(0) + after.unwrap_or(0);
        let past_entries = self.entries > entries && self.entries > cache.config.capacity_entries;
        let past_bytes = self.bytes > bytes && self.bytes > cache.config.capacity_bytes;
        if past_entries || past_bytes {
            self.overflowing.get_or_insert(position);
        }
    }

    /// Refuses what does not fit. Only the sum counts, so a batch may delete to make room for its puts. A write that
    /// does not grow the cache is allowed, however full the cache is.
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

//! Checks whether a write fits, where the policy evicts nothing.

use super::checked_op::CheckedOp;
use super::maintenance::Budget;
use crate::cache::entry::Entry;
use crate::cache::{Cache, CommandError};

/// By how much the operations of a command change the size of the cache.
#[derive(Default)]
pub(super) struct CapacityCheck {
    changes: Vec<Change>,
}

/// What one operation changes.
struct Change {
    /// Its position in the batch.
    op: Option<u32>,
    entries: i64,
    bytes: i64,
}

impl CapacityCheck {
    /// Adds an operation. No two of those that write have the same key.
    pub fn add(&mut self, cache: &Cache, op: &CheckedOp, position: Option<u32>) {
        // Where entries are evicted, everything fits.
        if cache.config.policy.evicts() {
            return;
        }
        let Some(slot) = op.writes() else { return };
        let before = slot.and_then(|slot| cache.store.slab().entry(slot)).map(Entry::cost);
        let after = match op {
            CheckedOp::Store { .. } => op.cost(),
            CheckedOp::SetLifetime { .. } => before,
            _ => None,
        };
        self.changes.push(Change {
            op: position,
            entries: i64::from(after.is_some()) - i64::from(before.is_some()),
            bytes: after.unwrap_or(0) as i64 - before.unwrap_or(0) as i64,
        });
    }

    /// Refuses what does not fit. Only the sum counts, so a batch may delete to make room for its puts. A write that
    /// does not grow the cache is allowed, however full the cache is. Entries that were cleared, and still take memory,
    /// make room, as many as the log entry may still free.
    pub fn verdict(&self, cache: &mut Cache, room: &mut Budget) -> Result<(), CommandError> {
        let entries = self.changes.iter().map(|change| change.entries).sum();
        let bytes = self.changes.iter().map(|change| change.bytes).sum();
        // What does not fit after that fits after a few more log entries.
        while overflows(cache, entries, bytes) && room.is_left() {
            let Some(freed) = cache.free_next_cleared() else { break };
            room.spend(freed);
        }
        if !overflows(cache, entries, bytes) {
            return Ok(());
        }
        Err(CommandError::CacheFull { op: self.first_overflow(cache) })
    }

    /// The first operation that grows the cache past its capacity, by its position in the batch.
    fn first_overflow(&self, cache: &Cache) -> Option<u32> {
        let (mut entries, mut bytes) = (cache.store.held() as i64, cache.bytes() as i64);
        let (entries_max, bytes_max) = (cache.config.capacity_entries, cache.config.capacity_bytes);
        let grows = |change: &&Change| {
            (entries, bytes) = (entries + change.entries, bytes + change.bytes);
            change.entries > 0 && entries as u64 > entries_max || change.bytes > 0 && bytes as u64 > bytes_max
        };
        self.changes.iter().find(grows)?.op
    }
}

/// Whether the cache would grow past its capacity.
fn overflows(cache: &Cache, entries: i64, bytes: i64) -> bool {
    let past_entries = cache.store.held().saturating_add_signed(entries) > cache.config.capacity_entries;
    let past_bytes = cache.bytes().saturating_add_signed(bytes) > cache.config.capacity_bytes;
    entries > 0 && past_entries || bytes > 0 && past_bytes
}

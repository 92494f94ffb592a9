//! What the cache counts about itself. Replicated like everything else: equal on all nodes at equal index.

use super::digest::hash_words;
use serde::{Deserialize, Serialize};

/// Counts since the cluster began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Values stored by put.
    pub puts: u64,
    /// Counters changed by incr.
    pub incrs: u64,
    /// Deadlines changed by expire and persist.
    pub deadlines: u64,
    /// Entries removed by delete.
    pub deletes: u64,
    /// Entries removed by clear.
    pub cleared: u64,
    /// Entries whose deadline passed.
    pub expired: u64,
    /// Entries removed because there were too many.
    pub evicted_by_entries: u64,
    /// Entries removed because they counted too many bytes.
    pub evicted_by_bytes: u64,
    /// Commands refused.
    pub refused: u64,
    /// Retries answered from memory.
    pub replayed: u64,
    /// Entries that reads were counted for, once for each log entry that told of them.
    pub touched: u64,
    /// Of these, those that came too late: the entry was gone.
    pub touched_late: u64,
}

impl Stats {
    /// As numbers, in the order in which snapshots hold them.
    pub(super) fn words(&self) -> [u64; 12] {
        [
            self.puts,
            self.incrs,
            self.deadlines,
            self.deletes,
            self.cleared,
            self.expired,
            self.evicted_by_entries,
            self.evicted_by_bytes,
            self.refused,
            self.replayed,
            self.touched,
            self.touched_late,
        ]
    }

    pub(super) fn from_words(words: [u64; 12]) -> Self {
        let [
            puts,
            incrs,
            deadlines,
            deletes,
            cleared,
            expired,
            evicted_by_entries,
            evicted_by_bytes,
            refused,
            replayed,
            touched,
            touched_late,
        ] = words;
        Self {
            puts,
            incrs,
            deadlines,
            deletes,
            cleared,
            expired,
            evicted_by_entries,
            evicted_by_bytes,
            refused,
            replayed,
            touched,
            touched_late,
        }
    }

    /// Entries removed to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted_by_entries + self.evicted_by_bytes
    }

    pub(super) fn hash(&self) -> u128 {
        hash_words(self.words())
    }
}

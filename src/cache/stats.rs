//! What the cache counts about itself. It is replicated like all other state: equal on all nodes at equal index.

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
    /// Entries that expired.
    pub expired: u64,
    /// Entries removed because there were too many.
    pub evicted_by_entries: u64,
    /// Entries removed because they counted too many bytes.
    pub evicted_by_bytes: u64,
    /// Commands refused.
    pub refused: u64,
    /// Retries that got a stored result.
    pub replayed: u64,
    /// Entries of which reads were counted, once for each log entry that reported them.
    pub touched: u64,
    /// Of these, those whose entry was gone by then.
    pub touched_late: u64,
}

impl Stats {
    /// The counts, in the order of the snapshot format.
    fn fields(&mut self) -> [&mut u64; 12] {
        [
            &mut self.puts,
            &mut self.incrs,
            &mut self.deadlines,
            &mut self.deletes,
            &mut self.cleared,
            &mut self.expired,
            &mut self.evicted_by_entries,
            &mut self.evicted_by_bytes,
            &mut self.refused,
            &mut self.replayed,
            &mut self.touched,
            &mut self.touched_late,
        ]
    }

    pub(super) fn words(mut self) -> [u64; 12] {
        self.fields().map(|count| *count)
    }

    pub(super) fn from_words(words: [u64; 12]) -> Self {
        let mut stats = Self::default();
        for (count, word) in stats.fields().into_iter().zip(words) {
            *count = word;
        }
        stats
    }

    /// Entries removed to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted_by_entries + self.evicted_by_bytes
    }

    /// Entries stored, changed or removed, for any reason.
    pub fn changes(&self) -> u64 {
        let written = self.puts + self.incrs + self.deadlines + self.deletes + self.cleared;
        written + self.expired + self.evicted()
    }

    pub(super) fn hash(&self) -> u128 {
        hash_words(self.words())
    }
}

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
    /// Entries removed to make room.
    pub evicted: u64,
    /// Commands refused.
    pub refused: u64,
    /// Retries answered from memory.
    pub replayed: u64,
}

impl Stats {
    /// As numbers, in the order in which snapshots hold them.
    pub(super) fn words(&self) -> [u64; 9] {
        [
            self.puts,
            self.incrs,
            self.deadlines,
            self.deletes,
            self.cleared,
            self.expired,
            self.evicted,
            self.refused,
            self.replayed,
        ]
    }

    pub(super) fn from_words(words: [u64; 9]) -> Self {
        let [puts, incrs, deadlines, deletes, cleared, expired, evicted, refused, replayed] = words;
        Self { puts, incrs, deadlines, deletes, cleared, expired, evicted, refused, replayed }
    }

    pub(super) fn hash(&self) -> u128 {
        hash_words(self.words())
    }
}

//! What the log holds, as numbers, and how each operation changes them.
//!
//! The same transitions run twice: at once for readers, and on the writer thread for the disk.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a log store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLog {
    /// The vote, as it was saved.
    pub vote: Option<Bytes>,
    /// How far the log is known to be committed, as it was saved. After a crash it may lag behind the truth, never lead it.
    pub committed: Option<Bytes>,
    /// The last purged index, and what was recorded with it.
    pub purged: Option<(u64, Bytes)>,
    /// The first entry that can be read, or the index of the next one when there is none.
    pub first_index: u64,
    /// The last entry; `None` when there is none.
    pub last_index: Option<u64>,
}

impl StoredLog {
    /// One past the last entry.
    pub fn end(&self) -> u64 {
        self.last_index.map_or(self.first_index, |last| last + 1)
    }

    /// The index at which an append must start. A log in which nothing was ever purged may start anywhere.
    pub(super) fn expected(&self, got: u64) -> u64 {
        match (&self.last_index, &self.purged) {
            (None, None) => got.max(self.first_index),
            _ => self.end(),
        }
    }

    pub(super) fn append(&mut self, first: u64, last: u64) {
        assert!(self.last_index.is_none_or(|end| first == end + 1) && first <= last, "the log has no hole");
        if self.last_index.is_none() {
            self.first_index = first;
        }
        self.last_index = Some(last);
    }

    /// Returns the first removed index; `None` when nothing changes.
    pub(super) fn truncate(&mut self, after: Option<u64>) -> Option<u64> {
        let cut = after.map_or(0, |index| index.saturating_add(1)).max(self.first_index);
        if cut >= self.end() {
            return None;
        }
        self.last_index = (cut > self.first_index).then(|| cut - 1);
        Some(cut)
    }

    /// Returns the new first index; `None` when that much was purged before.
    pub(super) fn purge(&mut self, index: u64, what: Bytes) -> Option<u64> {
        if self.purged.as_ref().is_some_and(|(purged, _)| *purged >= index) {
            return None;
        }
        let first = index.saturating_add(1);
        self.purged = Some((index, what));
        if self.last_index.is_some_and(|last| last < first) {
            self.last_index = None;
        }
        self.first_index = self.first_index.max(first);
        Some(self.first_index)
    }
}

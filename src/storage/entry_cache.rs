//! The newest entries of the log, in memory: replication and apply rarely read any others.

use std::collections::VecDeque;

use bytes::Bytes;

/// A contiguous run of entries that ends with the last entry of the log.
#[derive(Debug)]
pub(super) struct EntryCache {
    entries: VecDeque<Bytes>,
    first: u64,
    bytes: usize,
    limit: usize,
}

impl EntryCache {
    /// An empty cache; the next entry will be `end`. Keeps about `limit` bytes.
    pub(super) fn new(end: u64, limit: usize) -> EntryCache {
        EntryCache { entries: VecDeque::new(), first: end, bytes: 0, limit }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> u64 {
        // The count of a shared buffer, and its length.
        (self.bytes + self.entries.capacity() * size_of::<Bytes>() + self.entries.len() * 32) as u64
    }

    /// The first cached index; everything from here to the end of the log is cached.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn push(&mut self, index: u64, entry: Bytes) {
        if self.entries.is_empty() {
            self.first = index;
        }
        assert!(index == self.first + self.entries.len() as u64, "the cached entries are contiguous");
        self.bytes += entry.len();
        self.entries.push_back(entry);
    }

    /// Drops entries from `cut` on.
    pub(super) fn truncate(&mut self, cut: u64) {
        while !self.entries.is_empty() && self.first + self.entries.len() as u64 > cut {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| entry.len());
        }
        if self.entries.is_empty() {
            self.first = cut;
        }
    }

    /// Drops entries before `first`.
    pub(super) fn purge(&mut self, first: u64) {
        while self.first < first && self.pop_front() {}
        self.first = self.first.max(first);
    }

    /// Shrinks to the limit, but keeps entries from `keep` on: they are not in the database yet.
    pub(super) fn evict(&mut self, keep: u64) {
        while self.bytes > self.limit && self.first < keep && self.pop_front() {}
    }

    /// Appends entries from `from` up to `to` while `budget` lasts; the first one always fits.
    pub(super) fn read(&self, from: u64, to: u64, budget: &mut ReadBudget, into: &mut Vec<(u64, Bytes)>) {
        for index in from..to {
            let Some(entry) = self.entries.get((index - self.first) as usize) else { return };
            if !budget.take(entry.len()) {
                return;
            }
            into.push((index, entry.clone()));
        }
    }

    fn pop_front(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else { return false };
        self.bytes -= entry.len();
        self.first += 1;
        true
    }
}

/// How many bytes a read may still return; at least one entry always may.
#[derive(Debug)]
pub(super) struct ReadBudget {
    left: usize,
    started: bool,
    /// Set once an entry did not fit.
    pub spent: bool,
}

impl ReadBudget {
    pub(super) fn new(max_bytes: usize) -> ReadBudget {
        ReadBudget { left: max_bytes, started: false, spent: false }
    }

    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if self.spent || (self.started && bytes > self.left) {
            self.spent = true;
            return false;
        }
        self.started = true;
        self.left = self.left.saturating_sub(bytes);
        true
    }
}

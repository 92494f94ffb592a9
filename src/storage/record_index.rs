//! Which record holds which entries: small, in memory, rebuilt from the database when it is opened.

use std::collections::BTreeMap;

/// One record, or all parts of one large entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordInfo {
    /// The last entry in it.
    pub last: u64,
    /// How many database records it takes.
    pub parts: u32,
    /// Bytes of its values.
    pub bytes: u64,
    /// Wrapping sum of the hashes of its database records.
    pub hash: u128,
}

/// All records of the log by their first entry, with their totals.
#[derive(Debug, Default)]
pub(super) struct RecordIndex {
    records: BTreeMap<u64, RecordInfo>,
    /// Bytes of all values.
    pub bytes: u64,
    /// Number of database records.
    pub count: u64,
    /// Wrapping sum of their hashes.
    pub sum: u128,
}

impl RecordIndex {
    /// Bytes of memory: nodes of the map are about two thirds full.
    pub(super) fn memory(&self) -> u64 {
        (self.records.len() * size_of::<(u64, RecordInfo)>() * 3 / 2) as u64
    }

    pub(super) fn insert(&mut self, first: u64, stored: RecordInfo) {
        self.remove(first);
        self.bytes += stored.bytes;
        self.count += u64::from(stored.parts);
        self.sum = self.sum.wrapping_add(stored.hash);
        self.records.insert(first, stored);
    }

    pub(super) fn remove(&mut self, first: u64) -> Option<RecordInfo> {
        let stored = self.records.remove(&first)?;
        self.bytes -= stored.bytes;
        self.count -= u64::from(stored.parts);
        self.sum = self.sum.wrapping_sub(stored.hash);
        let is_empty = (self.bytes, self.count, self.sum) == (0, 0, 0);
        assert!(!self.records.is_empty() || is_empty, "no records have no totals");
        Some(stored)
    }

    /// The record that holds entry `index`.
    pub(super) fn find(&self, index: u64) -> Option<(u64, RecordInfo)> {
        let (first, stored) = self.records.range(..=index).next_back()?;
        (stored.last >= index).then_some((*first, *stored))
    }

    /// The first record.
    pub(super) fn front(&self) -> Option<(u64, RecordInfo)> {
        self.records.first_key_value().map(|(first, stored)| (*first, *stored))
    }

    /// The last record.
    pub(super) fn back(&self) -> Option<(u64, RecordInfo)> {
        self.records.last_key_value().map(|(first, stored)| (*first, *stored))
    }

    /// All records in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, RecordInfo)> + '_ {
        self.records.iter().map(|(first, stored)| (*first, *stored))
    }
}

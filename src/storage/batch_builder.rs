//! Builds one atomic batch from several operations.

use std::collections::BTreeMap;
use std::sync::RwLock;

use bytes::Bytes;

use super::record::{self, Content};
use super::record_index::{RecordIndex, RecordInfo};
use super::{Engine, Mutation, StorageError};

/// A batch under construction. Later operations see what earlier ones added.
pub(super) struct BatchBuilder<'a> {
    engine: &'a dyn Engine,
    index: &'a RwLock<RecordIndex>,
    record_bytes: usize,
    mutations: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Appended entries that have no record yet: successive appends share records.
    run: Vec<Bytes>,
    run_first: u64,
}

impl<'a> BatchBuilder<'a> {
    pub(super) fn new(
        engine: &'a dyn Engine,
        index: &'a RwLock<RecordIndex>,
        record_bytes: usize,
    ) -> BatchBuilder<'a> {
        BatchBuilder {
            engine,
            index,
            record_bytes,
            mutations: BTreeMap::new(),
            run: Vec::new(),
            run_first: 0,
        }
    }

    pub(super) fn append(&mut self, entries: Vec<(u64, Bytes)>) {
        for (index, entry) in entries {
            if self.run.is_empty() {
                self.run_first = index;
            }
            self.run.push(entry);
        }
    }

    /// Adds a record outside the log and returns its hash.
    pub(super) fn put(&mut self, key: &[u8], mut value: Vec<u8>) -> u128 {
        let hash = record::seal(key, &mut value);
        self.mutations.insert(key.to_vec(), Some(value));
        hash
    }

    /// Adds a record that carries its own checksum.
    pub(super) fn put_raw(&mut self, key: &[u8], value: Vec<u8>) {
        self.mutations.insert(key.to_vec(), Some(value));
    }

    /// Removes entries from `cut` on.
    pub(super) fn truncate(&mut self, cut: u64) -> Result<(), StorageError> {
        self.write_run();
        while let Some((first, stored)) = self.back().filter(|(_, stored)| stored.last >= cut) {
            if first < cut {
                // Replaced in one step: a concurrent read of what stays must always find it.
                let kept = self.load_run(first, cut)?;
                self.write_record(first, &kept);
            } else {
                self.remove(first, stored);
            }
        }
        Ok(())
    }

    /// Removes records that end before `new_first`. A record that straddles it stays until its last entry is purged.
    pub(super) fn purge(&mut self, new_first: u64) {
        self.write_run();
        while let Some((first, stored)) = self.front().filter(|(_, stored)| stored.last < new_first) {
            self.remove(first, stored);
        }
    }

    /// The whole batch.
    pub(super) fn finish(mut self) -> Vec<Mutation> {
        self.write_run();
        let mutation = |(key, value)| match value {
            Some(value) => Mutation::Put { key, value },
            None => Mutation::Delete { key },
        };
        self.mutations.into_iter().map(mutation).collect()
    }

    /// Splits the pending run into records.
    pub(super) fn write_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        let mut start = 0;
        let mut first = self.run_first;
        while start < run.len() {
            let mut end = start;
            let mut bytes = 0;
            while end < run.len()
                && (end == start || bytes + record::size_in_run(&run[end]) <= self.record_bytes)
            {
                bytes += record::size_in_run(&run[end]);
                end += 1;
            }
            self.write_record(first, &run[start..end]);
            first += (end - start) as u64;
            start = end;
        }
    }

    /// Writes entries that share a record, or the parts of a single large one.
    fn write_record(&mut self, first: u64, entries: &[Bytes]) {
        let values = match entries {
            [large] if record::size_in_run(large) > self.record_bytes => {
                let parts = large.len().div_ceil(self.record_bytes) as u32;
                large.chunks(self.record_bytes).map(|part| record::encode_part(parts, part)).collect()
            }
            entries => vec![record::encode_run(entries)],
        };
        let last = first + entries.len() as u64 - 1;
        let mut stored = RecordInfo { last, parts: values.len() as u32, bytes: 0, hash: 0 };
        for (part, value) in values.into_iter().enumerate() {
            stored.bytes += value.len() as u64;
            stored.hash = stored.hash.wrapping_add(self.put(&record::key(first, part as u32), value));
        }
        self.index.write().expect("not poisoned").insert(first, stored);
    }

    fn remove(&mut self, first: u64, stored: RecordInfo) {
        self.index.write().expect("not poisoned").remove(first);
        for part in 0..stored.parts {
            self.mutations.insert(record::key(first, part), None);
        }
    }

    /// The entries of record `first` that come before `cut`.
    fn load_run(&self, first: u64, cut: u64) -> Result<Vec<Bytes>, StorageError> {
        let key = record::key(first, 0);
        let value = match self.mutations.get(&key) {
            Some(staged) => staged.clone(),
            None => self.engine.get(&key).map_err(StorageError::io("read the log"))?,
        };
        let content = value.as_deref().and_then(|value| record::open(&key, value));
        match content.and_then(|(content, _)| record::decode(content)) {
            Some(Content::Run(mut entries)) => {
                entries.truncate((cut - first) as usize);
                Ok(entries)
            }
            _ => Err(StorageError::damaged(format!("the log record at index {first}"))),
        }
    }

    fn front(&self) -> Option<(u64, RecordInfo)> {
        self.index.read().expect("not poisoned").front()
    }

    fn back(&self) -> Option<(u64, RecordInfo)> {
        self.index.read().expect("not poisoned").back()
    }
}

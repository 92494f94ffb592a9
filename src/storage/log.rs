//! The interface of the log store. `open.rs` opens one.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use uuid::Uuid;

use super::EngineMemory;
use super::entry_cache::ReadBudget;
use super::log_op::{Callback, LogOp};
use super::log_store_inner::LogStoreInner;
use super::shared::{FlushStats, LogMemory, Shared, SharedState};
use super::{StorageError, StoredLog};

/// The durable log of one node: entries, vote, committed, and the node's identity. Cheap to clone.
///
/// A single writer writes everything in the order of the calls. Entries are opaque bytes with consecutive indexes.
#[derive(Clone)]
pub struct LogStore {
    inner: Arc<LogStoreInner>,
}

impl LogStore {
    pub(super) fn new(inner: LogStoreInner) -> LogStore {
        LogStore { inner: Arc::new(inner) }
    }

    /// Writes and flushes a batch of what is queued, in a store without a writer thread
    /// ([`LogStoreBuilder::open_stepped`](super::LogStoreBuilder::open_stepped)), and runs the callbacks. False when
    /// nothing is queued.
    pub fn flush_batch(&self) -> bool {
        self.inner.flush_batch()
    }

    /// Whether something is queued that has to be written.
    pub fn has_work(&self) -> bool {
        self.shared().lock().is_due()
    }

    /// What the log holds now, including what is not durable yet.
    pub fn state(&self) -> StoredLog {
        self.shared().lock().log.clone()
    }

    /// Appends entries with consecutive indexes after the last one. They can be read when this returns; `on_durable`
    /// runs after the flush. After an error here nothing was appended and `on_durable` is dropped, not called.
    pub fn append(&self, entries: Vec<(u64, Bytes)>, on_durable: Callback) -> Result<(), StorageError> {
        let shared = self.shared();
        let mut state = shared.lock();
        if let Some(error) = &state.stopped {
            return Err(error.clone());
        }
        if let Some((first, _)) = entries.first() {
            let expected = state.log.expected(*first);
            for (offset, (index, _)) in entries.iter().enumerate() {
                let expected = expected + offset as u64;
                if *index != expected {
                    return Err(StorageError::NotContiguous { expected, got: *index });
                }
            }
            state.log.append(*first, first + entries.len() as u64 - 1);
            for (index, entry) in &entries {
                state.recent.push(*index, entry.clone());
            }
        }
        shared.push(state, LogOp::Append { entries, done: Some(on_durable) });
        Ok(())
    }

    /// Saves the vote; durable when the callback hears `Ok`, after everything called before.
    pub fn save_vote(&self, bytes: Bytes, on_durable: Callback) {
        self.submit(|state| {
            state.log.vote = Some(bytes.clone());
            LogOp::Vote { bytes, done: on_durable }
        });
    }

    /// Saves how far the log is committed. It is written with the next flush, and lost in a crash before that.
    pub fn save_committed(&self, bytes: Bytes) {
        self.submit(|state| {
            state.log.committed = Some(bytes.clone());
            if let Some(LogOp::Committed { .. }) = state.queue.back() {
                state.queue.pop_back();
            }
            LogOp::Committed { bytes }
        });
    }

    /// Removes the entries after `index`, or all of them.
    pub fn truncate_after(&self, index: Option<u64>, on_durable: Callback) {
        self.submit(|state| {
            if let Some(cut) = state.log.truncate(index) {
                state.recent.truncate(cut);
                state.cuts += 1;
            }
            LogOp::Truncate { after: index, done: on_durable }
        });
    }

    /// Removes the entries up to and including `index`, and records `purged` with it. `index` may lie beyond the end
    /// of the log; the next entry is then the one right after it. Purging less than before changes nothing.
    pub fn purge(&self, index: u64, purged: Bytes, on_durable: Callback) {
        self.submit(|state| {
            if let Some(first) = state.log.purge(index, purged.clone()) {
                state.recent.purge(first);
                state.cuts += 1;
            }
            LogOp::Purge { index, purged, done: on_durable }
        });
    }

    /// Entries from `from` up to but excluding `to`, in order; stops early once `max_bytes` are exceeded, but returns
    /// at least one. An index outside the log is an error. All are of the log as it was at one moment.
    pub fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, StorageError> {
        loop {
            if let Some(found) = self.try_read(from, to, max_bytes)? {
                return Ok(found);
            }
        }
    }

    /// Whether [`read`](Self::read) from this index on would be served from memory, and not block.
    pub fn is_in_memory(&self, from: u64) -> bool {
        from >= self.shared().lock().recent.first()
    }

    /// As [`read`](Self::read); `None` when entries were removed meanwhile, because what was read before and after that may not belong
    /// together.
    fn try_read(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Option<Vec<(u64, Bytes)>>, StorageError> {
        let mut found = Vec::new();
        let mut budget = ReadBudget::new(max_bytes);
        let (mut next, mut cuts_before) = (from, None);
        while next < to && !budget.spent {
            let state = self.shared().running()?;
            let cuts = *cuts_before.get_or_insert(state.cuts);
            if state.cuts != cuts {
                return Ok(None);
            }
            if next < state.log.first_index || to > state.log.end() {
                return Err(StorageError::Missing {
                    index: if next < state.log.first_index { next } else { state.log.end() },
                });
            }
            if next >= state.recent.first() {
                state.recent.read(next, to, &mut budget, &mut found);
                break;
            }
            let until = to.min(state.recent.first());
            drop(state);
            let older = self.shared().read_older(next, until, &mut budget);
            if self.shared().running()?.cuts != cuts {
                return Ok(None);
            }
            found.extend(older?);
            next = found.last().map_or(from, |(index, _)| index + 1);
        }
        Ok(Some(found))
    }

    /// The node's own record, as it was saved.
    pub fn identity(&self) -> Option<Bytes> {
        self.shared().lock().identity.clone()
    }

    /// Saves the node's own record (who it is, in which cluster). Blocks until it is durable.
    pub fn save_identity(&self, bytes: Bytes) -> Result<(), StorageError> {
        let (done, outcome) = mpsc::channel();
        let kept = bytes.clone();
        self.submit(|_| LogOp::Identity { bytes, done: Box::new(move |result| drop(done.send(result))) });
        while self.flush_batch() {}
        outcome.recv().unwrap_or(Err(StorageError::Closed))?;
        self.shared().lock().identity = Some(kept);
        Ok(())
    }

    /// The random id that the store got when it was created.
    pub fn store_id(&self) -> Uuid {
        self.shared().store
    }

    /// The failure that stopped the store, if one did.
    pub fn poisoned(&self) -> Option<StorageError> {
        self.shared().lock().stopped.clone().filter(|error| !matches!(error, StorageError::Closed))
    }

    /// About how many bytes the entries in the log have, to decide when to take a snapshot and purge.
    pub fn log_bytes(&self) -> u64 {
        self.shared().log_bytes.load(Relaxed)
    }

    /// The memory that the log takes. Cheap enough to ask every few seconds.
    pub fn memory(&self) -> LogMemory {
        let shared = self.shared();
        let EngineMemory { index, database } = shared.engine.memory();
        let records = shared.index.read().expect("not poisoned").memory();
        LogMemory { recent: shared.recent_memory(), index: index + records, database }
    }

    /// Count and durations of flushes since the store was opened.
    pub fn fsync_stats(&self) -> FlushStats {
        self.shared().flushes()
    }

    /// Finishes what was called so far and stops the writer. Later calls on clones return [`StorageError::Closed`];
    /// the folder can be opened again once the last clone is gone.
    pub fn close(self) {
        self.shared().close();
        while self.flush_batch() {}
        self.inner.stop();
    }

    fn submit(&self, make: impl FnOnce(&mut SharedState) -> LogOp) {
        let shared = self.shared();
        let mut state = shared.lock();
        let stopped = state.stopped.clone();
        let op = make(&mut state);
        match stopped {
            None => shared.push(state, op),
            Some(error) => {
                drop(state);
                if let Some(done) = op.into_done() {
                    done(Err(error));
                }
            }
        }
    }

    fn shared(&self) -> &Shared {
        &self.inner.shared
    }
}

//! The log store: the interface.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::owner::{Hand, Owner};
use super::recent::Budget;
use super::recovery::Recovered;
use super::shared::{Shared, State};
use super::writer::{Op, Writer};
use super::{Engine, OpenError, StorageError, StoredLog, recovery};

/// Told once, on the writer thread, how an operation ended. Must not block and must not close the store.
pub type Callback = Box<dyn FnOnce(Result<(), StorageError>) + Send>;
/// Told once that the store stopped for good.
pub type PoisonListener = Box<dyn FnOnce(StorageError) + Send>;

/// Sizes of a log store.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes of recent entries kept in memory for reads.
    pub recent_bytes: usize,
    /// Bytes that sled may use for its page cache.
    pub page_cache_bytes: u64,
    /// Bytes of one sled segment, a power of two. Fixed when the folder is created.
    pub segment_bytes: usize,
    /// Whether sled is brought up to date on a thread of its own, or in between by the writer, so that nothing
    /// changes the folder while nothing is written.
    pub checkpoint_aside: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            recent_bytes: 32 << 20,
            page_cache_bytes: 16 << 20,
            segment_bytes: 8 << 20,
            checkpoint_aside: true,
        }
    }
}

impl LogOptions {
    /// The largest page of records, and the largest record of sled's. sled rewrites a leaf of up to 20 records as one
    /// message, and moves a message over a quarter of a segment to a file of its own that it never syncs: 4 * 20
    /// records, and a little for headers.
    pub(super) fn page_bytes(&self) -> usize {
        self.segment_bytes / 85
    }

    /// The most bytes of entries in a record: one that is full fits a page by itself.
    pub(super) fn record_bytes(&self) -> usize {
        self.page_bytes() - 64
    }

    /// The most pages in one flush of sled's: each may have sled rewrite a leaf of 17, and all that must be less than a
    /// segment. A new segment's header calls everything before it stable, so a flush must not start two.
    pub(super) fn pages_a_flush(&self) -> usize {
        self.segment_bytes / (self.page_bytes() * 18)
    }

    /// The most bytes of entries in one flush of the journal, about.
    pub(super) fn flush_bytes(&self) -> usize {
        self.segment_bytes / 8
    }

    /// Bytes of one of the journal's two files. Two full flushes fit, so that sled gets what one holds while the other
    /// one is filled, however large the entries are.
    pub(super) fn journal_bytes(&self) -> usize {
        self.segment_bytes / 4
    }
}

/// How many flushes there were and how long they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Flushes since the store was opened.
    pub count: u64,
    /// Time spent in all of them.
    pub total: Duration,
    /// Time the newest one took.
    pub last: Duration,
}

/// The durable log of one node: entries, vote, committed, and the node's identity. Cheap to clone.
///
/// One thread inside writes everything in the order of the calls. Entries are opaque bytes with consecutive indexes.
#[derive(Clone)]
pub struct LogStore {
    owner: Arc<Owner>,
}

impl LogStore {
    /// Opens or creates the store in `dir` and verifies all of it. Refuses when another process has it, and when
    /// anything that was acknowledged is damaged or missing; a refused folder stays refused.
    pub fn open(dir: &Path, options: LogOptions) -> Result<LogStore, OpenError> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::Sabotage::SkipFsync.is_chosen() {
            use super::unflushed_engine::UnflushedEngine;
            return LogStore::open_wrapped(dir, options, |engine| Arc::new(UnflushedEngine::new(engine)));
        }
        LogStore::open_wrapped(dir, options, |engine| engine)
    }

    /// Like [`open`](Self::open), with something between the store and what makes it durable: tests inject failures
    /// here.
    pub fn open_wrapped(
        dir: &Path,
        options: LogOptions,
        wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>,
    ) -> Result<LogStore, OpenError> {
        LogStore::open_watched(dir, options, |database| database, wrap)
    }

    /// The same, with something between journal and database, too: tests watch here what is written when.
    pub fn open_watched(
        dir: &Path,
        options: LogOptions,
        below: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine> + 'static,
        wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>,
    ) -> Result<LogStore, OpenError> {
        let Recovered { lock, engine, watermark, found } = recovery::open(dir, &options, Box::new(below))?;
        let writer = Writer::new(found, wrap(Arc::new(engine)), Some(watermark), options);
        let shared = writer.shared.clone();
        let thread = thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())
            .map_err(OpenError::io("start the writer thread of", dir))?;
        Ok(LogStore { owner: Arc::new(Owner::new(shared, Hand::Thread(thread), Some(lock))) })
    }

    /// A store on a database of the caller's, opened and verified like any other, that writes nothing by itself:
    /// the caller says with [`write_round`](Self::write_round) when the disk gets to work. Simulations need that.
    pub fn open_by_hand(engine: Arc<dyn Engine>, options: LogOptions) -> Result<LogStore, OpenError> {
        let found = recovery::adopt(&*engine)?;
        let writer = Writer::new(found, engine, None, options);
        let shared = writer.shared.clone();
        Ok(LogStore { owner: Arc::new(Owner::new(shared, Hand::Caller(Box::new(writer)), None)) })
    }

    /// In a store that was opened by hand: writes and flushes what waits, about one flush of it, and runs the
    /// callbacks. False when nothing waits.
    pub fn write_round(&self) -> bool {
        self.owner.write_round()
    }

    /// Whether there is something to write.
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
        shared.push(state, Op::Append { entries, done: Some(on_durable) });
        Ok(())
    }

    /// Saves the vote; durable when the callback hears `Ok`, after everything called before.
    pub fn save_vote(&self, bytes: Bytes, on_durable: Callback) {
        self.submit(|state| {
            state.log.vote = Some(bytes.clone());
            Op::Vote { bytes, done: on_durable }
        });
    }

    /// Notes how far the log is committed. Rides along with the next flush and is lost in a crash before it.
    pub fn save_committed(&self, bytes: Bytes) {
        self.submit(|state| {
            state.log.committed = Some(bytes.clone());
            if let Some(Op::Committed { .. }) = state.queue.back() {
                state.queue.pop_back();
            }
            Op::Committed { bytes }
        });
    }

    /// Removes the entries after `index`, or all of them.
    pub fn truncate_after(&self, index: Option<u64>, on_durable: Callback) {
        self.submit(|state| {
            if let Some(cut) = state.log.truncate(index) {
                state.recent.truncate(cut);
                state.cuts += 1;
            }
            Op::Truncate { after: index, done: on_durable }
        });
    }

    /// Removes the entries up to and including `index`, and records `purged` with it. `index` may lie beyond the end
    /// of the log; the next entry then goes right after it. Purging less than before changes nothing.
    pub fn purge(&self, index: u64, purged: Bytes, on_durable: Callback) {
        self.submit(|state| {
            if let Some(first) = state.log.purge(index, purged.clone()) {
                state.recent.purge(first);
                state.cuts += 1;
            }
            Op::Purge { index, purged, done: on_durable }
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

    /// The same; `None` when something was cut away meanwhile, for what was read before and after that need not belong
    /// together.
    fn try_read(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Option<Vec<(u64, Bytes)>>, StorageError> {
        let mut found = Vec::new();
        let mut budget = Budget::new(max_bytes);
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
        self.submit(|_| Op::Identity { bytes, done: Box::new(move |result| drop(done.send(result))) });
        while self.write_round() {}
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

    /// Calls `listener` once when the store stops after a failure; at once when it already has.
    pub fn on_poison(&self, listener: PoisonListener) {
        let mut state = self.shared().lock();
        match &state.stopped {
            Some(error @ StorageError::Poisoned { .. }) => {
                let error = error.clone();
                drop(state);
                listener(error);
            }
            _ => state.listeners.push(listener),
        }
    }

    /// Bytes of the entries in the log, about. A reason to take a snapshot and purge.
    pub fn log_bytes(&self) -> u64 {
        self.shared().log_bytes.load(Relaxed)
    }

    /// Count and durations of flushes since the store was opened.
    pub fn fsync_stats(&self) -> FlushStats {
        self.shared().flushes()
    }

    /// Finishes what was called so far and stops the writer. Later calls on clones answer [`StorageError::Closed`];
    /// the folder can be opened again once the last clone is gone.
    pub fn close(self) {
        self.shared().close();
        while self.write_round() {}
        self.owner.stop();
    }

    fn submit(&self, make: impl FnOnce(&mut State) -> Op) {
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
        &self.owner.shared
    }
}

//! What callers and the writer share: the log as readers see it, and the queue of operations to be written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::entry_cache::{EntryCache, ReadBudget};
use super::log_op::{Callback, LogOp};
use super::manifest::Manifest;
use super::record::{self, Content};
use super::record_index::RecordIndex;
use super::{Engine, LogOptions, StorageError, StoredLog};

/// How many flushes there were and how long they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Flushes since the store was opened.
    pub count: u64,
    /// Time spent in all of them.
    pub total: Duration,
    /// Time the newest one took.
    pub last: Duration,
    /// How many took at most each of [`FLUSH_BOUNDS_US`], and longer than the one before.
    pub buckets: [u64; FLUSH_BOUNDS_US.len()],
}

/// Bounds of the times of flushes, in microseconds.
pub const FLUSH_BOUNDS_US: [u64; 14] =
    [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// Bytes of memory that a log takes, by what holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogMemory {
    /// The newest entries: [`LogOptions::recent_bytes`], and those that are not flushed.
    pub recent: u64,
    /// Where the others are.
    pub index: u64,
    /// What the database keeps of its file: [`LogOptions::page_cache_bytes`].
    pub database: u64,
}

/// What callers and the writer share.
pub(super) struct Shared {
    pub engine: Arc<dyn Engine>,
    pub index: RwLock<RecordIndex>,
    pub options: LogOptions,
    pub store: Uuid,
    pub log_bytes: AtomicU64,
    state: Mutex<SharedState>,
    wake: Condvar,
    flushes: Mutex<FlushStats>,
}

/// The log as callers see it: ahead of the disk by the operations in the queue.
pub(super) struct SharedState {
    pub log: StoredLog,
    pub recent: EntryCache,
    pub identity: Option<Bytes>,
    pub queue: VecDeque<LogOp>,
    /// Rises when entries are removed, so that a concurrent read notices.
    pub cuts: u64,
    pub stopped: Option<StorageError>,
    /// Whether the writer waits to be woken: an unneeded wake-up costs a system call, too.
    idle: bool,
}

impl SharedState {
    /// Whether there is something to write. A committed index alone is no reason to flush, unless the store is closing.
    pub(super) fn is_due(&self) -> bool {
        let beside_committed = |op: &LogOp| !matches!(op, LogOp::Committed { .. });
        self.queue.iter().any(beside_committed) || (self.stopped.is_some() && !self.queue.is_empty())
    }
}

impl Shared {
    /// A log as it was found, with nothing to write.
    pub(super) fn new(
        manifest: &Manifest,
        index: RecordIndex,
        identity: Option<Bytes>,
        engine: Arc<dyn Engine>,
        options: LogOptions,
    ) -> Shared {
        let log = manifest.log.clone();
        Shared {
            log_bytes: AtomicU64::new(index.bytes.max(engine.journal_bytes())),
            engine,
            store: Uuid::from_bytes(manifest.store),
            index: RwLock::new(index),
            state: Mutex::new(SharedState {
                recent: EntryCache::new(log.end(), options.recent_bytes),
                log,
                identity,
                queue: VecDeque::new(),
                cuts: 0,
                stopped: None,
                idle: false,
            }),
            wake: Condvar::new(),
            flushes: Mutex::default(),
            options,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().expect("not poisoned")
    }

    pub(super) fn running(&self) -> Result<MutexGuard<'_, SharedState>, StorageError> {
        let state = self.lock();
        match &state.stopped {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }

    pub(super) fn push(&self, mut state: MutexGuard<'_, SharedState>, op: LogOp) {
        // A committed index alone is no reason to flush.
        let wake = !matches!(op, LogOp::Committed { .. }) && std::mem::take(&mut state.idle);
        state.queue.push_back(op);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Waits for work and takes about as much as one flush writes; `None` once the store is closed and the queue is empty.
    pub(super) fn next_batch(&self) -> Option<Vec<LogOp>> {
        let mut state = self.lock();
        loop {
            if state.is_due() {
                return Some(take_batch(&mut state.queue, self.options.flush_bytes()));
            }
            if state.stopped.is_some() {
                return None;
            }
            state.idle = true;
            state = self.wake.wait(state).expect("not poisoned");
        }
    }

    /// About as much work as one flush writes, if there is any.
    pub(super) fn due_batch(&self) -> Option<Vec<LogOp>> {
        let mut state = self.lock();
        state.is_due().then(|| take_batch(&mut state.queue, self.options.flush_bytes()))
    }

    /// Accepts no more operations; the writer finishes those that are queued.
    pub(super) fn close(&self) {
        self.lock().stopped.get_or_insert(StorageError::Closed);
        self.wake.notify_all();
    }

    /// Shrinks the entry cache to its limit; entries that are still queued stay.
    pub(super) fn evict(&self) {
        let mut state = self.lock();
        let queued = state.queue.iter().filter_map(|op| match op {
            LogOp::Append { entries, .. } => entries.first().map(|(index, _)| *index),
            _ => None,
        });
        let keep = queued.min().unwrap_or(u64::MAX);
        state.recent.evict(keep);
    }

    /// Bytes of memory that the newest entries take.
    pub(super) fn recent_memory(&self) -> u64 {
        self.lock().recent.memory()
    }

    pub(super) fn flushes(&self) -> FlushStats {
        *self.flushes.lock().expect("not poisoned")
    }

    pub(super) fn flushed(&self, took: Duration) {
        let mut stats = self.flushes.lock().expect("not poisoned");
        stats.count += 1;
        stats.total += took;
        stats.last = took;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(at) = FLUSH_BOUNDS_US.iter().position(|bound| us <= *bound) {
            stats.buckets[at] += 1;
        }
    }

    pub(super) fn set_log_bytes(&self, bytes: u64) {
        self.log_bytes.store(bytes, Relaxed);
    }

    /// Stops the store for good and returns the callbacks of all operations that were still queued.
    pub(super) fn poison(&self, error: &StorageError) -> Vec<Callback> {
        let mut state = self.lock();
        state.stopped = Some(error.poison());
        state.queue.drain(..).filter_map(LogOp::into_done).collect()
    }

    /// Stops the store for good and runs the callbacks of all operations that were still queued.
    pub(super) fn fail(&self, error: StorageError) {
        self.poison(&error).into_iter().for_each(|done| done(Err(error.clone())));
    }

    /// Entries that are no longer in the entry cache, from the database.
    pub(super) fn read_older(
        &self,
        from: u64,
        to: u64,
        budget: &mut ReadBudget,
    ) -> Result<Vec<(u64, Bytes)>, StorageError> {
        let mut found = Vec::new();
        let mut next = from;
        while next < to && !budget.spent {
            let record = self.index.read().expect("not poisoned").find(next);
            let Some((first, stored)) = record else { return Err(StorageError::Missing { index: next }) };
            let entries = self.load(first, stored.parts)?;
            for (index, entry) in (first..).zip(entries).skip((next - first) as usize) {
                if index >= to || !budget.take(entry.len()) {
                    break;
                }
                found.push((index, entry));
            }
            next = stored.last + 1;
        }
        Ok(found)
    }

    /// The entries of one record, verified again.
    fn load(&self, first: u64, parts: u32) -> Result<Vec<Bytes>, StorageError> {
        let mut whole = Vec::new();
        for part in 0..parts {
            let key = record::key(first, part);
            let value = self.engine.get(&key).map_err(StorageError::io("read the log"))?;
            let content = value.as_deref().and_then(|value| record::open(&key, value));
            match content.and_then(|(content, _)| record::decode(content)) {
                Some(Content::Run(entries)) if parts == 1 => return Ok(entries),
                Some(Content::Part { parts: of, bytes }) if of == parts => whole.extend_from_slice(&bytes),
                _ => return Err(StorageError::damaged(format!("the log record at index {first}"))),
            }
        }
        Ok(vec![whole.into()])
    }
}

/// Takes operations from the queue, up to about `max_bytes` of entries. An append that does not fit is split, and its
/// callback stays with the rest.
fn take_batch(queue: &mut VecDeque<LogOp>, max_bytes: usize) -> Vec<LogOp> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(op) = queue.front_mut() {
        if let LogOp::Append { entries, .. } = op {
            let fits = |(_, entry): &(u64, Bytes)| {
                let first = bytes == 0;
                bytes += record::size_in_run(entry);
                first || bytes <= max_bytes
            };
            let fitting = entries.iter().map(fits).take_while(|fits| *fits).count();
            if fitting < entries.len() {
                if fitting > 0 {
                    let rest = entries.split_off(fitting);
                    batch.push(LogOp::Append { entries: std::mem::replace(entries, rest), done: None });
                }
                break;
            }
        }
        batch.extend(queue.pop_front());
    }
    batch
}

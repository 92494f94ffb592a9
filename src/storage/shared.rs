//! What callers and the writer share: the log as readers see it, and the queue of what is to be written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::index::Index;
use super::manifest::Manifest;
use super::recent::{Budget, Recent};
use super::record::{self, Content};
use super::writer::Op;
use super::{Callback, Engine, FlushStats, LogOptions, PoisonListener, StorageError, StoredLog};

/// What callers and the writer share.
pub(super) struct Shared {
    pub engine: Arc<dyn Engine>,
    pub index: RwLock<Index>,
    pub options: LogOptions,
    pub store: Uuid,
    pub log_bytes: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
    flushes: Mutex<FlushStats>,
}

/// The log as callers see it: ahead of the disk by what is in the queue.
pub(super) struct State {
    pub log: StoredLog,
    pub recent: Recent,
    pub identity: Option<Bytes>,
    pub queue: VecDeque<Op>,
    /// Rises when entries are removed, so that a read that ran meanwhile notices.
    pub cuts: u64,
    pub stopped: Option<StorageError>,
    /// Whether the writer waits to be woken: a wake-up that nobody waits for costs a system call, too.
    idle: bool,
    pub listeners: Vec<PoisonListener>,
}

impl State {
    /// Whether there is something to write. Committed alone is no reason to flush, unless it is the last there is.
    pub(super) fn is_due(&self) -> bool {
        let beside_committed = |op: &Op| !matches!(op, Op::Committed { .. });
        self.queue.iter().any(beside_committed) || (self.stopped.is_some() && !self.queue.is_empty())
    }
}

impl Shared {
    /// A log as it was found, with nothing to write.
    pub(super) fn new(
        manifest: &Manifest,
        index: Index,
        identity: Option<Bytes>,
        engine: Arc<dyn Engine>,
        options: LogOptions,
    ) -> Shared {
        let log = manifest.log.clone();
        Shared {
            engine,
            store: Uuid::from_bytes(manifest.store),
            log_bytes: AtomicU64::new(index.bytes),
            index: RwLock::new(index),
            state: Mutex::new(State {
                recent: Recent::new(log.end(), options.recent_bytes),
                log,
                identity,
                queue: VecDeque::new(),
                cuts: 0,
                stopped: None,
                idle: false,
                listeners: Vec::new(),
            }),
            wake: Condvar::new(),
            flushes: Mutex::default(),
            options,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub(super) fn running(&self) -> Result<MutexGuard<'_, State>, StorageError> {
        let state = self.lock();
        match &state.stopped {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }

    pub(super) fn push(&self, mut state: MutexGuard<'_, State>, op: Op) {
        // Committed alone is no reason to flush.
        let wake = !matches!(op, Op::Committed { .. }) && std::mem::take(&mut state.idle);
        state.queue.push_back(op);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Waits for work and takes about one flush of it; `None` once the store is closed and the queue is empty.
    pub(super) fn next_round(&self) -> Option<Vec<Op>> {
        let mut state = self.lock();
        loop {
            if state.is_due() {
                return Some(take_round(&mut state.queue, self.options.flush_bytes()));
            }
            if state.stopped.is_some() {
                return None;
            }
            state.idle = true;
            state = self.wake.wait(state).expect("not poisoned");
        }
    }

    /// About one flush of work, if there is any.
    pub(super) fn due_round(&self) -> Option<Vec<Op>> {
        let mut state = self.lock();
        state.is_due().then(|| take_round(&mut state.queue, self.options.flush_bytes()))
    }

    /// Takes nothing more in; the writer finishes what was called so far.
    pub(super) fn close(&self) {
        self.lock().stopped.get_or_insert(StorageError::Closed);
        self.wake.notify_all();
    }

    /// Lets the cache shrink to its limit; entries that are still queued stay.
    pub(super) fn evict(&self) {
        let mut state = self.lock();
        let queued = state.queue.iter().filter_map(|op| match op {
            Op::Append { entries, .. } => entries.first().map(|(index, _)| *index),
            _ => None,
        });
        let keep = queued.min().unwrap_or(u64::MAX);
        state.recent.evict(keep);
    }

    pub(super) fn flushes(&self) -> FlushStats {
        *self.flushes.lock().expect("not poisoned")
    }

    pub(super) fn flushed(&self, took: Duration) {
        let mut stats = self.flushes.lock().expect("not poisoned");
        stats.count += 1;
        stats.total += took;
        stats.last = took;
    }

    pub(super) fn set_log_bytes(&self, bytes: u64) {
        self.log_bytes.store(bytes, Relaxed);
    }

    /// Stops the store for good and returns the callbacks of everything that was still queued.
    pub(super) fn poison(&self, error: &StorageError) -> Vec<Callback> {
        let mut state = self.lock();
        state.stopped = Some(error.poison());
        state.queue.drain(..).filter_map(Op::into_done).collect()
    }

    pub(super) fn tell_poisoned(&self, error: &StorageError) {
        let listeners = std::mem::take(&mut self.lock().listeners);
        listeners.into_iter().for_each(|listener| listener(error.poison()));
    }

    /// Poisons and tells everybody.
    pub(super) fn fail(&self, error: StorageError) {
        self.poison(&error).into_iter().for_each(|done| done(Err(error.clone())));
        self.tell_poisoned(&error);
    }

    /// Entries that left the cache, from the database.
    pub(super) fn read_older(
        &self,
        from: u64,
        to: u64,
        budget: &mut Budget,
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

/// Takes operations off the queue until about `max_bytes` of entries; a larger append is cut, its callback last.
fn take_round(queue: &mut VecDeque<Op>, max_bytes: usize) -> Vec<Op> {
    let mut round = Vec::new();
    let mut bytes = 0;
    while let Some(op) = queue.front_mut() {
        if let Op::Append { entries, .. } = op {
            let fits = |(_, entry): &(u64, Bytes)| {
                let first = bytes == 0;
                bytes += record::size_in_run(entry);
                first || bytes <= max_bytes
            };
            let fitting = entries.iter().map(fits).take_while(|fits| *fits).count();
            if fitting < entries.len() {
                if fitting > 0 {
                    let rest = entries.split_off(fitting);
                    round.push(Op::Append { entries: std::mem::replace(entries, rest), done: None });
                }
                break;
            }
        }
        round.extend(queue.pop_front());
    }
    round
}

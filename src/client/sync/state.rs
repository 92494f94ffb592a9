//! What the parts of a synchronizer share.

use super::cluster::{FoundKey, KeyState, KeysRead, Place, SyncCluster};
use super::hash::hash_of;
use super::journal::Journal;
use super::local::LocalCaches;
use super::options::{Groups, SyncOptions};
use super::record::{Base, Intent, KeyRecord};
use super::subscribers::Subscribers;
use super::types::{SyncChange, SyncError, SyncValue};
use crate::client::{ClientError, is_same_history};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use tokio::time::Instant;

/// A wall clock that is further off than that was set.
const CLOCK_SET_MS: i64 = 50;
/// Keys in a request; their answers are of one history.
const READ_LIMIT: usize = 10_000;
/// How many unknown additions are remembered.
const UNKNOWN_MAX: usize = 10_000;

/// What the cluster has of a key, as far as it was told.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) state: KeyState,
    /// Of the value, if it is known.
    pub(super) hash: Option<String>,
}

impl Remote {
    pub(super) fn new(state: KeyState) -> Self {
        let hash = match &state {
            KeyState::Found(found) => found.value.as_ref().map(hash_of),
            KeyState::Absent { .. } => None,
        };
        Self { state, hash }
    }

    pub(super) fn absent(as_of: u64) -> Self {
        Self::new(KeyState::Absent { gone: None, as_of })
    }

    pub(super) fn found(&self) -> Option<&FoundKey> {
        match &self.state {
            KeyState::Found(found) => Some(found),
            KeyState::Absent { .. } => None,
        }
    }

    pub(super) fn value(&self) -> Option<&SyncValue> {
        self.found().and_then(|found| found.value.as_ref())
    }

    /// Whether there is a value, of which it is only known that it is there.
    pub(super) fn is_to_be_read(&self) -> bool {
        self.found().is_some_and(|found| found.value.is_none())
    }

    /// The index of the state.
    pub(super) fn index(&self) -> u64 {
        match &self.state {
            KeyState::Found(found) => found.revision,
            KeyState::Absent { gone, as_of } => gone.map_or(*as_of, |gone| gone.revision),
        }
    }

    /// Up to which index it was so.
    pub(super) fn known_at(&self) -> u64 {
        match &self.state {
            KeyState::Found(found) => found.revision,
            KeyState::Absent { as_of, .. } => self.index().max(*as_of),
        }
    }

    pub(super) fn modified_at_ms(&self) -> i64 {
        match &self.state {
            KeyState::Found(found) => found.modified_at_ms,
            KeyState::Absent { gone, .. } => {
                gone.map_or(0, |gone| i64::try_from(gone.at_ms).unwrap_or(i64::MAX))
            }
        }
    }

    /// As what is agreed upon, where the caches have a value with this hash.
    pub(super) fn base(&self, hash: Option<String>, history: &str) -> Base {
        Base {
            revision: self.found().map(|found| found.revision),
            at: self.known_at(),
            hash,
            history: history.to_owned(),
            version: self.found().map_or(0, |found| found.version),
            modified_at_ms: self.modified_at_ms(),
        }
    }
}

/// What is known of a key beside what the journal keeps.
#[derive(Default)]
pub(super) struct Notes {
    /// The cluster's state, newer than what was agreed upon; not taken over because of a local change.
    pub(super) remote: Option<Remote>,
    /// The index of the newest state that was counted as a conflict.
    pub(super) counted: u64,
    pub(super) stuck: Option<String>,
    pub(super) unresolved: Option<String>,
}

/// Log time minus this machine's clock.
#[derive(Clone, Copy)]
pub(super) struct Offset {
    pub(super) offset_ms: i64,
    /// How far that may be wrong.
    pub(super) error_ms: i64,
    /// When that was found out.
    pub(super) wall_ms: i64,
    pub(super) at: Instant,
}

/// What changes, one piece of work at a time: what a piece of work sees of keys does not change under it.
pub(super) struct Core {
    pub(super) journal: Journal,
    pub(super) notes: BTreeMap<String, Notes>,
    /// The newest hints of keys: their time and version.
    pub(super) hints: BTreeMap<String, (i64, u64)>,
    pub(super) unknown: Vec<(String, i64)>,
    pub(super) conflicts: u64,
    pub(super) offset: Option<Offset>,
    /// Up to which wish everything of the cluster was read.
    pub(super) walks_done: u64,
    /// Rises when something of the stream was missed, and up to where that was read again: until then the place may not go on.
    pub(super) gaps: u64,
    pub(super) gaps_healed: u64,
    /// The highest index that was heard of in this history.
    pub(super) heard_of: u64,
    /// Names of the cluster's nodes.
    pub(super) nodes: Vec<String>,
    pub(super) peers: Vec<String>,
    /// Keys with a local change of which it is not known what the cluster has: the place is after changes of them that an earlier
    /// run only noted, or they were not found when everything was read.
    pub(super) unsure: BTreeSet<String>,
    /// Keys that are gone and remembered, about.
    pub(super) absent: usize,
    pub(super) damaged: usize,
    pub(super) last_sync_ms: i64,
    pub(super) last_error: Option<SyncError>,
    /// When changes of each group were last sent.
    pub(super) sent_at: HashMap<String, Instant>,
}

impl Core {
    pub(super) fn new(options: &SyncOptions) -> Self {
        Self {
            journal: Journal::new(options.storage.clone()),
            notes: BTreeMap::new(),
            hints: BTreeMap::new(),
            unknown: Vec::new(),
            conflicts: 0,
            offset: None,
            walks_done: 0,
            gaps: 0,
            gaps_healed: 0,
            heard_of: 0,
            nodes: Vec::new(),
            peers: Vec::new(),
            unsure: BTreeSet::new(),
            absent: 0,
            damaged: 0,
            last_sync_ms: 0,
            last_error: None,
            sent_at: HashMap::new(),
        }
    }

    pub(super) fn record(&self, key: &str) -> Option<&KeyRecord> {
        self.journal.keys.get(key)
    }

    pub(super) fn note(&mut self, key: &str) -> &mut Notes {
        self.notes.entry(key.to_owned()).or_default()
    }

    /// The cluster's state that was not taken over.
    pub(super) fn noted(&self, key: &str) -> Option<&Remote> {
        self.notes.get(key)?.remote.as_ref()
    }

    /// Notes a state of the cluster, unless a newer one is known.
    pub(super) fn note_remote(&mut self, key: &str, remote: Remote) {
        let notes = self.note(key);
        if notes.remote.as_ref().is_none_or(|known| known.index() <= remote.known_at()) {
            notes.remote = Some(remote);
        }
    }

    /// Something new is known of a key: what stopped it before counts no more.
    pub(super) fn stir(&mut self, key: &str) {
        if let Some(notes) = self.notes.get_mut(key) {
            (notes.stuck, notes.unresolved) = (None, None);
        }
    }

    pub(super) fn is_stopped(&self, key: &str) -> bool {
        self.notes.get(key).is_some_and(|notes| notes.stuck.is_some() || notes.unresolved.is_some())
    }

    /// Local changes that are not confirmed.
    pub(super) fn pending(&self) -> usize {
        self.journal.keys.values().filter(|record| record.is_dirty()).count()
    }

    /// An index that the cluster has reached.
    pub(super) fn known_index(&self) -> u64 {
        self.heard_of.max(self.journal.meta.place.as_ref().map_or(0, |place| place.index))
    }

    pub(super) fn is_in(&self, history: &str) -> bool {
        is_same_history(self.journal.history(), history)
    }

    pub(super) fn tell_unknown(&mut self, key: &str, by: i64) {
        if self.unknown.len() >= UNKNOWN_MAX {
            self.unknown.remove(0);
        }
        self.unknown.push((key.to_owned(), by));
    }
}

/// All of a synchronizer but its tasks.
pub(super) struct Shared {
    pub(super) options: SyncOptions,
    pub(super) groups: Groups,
    pub(super) cluster: Arc<dyn SyncCluster>,
    pub(super) caches: LocalCaches,
    pub(super) core: tokio::sync::Mutex<Core>,
    /// Rises when everything of the cluster has to be read again.
    walks_wanted: AtomicU64,
    pub(super) subscribers: Subscribers,
    /// True once it is to stop.
    pub(super) stop: watch::Sender<bool>,
}

impl Shared {
    /// # Errors
    /// A sentence: options that make no sense.
    pub(super) fn new(cluster: Arc<dyn SyncCluster>, options: SyncOptions) -> Result<Self, String> {
        if !(1..=1024).contains(&options.batch_size) {
            return Err("a batch has 1 to 1,024 changes".into());
        }
        Ok(Self {
            groups: Groups::new(&options)?,
            cluster,
            caches: LocalCaches::default(),
            core: tokio::sync::Mutex::new(Core::new(&options)),
            walks_wanted: AtomicU64::new(1),
            subscribers: Subscribers::default(),
            stop: watch::Sender::new(false),
            options,
        })
    }

    /// Everything of the cluster has to be read again.
    pub(super) fn want_walk(&self) {
        self.walks_wanted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn walks_wanted(&self) -> u64 {
        self.walks_wanted.load(Ordering::Relaxed)
    }

    pub(super) fn needs_walk(&self, core: &Core) -> bool {
        core.walks_done < self.walks_wanted()
    }

    pub(super) fn wall_ms(&self) -> i64 {
        (self.options.clock)()
    }

    /// Log time now, estimated.
    pub(super) fn log_now_ms(&self, core: &Core) -> i64 {
        self.wall_ms() + core.offset.map_or(0, |offset| offset.offset_ms)
    }

    /// Log time minus this machine's clock, if that is known and the clock was not set since.
    pub(super) fn offset_ms(&self, core: &Core) -> Option<i64> {
        let last = core.offset?;
        let passed_ms = i64::try_from(last.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        // It shows as a difference between the two clocks of this machine.
        let is_set = (self.wall_ms() - last.wall_ms - passed_ms).abs() >= CLOCK_SET_MS;
        (!is_set).then_some(last.offset_ms)
    }

    /// Waits for an answer of the cluster, unless the synchronizer is closed meanwhile.
    pub(super) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, SyncError> {
        Ok(self.unless_closed(answer).await??)
    }

    /// What the cluster has of these keys, in their order, with the lock on what is known of them.
    ///
    /// # Errors
    /// [`SyncError`], also if the cluster is in another history.
    pub(super) async fn read_keys(
        &self,
        keys: &[String],
    ) -> Result<(Vec<KeyState>, tokio::sync::MutexGuard<'_, Core>), SyncError> {
        let mut all = Vec::with_capacity(keys.len());
        for part in keys.chunks(READ_LIMIT) {
            let KeysRead { states, place } = self.ask(self.cluster.read(part)).await?;
            in_history(&*self.core.lock().await, &place)?;
            all.extend(states);
        }
        Ok((all, self.core.lock().await))
    }

    pub(super) async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Result<T, SyncError> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Err(SyncError::Closed),
            done = work => Ok(done),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.stop.borrow()
    }

    pub(super) fn tell(&self, change: SyncChange) {
        (self.options.on_change)(&change);
        self.subscribers.tell(&change);
    }
}

/// # Errors
/// An answer that belongs to another history than what is known.
pub(super) fn in_history(core: &Core, place: &Place) -> Result<(), SyncError> {
    if core.is_in(&place.history) { Ok(()) } else { Err(SyncError::OtherHistory) }
}

/// Of the value that an intent makes; `None` for a delete, and for an addition, whose sum is not known here.
pub(super) fn intent_hash(intent: &Intent) -> Option<String> {
    intent.value.as_ref().map(hash_of)
}

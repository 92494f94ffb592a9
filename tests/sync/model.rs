//! A cluster in memory: revisions, removals, idempotency keys, changes and streams by the rules of the HTTP API, with the faults that
//! a test asks for.

use bytes::Bytes;
use lockstep::api::{ErrorCode, OpRequest, Problem, WireEvent, WireValue};
use lockstep::cache::{Removal, RemovalCause};
use lockstep::client::ClientError;
use lockstep::client::sync::{
    BatchDone, ChangesPage, ClusterHistory, FeedMessage, FoundKey, KeyChange, KeyState, KeysPage, Place,
    SyncValue,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// The wall clock at the beginning of a test.
pub const EPOCH_MS: i64 = 1_767_225_600_000;
/// The most bytes of values in one answer.
const ANSWER_BYTES: usize = 8 << 20;

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody answers.
    Refused,
    /// It is lost on its way.
    Before,
    /// It is carried out, and the answer is lost.
    After,
    /// It arrives twice.
    Twice,
    /// It is given up, and arrives after so many milliseconds.
    Late(u64),
    /// The answer takes so many milliseconds.
    Slow(u64),
    /// It is refused after so many milliseconds.
    SlowRefused(u64),
    Code(ErrorCode),
    /// Something on the way to the nodes refuses it.
    Proxy,
    /// The operation at this position is at fault.
    AtOp(ErrorCode, u32),
}

/// A request, as a test chooses a fault by it.
pub struct Seen<'a> {
    pub kind: &'static str,
    pub ops: &'a [OpRequest],
}

pub type ChooseFault = Arc<dyn Fn(&Seen<'_>) -> Option<Fault> + Send + Sync>;

/// An entry.
#[derive(Debug, Clone)]
pub struct Stored {
    pub value: SyncValue,
    pub revision: u64,
    pub version: u64,
    pub modified: u64,
    pub deadline: Option<u64>,
    pub origin: Option<String>,
}

/// The changes of one log entry.
#[derive(Clone)]
pub struct Logged {
    pub index: u64,
    pub at_ms: u64,
    pub origin: Option<String>,
    pub events: Vec<WireEvent>,
}

pub struct Watcher {
    pub prefixes: Vec<String>,
    pub tell: UnboundedSender<FeedMessage>,
}

pub struct State {
    pub cluster_id: String,
    pub histories: Vec<ClusterHistory>,
    pub index: u64,
    pub entries: BTreeMap<String, Stored>,
    pub gones: BTreeMap<String, Removal>,
    pub clears: Vec<(String, Removal)>,
    /// Changes up to here are not kept.
    pub floor: u64,
    pub remembered: HashMap<String, (u64, Vec<OpRequest>, BatchDone)>,
    /// The newest revision of a batch that is not remembered any more.
    pub forgotten: u64,
    pub log: Vec<Logged>,
    pub watchers: Vec<Watcher>,
    pub sessions: BTreeMap<u64, String>,
    /// The kinds of all requests.
    pub seen: Vec<&'static str>,
    /// Every text that was ever stored.
    pub stored: BTreeSet<String>,
    begun: Instant,
}

/// The cluster.
#[derive(Clone)]
pub struct Model {
    state: Arc<Mutex<State>>,
    fault: Arc<Mutex<ChooseFault>>,
}

impl Model {
    pub fn new() -> Self {
        let first = ClusterHistory { id: "history-1".into(), fork_index: 0, detached: false };
        let state = State {
            cluster_id: "cluster".into(),
            histories: vec![first],
            index: 10,
            entries: BTreeMap::new(),
            gones: BTreeMap::new(),
            clears: Vec::new(),
            floor: 0,
            remembered: HashMap::new(),
            forgotten: 0,
            log: Vec::new(),
            watchers: Vec::new(),
            sessions: BTreeMap::new(),
            seen: Vec::new(),
            stored: BTreeSet::new(),
            begun: Instant::now(),
        };
        let none: ChooseFault = Arc::new(|_| None);
        Self { state: Arc::new(Mutex::new(state)), fault: Arc::new(Mutex::new(none)) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    /// What the next requests meet.
    pub fn fail(&self, fault: impl Fn(&Seen<'_>) -> Option<Fault> + Send + Sync + 'static) {
        *self.fault.lock().expect("no panic while held") = Arc::new(fault);
    }

    pub fn heal(&self) {
        self.fail(|_| None);
    }

    /// A write from elsewhere; its revision.
    pub fn put(&self, key: &str, value: &str) -> u64 {
        self.put_value(key, SyncValue::text(value), None)
    }

    pub fn put_value(&self, key: &str, value: SyncValue, origin: Option<&str>) -> u64 {
        let mut state = self.state();
        let origin = origin.map(str::to_owned);
        state.entry(origin.clone(), |state, index, events| {
            state.store(key, value, index, None, origin, events)
        })
    }

    pub fn remove(&self, key: &str, cause: RemovalCause) -> u64 {
        self.state().entry(None, |state, index, events| {
            state.drop_key(key, cause, index, events);
        })
    }

    pub fn clear(&self, prefix: &str) -> u64 {
        self.state().entry(None, |state, index, events| {
            let gone = Removal { cause: RemovalCause::Clear, revision: index, at_ms: state.now() };
            let before = state.entries.len();
            state.entries.retain(|key, _| !key.starts_with(prefix));
            state.gones.retain(|key, _| !key.starts_with(prefix));
            state.clears.push((prefix.to_owned(), gone));
            let removed = (before - state.entries.len()) as u64;
            let prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
            events.push(WireEvent::Clear { prefix, removed });
        })
    }

    /// Forgets removals and changes up to now.
    pub fn forget(&self) {
        let mut state = self.state();
        state.floor = state.index;
        state.gones.clear();
        state.clears.clear();
        state.log.clear();
    }

    /// Forgets the outcomes of all batches, as if many others had come since.
    pub fn forget_batches(&self) {
        let mut state = self.state();
        state.forgotten = state.index;
        state.remembered.clear();
    }

    /// Begins another history, in which what was written after `fork` never happened.
    pub fn fork(&self, fork: u64) {
        let mut state = self.state();
        let id = format!("history-{}", state.histories.len() + 1);
        state.histories.push(ClusterHistory { id, fork_index: fork, detached: false });
        state.entries.retain(|_, entry| entry.revision <= fork);
        state.index += 10_000;
        state.remembered.clear();
        drop(state);
        self.forget();
        self.cut();
    }

    /// Breaks all streams.
    pub fn cut(&self) {
        self.state().watchers.clear();
    }

    /// Tells all streams that changes are missing.
    pub fn resync(&self) {
        self.tell_all(&FeedMessage::Resync { history: false });
    }

    pub fn bookmark(&self) {
        let index = self.state().index;
        self.tell_all(&FeedMessage::Bookmark { index });
    }

    fn tell_all(&self, message: &FeedMessage) {
        self.state().watchers.retain(|watcher| watcher.tell.send(message.clone()).is_ok());
    }

    /// What it has, as text.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let text = |stored: &Stored| String::from_utf8_lossy(&stored.value.bytes).into_owned();
        state.entries.iter().map(|(key, stored)| (key.clone(), text(stored))).collect()
    }

    /// The same, with types.
    pub fn values(&self) -> BTreeMap<String, SyncValue> {
        self.state().entries.iter().map(|(key, stored)| (key.clone(), stored.value.clone())).collect()
    }

    pub fn requests(&self, kind: &str) -> usize {
        self.state().seen.iter().filter(|seen| **seen == kind).count()
    }

    /// Requests other than streams.
    pub fn all_requests(&self) -> usize {
        self.state().seen.iter().filter(|seen| **seen != "watch").count()
    }

    pub fn choose_fault(&self, seen: &Seen<'_>) -> Option<Fault> {
        self.state().seen.push(seen.kind);
        let choose = self.fault.lock().expect("no panic while held").clone();
        choose(seen)
    }
}

impl State {
    /// Log time.
    pub fn now(&self) -> u64 {
        EPOCH_MS as u64 + self.begun.elapsed().as_millis() as u64
    }

    pub fn history(&self) -> &str {
        &self.histories.last().expect("there is one").id
    }

    pub fn place(&self) -> Place {
        Place { index: self.index, history: self.history().to_owned() }
    }

    /// One log entry, whose changes are told; its index.
    pub fn entry(
        &mut self,
        origin: Option<String>,
        work: impl FnOnce(&mut Self, u64, &mut Vec<WireEvent>),
    ) -> u64 {
        self.index += 1;
        let (index, mut events) = (self.index, Vec::new());
        work(self, index, &mut events);
        if !events.is_empty() {
            let logged = Logged { index, at_ms: self.now(), origin, events };
            self.watchers.retain(|watcher| match logged.for_prefixes(&watcher.prefixes) {
                Some(message) => watcher.tell.send(message).is_ok(),
                None => true,
            });
            self.log.push(logged);
        }
        index
    }

    pub fn store(
        &mut self,
        key: &str,
        value: SyncValue,
        revision: u64,
        ttl_ms: Option<u64>,
        origin: Option<String>,
        events: &mut Vec<WireEvent>,
    ) {
        let (now, version) = (self.now(), self.entries.get(key).map_or(0, |before| before.version) + 1);
        self.stored.insert(String::from_utf8_lossy(&value.bytes).into_owned());
        self.gones.remove(key);
        events.push(WireEvent::Put {
            key: key.to_owned(),
            created: version == 1,
            bytes: value.bytes.len() as u64,
            value: Some(WireValue::from(Bytes::clone(&value.bytes))),
            content_type: value.content_type.clone(),
            expires_at_ms: ttl_ms.map(|ttl| now + ttl),
            sliding_ms: None,
            version: version as u32,
            created_at_ms: now,
            modified_at_ms: now,
        });
        let deadline = ttl_ms.map(|ttl| now + ttl);
        let stored = Stored { value, revision, version, modified: now, deadline, origin };
        self.entries.insert(key.to_owned(), stored);
    }

    pub fn drop_key(
        &mut self,
        key: &str,
        cause: RemovalCause,
        revision: u64,
        events: &mut Vec<WireEvent>,
    ) -> bool {
        let had = self.entries.remove(key).is_some();
        if had {
            self.gones.insert(key.to_owned(), Removal { cause, revision, at_ms: self.now() });
            let key = key.to_owned();
            events.push(match cause {
                RemovalCause::Expire => WireEvent::Expire { key },
                RemovalCause::Evict => WireEvent::Evict { key },
                _ => WireEvent::Delete { key },
            });
        }
        had
    }

    pub fn gone(&self, key: &str) -> Option<Removal> {
        let cleared =
            self.clears.iter().rev().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, gone)| *gone);
        let own = self.gones.get(key).copied();
        own.into_iter().chain(cleared).max_by_key(|gone| gone.revision)
    }

    pub fn key_state(&self, key: &str, values: bool) -> KeyState {
        match self.entries.get(key) {
            None => KeyState::Absent { gone: self.gone(key), as_of: self.index },
            Some(stored) => KeyState::Found(FoundKey {
                revision: stored.revision,
                version: stored.version,
                modified_at_ms: stored.modified as i64,
                origin: stored.origin.clone(),
                value: values.then(|| stored.value.clone()),
            }),
        }
    }

    pub fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> KeysPage {
        let (mut keys, mut bytes, mut next) = (Vec::new(), 0, None);
        let inside = self.entries.iter().filter(|(key, _)| key.starts_with(prefix));
        for (key, stored) in inside.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)) {
            if keys.len() >= limit || bytes >= ANSWER_BYTES {
                next = keys.last().map(|(key, _): &(String, KeyState)| key.clone());
                break;
            }
            bytes += stored.value.bytes.len();
            keys.push((key.clone(), self.key_state(key, true)));
        }
        KeysPage { keys, next, place: self.place() }
    }

    pub fn changes(&self, since: &Place, prefix: &str, limit: usize) -> Result<ChangesPage, ClientError> {
        if since.history != self.history() {
            return Err(problem(ErrorCode::OtherHistory, None));
        }
        if since.index < self.floor {
            return Ok(ChangesPage { changes: Vec::new(), next: since.index, more: false, complete: false });
        }
        let mut all: Vec<(u64, KeyChange)> = Vec::new();
        let is_new = |revision: u64| revision > since.index;
        for (key, stored) in self.entries.iter().filter(|(key, _)| key.starts_with(prefix)) {
            all.extend(
                is_new(stored.revision)
                    .then(|| (stored.revision, KeyChange::Key(key.clone(), self.key_state(key, true)))),
            );
        }
        for (key, gone) in self.gones.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let state = KeyState::Absent { gone: Some(*gone), as_of: self.index };
            all.extend(is_new(gone.revision).then(|| (gone.revision, KeyChange::Key(key.clone(), state))));
        }
        for (cleared, gone) in &self.clears {
            all.extend(
                is_new(gone.revision).then(|| (gone.revision, KeyChange::Cleared(cleared.clone(), *gone))),
            );
        }
        all.sort_by_key(|(index, _)| *index);
        // A page ends between two log entries.
        let mut end = limit.min(all.len());
        while end > 0 && end < all.len() && all[end].0 == all[end - 1].0 {
            end += 1;
        }
        let more = end < all.len();
        let next = if more { all[end - 1].0 } else { self.index };
        let changes = all.into_iter().take(end).map(|(_, change)| change).collect();
        Ok(ChangesPage { changes, next, more, complete: true })
    }
}

impl Logged {
    /// What a stream of keys with these prefixes is told.
    pub fn for_prefixes(&self, prefixes: &[String]) -> Option<FeedMessage> {
        let is_inside =
            |key: &String| prefixes.is_empty() || prefixes.iter().any(|prefix| key.starts_with(prefix));
        let is_meant = |event: &&WireEvent| match event {
            WireEvent::Put { key, .. }
            | WireEvent::Delete { key }
            | WireEvent::Expire { key }
            | WireEvent::Evict { key }
            | WireEvent::Lifetime { key, .. } => is_inside(key),
            _ => true,
        };
        let events: Vec<WireEvent> = self.events.iter().filter(is_meant).cloned().collect();
        let Self { index, at_ms, origin, .. } = self.clone();
        (!events.is_empty()).then_some(FeedMessage::Change { index, at_ms, origin, events })
    }
}

pub fn problem(code: ErrorCode, op: Option<u32>) -> ClientError {
    let mut problem = Problem::new(code, code.as_str());
    problem.op = op;
    ClientError::Problem(Box::new(problem))
}

pub fn unreachable() -> ClientError {
    ClientError::Unreachable { url: "http://model".into(), reason: "refused".into() }
}

pub fn lost() -> ClientError {
    ClientError::Lost { url: "http://model".into(), reason: "reset".into() }
}

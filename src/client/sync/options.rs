//! What a synchronizer is told to do, and which rules apply to a key.

use super::decide::{Deletes, Policy};
use super::storage::{MemoryStorage, SyncStorage};
use super::types::{BoxError, Conflict, DecidedConflict, Resolution, SyncChange, SyncError};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Decides a conflict. An error defers it.
pub type Resolve = Arc<dyn Fn(Conflict) -> BoxFuture<'static, Result<Resolution, BoxError>> + Send + Sync>;

/// Told of something as it happens. It must not wait.
pub type Told<T> = Arc<dyn Fn(&T) + Send + Sync>;

/// Which local changes are sent, and which of others are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    Both,
    /// Only local changes are sent.
    Up,
    /// Only those of others are taken.
    Down,
}

/// Which keys the local caches get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// All.
    #[default]
    Mirror,
    /// Those that they hold.
    Cached,
}

/// What it means that no local cache has a key any more which one had since the synchronizer was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingKeys {
    /// Nothing: caches evict.
    #[default]
    Ignore,
    /// It was deleted.
    Delete,
}

/// What happens here when the cluster evicts a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnEvict {
    #[default]
    Drop,
    Keep,
}

/// A set of keys with rules of its own. What is `None` is as in the options.
#[derive(Clone, Default)]
pub struct Group {
    pub name: String,
    /// Keys that start with one of these; of several groups the first that fits counts.
    pub prefixes: Vec<String>,
    pub conflict: Option<Policy>,
    pub resolve: Option<Resolve>,
    pub deletes: Option<Deletes>,
    pub direction: Direction,
    /// Higher ones are sent first. Every eighth batch is of the lowest that waits.
    pub priority: i32,
    pub mode: Mode,
    /// Syncs that the interval begins send this group's changes at most so often.
    pub every: Duration,
    pub missing_keys: Option<MissingKeys>,
    pub on_evict: Option<OnEvict>,
}

impl Group {
    /// The keys with these prefixes, with the rules of the options.
    pub fn new(name: impl Into<String>, prefixes: &[&str]) -> Self {
        let prefixes = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        Self { name: name.into(), prefixes, ..Self::default() }
    }
}

/// What a synchronizer does.
#[derive(Clone)]
pub struct SyncOptions {
    /// Time between syncs; zero: only when asked. Changes of others come at once.
    pub sync_interval: Duration,
    pub conflict: Policy,
    /// For [`Policy::Custom`].
    pub resolve: Option<Resolve>,
    pub deletes: Deletes,
    /// Rounds for a key after a conflict.
    pub retries: u32,
    /// Changes in a batch: 1 to 1,024.
    pub batch_size: usize,
    /// Which keys, with rules of their own. Empty: all.
    pub groups: Vec<Group>,
    /// Where local changes are kept before they are sent. In memory, a restart forgets them.
    pub storage: Arc<dyn SyncStorage>,
    /// The most local changes that wait. Further ones are rejected.
    pub max_pending: usize,
    /// Works also with a node that has left its cluster on purpose.
    pub allow_detached: bool,
    /// `connect` ends at once and goes on trying.
    pub offline: bool,
    /// Shows itself to the other synchronizers, by a session.
    pub presence: bool,
    pub missing_keys: MissingKeys,
    pub on_evict: OnEvict,
    /// This machine's clock: milliseconds since 1970.
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Each conflict, before its loser is dropped.
    pub on_conflict: Told<DecidedConflict>,
    pub on_change: Told<SyncChange>,
    /// Lines of the journal that were damaged.
    pub on_damage: Told<[String]>,
    /// A sync that the interval began has failed, or the stream was lost.
    pub on_error: Told<SyncError>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            sync_interval: Duration::from_secs(5),
            conflict: Policy::Newest,
            resolve: None,
            deletes: Deletes::ByTime,
            retries: 3,
            batch_size: 100,
            groups: Vec::new(),
            storage: Arc::new(MemoryStorage::default()),
            max_pending: 100_000,
            allow_detached: false,
            offline: false,
            presence: false,
            missing_keys: MissingKeys::Ignore,
            on_evict: OnEvict::Drop,
            clock: Arc::new(system_clock_ms),
            on_conflict: Arc::new(|_| {}),
            on_change: Arc::new(|_| {}),
            on_damage: Arc::new(|_| {}),
            on_error: Arc::new(|_| {}),
        }
    }
}

fn system_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A group with all its rules.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) name: String,
    pub(super) prefixes: Vec<String>,
    pub(super) conflict: Policy,
    pub(super) resolve: Option<Resolve>,
    pub(super) deletes: Deletes,
    pub(super) direction: Direction,
    pub(super) priority: i32,
    pub(super) mode: Mode,
    pub(super) every: Duration,
    pub(super) missing_keys: MissingKeys,
    pub(super) on_evict: OnEvict,
}

impl Rules {
    pub(super) fn mirrors(&self) -> bool {
        self.mode == Mode::Mirror
    }
}

/// Which rules apply to a key.
pub(super) struct Groups {
    pub(super) all: Vec<Rules>,
    /// What to ask the cluster for: prefixes that cover each other are one.
    pub(super) prefixes: Vec<String>,
}

impl Groups {
    /// # Errors
    /// A sentence: options that make no sense.
    pub(super) fn new(options: &SyncOptions) -> Result<Self, String> {
        let everything = [Group::new("all", &[""])];
        let given = if options.groups.is_empty() { &everything[..] } else { &options.groups };
        let all = given.iter().map(|group| rules(options, group)).collect::<Result<Vec<_>, _>>()?;
        let mut prefixes: Vec<&String> = all.iter().flat_map(|rules| &rules.prefixes).collect();
        prefixes.sort_unstable();
        // In byte order, a prefix comes right before what it covers.
        prefixes.dedup_by(|next, before| next.starts_with(before.as_str()));
        // A watch takes sixteen prefixes; of more, everything is watched, and what does not belong is left out here.
        let prefixes = match prefixes.len() {
            ..=16 => prefixes.into_iter().cloned().collect(),
            _ => vec![String::new()],
        };
        Ok(Self { all, prefixes })
    }

    /// The first group that fits; `None`: the key is not synchronized.
    pub(super) fn of(&self, key: &str) -> Option<&Rules> {
        self.all.iter().find(|rules| rules.prefixes.iter().any(|prefix| key.starts_with(prefix)))
    }

    /// Whether local changes of a key are sent.
    pub(super) fn sends(&self, key: &str) -> bool {
        self.of(key).is_some_and(|rules| rules.direction != Direction::Down)
    }
}

fn rules(options: &SyncOptions, group: &Group) -> Result<Rules, String> {
    let conflict = group.conflict.unwrap_or(options.conflict);
    let resolve = group.resolve.clone().or_else(|| options.resolve.clone());
    if conflict == Policy::Custom && resolve.is_none() {
        return Err(format!("group {}: the policy `custom` needs a resolve function", group.name));
    }
    if group.prefixes.is_empty() {
        return Err(format!("group {} has no prefix", group.name));
    }
    Ok(Rules {
        name: group.name.clone(),
        prefixes: group.prefixes.clone(),
        conflict,
        resolve,
        deletes: group.deletes.unwrap_or(options.deletes),
        direction: group.direction,
        priority: group.priority,
        mode: group.mode,
        every: group.every,
        missing_keys: group.missing_keys.unwrap_or(options.missing_keys),
        on_evict: group.on_evict.unwrap_or(options.on_evict),
    })
}

//! The commands that go through the log. Variants are stored and sent by position, so new ones are only ever added at the
//! end.

use super::AdminRequested;
use super::limits::FEATURE_LEVEL_FIRST;
use super::{CacheConfig, IdempotencyKey, Key, MergeStep, Policy, TokenChange, Value};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// What a log entry says beside its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the log entry; it becomes the revision of what the command changes.
    pub index: u64,
    /// The leader's time for the entry, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The client's name for this request, so that a retry is applied once.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The client's name for itself; it stays with the values that it stores.
    pub origin: Option<String>,
    /// Reads since the last ones that were reported, oldest first. They are counted before the command is executed.
    pub touches: Vec<Touch>,
}

/// Identifies an entry as long as it exists, in the same way on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId {
    pub slot: u32,
    /// Tells the entry from others that the slot had or will have.
    pub generation: u32,
}

/// Reads of one entry that are reported to the log later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    pub entry: EntryId,
    /// How many reads.
    pub count: u16,
}

/// One change to the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// One operation on one key.
    One(Op),
    /// Several operations, all or none. At most [`super::limits::BATCH_OPS_MAX`]; a key may be written by
    /// one of them only.
    Batch(Vec<Op>),
    /// Removes every entry, or those whose key starts with the prefix. Nothing, if a key starts with `unless`.
    Clear { prefix: Option<String>, unless: Option<String> },
    /// Changes the settings that are set.
    Configure(ConfigChange),
    /// Only lets time pass: expires and evicts what is due.
    Tick,
    /// From here on all nodes apply the rules of this level. It never falls.
    RaiseFeatureLevel { level: u32 },
    /// Brings in some changes of another side of a fork.
    Merge(Box<MergeStep>),
    /// Begins to note which entries go, because this node is about to leave and to begin this history at this index.
    OpenFork { history: String, node: u64, start_index: u64 },
    /// The node has not left: nothing needs to be noted.
    CloseFork { history: String },
    /// Makes, rotates or revokes a token.
    Tokens(Box<TokenChange>),
    /// Notes what an operator is about to do.
    NoteAdminAction(Box<AdminRequested>),
    /// Several operations, one after another: each sees what those before it did, and is carried out or refused by itself. If a
    /// guard does not hold, none is. At most [`super::limits::SEQUENCE_OPS_MAX`], and
    /// [`super::limits::SEQUENCE_GUARDS_MAX`] guards, of which [`super::limits::PREFIX_GUARDS_MAX`] are about the keys with a
    /// prefix and count no more than [`super::limits::GUARDED_KEYS_MAX`] keys.
    Sequence { guards: Vec<Guard>, ops: Vec<Op> },
    /// Opens, renews or ends a client session, or acquires or releases a lock.
    Sessions(Box<SessionChange>),
}

/// A change of client sessions or locks. It names the session's name with its number, because what a client may do is judged by
/// names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionChange {
    /// Opens a session, whose number is the index of the log entry.
    Open { name: Key, ttl_ms: u64 },
    /// From now on it lasts for its time to live again.
    Renew { id: u64, name: Key },
    /// Ends it, and releases its locks.
    End { id: u64, name: Key },
    /// Acquires a lock for a session.
    Lock { name: Key, session: u64, session_name: Key },
    /// Releases a lock that the session holds.
    Unlock { name: Key, session: u64 },
}

/// What must hold before a sequence begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// This of a key.
    Key { key: Key, condition: Condition },
    /// The keys with a prefix are those that were there after the log entry with the index `since`: still so many, and none of them is newer.
    /// Their values may have changed. It does not hold either while more than [`super::limits::GUARDED_EXPIRED_MAX`] have expired and are not
    /// removed yet.
    Keys { prefix: String, since: u64, count: u64 },
}

impl Guard {
    /// The key that it is about; `None` if it is about those with a prefix.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Key { key, .. } => Some(key),
            Self::Keys { .. } => None,
        }
    }

    /// The key, or the prefix of the keys, that it is about.
    pub fn text(&self) -> &str {
        match self {
            Self::Key { key, .. } => key.as_str(),
            Self::Keys { prefix, .. } => prefix,
        }
    }
}

/// One operation on one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Reads a key at this point of the log (in batches).
    Get { key: Key },
    /// Stores a value. `previous` asks for the one it replaces.
    Put { key: Key, value: Value, ttl: Ttl, condition: Condition, previous: bool },
    /// Removes a key. `previous` asks for its value.
    Delete { key: Key, condition: Condition, previous: bool },
    /// Adds to a decimal counter (64-bit signed, as text); an absent one starts at `initial`, then `by` is
    /// added. `ttl` counts only when the counter is created; an existing one keeps its deadline.
    Incr { key: Key, by: i64, initial: i64, ttl: Ttl, condition: Condition },
    /// Gives an existing key a new time to live. A deadline that has passed removes it.
    Expire { key: Key, ttl: Ttl, condition: Condition, only: DeadlineCondition },
    /// Removes an existing key's deadline.
    Persist { key: Key, condition: Condition },
    /// Adds bytes at the end of a value, which keeps its content type, and its lifetime as with [`Op::Incr`]. A key that is absent is
    /// created, with the default TTL. Nothing at the end of a value that is there changes nothing.
    Append { key: Key, bytes: Bytes },
    /// Writes bytes into a value from an offset on, with zeros between its end and the offset; otherwise as [`Op::Append`]. No
    /// bytes change nothing, and create nothing.
    SetRange { key: Key, offset: u64, bytes: Bytes },
    /// Adds a decimal number to a value that is one; an absent one starts at 0. Numbers have an optional sign, a fraction and an
    /// exponent, are rounded to 17 digits behind the point (halves away from zero), and stay within 1.7e21. Sums are exact.
    /// Otherwise as [`Op::Append`].
    IncrDecimal { key: Key, by: String },
    /// Reads a key, and sets its lifetime; `None` leaves that as it is. A deadline that has passed removes it.
    GetEx { key: Key, ttl: Option<Ttl> },
    /// What is known of a key beside its value. It counts as a use of none.
    Look { key: Key },
    /// Sets fields of a hash, one after another; with `only_new` those that are not there. It keeps its lifetime as with
    /// [`Op::Append`], and a key that is absent is created, with the default TTL.
    SetFields { key: Key, fields: Vec<(Bytes, Bytes)>, only_new: bool },
    /// Removes fields of a hash. One without fields is removed itself.
    DeleteFields { key: Key, fields: Vec<Bytes> },
    /// Adds to a field that is a counter; an absent one starts at 0. Otherwise as [`Op::SetFields`].
    IncrField { key: Key, field: Bytes, by: i64 },
    /// Adds a decimal number to a field that is one, as [`Op::IncrDecimal`] does. Otherwise as [`Op::SetFields`].
    IncrFieldDecimal { key: Key, field: Bytes, by: String },
    /// Adds to a number if the sum lies within bounds; an absent one starts at 0. A sum beyond them changes nothing, or, if it
    /// `saturates`, becomes the bound. `ttl` of `None` leaves the lifetime as it was, as with [`Op::Append`]; with `keeps_deadline`, so
    /// does any other for a key that has a deadline. A deadline that has passed removes the key.
    IncrWithin { key: Key, step: Step, saturates: bool, ttl: Option<Ttl>, keeps_deadline: bool },
    /// Sends a message of at most [`super::limits::VALUE_BYTES_MAX`] bytes to those who watch a channel. It changes no key, also none of the
    /// channel's name, and is kept only for watchers, in the change log.
    Publish { channel: Key, message: Bytes },
    /// Doubles a counter. It stands for what a next release may add, in the test of a rolling upgrade.
    #[cfg(feature = "next-level")]
    Double { key: Key },
}

impl Command {
    /// The first feature level that has it. An earlier release cannot decode it.
    pub fn level(&self) -> u32 {
        match self {
            Self::One(op) => op.level(),
            Self::Batch(ops) | Self::Sequence { ops, .. } => {
                ops.iter().map(Op::level).max().unwrap_or(FEATURE_LEVEL_FIRST)
            }
            Self::Configure(change) => change.policy.map_or(FEATURE_LEVEL_FIRST, Policy::level),
            Self::Clear { .. }
            | Self::Tick
            | Self::RaiseFeatureLevel { .. }
            | Self::Merge(_)
            | Self::OpenFork { .. }
            | Self::CloseFork { .. }
            | Self::Tokens(_)
            | Self::Sessions(_)
            | Self::NoteAdminAction(_) => FEATURE_LEVEL_FIRST,
        }
    }
}

impl Command {
    /// The keys that it may write, as they are named in it.
    pub fn written_keys(&self) -> Vec<String> {
        let written = |ops: &[Op]| -> Vec<String> {
            ops.iter().filter(|op| op.writes_key()).map(|op| op.key().as_str().to_owned()).collect()
        };
        match self {
            Self::One(op) => written(std::slice::from_ref(op)),
            Self::Batch(ops) | Self::Sequence { ops, .. } => written(ops),
            Self::Merge(step) => step.ops.iter().map(|op| op.key.as_str().to_owned()).collect(),
            Self::Clear { .. }
            | Self::Configure(_)
            | Self::Tick
            | Self::RaiseFeatureLevel { .. }
            | Self::OpenFork { .. }
            | Self::CloseFork { .. }
            | Self::Tokens(_)
            | Self::Sessions(_)
            | Self::NoteAdminAction(_) => Vec::new(),
        }
    }
}

impl Op {
    /// The first feature level that has it. An earlier release cannot decode it.
    pub fn level(&self) -> u32 {
        match self {
            Self::Get { .. }
            | Self::Put { .. }
            | Self::Delete { .. }
            | Self::Incr { .. }
            | Self::Expire { .. }
            | Self::Append { .. }
            | Self::SetRange { .. }
            | Self::IncrDecimal { .. }
            | Self::GetEx { .. }
            | Self::Look { .. }
            | Self::SetFields { .. }
            | Self::DeleteFields { .. }
            | Self::IncrField { .. }
            | Self::IncrFieldDecimal { .. }
            | Self::IncrWithin { .. }
            | Self::Publish { .. }
            | Self::Persist { .. } => FEATURE_LEVEL_FIRST,
            #[cfg(feature = "next-level")]
            Self::Double { .. } => FEATURE_LEVEL_FIRST + 1,
        }
    }

    /// Whether its condition asks for the digest of the value that is there.
    pub fn takes_digest(&self) -> bool {
        match self {
            Self::Put { condition, .. }
            | Self::Delete { condition, .. }
            | Self::Incr { condition, .. }
            | Self::Expire { condition, .. }
            | Self::Persist { condition, .. } => {
                matches!(condition, Condition::DigestIs(_) | Condition::DigestIsNot(_))
            }
            _ => false,
        }
    }

    /// The key that it reads or writes, or the channel that it sends to.
    pub fn key(&self) -> &Key {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key, .. }
            | Self::Incr { key, .. }
            | Self::Expire { key, .. }
            | Self::Append { key, .. }
            | Self::SetRange { key, .. }
            | Self::IncrDecimal { key, .. }
            | Self::GetEx { key, .. }
            | Self::Look { key }
            | Self::SetFields { key, .. }
            | Self::DeleteFields { key, .. }
            | Self::IncrField { key, .. }
            | Self::IncrFieldDecimal { key, .. }
            | Self::IncrWithin { key, .. }
            | Self::Publish { channel: key, .. }
            | Self::Persist { key, .. } => key,
            #[cfg(feature = "next-level")]
            Self::Double { key } => key,
        }
    }

    /// The key whose value, as it is before this is performed, is part of the outcome.
    pub fn reads(&self) -> Option<&Key> {
        match self {
            Self::Get { key }
            | Self::GetEx { key, .. }
            | Self::Put { key, previous: true, .. }
            | Self::Delete { key, previous: true, .. } => Some(key),
            _ => None,
        }
    }

    /// Whether it may change something, or tell watchers something.
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get { .. } | Self::Look { .. })
    }

    /// Whether it may change its key.
    pub fn writes_key(&self) -> bool {
        self.is_write() && !matches!(self, Self::Publish { .. })
    }
}

/// What [`Op::IncrWithin`] adds, and the bounds of the sum, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A 64-bit counter, as with [`Op::Incr`].
    Integer { by: i64, lower: i64, upper: i64 },
    /// A decimal number, as with [`Op::IncrDecimal`]. Without a bound, that of all decimal numbers.
    Decimal { by: String, lower: Option<String>, upper: Option<String> },
}

/// What must hold before an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key is absent (`If-None-Match: *`).
    Absent,
    /// The key is present (`If-Match: *`).
    Present,
    /// The key's revision is this one (`If-Match: "<revision>"`).
    Revision(u64),
    /// The key's revision is one of these (`If-Match` with a list), at most
    /// [`super::limits::CONDITION_REVISIONS_MAX`].
    AnyOf(Box<[u64]>),
    /// The key is absent, or its revision is none of these (`If-None-Match` with tags), at most
    /// [`super::limits::CONDITION_REVISIONS_MAX`].
    NoneOf(Box<[u64]>),
    /// The key is absent, and it is certain that it was at no time present after this log index.
    AbsentSince(u64),
    /// The key is present, with exactly this value, of at most [`super::limits::VALUE_BYTES_MAX`] bytes.
    ValueIs(Bytes),
    /// The key is absent, or has another value than this one, of at most [`super::limits::VALUE_BYTES_MAX`] bytes.
    ValueIsNot(Bytes),
    /// The key is absent, or has no hash: else it is of the wrong kind. ([`Condition::ValueIs`], [`Condition::DigestIs`]
    /// and their opposites ask for that, too.)
    NoHash,
    /// The key is present, and has no hash: else it is of the wrong kind.
    PresentNoHash,
    /// The key is present, and its value has this digest ([`value_digest`]).
    DigestIs(u64),
    /// The key is absent, or its value has another digest than this one.
    DigestIsNot(u64),
}

/// The digest of a value that is no hash: XXH3 with 64 bits, without a seed.
pub fn value_digest(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// When [`Op::Expire`] applies: what it compares is the key's deadline and the new one. No deadline counts as the latest of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadlineCondition {
    #[default]
    Always,
    /// The key has no deadline.
    None,
    /// The key has a deadline.
    Some,
    /// The new deadline is later.
    Later,
    /// The new deadline is earlier.
    Earlier,
    /// The key has a deadline, and the new one is earlier.
    EarlierThanSome,
}

/// How long a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ttl {
    /// The configuration's `default_ttl_ms`.
    Default,
    /// Never expires.
    Never,
    /// This many milliseconds of log time.
    Ms(u64),
    /// This many milliseconds of log time after it was last used, at most
    /// [`super::limits::SLIDING_TTL_MS_MAX`].
    Sliding(u64),
    /// Until this log time, in milliseconds since the Unix epoch. If it has passed, a put stores nothing and removes what was there.
    At(u64),
    /// As it was, with a sliding one renewed by the use; a new key never expires.
    Keep,
}

/// A change of settings: what is `None` stays as it is. `default_ttl_ms` of `Some(None)` removes the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    pub policy: Option<super::Policy>,
    pub capacity_entries: Option<u64>,
    pub capacity_bytes: Option<u64>,
    pub default_ttl_ms: Option<Option<u64>>,
    pub touch_enabled: Option<bool>,
    pub touch_interval_ms: Option<u64>,
    pub touch_max_per_flush: Option<u64>,
}

/// Sets every setting, as for a new cluster.
impl From<CacheConfig> for ConfigChange {
    fn from(config: CacheConfig) -> Self {
        Self {
            policy: Some(config.policy),
            capacity_entries: Some(config.capacity_entries),
            capacity_bytes: Some(config.capacity_bytes),
            default_ttl_ms: Some(config.default_ttl_ms),
            touch_enabled: Some(config.touch.enabled),
            touch_interval_ms: Some(config.touch.interval_ms),
            touch_max_per_flush: Some(config.touch.max_per_flush),
        }
    }
}

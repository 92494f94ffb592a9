//! What `apply` returns: outcomes and events. Outcomes are stored with idempotency keys, so new variants are only
//! ever added at the end.

use super::client_sessions::{ClientSession, Lock};
use super::{Absence, CacheConfig, CommandError, EntryInfo, Found, Key, KeyInfo, MergeResult, Record, Value};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What applying one log entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The result for the client that asked for it.
    pub outcome: Result<Outcome, CommandError>,
    /// True when the outcome is that of an earlier entry with the same idempotency key.
    pub replayed: bool,
    /// What watchers see, in order.
    pub events: Vec<Event>,
}

/// What a command did, or why it was refused.
pub(super) type CommandResult = Result<Outcome, CommandError>;

/// A command's success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Stored; `revision` is the entry's new revision, `previous` what it replaced, if that was asked for.
    Put { revision: u64, created: bool, previous: Option<Found> },
    /// Removed; `revision` is the index of the removal, `previous` what was there, if that was asked for.
    Deleted { revision: u64, previous: Option<Found> },
    /// There was nothing to delete, expire or persist.
    NotFound(Absence),
    /// The counter's new value.
    Counter { revision: u64, value: i64, created: bool },
    /// The key's deadline now, in milliseconds of log time; `None` never expires.
    Deadline { revision: u64, expires_at_ms: Option<u64> },
    /// What a `Get` found.
    Got(Option<Found>),
    /// One outcome an operation, in order.
    Batch { revision: u64, outcomes: Vec<Outcome> },
    /// How many entries were removed.
    Cleared { revision: u64, removed: u64 },
    /// The settings now.
    Configured(CacheConfig),
    /// Time passed.
    Ticked,
    /// The feature level now.
    FeatureLevel(u32),
    /// What became of each operation of a merge's step.
    Merged { revision: u64, results: Vec<MergeResult> },
    /// A token was made, rotated or revoked.
    TokensChanged { revision: u64 },
    /// One result an operation, in order.
    Sequence { revision: u64, results: Vec<Result<Outcome, Box<OpRefusal>>> },
    /// The client session as it is now.
    Session(ClientSession),
    /// It is no more; these locks were released.
    SessionEnded { released: Vec<Key> },
    /// The session holds the lock; `acquired` is false if it did before.
    Locked { lock: Lock, session_name: Key, acquired: bool },
    /// It does not hold it any more.
    Unlocked,
    /// How long the value is now; `revision` is 0 if the key is absent.
    Length { revision: u64, bytes: u64 },
    /// The number's new value, without zeros at its end and without exponent.
    Decimal { revision: u64, text: String },
    /// What a `Look` found.
    Looked(Option<KeyInfo>),
    /// How many fields of a hash are new, or are gone; `revision` is 0 if the key is absent, and as it was if nothing changed.
    Fields { revision: u64, count: u64 },
    /// Nothing was removed: there are so many keys, with those that have expired and are not removed yet, that were not to be there.
    NotCleared { count: u64 },
    /// What a number is now and what was added to it, as text; `revision` is 0 if the key is absent, and as it was if nothing changed.
    Sum { revision: u64, value: String, added: String },
    /// A message was sent to those who watch a channel; `revision` is its place in the log.
    Published { revision: u64 },
}

/// Why an operation of a sequence was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpRefusal {
    pub error: CommandError,
    pub key: KeyState,
}

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// An entry; its value where that was asked for.
    Present {
        info: EntryInfo,
        value: Option<Value>,
    },
    Absent(Absence),
}

/// One visible change, for watchers. The revision of all events of an `apply` is its index. A deadline that reads have
/// moved is no event: those reads reach the log later, and many at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Put {
        record: Record,
        expires_at_ms: Option<u64>,
        sliding_ms: u32,
        created: bool,
        version: u32,
        /// Log times in milliseconds since the Unix epoch.
        created_at_ms: u64,
        modified_at_ms: u64,
    },
    /// The deadline changed, not the value.
    Deadline {
        key: Key,
        expires_at_ms: Option<u64>,
        sliding_ms: u32,
    },
    Removed {
        key: Key,
        cause: Cause,
    },
    /// All keys with the prefix (all keys, when `None`).
    Cleared {
        prefix: Option<String>,
        removed: u64,
    },
    /// The settings are these now.
    Configured {
        config: Box<CacheConfig>,
        policy_changed: bool,
    },
    /// The first of an entry whose other events another side of a fork had brought about: the id of its history.
    Merged {
        history: String,
    },
    SessionOpened {
        session: Box<ClientSession>,
    },
    /// A session was ended by its client, or expired.
    SessionEnded {
        session: Box<ClientSession>,
        expired: bool,
    },
    Locked {
        lock: Box<Lock>,
    },
    Unlocked {
        lock: Box<Lock>,
    },
    /// Somebody has sent this to a channel. Nothing was changed.
    Message {
        channel: Key,
        message: Bytes,
    },
}

/// Why a key was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    Delete,
    Expire,
    Evict,
}

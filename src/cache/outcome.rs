//! What `apply` answers: outcomes, refusals and events. Outcomes are remembered for idempotency keys, so
//! they are stored too: new variants are only ever added at the end.

use super::{CacheConfig, Key, Record, Value};
use serde::{Deserialize, Serialize};

/// What applying one log entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer to whoever proposed it.
    pub outcome: Result<Outcome, CommandError>,
    /// True when the outcome was remembered from an earlier entry with the same idempotency key.
    pub replayed: bool,
    /// What anyone watching sees, in order.
    pub events: Vec<Event>,
}

/// A command's success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Stored; `revision` is the entry's new revision, `previous` what it replaced, if that was asked for.
    Put { revision: u64, created: bool, previous: Option<Found> },
    /// Removed; `revision` is the index of the removal, `previous` what was there, if that was asked for.
    Deleted { revision: u64, previous: Option<Found> },
    /// There was nothing to delete, expire or persist.
    NotFound,
    /// The counter's new value.
    Counter { revision: u64, value: i64, created: bool },
    /// The key's deadline now, in milliseconds of log time; `None` lives for ever.
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
}

/// An entry as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub value: Value,
    /// Index of the log entry that last changed it.
    pub revision: u64,
    /// Index of the log entry that created it.
    pub created_revision: u64,
    /// How many times it was written since it was created, from 1.
    pub version: u64,
    /// Log times in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub modified_at_ms: u64,
    /// Deadline in log time; `None` lives for ever.
    pub expires_at_ms: Option<u64>,
}

/// A command's refusal: nothing was changed. `op` is the position in a batch that was at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    /// The condition did not hold; `current` is the revision that is there.
    #[error("precondition failed: {}", match current { Some(r) => format!("the key is at revision {r}"), None => "the key is absent".into() })]
    PreconditionFailed { op: Option<u32>, current: Option<u64> },
    /// The entry alone exceeds the capacity in bytes.
    #[error("too large: the entry counts {bytes} bytes, the cache holds {capacity_bytes}")]
    TooLarge { op: Option<u32>, bytes: u64, capacity_bytes: u64 },
    /// Policy `noeviction`, and there is no room.
    #[error("the cache is full and its policy is noeviction")]
    CacheFull { op: Option<u32> },
    /// `incr` on a value that is no 64-bit decimal number.
    #[error("the value is not a 64-bit decimal integer")]
    NotANumber { op: Option<u32> },
    /// `incr` past the 64-bit range.
    #[error("the counter would leave the 64-bit range")]
    Overflow { op: Option<u32> },
    /// A batch that writes one key twice, is empty, or has too many operations.
    #[error("invalid batch: {reason}")]
    InvalidBatch { op: Option<u32>, reason: String },
    /// A TTL outside the limits, or another field that the edge should have refused.
    #[error("invalid {field}: {reason}")]
    Invalid { op: Option<u32>, field: String, reason: String },
    /// The idempotency key was used before, for another command.
    #[error("the idempotency key was used for a different request")]
    IdempotencyKeyReused,
    /// A command of a later feature level than the cluster keeps. It is not remembered: once the level is raised, the
    /// same request is carried out.
    #[error(
        "this needs feature level {needed}, and the cluster keeps level {kept}: once all nodes run a release that knows \
         it, `lockstep upgrade finish` raises the level"
    )]
    FeatureLevel { needed: u32, kept: u32 },
}

/// One visible change, for those who watch. Revision of all events of an `apply` is its index. (A deadline that
/// reads have moved is none: those reads are told of later, and many at once.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Put {
        record: Record,
        expires_at_ms: Option<u64>,
        created: bool,
    },
    /// The deadline changed, not the value.
    Deadline {
        key: Key,
        expires_at_ms: Option<u64>,
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
}

/// Why a key went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    Delete,
    Expire,
    Evict,
}

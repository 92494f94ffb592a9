//! Why the state machine refuses a command. Refusals are stored with idempotency keys, so new variants are only ever
//! added at the end. They hold no sentences: those are worded anew whenever they are shown, so a release may word them
//! better and its nodes still agree with the others.

use super::client_sessions::Lock;
use super::hash::HASH_CONTENT_TYPE;
use super::limits::{
    ADMIN_TEXT_BYTES_MAX, BATCH_OPS_MAX, BATCH_OUTCOME_BYTES_MAX, CAPACITY_ENTRIES_MAX, CLIENT_SESSIONS_MAX,
    CONDITION_REVISIONS_MAX, CONTENT_TYPE_BYTES_MAX, COPIED_BYTES_PER_APPLY_MAX, GRANTS_MAX,
    HISTORY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, JOIN_HOSTS_MAX, JOIN_TTL_MS_MAX, KEY_BYTES_MAX, LOCKS_MAX,
    LOCKS_PER_SESSION_MAX, NAME_BYTES_MAX, NODE_NAME_BYTES_MAX, REPLACED_BYTES_PER_APPLY_MAX,
    SEQUENCE_GUARDS_MAX, SEQUENCE_OPS_MAX, SESSION_TTL_MS_MAX, SESSION_TTL_MS_MIN, SLIDING_TTL_MS_MAX,
    TOKEN_NAME_BYTES_MAX, TOKENS_MAX, TOLD_BYTES_PER_APPLY_MAX, TOUCH_INTERVAL_MS, TOUCHES_MAX, TTL_MS_MAX,
    TTL_MS_MIN, VALUE_BYTES_MAX,
};
use super::{Absence, Key};
use serde::{Deserialize, Serialize};

/// A command's refusal: nothing was changed. `op` is the position in a batch that was at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    /// The condition did not hold; `current` is the revision of the key if it is present, else `absence` says what is known about
    /// it.
    #[error("precondition failed: {}", match current { Some(r) => format!("the key is at revision {r}"), None => "the key is absent".into() })]
    PreconditionFailed { op: Option<u32>, current: Option<u64>, absence: Option<Absence> },
    /// The entry alone exceeds the capacity in bytes.
    #[error("too large: the entry counts {bytes} bytes, the cache holds {capacity_bytes}")]
    TooLarge { op: Option<u32>, bytes: u64, capacity_bytes: u64 },
    /// The policy is `noeviction`, and there is no room.
    #[error("the cache is full and its policy is noeviction")]
    CacheFull { op: Option<u32> },
    /// `incr` on a value that is no 64-bit decimal number without superfluous characters, or a decimal increment of or by what is no
    /// decimal number.
    #[error("the value is not a number")]
    NotANumber { op: Option<u32> },
    /// `incr` past the 64-bit range, or a decimal number past 1.7e21.
    #[error("the number would leave its range")]
    Overflow { op: Option<u32> },
    /// A batch that cannot be applied, whatever the state is.
    #[error("invalid batch: {}", fault.sentence())]
    InvalidBatch { op: Option<u32>, fault: BatchFault },
    /// A TTL outside the limits, or another field that the HTTP layer should have refused.
    #[error("invalid {field}: {}", field.rule())]
    Invalid { op: Option<u32>, field: InvalidField },
    /// The idempotency key was used before, for another command.
    #[error("the idempotency key was used for a different request")]
    IdempotencyKeyReused,
    /// The client says that it may have sent the request before, and results from after that time were dropped.
    #[error(
        "what became of requests of that time is forgotten: this one may have been carried out before, and was not now"
    )]
    OutcomeForgotten,
    /// A command of a later feature level than the cluster keeps. It is not remembered: once the level is raised, the
    /// same request is carried out.
    #[error(
        "this needs feature level {needed}, and the cluster keeps level {kept}: once all nodes run a release that knows \
         it, `lockstep upgrade finish` raises the level"
    )]
    FeatureLevel { needed: u32, kept: u32 },
    /// A merge's steps are applied in order, each once.
    #[error("{}", match ended { true => "the merge has ended".to_owned(), false => format!("step {next} of the merge is due") })]
    MergeOutOfTurn { next: u64, ended: bool },
    /// One merge at a time.
    #[error("another merge has not ended")]
    AnotherMerge,
    /// The plan is of an earlier time.
    #[error(
        "another merge of that history has ended, or more was removed than is remembered, since the plan was made: make a new plan"
    )]
    PlanOutdated,
    /// No token has this id.
    #[error("no token has this id")]
    NoSuchToken,
    /// There is a token of this name, or with this id.
    #[error("there is a token of this name")]
    TokenExists,
    /// There are [`TOKENS_MAX`].
    #[error("there are {TOKENS_MAX} tokens: revoke some first")]
    TooManyTokens,
    /// No client session has this number and name.
    #[error("no session has this number: it has ended, or was not renewed in time")]
    NoSuchSession,
    /// There are [`CLIENT_SESSIONS_MAX`].
    #[error("there are {CLIENT_SESSIONS_MAX} sessions: end some first")]
    TooManySessions,
    /// Another session holds the lock.
    #[error("another session holds the lock: {}", lock.session)]
    LockHeld { lock: Box<Lock>, session_name: Key },
    /// This session does not.
    #[error("this session does not hold the lock")]
    LockNotHeld,
    /// There are [`LOCKS_MAX`], or the session has [`LOCKS_PER_SESSION_MAX`].
    #[error("there are {LOCKS_MAX} locks, or the session has {LOCKS_PER_SESSION_MAX}: release some first")]
    TooManyLocks,
    /// A guard of a sequence does not hold; `guard` is its position.
    #[error("precondition failed: guard {guard} does not hold")]
    GuardFailed { guard: u32 },
    /// An operation on a string found a hash, or the other way round.
    #[error("the key has a value of another kind than the operation is for")]
    WrongKind { op: Option<u32> },
}

/// What is wrong with a batch. Numbers are persisted: one is never given to another fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchFault {
    /// It is empty, or has too many operations.
    Length = 0,
    /// It writes a key twice.
    RepeatedKey = 1,
    /// It reads more than an answer may hold.
    LargeAnswer = 2,
    /// Its operations replace, or build values out of, more than one log entry may.
    LargeWork = 3,
}

impl BatchFault {
    const ALL: [Self; 4] = [Self::Length, Self::RepeatedKey, Self::LargeAnswer, Self::LargeWork];

    fn sentence(self) -> String {
        match self {
            Self::Length => format!(
                "a batch has 1 to {BATCH_OPS_MAX} operations, a sequence 1 to {SEQUENCE_OPS_MAX} and up to \
                 {SEQUENCE_GUARDS_MAX} guards"
            ),
            Self::RepeatedKey => "a key is written twice".into(),
            Self::LargeWork => format!(
                "it has to come in another request: those before it replace {REPLACED_BYTES_PER_APPLY_MAX} bytes, or build \
                 values of {TOLD_BYTES_PER_APPLY_MAX} bytes and copy {COPIED_BYTES_PER_APPLY_MAX} for that"
            ),
            Self::LargeAnswer => format!("its answers take more than {BATCH_OUTCOME_BYTES_MAX} bytes"),
        }
    }

    /// The fault's number in stored results.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.number() == number)
    }
}

/// The field of a command that is invalid. Numbers are persisted: one is never given to another field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvalidField {
    Ttl = 0,
    Value = 1,
    ContentType = 2,
    Condition = 3,
    Prefix = 4,
    IdempotencyKey = 5,
    /// The index of the log entry.
    Index = 6,
    FeatureLevel = 7,
    CapacityEntries = 8,
    CapacityBytes = 9,
    DefaultTtl = 10,
    TouchInterval = 11,
    TouchMaxPerFlush = 12,
    /// The id of a merge, or of its history.
    Merge = 13,
    /// What a token is to be.
    Token = 14,
    /// What is noted of an operator's action.
    AdminAction = 15,
    /// What a join token is to be.
    JoinToken = 16,
    /// How long a client session lasts.
    SessionTtl = 17,
    /// The name of a client session or a lock.
    Name = 18,
}

impl InvalidField {
    pub const ALL: [Self; 19] = [
        Self::Ttl,
        Self::Value,
        Self::ContentType,
        Self::Condition,
        Self::Prefix,
        Self::IdempotencyKey,
        Self::Index,
        Self::FeatureLevel,
        Self::CapacityEntries,
        Self::CapacityBytes,
        Self::DefaultTtl,
        Self::TouchInterval,
        Self::TouchMaxPerFlush,
        Self::Merge,
        Self::Token,
        Self::AdminAction,
        Self::JoinToken,
        Self::SessionTtl,
        Self::Name,
    ];

    /// As it is called in requests and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl_ms",
            Self::Value => "value",
            Self::ContentType => "content_type",
            Self::Condition => "condition",
            Self::Prefix => "prefix",
            Self::IdempotencyKey => "idempotency_key",
            Self::Index => "index",
            Self::FeatureLevel => "feature_level",
            Self::CapacityEntries => "capacity_entries",
            Self::CapacityBytes => "capacity_bytes",
            Self::DefaultTtl => "default_ttl_ms",
            Self::TouchInterval => "touch.interval_ms",
            Self::TouchMaxPerFlush => "touch.max_per_flush",
            Self::Merge => "merge",
            Self::Token => "token",
            Self::AdminAction => "admin_action",
            Self::JoinToken => "join_token",
            Self::SessionTtl => "ttl_ms",
            Self::Name => "name",
        }
    }

    /// What holds for its values, as a sentence.
    fn rule(self) -> String {
        match self {
            Self::Ttl => format!(
                "a time to live has {TTL_MS_MIN} to {TTL_MS_MAX} ms, and one that uses renew has at most \
                 {SLIDING_TTL_MS_MAX}"
            ),
            Self::Value => format!("a value has at most {VALUE_BYTES_MAX} bytes"),
            Self::ContentType => {
                format!(
                    "a content type is 1 to {CONTENT_TYPE_BYTES_MAX} visible ASCII characters, and {HASH_CONTENT_TYPE} is that of \
                     the bytes of a hash"
                )
            }
            Self::Condition => format!(
                "at most {CONDITION_REVISIONS_MAX} revisions are compared, or a value of {VALUE_BYTES_MAX} bytes"
            ),
            Self::Prefix => format!("a prefix has at most {KEY_BYTES_MAX} bytes"),
            Self::IdempotencyKey => format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"),
            Self::Index => "this log entry was applied already or is none".into(),
            Self::FeatureLevel => "it only rises, to a level that this program knows".into(),
            Self::CapacityEntries => format!("it is 1 to {CAPACITY_ENTRIES_MAX}"),
            Self::CapacityBytes => "it is at least 1".into(),
            Self::DefaultTtl => format!("it is {TTL_MS_MIN} to {TTL_MS_MAX} milliseconds"),
            Self::TouchInterval => {
                let (low, high) = (TOUCH_INTERVAL_MS.start(), TOUCH_INTERVAL_MS.end());
                format!("it is {low} to {high} milliseconds")
            }
            Self::TouchMaxPerFlush => format!("it is 1 to {TOUCHES_MAX}"),
            Self::Merge => format!(
                "the ids of a merge and of its history have 1 to {HISTORY_BYTES_MAX} bytes, and stay the same"
            ),
            Self::Token => format!(
                "a token has a name of 1 to {TOKEN_NAME_BYTES_MAX} bytes, 1 to {GRANTS_MAX} grants, of which `observe` and \
                 `admin` have no prefix, and a lifetime of {TTL_MS_MIN} to {TTL_MS_MAX} ms if any"
            ),
            Self::AdminAction => format!("each text about it has at most {ADMIN_TEXT_BYTES_MAX} bytes"),
            Self::SessionTtl => {
                format!(
                    "a session lasts {SESSION_TTL_MS_MIN} to {SESSION_TTL_MS_MAX} ms without being renewed"
                )
            }
            Self::Name => format!("the name of a session or a lock has at most {NAME_BYTES_MAX} bytes"),
            Self::JoinToken => format!(
                "a join token names a node with 1 to {NODE_NAME_BYTES_MAX} bytes and up to {JOIN_HOSTS_MAX} hosts, and lives \
                 {TTL_MS_MIN} to {JOIN_TTL_MS_MAX} ms"
            ),
        }
    }

    /// The field's number in stored results.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.number() == number)
    }
}

impl std::fmt::Display for InvalidField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchFault, InvalidField};

    #[test]
    fn every_field_and_fault_has_its_own_number() {
        for (number, fault) in (0u8..).zip(BatchFault::ALL) {
            assert_eq!((fault.number(), BatchFault::from_number(number)), (number, Some(fault)));
        }
        for (number, field) in (0u8..).zip(InvalidField::ALL) {
            assert_eq!((field.number(), InvalidField::from_number(number)), (number, Some(field)));
        }
        assert_eq!(InvalidField::from_number(InvalidField::ALL.len() as u8), None);
    }
}

//! The errors of a node's operations. Each variant maps to one [`ErrorCode`], which says whether there was an effect.

use crate::api::{Effect, ErrorCode};
use crate::cache::{CommandError, InvalidField};
use crate::storage::{OpenError, StorageError};

/// A request that was not carried out, or whose outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The state machine refused the command, at this position in the log. Nothing changed.
    #[error("{error}")]
    Refused { error: CommandError, index: u64, term: u64 },
    /// The cluster keeps an earlier feature level than the command needs. Nothing changed.
    #[error("{}", CommandError::FeatureLevel { needed: *needed, kept: *kept })]
    FeatureLevel { needed: u32, kept: u32 },
    /// Too large for a log entry. Nothing changed.
    #[error("the request takes {bytes} bytes, at most {limit} fit into one log entry")]
    TooLarge { bytes: usize, limit: usize },
    /// Too many requests are in flight. Nothing changed.
    #[error("too many requests are in flight on this node")]
    Busy,
    /// There is no leader or no majority, or the node is starting, stopping or out of service. Nothing changed.
    #[error("{0}")]
    Unavailable(String),
    /// The cluster goes on in a recovered history, without this node. Nothing changed.
    #[error("{0}")]
    Superseded(String),
    /// It may have been proposed, and no answer came in time: it may have happened, or may still happen.
    #[error("{0}: the request may have been carried out, or may still be")]
    OutcomeUnknown(String),
    /// The node has failed; the outcome is not known.
    #[error("this node has failed and is stopping: {0}")]
    Fatal(String),
    /// No such member.
    #[error("{0}")]
    NotFound(String),
    /// The request conflicts with the cluster's present state. Nothing changed.
    #[error("{0}")]
    Conflict(String),
    /// The request is not valid. Nothing changed.
    #[error("{0}")]
    Invalid(String),
    /// It needs a token that is good. Nothing changed.
    #[error("{0}")]
    Unauthorized(String),
    /// Its token does not allow it. Nothing changed.
    #[error("{0}")]
    Forbidden(String),
}

impl NodeError {
    /// Its row in the error table.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { error, .. } => refusal_code(error),
            Self::FeatureLevel { .. } => ErrorCode::FeatureLevel,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Busy => ErrorCode::Busy,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Superseded(_) => ErrorCode::Superseded,
            Self::OutcomeUnknown(_) => ErrorCode::OutcomeUnknown,
            Self::Fatal(_) => ErrorCode::Fatal,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Conflict(_) => ErrorCode::Conflict,
            Self::Invalid(_) => ErrorCode::InvalidBody,
            Self::Unauthorized(_) => ErrorCode::Unauthorized,
            Self::Forbidden(_) => ErrorCode::Forbidden,
        }
    }

    pub fn effect(&self) -> Effect {
        self.code().effect()
    }
}

/// The code of a refusal of the state machine.
pub fn refusal_code(error: &CommandError) -> ErrorCode {
    match error {
        CommandError::PreconditionFailed { .. } | CommandError::GuardFailed { .. } => {
            ErrorCode::PreconditionFailed
        }
        CommandError::TooLarge { .. } => ErrorCode::TooLarge,
        CommandError::CacheFull { .. } => ErrorCode::CacheFull,
        CommandError::NotANumber { .. } => ErrorCode::NotANumber,
        CommandError::Overflow { .. } => ErrorCode::Overflow,
        CommandError::WrongKind { .. } => ErrorCode::WrongKind,
        CommandError::InvalidBatch { .. } => ErrorCode::InvalidBatch,
        CommandError::Invalid { field, .. } => match field {
            InvalidField::Ttl | InvalidField::SessionTtl => ErrorCode::InvalidTtl,
            InvalidField::Value | InvalidField::ContentType => ErrorCode::InvalidValue,
            InvalidField::Condition | InvalidField::IdempotencyKey => ErrorCode::InvalidHeader,
            InvalidField::Prefix => ErrorCode::InvalidQuery,
            InvalidField::Index | InvalidField::FeatureLevel => ErrorCode::Conflict,
            InvalidField::CapacityEntries
            | InvalidField::CapacityBytes
            | InvalidField::DefaultTtl
            | InvalidField::TouchInterval
            | InvalidField::TouchMaxPerFlush => ErrorCode::InvalidConfig,
            InvalidField::Merge
            | InvalidField::JoinToken
            | InvalidField::Token
            | InvalidField::Name
            | InvalidField::AdminAction => ErrorCode::InvalidBody,
        },
        CommandError::IdempotencyKeyReused => ErrorCode::IdempotencyKeyReused,
        CommandError::OutcomeForgotten => ErrorCode::OutcomeForgotten,
        CommandError::FeatureLevel { .. } => ErrorCode::FeatureLevel,
        CommandError::MergeOutOfTurn { .. }
        | CommandError::AnotherMerge
        | CommandError::PlanOutdated
        | CommandError::TokenExists
        | CommandError::TooManyTokens
        | CommandError::TooManySessions
        | CommandError::TooManyLocks => ErrorCode::Conflict,
        CommandError::LockHeld { .. } => ErrorCode::Locked,
        CommandError::NoSuchSession | CommandError::LockNotHeld => ErrorCode::NotFound,
        CommandError::NoSuchToken => ErrorCode::NotFound,
    }
}

/// Why a node did not start. The data folder is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: String, error: std::io::Error },
    #[error("the data folder's identity cannot be read: {0}")]
    Identity(String),
    #[error("the data folder cannot be written: {0}")]
    Folder(std::io::Error),
    #[error("the backup cannot be restored: {0}")]
    Backup(String),
    #[error(
        "the cluster knows this node's peer address as {known}, not {given}: start it there, or remove it from \
         the cluster and join again with a new data folder"
    )]
    Moved { known: String, given: String },
    #[error("cannot start with these settings: {0}")]
    Options(String),
    #[error("{0}")]
    Bootstrap(String),
    #[error("the data folder's instruction to join cannot be read: {0}")]
    Rejoin(String),
    #[error("this node has left its cluster, and cannot begin a history of its own: {0}")]
    Detach(String),
    #[error("cannot join: {0}")]
    Join(String),
    #[error("cannot start raft: {0}")]
    Raft(String),
}

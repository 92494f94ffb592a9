//! Errors of the client, and whether the request may have been carried out.

use crate::api::{Effect, ErrorCode, Problem};
use std::time::Duration;

/// Why a request failed. [`ClientError::effect`] says whether it may have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A node answered with a problem; operations of a batch are counted from 0.
    #[error("{}{}", .0.op.map_or_else(String::new, |op| format!("operation {op}: ")), .0.detail)]
    Problem(Box<Problem>),
    /// No node could be reached: nothing was done.
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// The answer was lost or late: a write may have been done.
    #[error("no answer from {url}: {reason}")]
    Lost { url: String, reason: String },
    /// A node of another cluster answered. Nothing was done.
    #[error("{url} belongs to another cluster than before, {cluster_id}")]
    OtherCluster { url: String, cluster_id: String },
    /// Something other than a Lockstep node refused the request, or sends it elsewhere: nothing was done.
    #[error("{url} is no node: {reason}")]
    NoNode { url: String, reason: String },
    /// An answer that is longer than any of a node. It is not asked for again.
    #[error("{url} gave an answer of more than {max} bytes")]
    TooLong { url: String, max: usize },
    /// Something other than a Lockstep node answered.
    #[error("{url} gave an answer that makes no sense: {reason}")]
    Garbled { url: String, reason: String },
}

impl ClientError {
    /// Whether a write may have happened.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Problem(problem) => problem.effect,
            Self::Unreachable { .. } | Self::OtherCluster { .. } | Self::NoNode { .. } => Effect::None,
            Self::Lost { .. } | Self::Garbled { .. } | Self::TooLong { .. } => Effect::Unknown,
        }
    }

    /// How long the node asks to wait before the next try; nothing where it does not say.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Problem(problem) => Duration::from_millis(problem.retry_after_ms.unwrap_or(0)),
            _ => Duration::ZERO,
        }
    }

    /// The row of the error table it belongs to.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Problem(problem) => problem.code,
            Self::Unreachable { .. } => ErrorCode::Unavailable,
            Self::OtherCluster { .. } => ErrorCode::Conflict,
            Self::NoNode { .. } => ErrorCode::NoRoute,
            Self::Lost { .. } | Self::Garbled { .. } | Self::TooLong { .. } => ErrorCode::OutcomeUnknown,
        }
    }
}

pub(super) fn lost(url: &str, error: &reqwest::Error) -> ClientError {
    let reason = if error.is_timeout() { "not in time".into() } else { innermost(error) };
    ClientError::Lost { url: url.to_owned(), reason }
}

pub(super) fn garbled(url: &str, reason: &str) -> ClientError {
    ClientError::Garbled { url: url.to_owned(), reason: reason.to_owned() }
}

pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

//! Why Raft did not do what it was asked to. The only file that matches on openraft's errors of proposals and
//! membership changes.

use super::types::Types;
use crate::peer::NodeId;
use openraft::errors::{ClientWriteError, ForwardReason};
use serde::{Deserialize, Serialize};

/// Why a proposal has no result. A leader sends it to the node that forwarded the write, so the variants and their
/// order are part of the peer protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed; the reason is a sentence. Another attempt may succeed.
    #[error("{0}")]
    NotProposed(String),
    /// Nothing was proposed: the leader has too many proposals already.
    #[error("too many writes wait on the leader")]
    Busy,
    /// The proposal may be committed, or may still be; the reason is a sentence.
    #[error("{0}")]
    Unknown(String),
    /// The node has stopped. The proposal may be committed, or may still be.
    #[error("the node has stopped: {0}")]
    Stopped(String),
    /// Nothing was proposed, and another attempt will not succeed soon; the reason is a sentence.
    #[error("{0}")]
    Refused(String),
}

impl ProposeError {
    /// Whether it is certain that nothing was proposed.
    pub fn has_no_effect(&self) -> bool {
        match self {
            Self::NotProposed(_) | Self::Busy | Self::Refused(_) => true,
            Self::Unknown(_) | Self::Stopped(_) => false,
        }
    }

    pub(super) fn not_leader() -> Self {
        Self::NotProposed("this node does not lead the cluster".into())
    }
}

/// openraft's error, or `None` if nothing was proposed because the leader has no lease: no majority has answered it for
/// as long as a lease lasts. That ends by itself if followers are only busy, for example with large entries.
pub(super) fn propose_error(error: ClientWriteError<Types>) -> Option<ProposeError> {
    match error {
        ClientWriteError::ForwardToLeader(to) if matches!(to.reason, ForwardReason::LeaseExpired) => None,
        ClientWriteError::ForwardToLeader(_) => Some(ProposeError::not_leader()),
        ClientWriteError::LogEntryDiscarded(_) => {
            Some(ProposeError::Unknown("the leader changed before the outcome was known".into()))
        }
        // openraft returns neither for a plain write.
        ClientWriteError::ChangeMembershipError(error) => Some(ProposeError::Stopped(error.to_string())),
        ClientWriteError::PreconditionFailed(error) => Some(ProposeError::Stopped(error.to_string())),
    }
}

/// Why a membership change was not made. After `Unknown` and `Stopped` it may have been made, or may still be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("this node does not lead the cluster")]
    NotLeader { leader: Option<NodeId> },
    #[error("another membership change is in progress")]
    InProgress,
    #[error("{0}")]
    Refused(String),
    #[error("the leader changed before the outcome was known")]
    Unknown,
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

pub(super) fn membership_error(error: ClientWriteError<Types>) -> MembershipError {
    use openraft::errors::ChangeMembershipError::{
        EmptyMembership, InProgress, LearnerNotFound, NodeMetadataChanged, UncommittedLeaderLog,
        UnsupportedMembershipTransition,
    };
    match error {
        ClientWriteError::ForwardToLeader(to) => MembershipError::NotLeader { leader: to.leader_id },
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Unknown,
        ClientWriteError::ChangeMembershipError(InProgress(_) | UncommittedLeaderLog(_)) => {
            MembershipError::InProgress
        }
        ClientWriteError::ChangeMembershipError(
            error @ (EmptyMembership(_)
            | LearnerNotFound(_)
            | NodeMetadataChanged(_)
            | UnsupportedMembershipTransition(_)),
        ) => MembershipError::Refused(error.to_string()),
        // Another caller made the second step of this change.
        ClientWriteError::PreconditionFailed(_) => MembershipError::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::to_bytes;

    /// Nodes of two releases send these errors to each other.
    #[test]
    fn the_bytes_of_an_error_stay_the_same() {
        let bytes = |error| to_bytes(&Err::<(), ProposeError>(error)).to_vec();
        assert_eq!(bytes(ProposeError::NotProposed("x".into())), [1, 0, 1, b'x']);
        assert_eq!(bytes(ProposeError::Busy), [1, 1]);
        assert_eq!(bytes(ProposeError::Unknown("x".into())), [1, 2, 1, b'x']);
        assert_eq!(bytes(ProposeError::Stopped("x".into())), [1, 3, 1, b'x']);
    }
}

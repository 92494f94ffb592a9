//! The types that are stored and sent in place of openraft's, so that an upgrade of openraft cannot change a format:
//! the crate is built without openraft's `serde` feature. Fields are encoded in their order. If you change one, every
//! format that contains it needs a new version; `docs/formats.md` lists them.

use super::types::{LogId, RaftMembership, RaftStoredMembership, SnapshotMeta, Types, Vote};
use crate::peer::NodeId;
use crate::replica::{LogPosition, Membership, StoredMembership};
use openraft::errors::MembershipError;
use openraft::raft::{
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

/// A vote: the term, the node voted for, and whether a majority granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireVote {
    pub term: u64,
    pub node: NodeId,
    pub committed: bool,
}

/// The log position and the membership of a snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireSnapshotMeta {
    pub last_log_id: Option<LogPosition>,
    /// The log entry that set the membership.
    pub membership_log_id: Option<LogPosition>,
    pub membership: Membership,
}

/// A candidate's request for a vote, or for a pre-vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireVoteRequest {
    pub vote: WireVote,
    pub last_log_id: Option<LogPosition>,
    /// Whether the leader itself requested this election.
    pub leadership_transfer: bool,
}

/// The response to a [`WireVoteRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireVoteResponse {
    pub vote: WireVote,
    pub granted: bool,
    pub last_log_id: Option<LogPosition>,
}

/// A leader's request that a node take over leadership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireTransferRequest {
    pub from_leader: WireVote,
    pub to: NodeId,
    pub last_log_id: Option<LogPosition>,
    /// How long the node may wait for the rest of the log, in milliseconds.
    pub patience_ms: u64,
}

/// Whether the node takes over, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireTransferResponse {
    Accepted,
    VoteChanged { expected: WireVote, actual: WireVote },
    LogNotFlushed { expected: Option<LogPosition>, actual: Option<LogPosition> },
}

impl From<LogId> for LogPosition {
    fn from(log_id: LogId) -> Self {
        Self { term: log_id.committed_leader_id().term, index: log_id.index() }
    }
}

impl From<LogPosition> for LogId {
    fn from(log_id: LogPosition) -> Self {
        Self::new(log_id.term.into(), log_id.index)
    }
}

/// Converts a position that may be absent.
pub fn log_id<A: Into<B>, B>(log_id: Option<A>) -> Option<B> {
    log_id.map(Into::into)
}

impl From<Vote> for WireVote {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<WireVote> for Vote {
    fn from(vote: WireVote) -> Self {
        match vote.committed {
            true => Self::new_committed(vote.term, vote.node),
            false => Self::new(vote.term, vote.node),
        }
    }
}

impl From<&RaftMembership> for Membership {
    fn from(membership: &RaftMembership) -> Self {
        let members = membership.nodes().map(|(id, member)| (*id, member.clone())).collect();
        Self { voters: membership.get_joint_config().clone(), members }
    }
}

impl TryFrom<Membership> for RaftMembership {
    type Error = MembershipError<NodeId>;

    /// # Errors
    /// A voter is not a member, or a set of voters is empty.
    fn try_from(membership: Membership) -> Result<Self, Self::Error> {
        // A node that belongs to no cluster yet has an empty membership.
        if membership.voters.is_empty() && membership.members.is_empty() {
            return Ok(Self::default());
        }
        Self::new(membership.voters, membership.members)
    }
}

impl From<&RaftStoredMembership> for StoredMembership {
    fn from(stored: &RaftStoredMembership) -> Self {
        Self { position: log_id(*stored.log_id()), membership: stored.membership().into() }
    }
}

impl TryFrom<StoredMembership> for RaftStoredMembership {
    type Error = MembershipError<NodeId>;

    /// # Errors
    /// Its membership is not valid.
    fn try_from(stored: StoredMembership) -> Result<Self, Self::Error> {
        Ok(Self::new(log_id(stored.position), stored.membership.try_into()?))
    }
}

impl From<&SnapshotMeta> for WireSnapshotMeta {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            last_log_id: log_id(meta.last_log_id),
            membership_log_id: log_id(*meta.last_membership.log_id()),
            membership: meta.last_membership.membership().into(),
        }
    }
}

impl TryFrom<WireSnapshotMeta> for SnapshotMeta {
    type Error = MembershipError<NodeId>;

    /// # Errors
    /// Its membership is not valid.
    fn try_from(meta: WireSnapshotMeta) -> Result<Self, Self::Error> {
        let membership = meta.membership.try_into()?;
        let last_membership = RaftStoredMembership::new(log_id(meta.membership_log_id), membership);
        Ok(Self { last_log_id: log_id(meta.last_log_id), last_membership })
    }
}

impl From<VoteRequest<Types>> for WireVoteRequest {
    fn from(request: VoteRequest<Types>) -> Self {
        let VoteRequest { vote, last_log_id, leadership_transfer } = request;
        Self { vote: vote.into(), last_log_id: log_id(last_log_id), leadership_transfer }
    }
}

impl From<WireVoteRequest> for VoteRequest<Types> {
    fn from(request: WireVoteRequest) -> Self {
        let WireVoteRequest { vote, last_log_id, leadership_transfer } = request;
        Self { vote: vote.into(), last_log_id: log_id(last_log_id), leadership_transfer }
    }
}

impl From<VoteResponse<Types>> for WireVoteResponse {
    fn from(response: VoteResponse<Types>) -> Self {
        let VoteResponse { vote, vote_granted, last_log_id } = response;
        Self { vote: vote.into(), granted: vote_granted, last_log_id: log_id(last_log_id) }
    }
}

impl From<WireVoteResponse> for VoteResponse<Types> {
    fn from(response: WireVoteResponse) -> Self {
        let WireVoteResponse { vote, granted, last_log_id } = response;
        Self { vote: vote.into(), vote_granted: granted, last_log_id: log_id(last_log_id) }
    }
}

impl From<WireTransferRequest> for TransferLeaderRequest<Types> {
    fn from(request: WireTransferRequest) -> Self {
        Self::new(request.from_leader.into(), request.to, log_id(request.last_log_id))
    }
}

impl From<TransferLeaderResponse<Types>> for WireTransferResponse {
    fn from(response: TransferLeaderResponse<Types>) -> Self {
        match response {
            Ok(()) => Self::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Self::VoteChanged { expected: expected.into(), actual: actual.into() }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                Self::LogNotFlushed { expected: log_id(expected), actual: log_id(actual) }
            }
        }
    }
}

impl From<WireTransferResponse> for TransferLeaderResponse<Types> {
    fn from(response: WireTransferResponse) -> Self {
        match response {
            WireTransferResponse::Accepted => Ok(()),
            WireTransferResponse::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            WireTransferResponse::LogNotFlushed { expected, actual } => {
                let (expected, actual) = (log_id(expected), log_id(actual));
                Err(TransferLeaderError::LogNotFlushed { expected, actual })
            }
        }
    }
}

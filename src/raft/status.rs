//! The state of Raft on this node, in types of our own.

use super::types::{LogId, Types};
use crate::peer::NodeId;
use crate::replica::Member;
use openraft::{Instant, RaftMetrics, ServerState};
use std::collections::BTreeSet;

/// A node's role in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Learner,
    Candidate,
}

/// A member of the cluster, as seen by this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    pub id: NodeId,
    pub member: Member,
    pub voter: bool,
    /// On the leader: the last index that the member is known to have stored.
    pub matched: Option<u64>,
    /// On the leader: milliseconds since the member last answered.
    pub silent_ms: Option<u64>,
}

/// The state of Raft on this node at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftStatus {
    pub role: Role,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    /// Whether the membership is joint: old and new voters must both agree.
    pub joint: bool,
    pub members: Vec<MemberState>,
    /// Why Raft has stopped on this node, if it has.
    pub stopped: Option<String>,
}

pub(super) fn status(metrics: &RaftMetrics<Types>) -> RaftStatus {
    let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index());
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(&id, member)| MemberState {
        id,
        member: member.clone(),
        voter: voters.contains(&id),
        matched: metrics
            .replication
            .as_ref()
            .and_then(|all| all.get(&id).copied().flatten())
            .map(|matched| matched.index()),
        silent_ms: metrics
            .heartbeat
            .as_ref()
            .and_then(|all| all.get(&id))
            .copied()
            .flatten()
            .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
    });
    RaftStatus {
        role: match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        },
        leader: metrics.current_leader,
        term: metrics.current_term,
        last_log_index: metrics.last_log_index.unwrap_or(0),
        committed_index: index(metrics.local_committed),
        snapshot_index: index(metrics.snapshot),
        purged_index: index(metrics.purged),
        joint: membership.get_joint_config().len() > 1,
        members: members.collect(),
        stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
    }
}

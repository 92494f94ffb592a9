//! What a candidate asks for, and what a leader has.

use super::types::Types;
use super::voted::supports;
use super::wire::{WireVote, WireVoteRequest};
use crate::peer::NodeId;
use openraft::{RaftMetrics, ServerState};
use std::collections::BTreeSet;

/// A node that wants to be elected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidacy {
    pub request: WireVoteRequest,
    /// As in [`Leadership`].
    pub voters: Vec<BTreeSet<NodeId>>,
}

/// A node's leadership: what a majority must confirm before a linearizable read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The vote that a majority has given to this leader.
    pub vote: WireVote,
    /// The voters, in two sets while the membership is joint: a majority of each must confirm.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// The last entry of this leader's log, at least the first one of its term.
    pub last_log_index: u64,
}

impl Leadership {
    /// Whether a node with this newest vote still supports this leader: it has not helped to elect a later one.
    pub fn is_supported_by(&self, vote: Option<WireVote>) -> bool {
        supports(vote, self.vote)
    }
}

/// Whether the node with these metrics leads, as far as it knows.
pub(super) fn leads(metrics: &RaftMetrics<Types>) -> bool {
    // After a restart the stored vote may still be that of a leader, but the state is not.
    metrics.state == ServerState::Leader
        && metrics.current_leader == Some(metrics.id)
        && metrics.running_state.is_ok()
}

/// Whether these nodes are a majority of the voters: of each set, while the membership is joint.
pub fn is_majority(voters: &[BTreeSet<NodeId>], nodes: &BTreeSet<NodeId>) -> bool {
    voters.iter().all(|voters| voters.intersection(nodes).count() > voters.len() / 2)
}

//! What a candidate asks for, and what a leader has.

use super::voted::supports;
use super::wire::{WireVote, WireVoteRequest};
use crate::peer::NodeId;
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

/// Whether these nodes are a majority of the voters: of each set, while the membership is joint.
pub fn is_majority(voters: &[BTreeSet<NodeId>], nodes: &BTreeSet<NodeId>) -> bool {
    voters.iter().all(|voters| voters.intersection(nodes).count() > voters.len() / 2)
}

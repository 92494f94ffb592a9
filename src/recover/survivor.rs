//! What the folder of a survivor says.

use crate::lineage::{Lineage, TermStart};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The version of the format of [`Survivor`].
pub const SURVIVOR_VERSION: u32 = 1;

/// What the folder of a node that does not run says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// The version of this format.
    pub survivor: u32,
    /// Where it was found.
    pub folder: String,
    pub node: NamedMember,
    pub lineage: Lineage,
    /// In which term each part of its log was written, oldest first.
    pub term_starts: Vec<TermStart>,
    pub last: LastEntry,
    /// Index of the last entry that it knows to be committed. Later ones may be committed as well.
    pub committed_index: u64,
    /// The newest term in which it has voted.
    pub voted_term: u64,
    /// The newest membership that it knows to be committed, and all later ones in its log, oldest first.
    pub memberships: Vec<MembershipAt>,
    /// The highest index that its state has heard of, of whatever history.
    pub heard_of: u64,
    /// Log time at the last entry, in milliseconds since the Unix epoch; `null` if it has no entry with a time.
    pub last_entry_at_ms: Option<u64>,
    /// What the first entries after the committed ones change; not all of it.
    pub tail: Vec<TailChange>,
    /// The history that goes on from this one without this node, if it has heard of one.
    pub superseded_by: Option<Lineage>,
}

/// The last entry of a log. Raft's own order: a greater term first, then a greater index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LastEntry {
    pub term: u64,
    pub index: u64,
}

/// How far a survivor's folder is, to notice that its node has run since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderState {
    pub last: LastEntry,
    pub committed_index: u64,
    pub voted_term: u64,
}

/// A node in a membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedMember {
    pub id: u64,
    pub name: String,
    /// The URL for its clients.
    pub http: String,
    /// The address for its peers.
    pub peer: String,
    /// The UUID of its data folder.
    pub store_uuid: String,
}

/// A membership, and the index of its log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipAt {
    pub index: u64,
    /// Two sets while it is being changed; a decision then needs a majority of each.
    pub voters: Vec<BTreeSet<u64>>,
    pub members: Vec<NamedMember>,
}

/// An entry that may not be committed, and keys that it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailChange {
    pub index: u64,
    pub keys: Vec<String>,
}

impl Survivor {
    pub fn state(&self) -> FolderState {
        let Self { last, committed_index, voted_term, .. } = *self;
        FolderState { last, committed_index, voted_term }
    }

    /// The term of the entry at an index; `None` if it has none there, or no longer knows.
    fn term_at(&self, index: u64) -> Option<u64> {
        let start = self.term_starts.iter().rev().find(|start| start.index <= index)?;
        (index <= self.last.index).then_some(start.term)
    }

    /// Whether its log has all that another survivor knows to be committed. Two logs with entries of one term at one index are
    /// equal up to it.
    pub fn has_committed_of(&self, other: &Self) -> bool {
        let index = other.committed_index;
        let term = self.term_at(index);
        self.committed_index >= index || (term.is_some() && term == other.term_at(index))
    }
}

impl MembershipAt {
    /// Whether these nodes can decide: a majority of each set of voters.
    pub fn is_quorum(&self, nodes: &BTreeSet<u64>) -> bool {
        self.voters.iter().all(|set| 2 * set.intersection(nodes).count() > set.len())
    }

    pub fn is_voter(&self, id: u64) -> bool {
        self.voters.iter().any(|set| set.contains(&id))
    }

    pub fn member(&self, id: u64) -> Option<&NamedMember> {
        self.members.iter().find(|member| member.id == id)
    }
}

//! Where an entry stands in the log, and who belongs to the cluster: Raft's facts in types of our own, which go to disk
//! and to peers as they are.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A position in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

/// Who belongs to the cluster. Of two sets of voters a majority of each is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub voters: Vec<BTreeSet<u64>>,
    pub members: BTreeMap<u64, Member>,
}

/// A membership and the entry that it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredMembership {
    /// `None` for the empty one that every log begins with.
    pub position: Option<LogPosition>,
    pub membership: Membership,
}

/// A node as the membership knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    /// Where clients reach it, as a URL.
    pub http: String,
    /// Where peers reach it, as host:port.
    pub peer: String,
    /// The data folder's own number: a wiped folder has another, so a node that lost its data is not
    /// taken for the one it was.
    pub store_uuid: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.peer)
    }
}

//! Positions in the log and the cluster's membership, in types of our own: they are written to disk and sent to peers,
//! and an upgrade of openraft must not change those formats.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A position in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

/// The nodes of the cluster. A joint membership has two sets of voters, and a decision needs a majority of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub voters: Vec<BTreeSet<u64>>,
    pub members: BTreeMap<u64, Member>,
}

/// A membership and the position of its log entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredMembership {
    /// `None` for the empty membership that every log starts with.
    pub position: Option<LogPosition>,
    pub membership: Membership,
}

/// What the membership says about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    /// The URL for its clients.
    pub http: String,
    /// The address for its peers, as host:port.
    pub peer: String,
    /// The UUID of its data folder. A new folder has a new one, so a node that lost its data is not mistaken for the
    /// one that had it.
    pub store_uuid: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.peer)
    }
}

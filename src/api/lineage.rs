//! Answer of `GET /v1/lineage`.

use super::cluster::NodeName;
use crate::lineage::{Lineage, TermStart};
use serde::{Deserialize, Serialize};

/// Where a node's log comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageReport {
    /// `null` in what the command line reads from a backup.
    pub node: Option<NodeName>,
    #[serde(flatten)]
    pub lineage: Lineage,
    /// The last entry that the node is known to have applied.
    pub applied_index: u64,
    /// The last entry of its log, which may not be committed.
    pub last_log_index: u64,
    /// The terms of its entries (on a running node, of those that it has applied) and where each begins, oldest first; the
    /// newest 4,096. Two logs of one history are
    /// equal up to the last index at which both have the same term.
    pub term_starts: Vec<TermStart>,
}

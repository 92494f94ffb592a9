//! Shapes about a node that has left its cluster on purpose.

use serde::{Deserialize, Serialize};

/// Body of `POST /v1/detach`; everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetachRequest {
    /// Without asking the others, where no majority answers: they count the node as a silent member then.
    pub force: bool,
}

/// How a node is detached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detachment {
    /// Id of its own history.
    pub history: String,
    /// The last index that it shares with the cluster.
    pub fork_index: u64,
    /// When it left, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Entries in its log since. Not all of them change something.
    pub entries: u64,
    /// The URLs of those that it left.
    pub urls: Vec<String>,
    /// Whether it left without asking them.
    pub forced: bool,
}

/// How far a node is that comes back to its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachProgress {
    /// Whether it goes on.
    pub running: bool,
    /// Keys of the present pass that were sent, and how many there are.
    pub done: u64,
    pub total: u64,
    /// Why the last attempt ended; `null` if it did not fail.
    pub error: Option<String>,
}

/// Answer of `GET /v1/detached`, and of `POST /v1/detach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachStatus {
    /// `null` on a node that takes part in its cluster.
    pub detached: Option<Detachment>,
    /// Whether it is about to leave, or to come back.
    pub busy: bool,
    pub attach: AttachProgress,
}

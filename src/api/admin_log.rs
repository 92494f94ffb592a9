//! The log of operators' actions.

use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLogReport {
    /// How many there were since the cluster began; it remembers the newest 1,000.
    pub count: u64,
    /// Newest first.
    pub actions: Vec<AdminActionInfo>,
}

/// What an operator asked for. It is written down before it is carried out, so it may have failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminActionInfo {
    /// Index of its log entry: the newest, if it was asked for several times.
    pub index: u64,
    /// Log time of that entry, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How often the same was asked for in a row.
    pub times: u64,
    /// The id of the token that was shown; empty if none was.
    pub principal: String,
    /// The name of that token, if it still exists.
    pub token_name: Option<String>,
    /// The address that the client connected from.
    pub address: String,
    /// The number of the node that was asked.
    pub node: u64,
    /// A method and a path.
    pub action: String,
}

//! Answer of `GET /v1/samples`: the samples of a node's last hour, one per second, in columns.

use super::cluster::NodeName;
use serde::{Deserialize, Serialize};

/// One node's samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    pub node: NodeName,
    pub interval_ms: u64,
    /// The node's wall clock.
    pub now_ms: u64,
    pub columns: Columns,
}

/// Columns of equal length, oldest sample first. A count is the difference over the sample's second; other values are
/// those at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// When the sample was taken, by the node's wall clock.
    pub at_ms: Vec<u64>,
    /// Requests answered by this node.
    pub requests: Vec<u64>,
    /// Of these, those with a status of 500 and more.
    pub errors: Vec<u64>,
    /// Of these, those that read and those that wrote keys.
    pub reads: Vec<u64>,
    pub writes: Vec<u64>,
    /// How long reads and writes of keys took; `null` when there was none.
    pub p50_us: Vec<Option<u64>>,
    pub p99_us: Vec<Option<u64>>,
    /// Single keys read on this node.
    pub hits: Vec<u64>,
    pub misses: Vec<u64>,
    /// Effects of the log entries that this node applied.
    pub puts: Vec<u64>,
    pub evicted: Vec<u64>,
    pub expired: Vec<u64>,
    pub touches: Vec<u64>,
    /// Flushes of the log, and how long one took on average; `null` when there was none.
    pub flushes: Vec<u64>,
    pub flush_us: Vec<Option<u64>>,
    pub entries: Vec<u64>,
    pub bytes: Vec<u64>,
    pub applied_index: Vec<u64>,
    /// 1 while it led.
    pub is_leader: Vec<u64>,
}

//! Answer of `GET /v1/nodes`: how every member is, as each of them says itself.

use super::cluster::{IndexedDigest, Members};
use serde::{Deserialize, Serialize};

/// Every member's own report, gathered by one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The number of the node that asked.
    pub asked_by: u64,
    /// When, by that node's wall clock.
    pub at_ms: u64,
    pub nodes: Vec<NodeState>,
    pub members: Members,
}

/// One member, as it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    pub id: u64,
    pub name: String,
    pub http: String,
    pub voter: bool,
    /// Microseconds from question to answer; `null` for the asking node, and when there was no answer.
    pub round_trip_us: Option<u64>,
    /// Why there is no report.
    pub error: Option<String>,
    pub report: Option<NodeReport>,
    /// Entries that the leader has and it has not applied; `null` when either did not answer.
    pub lag_entries: Option<u64>,
    /// Log time it is behind the leader's; `null` when either did not answer.
    pub lag_ms: Option<u64>,
    /// The highest index at which its digest was compared with the asking node's and was equal; `null` when
    /// there is none.
    pub equal_at: Option<u64>,
    /// The lowest index at which they were compared and differ; `null` as it should be.
    pub differs_at: Option<u64>,
}

/// What a node says of itself: positions, digest and clock at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// `leader`, `follower`, `learner` or `candidate`.
    pub role: String,
    pub term: u64,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    pub digest: IndexedDigest,
    /// The index at which it found out that it differs from the others; `null` as it should be.
    pub differs_at: Option<u64>,
    pub entries: u64,
    pub bytes: u64,
    pub log_time_ms: u64,
    pub log_time_ahead_ms: Option<i64>,
    pub uptime_ms: u64,
    /// The release of Lockstep that it runs.
    pub version: String,
    /// The versions of the peer protocol that it speaks.
    pub protocol: ProtocolRange,
    /// The feature level that the cluster keeps, as far as this node has applied the log.
    pub feature_level: u32,
    /// The newest feature level that it knows.
    pub feature_level_known: u32,
}

/// Versions of the peer protocol, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    pub min: u8,
    pub max: u8,
}

//! Answer of `GET /v1/nodes`: the status of every member, as it reports it.

use super::cluster::{IndexedDigest, Members};
use serde::{Deserialize, Serialize};

/// Every member's own report, collected by one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The number of the node that asked.
    pub asked_by: u64,
    /// When it asked, by its wall clock.
    pub at_ms: u64,
    pub nodes: Vec<NodeState>,
    pub members: Members,
}

/// One member and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    pub id: u64,
    pub name: String,
    pub http: String,
    pub voter: bool,
    /// Microseconds from request to answer; `null` for the asking node, and if there was no answer.
    pub round_trip_us: Option<u64>,
    /// Why there is no report.
    pub error: Option<String>,
    pub report: Option<NodeReport>,
    /// Entries of the leader's log that it has not applied; `null` if it or the leader did not answer.
    pub lag_entries: Option<u64>,
    /// How many milliseconds of log time it is behind the leader; `null` if it or the leader did not answer.
    pub lag_ms: Option<u64>,
    /// The highest index at which its digest and the asking node's were compared and are equal; `null` if there is
    /// none.
    pub equal_at: Option<u64>,
    /// The lowest index at which they were compared and differ; normally `null`.
    pub differs_at: Option<u64>,
}

/// A node's report on itself: positions, digest and clock at one moment.
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
    /// The index at which it differs from the others; normally `null`.
    pub differs_at: Option<u64>,
    pub entries: u64,
    pub bytes: u64,
    /// Memory that its process has resident, in bytes; `null` where the system does not say.
    pub memory_resident_bytes: Option<u64>,
    pub log_time_ms: u64,
    pub log_time_ahead_ms: Option<i64>,
    pub uptime_ms: u64,
    /// The release of Lockstep that it runs.
    pub version: String,
    /// The versions of the peer protocol that it speaks.
    pub protocol: ProtocolRange,
    /// The cluster's feature level, as far as this node has applied the log.
    pub feature_level: u32,
    /// The newest feature level that it knows.
    pub feature_level_known: u32,
    /// Where clients of the Redis protocol reach it, as host:port; `null` if it does not speak that.
    #[serde(default)]
    pub redis: Option<String>,
    /// The same with TLS.
    #[serde(default)]
    pub redis_tls: Option<String>,
}

/// Where a node is reached by clients of the Redis protocol, as host:port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisAddresses {
    pub plain: Option<String>,
    pub tls: Option<String>,
}

/// A range of versions of the peer protocol, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    pub min: u8,
    pub max: u8,
}

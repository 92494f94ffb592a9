//! Bodies of the routes about the cluster and its settings.

use super::cache::CacheReport;
use crate::cache::limits::FEATURE_LEVEL_FIRST;
use crate::cache::{CacheConfig, Policy, TouchConfig};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;

/// A node's number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeName {
    pub id: u64,
    pub name: String,
}

/// Where the leader is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub id: u64,
    pub name: String,
    pub http: String,
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    pub id: u64,
    pub name: String,
    pub http: String,
    pub peer: String,
    /// `leader`, `follower` or `learner`.
    pub role: String,
    pub voter: bool,
    /// Entries it is behind the leader's log; `null` when the leader could not be asked.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered the leader; `null` when the leader could not be asked.
    pub silent_ms: Option<u64>,
}

/// Answer of `GET /v1/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    pub members: Vec<MemberStatus>,
    /// A membership change is between its two steps.
    pub joint: bool,
}

/// A digest and the index it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedDigest {
    pub index: u64,
    /// 128 bits in hexadecimal.
    pub digest: String,
}

/// Answer of `GET /v1/digest`, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    pub digests: Vec<IndexedDigest>,
}

/// Something that is odd now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub code: WarningCode,
    /// What it is, for people.
    pub detail: String,
}

/// What kind of oddity it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// Nodes of another cluster called this one within the last minute, and were refused.
    CalledByAnotherCluster,
    /// A node of another cluster answers at the address of a member.
    MemberOfAnotherCluster,
}

impl WarningCode {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::CalledByAnotherCluster, Self::MemberOfAnotherCluster];

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::CalledByAnotherCluster => "called_by_another_cluster",
            Self::MemberOfAnotherCluster => "member_of_another_cluster",
        }
    }
}

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub cluster_id: String,
    pub incarnation: u64,
    pub node: NodeName,
    /// `leader`, `follower`, `learner` or `candidate`.
    pub role: String,
    pub leader: Option<Leader>,
    pub term: u64,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    pub digest: IndexedDigest,
    /// The index at which this node was found to differ from the others, which takes it out of service;
    /// `null` as it should be.
    pub differs_at: Option<u64>,
    /// Whether a majority of the voters has answered this node in the last seconds, counting itself. Without it nothing can be
    /// written, nor read but stale.
    pub majority: bool,
    /// Whether the others say that this node is no member any more.
    pub removed: bool,
    /// What an operator should look at although the node works; usually empty.
    pub warnings: Vec<Warning>,
    pub members: Vec<MemberStatus>,
    pub config: ConfigBody,
    pub entries: u64,
    pub bytes: u64,
    pub cache: CacheReport,
    /// Log time, in milliseconds since the Unix epoch.
    pub log_time_ms: u64,
    /// How far log time is ahead of this node's wall clock; `null` until the node knows the log time.
    pub log_time_ahead_ms: Option<i64>,
    pub version: String,
    pub uptime_ms: u64,
}

/// The replicated settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigBody {
    pub policy: Policy,
    pub capacity_entries: u64,
    pub capacity_bytes: u64,
    pub default_ttl_ms: Option<u64>,
    pub touch: TouchConfig,
}

impl From<CacheConfig> for ConfigBody {
    fn from(config: CacheConfig) -> Self {
        Self {
            policy: config.policy,
            capacity_entries: config.capacity_entries,
            capacity_bytes: config.capacity_bytes,
            default_ttl_ms: config.default_ttl_ms,
            touch: config.touch,
        }
    }
}

/// Body of `PUT /v1/config`: what is absent stays, `"default_ttl_ms": null` takes the default away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigUpdate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default_ttl_ms: Option<Option<u64>>,
    #[serde(skip_serializing_if = "TouchUpdate::is_empty")]
    pub touch: TouchUpdate,
}

/// How reads come to count for eviction: what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TouchUpdate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_flush: Option<u64>,
}

impl TouchUpdate {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Tells `null` from absence.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Body of `POST /v1/members`: a node that wants to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// Name to be known by; made from the node's number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where clients will reach it, as a URL.
    pub http: String,
    /// Where peers will reach it, as host:port.
    pub peer: String,
    /// The number of its data folder, which makes asking twice harmless.
    pub store_uuid: String,
    /// The newest feature level that it knows; the first one when absent.
    #[serde(default = "first_level")]
    pub feature_level: u32,
}

fn first_level() -> u32 {
    FEATURE_LEVEL_FIRST
}

/// Answer of `POST /v1/upgrade`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureLevel {
    /// The level that the cluster keeps now.
    pub feature_level: u32,
    /// Whether this request raised it; `false` when there was nothing to raise.
    pub raised: bool,
}

/// Answer to a node that has joined, as a learner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub cluster_id: String,
    pub incarnation: u64,
    /// The incarnation's own name.
    pub history: String,
    pub id: u64,
    pub name: String,
}

/// Body of `POST /v1/leader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransferLeader {
    /// The next leader's number; the most advanced voter when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// One of the nodes that formed a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundingMember {
    pub id: u64,
    pub name: String,
    pub http: String,
    pub peer: String,
    pub store_uuid: String,
}

/// How a cluster began: written once, before its first log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    pub cluster_id: String,
    pub members: Vec<FoundingMember>,
    /// The settings the cluster starts with.
    pub config: CacheConfig,
}

/// What a node says about itself to nodes that may form a cluster with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub name: Option<String>,
    pub http: String,
    pub peer: String,
    pub store_uuid: String,
    /// The data folders behind its list of peers, itself included, once it has met them all.
    pub list: Option<BTreeSet<String>>,
    /// Set once the cluster is formed.
    pub founding: Option<Founding>,
    /// The cluster it belongs to, however it came to it.
    pub cluster_id: Option<String>,
    /// The settings that a cluster gets of which this node has the first address.
    pub config: Option<CacheConfig>,
}

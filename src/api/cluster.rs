//! Bodies of the routes about the cluster and its settings.

use super::cache::CacheReport;
use super::detach::Detachment;
use crate::cache::limits::FEATURE_LEVEL_FIRST;
use crate::cache::{CacheConfig, Policy, TouchConfig};
use crate::lineage::Lineage;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// A node's number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeName {
    pub id: u64,
    pub name: String,
}

/// The leader and its URL.
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
    /// How many entries it is behind the leader's log; `null` if the leader did not answer.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered the leader; `null` if the leader did not answer this node.
    pub silent_ms: Option<u64>,
}

/// Answer of `GET /v1/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    pub members: Vec<MemberStatus>,
    /// Whether a membership change is between its two steps.
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

/// Something that an operator should look at although the node works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub code: WarningCode,
    /// A description for people.
    pub detail: String,
}

/// The kind of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// Nodes of another cluster called this one within the last minute, and were refused.
    CalledByAnotherCluster,
    /// A node of another cluster answers at the address of a member.
    MemberOfAnotherCluster,
    /// The nodes are so far apart that the settings leave no time for an election.
    SlowLinks,
    /// After a recovery this node refuses clients' writes until enough nodes have votes.
    WaitsForVoters,
    /// The cluster was recovered without this node.
    Superseded,
    /// Nodes of an earlier history are alive beside the recovered one, or the other way round.
    TwoHistories,
    /// This node has left its cluster on purpose and goes on alone.
    Detached,
    /// A certificate of this node expires soon, or has expired.
    CertificateExpires,
}

impl WarningCode {
    /// All codes.
    pub const ALL: [Self; 8] = [
        Self::CalledByAnotherCluster,
        Self::MemberOfAnotherCluster,
        Self::SlowLinks,
        Self::WaitsForVoters,
        Self::Superseded,
        Self::TwoHistories,
        Self::Detached,
        Self::CertificateExpires,
    ];

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::CalledByAnotherCluster => "called_by_another_cluster",
            Self::MemberOfAnotherCluster => "member_of_another_cluster",
            Self::SlowLinks => "slow_links",
            Self::WaitsForVoters => "waits_for_voters",
            Self::Superseded => "superseded",
            Self::TwoHistories => "two_histories",
            Self::Detached => "detached",
            Self::CertificateExpires => "certificate_expires",
        }
    }
}

/// A history of the cluster: one unbroken log. Restoring a backup begins a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryName {
    /// 1 for the first one.
    pub number: u64,
    /// A UUID. Two histories can have the same number, for example if a backup is restored twice, but never the same id.
    pub id: String,
}

impl From<&Lineage> for HistoryName {
    fn from(lineage: &Lineage) -> Self {
        let current = lineage.current();
        Self { number: current.number, id: current.id.clone() }
    }
}

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub cluster_id: String,
    pub history: HistoryName,
    /// Memory that the node's process has resident, in bytes; `null` where the system does not say.
    pub memory_resident_bytes: Option<u64>,
    pub node: NodeName,
    /// `leader`, `follower`, `learner` or `candidate`; `superseded` if the cluster was recovered without it.
    pub role: String,
    pub leader: Option<Leader>,
    pub term: u64,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    pub digest: IndexedDigest,
    /// The index at which this node was found to differ from the others, which takes it out of service; normally
    /// `null`.
    pub differs_at: Option<u64>,
    /// Whether a majority of the voters, including this node, has answered this node in the last seconds. Without a
    /// majority there are no writes, and only stale reads.
    pub majority: bool,
    /// Whether the other members say that this node is no longer one.
    pub removed: bool,
    /// The history in which the cluster was recovered without this node; normally `null`.
    pub superseded_by: Option<HistoryName>,
    /// How this node is detached from its cluster; normally `null`.
    pub detached: Option<Detachment>,
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

/// Body of `PUT /v1/config`. Absent settings stay as they are; `"default_ttl_ms": null` removes the default TTL.
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

/// Settings of touches. Absent ones stay as they are.
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

/// Distinguishes `null` from an absent field.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Body of `POST /v1/members`: a node that wants to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// The node's name; made from its number if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The URL for its clients.
    pub http: String,
    /// The address for its peers, as host:port.
    pub peer: String,
    /// The UUID of its data folder, so that a request that is sent twice adds one member.
    pub store_uuid: String,
    /// The newest feature level that it knows; the first one if absent.
    #[serde(default = "first_level")]
    pub feature_level: u32,
    /// Replace the member with this name, if the leader has not heard from it for so many milliseconds, at least
    /// [`REPLACE_SILENT_MS_MIN`]. If absent, a name that is taken is a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_silent_ms: Option<u64>,
}

/// A node that waits until it can take its place asks again after so long at the earliest: an operator or time has to act
/// first.
const IN_PLACE_PAUSE: Duration = Duration::from_secs(5);
/// If it waits for a time, it asks so often within it at most: each of these requests is an entry of the log, and a note of
/// the audit log.
const ASKED_WITHIN_TIME: u64 = 10;

impl AddMember {
    /// How long the node waits before it asks again, after an answer that the cluster cannot add it as it is.
    pub(crate) fn pause_at_conflict(&self) -> Duration {
        let silent = self.replace_silent_ms.unwrap_or_default();
        IN_PLACE_PAUSE.max(Duration::from_millis(silent / ASKED_WITHIN_TIME))
    }
}

/// The shortest silence after which a leader replaces a member by itself, in milliseconds: longer than a node takes to
/// restart, and than most pauses and partitions last.
pub const REPLACE_SILENT_MS_MIN: u64 = 30_000;

fn first_level() -> u32 {
    FEATURE_LEVEL_FIRST
}

/// Answer of `POST /v1/upgrade`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureLevel {
    /// The cluster's feature level now.
    pub feature_level: u32,
    /// Whether this request raised it; `false` if there was nothing to raise.
    pub raised: bool,
}

/// The answer to a node that has joined as a learner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster, and its histories up to now.
    pub lineage: Lineage,
    pub id: u64,
    pub name: String,
}

/// Body of `POST /v1/leader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransferLeader {
    /// The number of the next leader; the most up-to-date voter if absent.
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

/// The founding record of a cluster. It is written once, before the first log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    pub cluster_id: String,
    /// By the wall clock of the node that wrote the record, in milliseconds since the Unix epoch.
    pub founded_at_ms: u64,
    pub members: Vec<FoundingMember>,
    /// The settings that the cluster starts with.
    pub config: CacheConfig,
}

/// Answer of `GET /v1/introduction`: what a node tells others that may form a cluster with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub name: Option<String>,
    pub http: String,
    pub peer: String,
    pub store_uuid: String,
    /// The UUIDs of the data folders behind its list of peers and of its own, once all of them have answered.
    pub list: Option<BTreeSet<String>>,
    /// Set once the cluster is formed.
    pub founding: Option<Founding>,
    /// The cluster that it belongs to, founded or joined.
    pub cluster_id: Option<String>,
    /// The settings of a new cluster, if this node's address comes first.
    pub config: Option<CacheConfig>,
}

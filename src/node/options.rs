//! The options that a node is started with. Replicated settings are not among them: they change through the log only.

use super::error::StartError;
use super::freshness::STALE_AUTH_LIMIT;
use super::release::Release;
use super::root_token::RootToken;
use crate::api::{RedisAddresses, TokenText};
use crate::cache::{CacheConfig, ConfigChange};
use crate::raft::RaftOptions;
use crate::tls::{Certificates, ClientTls, PeerTls};
use std::path::PathBuf;
use std::time::Duration;

/// Options of one node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    pub data_dir: PathBuf,
    /// The node's name; made from its number if `None`.
    pub name: Option<String>,
    /// The address that the peer listener binds to, as host:port. Port 0 selects a free port.
    pub peer_bind: String,
    /// The address at which peers reach this node; the bound address if `None`.
    pub peer_advertise: Option<String>,
    /// The URL for clients of this node; may be empty if it has no HTTP server.
    pub http_advertise: String,
    /// Where clients of the Redis protocol reach this node.
    pub redis_advertise: RedisAddresses,
    /// What to do with an empty data folder.
    pub origin: Origin,
    /// What to do if that folder is empty and a member of the cluster has this node's name. `None`: refuse to start.
    pub replace_lost: Option<ReplaceLost>,
    /// The cluster settings that this node was started with. It logs a warning for each that the cluster does not have.
    pub given: ConfigChange,
    pub raft: RaftOptions,
    pub limits: Limits,
    /// Requests need a token even before the cluster has one, and this is where the first one comes from. `None`: they need one
    /// once there is one.
    pub require_tokens: Option<RootToken>,
    /// For how long a node that has lost its majority judges tokens by what it knows: it cannot know of their revocation. `None`: for
    /// as long as it likes.
    pub stale_auth_limit: Option<Duration>,
    /// What this node shows where it joins a cluster.
    pub token: Option<TokenText>,
    /// How this node and its peers prove to each other who they are. `None`: they do not, and nothing is encrypted.
    pub peer_tls: Option<PeerTls>,
    /// How this node calls other nodes at their URLs, where those are of HTTPS.
    pub client_tls: ClientTls,
    /// All certificates of this node's ports, for warnings about those that expire.
    pub certificates: Certificates,
    /// The release that this node runs: [`Release::THIS`], except in tests of a cluster of several releases.
    pub release: Release,
}

/// How a node with an empty data folder gets its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It founds a cluster of one.
    Alone { config: CacheConfig },
    /// It forms a cluster with the nodes behind these URLs, which may include its own.
    Form { urls: Vec<String>, config: CacheConfig },
    /// It joins the cluster of the node behind this URL as a learner. Once it has caught up it asks to be promoted,
    /// unless `stay_learner` is set.
    Join { url: String, stay_learner: bool },
}

/// How a node with an empty data folder takes the place of the member that has its name, and whose data folder is lost.
///
/// A node never takes that member's id. With it, it could vote again in a term in which the member has voted, or acknowledge
/// again what it has forgotten. The member is removed through the log, and the node joins with a new id, as a learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceLost {
    /// It waits until an operator has removed the member: `lockstep member replace`.
    ByHand,
    /// It also asks the leader to remove the member once the leader has not heard from it for so long.
    After(Duration),
}

impl ReplaceLost {
    /// The silence after which it asks for the member's removal, in milliseconds.
    pub(super) fn silent_ms(self) -> Option<u64> {
        match self {
            Self::ByHand => None,
            Self::After(silent) => Some(u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// Limits that keep a node responsive under too much load.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most writes of this node's clients in flight.
    pub writes_in_flight: usize,
    /// Most bytes of these writes together; further writes wait.
    pub write_bytes_in_flight: usize,
    /// Timeout of a request that has no timeout of its own.
    pub request: Duration,
    /// How long to wait for a leader before answering that there is none.
    pub leader_wait: Duration,
    /// Bytes of log entries at which a snapshot is taken, even before there are enough entries; less if the cache is
    /// small, or has many small entries.
    pub log_bytes: u64,
    /// Bytes of recent changes that are kept for watchers.
    pub watch_bytes: usize,
}

/// A log of up to so many bytes is never compacted for its size, however small the cache is.
const LOG_BYTES_MIN: u64 = 64 << 20;
/// A start applies the log again. With so many entries that takes one or two seconds.
const ENTRIES_REPLAYED: u64 = 1_000_000;

impl Limits {
    /// Bytes of the log at which a snapshot is taken, however large the cache is.
    pub(super) fn longest_log(&self) -> u64 {
        self.log_bytes.max(LOG_BYTES_MIN)
    }

    /// Bytes of the log at which a snapshot is taken, for a cache of so many bytes and entries. With a log as large as the
    /// cache, snapshots write about as many bytes as the log itself.
    pub(super) fn log_limit(&self, cache_bytes: u64, cache_entries: u64) -> u64 {
        let replayed = cache_bytes / cache_entries.div_ceil(ENTRIES_REPLAYED).max(1);
        replayed.clamp(LOG_BYTES_MIN, self.longest_log())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            writes_in_flight: 8_192,
            write_bytes_in_flight: 24 * 1024 * 1024,
            request: Duration::from_secs(5),
            leader_wait: Duration::from_secs(2),
            log_bytes: 1024 * 1024 * 1024,
            watch_bytes: 32 * 1024 * 1024,
        }
    }
}

impl NodeOptions {
    /// The other members would refuse a node whose certificate does not name it.
    pub(super) fn refuse_another_certificate(&self, name: &str) -> Result<(), StartError> {
        let Some(tls) = &self.peer_tls else { return Ok(()) };
        let own = tls.own_certificate();
        if own.is_of_node(name) {
            return Ok(());
        }
        let shown = if own.nodes.is_empty() { "no node".into() } else { own.nodes.join(", ") };
        Err(StartError::Options(format!(
            "this node is {name}, and its certificate for peers is of {shown}; make one with `lockstep cert node {name}`"
        )))
    }

    /// A cluster of one on a free loopback port, for embedding and for tests.
    pub fn alone(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: None,
            peer_bind: "127.0.0.1:0".into(),
            peer_advertise: None,
            http_advertise: String::new(),
            redis_advertise: RedisAddresses::default(),
            origin: Origin::Alone { config: CacheConfig::default() },
            replace_lost: None,
            given: ConfigChange::default(),
            raft: RaftOptions::default(),
            limits: Limits::default(),
            require_tokens: None,
            stale_auth_limit: Some(STALE_AUTH_LIMIT),
            token: None,
            peer_tls: None,
            certificates: Certificates::default(),
            client_tls: ClientTls::default(),
            release: Release::THIS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_as_large_as_the_cache_but_no_longer_than_a_start_can_apply() {
        let limits = Limits::default();
        assert_eq!(limits.log_limit(0, 0), LOG_BYTES_MIN);
        assert_eq!(limits.log_limit(500 << 20, 8_000), 500 << 20);
        assert_eq!(limits.log_limit(900 << 20, 3 * ENTRIES_REPLAYED), 300 << 20);
        assert_eq!(limits.log_limit(50 << 30, 800_000), limits.log_bytes);
        let small = Limits { log_bytes: 1, ..limits };
        assert_eq!(small.log_limit(50 << 30, 800_000), LOG_BYTES_MIN);
    }
}

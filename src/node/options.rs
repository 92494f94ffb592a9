//! The options that a node is started with. Replicated settings are not among them: they change through the log only.

use super::release::Release;
use crate::cache::{CacheConfig, ConfigChange};
use crate::raft::RaftOptions;
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
    /// What to do with an empty data folder.
    pub origin: Origin,
    /// The cluster settings that this node was started with. It logs a warning for each that the cluster does not have.
    pub given: ConfigChange,
    pub raft: RaftOptions,
    pub limits: Limits,
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
    /// small.
    pub log_bytes: u64,
    /// Bytes of recent changes that are kept for watchers.
    pub watch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            writes_in_flight: 8_192,
            write_bytes_in_flight: 24 * 1024 * 1024,
            request: Duration::from_secs(5),
            leader_wait: Duration::from_secs(2),
            log_bytes: 256 * 1024 * 1024,
            watch_bytes: 32 * 1024 * 1024,
        }
    }
}

impl NodeOptions {
    /// A cluster of one on a free loopback port, for embedding and for tests.
    pub fn alone(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: None,
            peer_bind: "127.0.0.1:0".into(),
            peer_advertise: None,
            http_advertise: String::new(),
            origin: Origin::Alone { config: CacheConfig::default() },
            given: ConfigChange::default(),
            raft: RaftOptions::default(),
            limits: Limits::default(),
            release: Release::THIS,
        }
    }
}

//! What a node is started with. Replicated settings are not here: they change through the log only.

use super::release::Release;
use crate::cache::{CacheConfig, ConfigChange};
use crate::raft::RaftOptions;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    pub data_dir: PathBuf,
    /// Name to be known by; made from the node's number when `None`.
    pub name: Option<String>,
    /// Where the peer listener binds, as host:port; port 0 takes a free one.
    pub peer_bind: String,
    /// Where peers reach this node; the bound address when `None`.
    pub peer_advertise: Option<String>,
    /// Where clients reach this node, as a URL. A node without an HTTP server says anything it likes.
    pub http_advertise: String,
    /// What to do with an empty data folder.
    pub origin: Origin,
    /// The cluster's settings that this node was started with. Where the cluster has others, it is told in the log.
    pub given: ConfigChange,
    pub raft: RaftOptions,
    pub limits: Limits,
    /// What this node takes itself for: [`Release::THIS`], but for tests of a cluster of several releases.
    pub release: Release,
}

/// Where a node with an empty data folder belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is a cluster of one.
    Alone { config: CacheConfig },
    /// It forms a cluster with the nodes behind these URLs, its own among them or not.
    Form { urls: Vec<String>, config: CacheConfig },
    /// It joins the cluster that the node behind this URL belongs to, as a learner, and asks for a vote
    /// once it has caught up, unless it is to stay one.
    Join { url: String, stay_learner: bool },
}

/// Bounds that keep a node answering when it is asked too much.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Writes of this node's clients that may be under way.
    pub writes_in_flight: usize,
    /// Bytes these writes may have together; more wait.
    pub write_bytes_in_flight: usize,
    /// How long a request may take when it names no other limit.
    pub request: Duration,
    /// How long to look for a leader before answering that there is none.
    pub leader_wait: Duration,
    /// Bytes of log entries that ask for a snapshot before their number does, at most; fewer where the cache holds less.
    pub log_bytes: u64,
    /// Bytes of recent changes that are kept for those who watch.
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

//! What is put on the nodes: little at a time, each row in a way of its own.

/// What happens to the nodes meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// At a third of the run the first node is stopped, and started again at once.
    Restart,
    /// From a third of the run to two thirds a follower is dead, and the leader keeps the log for it.
    DeadFollower,
}

/// A cluster and its load.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub nodes: usize,
    pub connections: u32,
    /// Writes a second; without it each connection sends as soon as it has its answer.
    pub rate: Option<u32>,
    pub keys: u64,
    pub value_bytes: u32,
    /// Time to live of what is put.
    pub ttl_ms: Option<u64>,
    /// Clients that follow every change.
    pub watchers: usize,
    pub fault: Fault,
    /// The most resident memory that a node may ever have, in MB, where that is judged.
    pub rss_max_mb: Option<u32>,
    /// What the nodes are started with.
    pub settings: &'static [&'static str],
}

/// So that a row sees many snapshots and purges, whatever its rate.
const SHORT_LOG: &[&str] = &["--snapshot-entries", "5000", "--entries-kept", "1000"];

const BASE: Row = Row {
    name: "one-connection",
    nodes: 1,
    connections: 1,
    rate: None,
    keys: 10_000,
    value_bytes: 128,
    ttl_ms: None,
    watchers: 0,
    fault: Fault::None,
    rss_max_mb: None,
    settings: SHORT_LOG,
};

pub const ROWS: [Row; 15] = [
    BASE,
    Row { name: "tiny-values", value_bytes: 16, ..BASE },
    Row { name: "values-4k", value_bytes: 4_096, ..BASE },
    Row { name: "values-100k", value_bytes: 100_000, keys: 200, ..BASE },
    Row {
        name: "large-values",
        nodes: 3,
        connections: 64,
        value_bytes: 1 << 20,
        keys: 200,
        rss_max_mb: Some(600),
        settings: &["--capacity-bytes", "134217728"],
        ..BASE
    },
    Row { name: "default-log", settings: &[], ..BASE },
    Row {
        name: "rate-100",
        rate: Some(100),
        settings: &["--snapshot-entries", "500", "--entries-kept", "100"],
        ..BASE
    },
    Row { name: "rate-1200", rate: Some(1_200), ..BASE },
    Row { name: "expiring", ttl_ms: Some(2_000), keys: 1_000_000_000, ..BASE },
    Row { name: "watched", watchers: 8, rate: Some(1_200), ..BASE },
    Row { name: "restarted", fault: Fault::Restart, ..BASE },
    Row { name: "three-nodes", nodes: 3, ..BASE },
    Row { name: "three-nodes-tiny", nodes: 3, value_bytes: 16, ..BASE },
    Row { name: "three-nodes-4k", nodes: 3, value_bytes: 4_096, ..BASE },
    Row { name: "dead-follower", nodes: 3, fault: Fault::DeadFollower, ..BASE },
];

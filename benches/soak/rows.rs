//! What is put on the nodes: little at a time, each row in a way of its own.

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
    settings: SHORT_LOG,
};

pub const ROWS: [Row; 10] = [
    BASE,
    Row { name: "tiny-values", value_bytes: 16, ..BASE },
    Row { name: "values-4k", value_bytes: 4_096, ..BASE },
    Row { name: "values-100k", value_bytes: 100_000, keys: 200, ..BASE },
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
    Row { name: "three-nodes", nodes: 3, ..BASE },
];

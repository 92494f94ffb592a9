//! What is measured: clusters that differ from the first one in a single way each.

/// A cluster, what it holds, and what is asked of it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub nodes: usize,
    /// Put before anything is measured.
    pub entries: u64,
    pub value_bytes: u32,
    /// What the nodes are started with.
    pub settings: &'static [&'static str],
    /// Connections that are open and silent beside the load.
    pub idle: usize,
    pub asks: Asks,
}

/// What the load asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Reads of the keys that are there, then puts over them.
    HeldKeys,
    /// Puts of keys that are not there.
    NewKeys,
}

/// So many keys that hardly any is asked for twice: one in 100,000 of those that are new is there.
pub const NEW_KEYS: u64 = 1_000_000_000;

/// Nothing is evicted unless the row is about that.
const ROOM: [&str; 2] = ["--capacity-entries", "4000000"];

/// What the others are compared with.
pub const BASE: Row = Row {
    name: "base",
    nodes: 3,
    entries: 10_000,
    value_bytes: 128,
    settings: &ROOM,
    idle: 0,
    asks: Asks::HeldKeys,
};

pub const ROWS: [Row; 17] = [
    BASE,
    Row { name: "entries-100k", entries: 100_000, ..BASE },
    Row { name: "entries-1m", entries: 1_000_000, ..BASE },
    Row { name: "value-4k", value_bytes: 4_096, ..BASE },
    Row { name: "value-64k", value_bytes: 65_536, ..BASE },
    Row { name: "nodes-1", nodes: 1, ..BASE },
    Row { name: "nodes-2", nodes: 2, ..BASE },
    Row { name: "nodes-4", nodes: 4, ..BASE },
    Row { name: "nodes-5", nodes: 5, ..BASE },
    Row { name: "ttl", settings: &[ROOM[0], ROOM[1], "--default-ttl-ms", "600000"], ..BASE },
    // What is put is gone a second later, so as many entries expire as are put.
    Row {
        name: "expiring",
        settings: &[ROOM[0], ROOM[1], "--default-ttl-ms", "1000"],
        asks: Asks::NewKeys,
        ..BASE
    },
    evicting("evict-lru", &["--capacity-entries", "10000", "--policy", "lru"]),
    evicting("evict-lfu", &["--capacity-entries", "10000", "--policy", "lfu"]),
    evicting("evict-s3fifo", &["--capacity-entries", "10000", "--policy", "s3fifo"]),
    Row { name: "idle-1000", idle: 1_000, ..BASE },
    Row { name: "snapshots", settings: &SNAPSHOTS, ..BASE },
    Row { name: "snapshots-1m", entries: 1_000_000, settings: &SNAPSHOTS, ..BASE },
];

/// A snapshot every few seconds, and hardly any of the log kept behind it.
const SNAPSHOTS: [&str; 6] = [ROOM[0], ROOM[1], "--snapshot-entries", "10000", "--entries-kept", "1000"];

const fn evicting(name: &'static str, settings: &'static [&'static str]) -> Row {
    Row { name, settings, asks: Asks::NewKeys, ..BASE }
}

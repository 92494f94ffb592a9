//! The attacks, and what each may cost the attacked node.

use crate::attacker::Target;
use crate::{by_http, by_peer};
use futures::future::BoxFuture;

/// One attack. It goes on until it is dropped.
#[derive(Clone, Copy)]
pub struct Attack {
    pub name: &'static str,
    pub run: fn(Target) -> BoxFuture<'static, ()>,
    /// Files that each node of its cluster may open, where that is not what this process may.
    pub files_max: Option<u64>,
    /// Bytes that may come to the node's resident memory.
    pub rss_max: u64,
    /// Bytes a second that may come to the node's log output, besides [`LOG_BYTES_FREE`].
    pub log_max: u64,
}

const MIB: u64 = 1 << 20;

/// What a node without an attack may grow by: the writes of the one client fill what is kept of the log and of recent changes,
/// and the allocator keeps what it once had.
const RSS_BASE: u64 = 48 * MIB;

/// What a connection over HTTP that does nothing, or brings its body by bytes, may take: its task, two buffers and what the
/// allocator rounds up.
const RSS_CONNECTION: u64 = 24 * 1_024;

/// Warnings are one a second of a kind, or one a minute, and none is longer than some hundred bytes.
const LOG_BASE: u64 = 1_024;

/// Log output that does not depend on how long an attack lasts, bytes: up to 65 kinds of refused peers have their first line.
pub const LOG_BYTES_FREE: u64 = 16 * 1_024;

const NONE: Attack = Attack {
    name: "none",
    run: |_| Box::pin(std::future::pending()),
    files_max: None,
    rss_max: RSS_BASE,
    log_max: LOG_BASE,
};

pub const ATTACKS: [Attack; 10] = [
    NONE,
    // One connection, whose pongs wait in buffers of some hundred KiB.
    Attack { name: "websocket-pings", run: by_http::websocket_pings, ..NONE },
    // One client begins 384 sessions in 5 seconds, and one that says nothing lasts up to 45: at most 3,456, in 20 seconds 1,920.
    Attack {
        name: "socketio-upgrades",
        run: by_http::socket_io_upgrades,
        rss_max: RSS_BASE + 3_456 * RSS_CONNECTION,
        ..NONE
    },
    Attack {
        name: "slow-bodies",
        run: by_http::slow_bodies,
        rss_max: RSS_BASE + by_http::SLOW_BODIES * RSS_CONNECTION,
        ..NONE
    },
    // Four frames of 32 MiB may be on their way from callers that are no members; what has come of them is in buffers that
    // double as they grow, and what the displaced ones had is free but kept by the allocator.
    Attack { name: "half-frames", run: by_peer::half_frames, rss_max: RSS_BASE + 4 * 32 * MIB, ..NONE },
    Attack { name: "strangers", run: by_peer::strangers, ..NONE },
    Attack { name: "log-lines", run: by_http::log_lines, ..NONE },
    // A line for each request under /api, up to 1,000 a second, each with up to 512 bytes of the path.
    Attack { name: "request-lines", run: by_http::request_lines, log_max: 1_000 * 700, ..NONE },
    // Connections are clamped, to 192.
    Attack { name: "descriptors", run: by_http::descriptors, files_max: Some(512), ..NONE },
    Attack {
        name: "idle-connections",
        run: by_http::idle_connections,
        rss_max: RSS_BASE + by_http::IDLE_CONNECTIONS * RSS_CONNECTION,
        ..NONE
    },
];

//! The rows of the table.

use super::rows::{Contender, Flush, Level, Link, Metric, Row, Setup, System, Work};

const fn plain(system: System, work: Work) -> Contender {
    remarked(system, work, "")
}

const fn remarked(system: System, work: Work, remark: &'static str) -> Contender {
    Contender { setup: Setup { system, link: Link::LOOPBACK }, work, remark }
}

pub const fn over(link: Link, system: System, work: Work) -> Contender {
    Contender { setup: Setup { system, link }, work, remark: "" }
}

const fn put(clients: u32, leader: bool) -> Work {
    Work::Put { clients, leader }
}

const fn get(level: Level, leader: bool) -> Work {
    get_by(64, level, leader)
}

const fn get_by(clients: u32, level: Level, leader: bool) -> Work {
    Work::Get { clients, level, leader }
}

const fn write(callers: u32, flush: Flush) -> Work {
    Work::Write { callers, flush }
}

const THROUGHPUT: &[Metric] = &[Metric::PerSecond];
const LATENCY: &[Metric] = &[Metric::P50, Metric::P99];
const PUT_1: Work = put(1, true);
const PUT_64: Work = put(64, true);
const PUT_256: Work = put(256, true);
const HOLD_3M: Work = Work::Hold { entries: 3_000_000 };
/// The only read the baseline server knows.
const BASELINE_GET: Work = get(Level::Linearizable, true);

const CEILING: &str = "one process, nothing replicated or kept: what HTTP alone costs";
const NO_FLUSH: &str = "answers before the flush, as hiqlite does unless told otherwise: weaker";
const IN_MEMORY: &str = "nothing on disk: weaker";
const ALONE: &str = "log and network are memory: what consensus alone costs";

const LINEARIZABLE: Level = Level::Linearizable;
/// Relays that pass everything on at once.
pub const NO_DELAY: Link = Link::micros(1);
const RTT_500_US: Link = Link::micros(500);
const RTT_2_MS: Link = Link::micros(2_000);
const RTT_20_MS: Link = Link::micros(20_000);
const RTT_40_MS: Link = Link::micros(40_000);
const RTT_100_MS: Link = Link::micros(100_000);
const RTT_200_MS: Link = Link { round_trip_us: 200_000, jitter_percent: 20 };
const ROUND_TRIPS: &[Metric] = &[Metric::P50, Metric::RoundTrips, Metric::P99];

/// A row with a delay between the members: etcd gets the same one.
macro_rules! over {
    ($name:literal, $title:literal, $link:expr, $work:expr) => {
        Row {
            name: $name,
            title: $title,
            metrics: ROUND_TRIPS,
            ours: over($link, System::Lockstep, $work),
            rivals: &[over($link, System::Etcd, $work)],
        }
    };
}

/// The same, where etcd has nothing like it.
macro_rules! lease_over {
    ($name:literal, $title:literal, $link:expr, $leader:expr) => {
        Row {
            name: $name,
            title: $title,
            metrics: ROUND_TRIPS,
            ours: over($link, System::Lockstep, get_by(16, Level::Lease, $leader)),
            rivals: &[],
        }
    };
}

/// What an election takes.
macro_rules! election {
    ($title:literal, $link:expr, $work:expr) => {
        Row {
            name: "elections",
            title: $title,
            metrics: &[Metric::P50],
            ours: over($link, System::Lockstep, $work),
            rivals: &[over($link, System::Etcd, $work)],
        }
    };
}

/// A row that compares Lockstep over short links with itself, where the relays do not delay anything: they take a part of
/// the processors, too.
macro_rules! short_links {
    ($title:literal, $work:expr) => {
        Row {
            name: "rtt-0.5ms",
            title: $title,
            metrics: THROUGHPUT,
            ours: over(RTT_500_US, System::Lockstep, $work),
            rivals: &[over(NO_DELAY, System::Lockstep, $work), over(RTT_500_US, System::Etcd, $work)],
        }
    };
}

/// The whole table.
pub const ROWS: &[Row] = &[
    Row {
        name: "put-64",
        title: "PUT, 64 connections, leader",
        metrics: THROUGHPUT,
        ours: plain(System::Lockstep, PUT_64),
        rivals: &[plain(System::Etcd, PUT_64), remarked(System::Baseline, PUT_64, CEILING)],
    },
    Row {
        name: "put-256",
        title: "PUT, 256 connections, leader",
        metrics: THROUGHPUT,
        ours: plain(System::Lockstep, PUT_256),
        rivals: &[plain(System::Etcd, PUT_256), remarked(System::Baseline, PUT_256, CEILING)],
    },
    Row {
        name: "put-latency",
        title: "PUT, 1 connection, leader",
        metrics: LATENCY,
        ours: plain(System::Lockstep, PUT_1),
        rivals: &[plain(System::Etcd, PUT_1)],
    },
    Row {
        name: "get-leader",
        title: "linearizable GET, 64, leader",
        metrics: THROUGHPUT,
        ours: plain(System::Lockstep, get(Level::Linearizable, true)),
        rivals: &[
            plain(System::Etcd, get(Level::Linearizable, true)),
            remarked(System::Baseline, BASELINE_GET, CEILING),
        ],
    },
    Row {
        name: "get-follower",
        title: "linearizable GET, 64, followers",
        metrics: THROUGHPUT,
        ours: plain(System::Lockstep, get(Level::Linearizable, false)),
        rivals: &[
            plain(System::Etcd, get(Level::Linearizable, false)),
            remarked(System::Baseline, BASELINE_GET, CEILING),
        ],
    },
    Row {
        name: "get-lease",
        title: "GET by lease, 64, leader",
        metrics: THROUGHPUT,
        ours: remarked(System::Lockstep, get(Level::Lease, true), "trusts the nodes' clocks: weaker"),
        rivals: &[remarked(System::Baseline, BASELINE_GET, CEILING)],
    },
    Row {
        name: "get-stale",
        title: "stale GET, 64, followers",
        metrics: THROUGHPUT,
        ours: remarked(System::Lockstep, get(Level::Stale, false), "may answer with an old value: weaker"),
        rivals: &[remarked(System::Baseline, BASELINE_GET, CEILING)],
    },
    Row {
        name: "embedded-64",
        title: "writes by library, 64 callers",
        metrics: THROUGHPUT,
        ours: plain(System::Embedded, write(64, Flush::Immediate)),
        rivals: &[
            plain(System::Hiqlite, write(64, Flush::Immediate)),
            remarked(System::Hiqlite, write(64, Flush::Interval), NO_FLUSH),
            remarked(System::Hiqlite, write(64, Flush::Memory), IN_MEMORY),
            remarked(System::Openraft, write(64, Flush::Memory), ALONE),
        ],
    },
    Row {
        name: "embedded-256",
        title: "writes by library, 256 callers",
        metrics: THROUGHPUT,
        ours: plain(System::Embedded, write(256, Flush::Immediate)),
        rivals: &[
            plain(System::Hiqlite, write(256, Flush::Immediate)),
            remarked(System::Hiqlite, write(256, Flush::Interval), NO_FLUSH),
            remarked(System::Hiqlite, write(256, Flush::Memory), IN_MEMORY),
            remarked(System::Openraft, write(256, Flush::Memory), ALONE),
        ],
    },
    Row {
        name: "batch",
        title: "puts in batches of 100, 16 conn.",
        metrics: THROUGHPUT,
        ours: plain(System::Lockstep, Work::Batch { clients: 16, each: 100 }),
        rivals: &[remarked(
            System::Redis,
            Work::Batch { clients: 16, each: 16 },
            "16 pipelined on 16 connections; the primary alone flushes, copies are asynchronous: weaker",
        )],
    },
    over!("put-2ms", "PUT, 1, leader, 2 ms", RTT_2_MS, put(1, true)),
    over!("put-2ms", "PUT, 16, leader, 2 ms", RTT_2_MS, put(16, true)),
    over!("put-2ms", "PUT, 64, leader, 2 ms", RTT_2_MS, put(64, true)),
    over!("put-2ms", "PUT, 1, followers, 2 ms", RTT_2_MS, put(1, false)),
    over!("put-2ms", "PUT, 16, followers, 2 ms", RTT_2_MS, put(16, false)),
    over!("put-2ms", "PUT, 64, followers, 2 ms", RTT_2_MS, put(64, false)),
    over!("get-2ms", "GET, 1, leader, 2 ms", RTT_2_MS, get_by(1, LINEARIZABLE, true)),
    over!("get-2ms", "GET, 16, leader, 2 ms", RTT_2_MS, get_by(16, LINEARIZABLE, true)),
    over!("get-2ms", "GET, 64, leader, 2 ms", RTT_2_MS, get_by(64, LINEARIZABLE, true)),
    over!("get-2ms", "GET, 1, followers, 2 ms", RTT_2_MS, get_by(1, LINEARIZABLE, false)),
    over!("get-2ms", "GET, 16, followers, 2 ms", RTT_2_MS, get_by(16, LINEARIZABLE, false)),
    over!("get-2ms", "GET, 64, followers, 2 ms", RTT_2_MS, get_by(64, LINEARIZABLE, false)),
    lease_over!("get-2ms", "GET by lease, 16, leader, 2 ms", RTT_2_MS, true),
    lease_over!("get-2ms", "GET by lease, 16, followers, 2 ms", RTT_2_MS, false),
    over!("put-20ms", "PUT, 1, leader, 20 ms", RTT_20_MS, put(1, true)),
    over!("put-20ms", "PUT, 16, leader, 20 ms", RTT_20_MS, put(16, true)),
    over!("put-20ms", "PUT, 64, leader, 20 ms", RTT_20_MS, put(64, true)),
    over!("put-20ms", "PUT, 1, followers, 20 ms", RTT_20_MS, put(1, false)),
    over!("put-20ms", "PUT, 16, followers, 20 ms", RTT_20_MS, put(16, false)),
    over!("put-20ms", "PUT, 64, followers, 20 ms", RTT_20_MS, put(64, false)),
    over!("get-20ms", "GET, 1, leader, 20 ms", RTT_20_MS, get_by(1, LINEARIZABLE, true)),
    over!("get-20ms", "GET, 16, leader, 20 ms", RTT_20_MS, get_by(16, LINEARIZABLE, true)),
    over!("get-20ms", "GET, 64, leader, 20 ms", RTT_20_MS, get_by(64, LINEARIZABLE, true)),
    over!("get-20ms", "GET, 1, followers, 20 ms", RTT_20_MS, get_by(1, LINEARIZABLE, false)),
    over!("get-20ms", "GET, 16, followers, 20 ms", RTT_20_MS, get_by(16, LINEARIZABLE, false)),
    over!("get-20ms", "GET, 64, followers, 20 ms", RTT_20_MS, get_by(64, LINEARIZABLE, false)),
    lease_over!("get-20ms", "GET by lease, 16, leader, 20 ms", RTT_20_MS, true),
    lease_over!("get-20ms", "GET by lease, 16, followers, 20 ms", RTT_20_MS, false),
    short_links!("PUT, 256, leader, 0.5 ms", PUT_256),
    short_links!("GET, 256, leader, 0.5 ms", get_by(256, LINEARIZABLE, true)),
    election!("a cluster forms, loopback", Link::LOOPBACK, Work::Form),
    election!("write after kill -9, loopback", Link::LOOPBACK, Work::Failover),
    election!("a cluster forms, 40 ms", RTT_40_MS, Work::Form),
    election!("write after kill -9, 40 ms", RTT_40_MS, Work::Failover),
    election!("a cluster forms, 100 ms", RTT_100_MS, Work::Form),
    election!("write after kill -9, 100 ms", RTT_100_MS, Work::Failover),
    election!("a cluster forms, 200 ms, jitter 20 %", RTT_200_MS, Work::Form),
    election!("write after kill -9, 200 ms, jitter 20 %", RTT_200_MS, Work::Failover),
    Row {
        name: "memory-3m",
        title: "memory, 3,000,000 entries",
        metrics: &[Metric::Memory, Metric::MemoryPeak],
        ours: plain(System::Lockstep, HOLD_3M),
        rivals: &[plain(System::Redis, HOLD_3M)],
    },
    Row {
        name: "steady-200ms",
        title: "PUT, 16, leader, 200 ms, jitter 20 %",
        metrics: ROUND_TRIPS,
        ours: over(RTT_200_MS, System::Lockstep, put(16, true)),
        rivals: &[over(RTT_200_MS, System::Etcd, put(16, true))],
    },
];

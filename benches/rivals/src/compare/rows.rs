//! What is compared with what: the rows of the table, each with ours first.

use std::time::Duration;

/// A system that is started, put under load and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    Lockstep,
    /// Another build of it, usually an older one.
    Before,
    Baseline,
    Etcd,
    Redis,
    Embedded,
    /// Another build of the library.
    EmbeddedBefore,
    Hiqlite,
    Openraft,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lockstep => "Lockstep",
            Self::Before => "Lockstep, before",
            Self::Baseline => "baseline HTTP server",
            Self::Etcd => "etcd",
            Self::Redis => "Redis",
            Self::Embedded => "Lockstep, embedded",
            Self::EmbeddedBefore => "embedded, before",
            Self::Hiqlite => "hiqlite",
            Self::Openraft => "openraft alone",
        }
    }
}

/// What lies between the members. Clients are next to the member that they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// How long a message and its answer take, in microseconds.
    pub round_trip_us: u32,
    /// How much longer a message may take, at random.
    pub jitter_percent: u8,
}

impl Link {
    /// Members on one machine, without a relay between them.
    pub const LOOPBACK: Self = Self { round_trip_us: 0, jitter_percent: 0 };

    pub const fn micros(round_trip_us: u32) -> Self {
        Self { round_trip_us, jitter_percent: 0 }
    }

    pub fn round_trip(self) -> Duration {
        Duration::from_micros(self.round_trip_us.into())
    }

    pub fn is_loopback(self) -> bool {
        self == Self::LOOPBACK
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_loopback() {
            true => f.write_str("loopback"),
            false => {
                write!(f, "{} ms between members", f64::from(self.round_trip_us) / 1_000.0)?;
                match self.jitter_percent {
                    0 => Ok(()),
                    percent => write!(f, ", up to {percent} % more"),
                }
            }
        }
    }
}

/// A system, and the links between its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setup {
    pub system: System,
    pub link: Link,
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.system.name())?;
        if self.link.is_loopback() { Ok(()) } else { write!(f, ", {}", self.link) }
    }
}

/// How sure a read is to see the newest write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Linearizable,
    Lease,
    Stale,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Lease => "lease",
            Self::Stale => "stale",
        }
    }
}

/// One thing that is measured. The same on the same system is measured once a round, however many rows show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Put {
        clients: u32,
        leader: bool,
    },
    Get {
        clients: u32,
        level: Level,
        leader: bool,
    },
    Batch {
        clients: u32,
        each: u32,
    },
    /// How long a new cluster takes until all of its members serve.
    Form,
    /// How long a write takes that is sent when the leader is killed. What is measured afterwards has a member less.
    Failover,
    /// Through a library, in the process of the load.
    Write {
        callers: u32,
        flush: Flush,
    },
}

/// When a library's log is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flush {
    /// Before a write is answered.
    Immediate,
    /// Some time later.
    Interval,
    /// There is nothing on disk.
    Memory,
}

impl Flush {
    pub fn name(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Interval => "interval",
            Self::Memory => "memory",
        }
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put { clients, leader } => {
                write!(f, "put, {clients}, {}", if *leader { "leader" } else { "follower" })
            }
            Self::Get { clients, level, leader } => {
                let place = if *leader { "leader" } else { "follower" };
                write!(f, "{} get, {clients}, {place}", level.name())
            }
            Self::Batch { clients, each } => write!(f, "{clients} x {each} puts"),
            Self::Form => f.write_str("form"),
            Self::Failover => f.write_str("failover"),
            Self::Write { callers, flush } => write!(f, "write, {callers}, flush {}", flush.name()),
        }
    }
}

/// What is read off a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Requests, or where a request has several operations, these.
    PerSecond,
    P50,
    P99,
    /// The median latency, in round trips between the members.
    RoundTrips,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "per second",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::RoundTrips => "round trips",
        }
    }
}

/// Somebody in a row.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    pub setup: Setup,
    pub work: Work,
    /// What makes its figure worth more or less than that beside it; empty when nothing does.
    pub remark: &'static str,
}

impl Contender {
    /// Its name in tables and pictures.
    pub fn label(&self) -> String {
        let Setup { system, link } = self.setup;
        let name = system.name();
        match (system, self.work) {
            (System::Lockstep, _) if link == NO_DELAY => format!("{name}, no delay"),
            (System::Hiqlite, Work::Write { flush: Flush::Interval, .. }) => format!("{name}, default"),
            (System::Hiqlite, Work::Write { flush: Flush::Memory, .. }) => format!("{name}, in memory"),
            _ => name.to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As in `--only`; several rows may share one.
    pub name: &'static str,
    pub title: &'static str,
    pub metrics: &'static [Metric],
    pub ours: Contender,
    pub rivals: &'static [Contender],
}

const fn plain(system: System, work: Work) -> Contender {
    remarked(system, work, "")
}

const fn remarked(system: System, work: Work, remark: &'static str) -> Contender {
    Contender { setup: Setup { system, link: Link::LOOPBACK }, work, remark }
}

const fn over(link: Link, system: System, work: Work) -> Contender {
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
/// The only read the baseline server knows.
const BASELINE_GET: Work = get(Level::Linearizable, true);

const CEILING: &str = "one process, nothing replicated or kept: what HTTP alone costs";
const NO_FLUSH: &str = "answers before the flush, as hiqlite does unless told otherwise: weaker";
const IN_MEMORY: &str = "nothing on disk: weaker";
const ALONE: &str = "log and network are memory: what consensus alone costs";

const LINEARIZABLE: Level = Level::Linearizable;
/// Relays that pass everything on at once.
const NO_DELAY: Link = Link::micros(1);
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
        name: "steady-200ms",
        title: "PUT, 16, leader, 200 ms, jitter 20 %",
        metrics: ROUND_TRIPS,
        ours: over(RTT_200_MS, System::Lockstep, put(16, true)),
        rivals: &[over(RTT_200_MS, System::Etcd, put(16, true))],
    },
];

/// A row, and what it is compared with here.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub row: &'static Row,
    pub rivals: Vec<Contender>,
}

/// The rows of these names, in the table's order; when there are none, all rows without a delay. With `before`, every
/// row compares Lockstep also with another build of it.
pub fn chosen(names: &[String], before: bool) -> Vec<Comparison> {
    let is_chosen = |row: &&Row| match names {
        [] => row.ours.setup.link.is_loopback() && row.name != "elections",
        names => names.iter().any(|name| name == row.name),
    };
    let compared = |row: &'static Row| {
        let mut rivals = row.rivals.to_vec();
        let system = match row.ours.setup.system {
            System::Embedded => System::EmbeddedBefore,
            _ => System::Before,
        };
        if before {
            rivals.insert(0, over(row.ours.setup.link, system, row.ours.work));
        }
        Comparison { row, rivals }
    };
    ROWS.iter().filter(is_chosen).map(compared).collect()
}

impl Comparison {
    pub fn contenders(&self) -> impl Iterator<Item = &Contender> {
        std::iter::once(&self.row.ours).chain(&self.rivals)
    }
}

/// Everything that has to be started, with what is to be measured on it.
pub fn plan(rows: &[Comparison]) -> Vec<(Setup, Vec<Work>)> {
    let mut plan: Vec<(Setup, Vec<Work>)> = Vec::new();
    for contender in rows.iter().flat_map(Comparison::contenders) {
        let at = plan.iter().position(|(setup, _)| *setup == contender.setup);
        let at = at.unwrap_or_else(|| {
            plan.push((contender.setup, Vec::new()));
            plan.len() - 1
        });
        if !plan[at].1.contains(&contender.work) {
            plan[at].1.push(contender.work);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_chosen_by_name() {
        let names = |rows: &[Comparison]| rows.iter().map(|each| each.row.name).collect::<Vec<_>>();
        assert_eq!(names(&chosen(&[], false)).len(), 10, "the delayed ones only by name");
        assert_eq!(names(&chosen(&["batch".into(), "put-64".into()], false)), ["put-64", "batch"]);
        assert_eq!(names(&chosen(&["rtt-0.5ms".into()], false)).len(), 2, "they share a name");
        let with_before = chosen(&["put-64".into(), "embedded-64".into()], true);
        let first: Vec<System> = with_before.iter().map(|each| each.rivals[0].setup.system).collect();
        assert_eq!(first, [System::Before, System::EmbeddedBefore]);
    }

    #[test]
    fn the_script_lists_all_rows() {
        let script = include_str!("../../../../cluster-scripts/compare");
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.dedup();
        assert!(script.contains(&format!("\nROW: {}'\n", names.join(", "))), "{names:?}");
    }

    #[test]
    fn nothing_is_measured_twice_in_a_round() {
        let plan = plan(&chosen(&[], false));
        let baseline = plan.iter().find(|(setup, _)| setup.system == System::Baseline).expect("it is asked");
        assert_eq!(baseline.1, [PUT_64, PUT_256, BASELINE_GET]);
        let setups: BTreeSet<Setup> = plan.iter().map(|(setup, _)| *setup).collect();
        assert_eq!(setups.len(), plan.len());
    }
}

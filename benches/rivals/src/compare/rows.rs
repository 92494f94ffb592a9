//! What is compared with what: the rows of the table, each with ours first.

/// A system that is started, put under load and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    Lockstep,
    Baseline,
    Etcd,
    Redis,
    Embedded,
    Hiqlite,
    Openraft,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lockstep => "Lockstep",
            Self::Baseline => "baseline HTTP server",
            Self::Etcd => "etcd",
            Self::Redis => "Redis",
            Self::Embedded => "Lockstep, embedded",
            Self::Hiqlite => "hiqlite",
            Self::Openraft => "openraft alone",
        }
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
            Self::Put { clients } => write!(f, "put, {clients}"),
            Self::Get { clients, level, leader } => {
                let place = if *leader { "leader" } else { "follower" };
                write!(f, "{} get, {clients}, {place}", level.name())
            }
            Self::Batch { clients, each } => write!(f, "{clients} x {each} puts"),
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
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "per second",
            Self::P50 => "p50",
            Self::P99 => "p99",
        }
    }
}

/// Somebody in a row.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    pub system: System,
    pub work: Work,
    /// What makes its figure worth more or less than that beside it; empty when nothing does.
    pub remark: &'static str,
}

impl Contender {
    /// Its name in tables and pictures.
    pub fn label(&self) -> String {
        let name = self.system.name();
        match (self.system, self.work) {
            (System::Hiqlite, Work::Write { flush: Flush::Interval, .. }) => format!("{name}, default"),
            (System::Hiqlite, Work::Write { flush: Flush::Memory, .. }) => format!("{name}, in memory"),
            _ => name.to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As in `--only`.
    pub name: &'static str,
    pub title: &'static str,
    pub metrics: &'static [Metric],
    pub ours: Contender,
    pub rivals: &'static [Contender],
}

const fn plain(system: System, work: Work) -> Contender {
    Contender { system, work, remark: "" }
}

const fn remarked(system: System, work: Work, remark: &'static str) -> Contender {
    Contender { system, work, remark }
}

const fn get(level: Level, leader: bool) -> Work {
    Work::Get { clients: 64, level, leader }
}

const fn write(callers: u32, flush: Flush) -> Work {
    Work::Write { callers, flush }
}

const THROUGHPUT: &[Metric] = &[Metric::PerSecond];
const LATENCY: &[Metric] = &[Metric::P50, Metric::P99];
const PUT_1: Work = Work::Put { clients: 1 };
const PUT_64: Work = Work::Put { clients: 64 };
const PUT_256: Work = Work::Put { clients: 256 };
/// The only read the baseline server knows.
const BASELINE_GET: Work = get(Level::Linearizable, true);

const CEILING: &str = "one process, nothing replicated or kept: what HTTP alone costs";
const NO_FLUSH: &str = "answers before the flush, as hiqlite does unless told otherwise: weaker";
const IN_MEMORY: &str = "nothing on disk: weaker";
const ALONE: &str = "log and network are memory: what consensus alone costs";

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
];

/// The rows of these names, in the table's order; all when there are none.
pub fn chosen(names: &[String]) -> Vec<&'static Row> {
    ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.name)).collect()
}

impl Row {
    pub fn contenders(&self) -> impl Iterator<Item = &Contender> {
        std::iter::once(&self.ours).chain(self.rivals)
    }
}

/// Every system that is needed, with what is to be measured on it.
pub fn plan(rows: &[&Row]) -> Vec<(System, Vec<Work>)> {
    let mut plan: Vec<(System, Vec<Work>)> = Vec::new();
    for contender in rows.iter().flat_map(|row| row.contenders()) {
        let at = plan.iter().position(|(system, _)| *system == contender.system);
        let at = at.unwrap_or_else(|| {
            plan.push((contender.system, Vec::new()));
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
        assert_eq!(chosen(&[]).len(), ROWS.len());
        let some = chosen(&["batch".into(), "put-64".into()]);
        assert_eq!(some.iter().map(|row| row.name).collect::<Vec<_>>(), ["put-64", "batch"]);
        let names: BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn the_script_lists_all_rows() {
        let script = include_str!("../../../../cluster-scripts/compare");
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        assert!(script.contains(&format!("\nROW: {}'\n", names.join(", "))), "{names:?}");
    }

    #[test]
    fn nothing_is_measured_twice_in_a_round() {
        let plan = plan(&chosen(&[]));
        let baseline = plan.iter().find(|(system, _)| *system == System::Baseline).expect("it is asked");
        assert_eq!(baseline.1, [PUT_64, PUT_256, BASELINE_GET]);
        let systems: BTreeSet<System> = plan.iter().map(|(system, _)| *system).collect();
        assert_eq!(systems.len(), plan.len());
    }
}

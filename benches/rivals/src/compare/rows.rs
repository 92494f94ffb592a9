//! What is compared with what: the rows of the table, each with ours first.

use super::table_rows::{NO_DELAY, ROWS, over};
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
    /// The memory of the largest process once all hold so many entries.
    Hold {
        entries: u32,
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
            Self::Put { clients, leader } => {
                write!(f, "put, {clients}, {}", if *leader { "leader" } else { "follower" })
            }
            Self::Get { clients, level, leader } => {
                let place = if *leader { "leader" } else { "follower" };
                write!(f, "{} get, {clients}, {place}", level.name())
            }
            Self::Batch { clients, each } => write!(f, "{clients} x {each} puts"),
            Self::Hold { entries } => write!(f, "hold {entries}"),
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
    /// Resident megabytes, and how many there were at most.
    Memory,
    MemoryPeak,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "per second",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::RoundTrips => "round trips",
            Self::Memory => "resident",
            Self::MemoryPeak => "at most",
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

/// A row, and what it is compared with here.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub row: &'static Row,
    pub rivals: Vec<Contender>,
}

/// The names of all rows, each once, in the table's order.
pub fn row_names() -> Vec<&'static str> {
    let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    names.dedup();
    names
}

/// The rows of these names, in the table's order; when there are none, all rows without a delay. With `before`, every
/// row compares Lockstep also with another build of it.
pub fn chosen(names: &[String], before: bool) -> Vec<Comparison> {
    let is_chosen = |row: &&Row| match names {
        [] => row.ours.setup.link.is_loopback() && !["elections", "memory-3m"].contains(&row.name),
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
        let names = row_names().join(", ");
        assert!(script.contains(&format!("\nROW: {names}'\n")), "{names}");
    }

    #[test]
    fn nothing_is_measured_twice_in_a_round() {
        let plan = plan(&chosen(&[], false));
        let baseline = plan.iter().find(|(setup, _)| setup.system == System::Baseline).expect("it is asked");
        let work: Vec<String> = baseline.1.iter().map(Work::to_string).collect();
        assert_eq!(work, ["put, 64, leader", "put, 256, leader", "linearizable get, 64, leader"]);
        let setups: BTreeSet<Setup> = plan.iter().map(|(setup, _)| *setup).collect();
        assert_eq!(setups.len(), plan.len());
    }
}

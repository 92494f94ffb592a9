//! `lockstep simulate`: what each policy makes of a trace, found out with the cache itself, in this process.

use super::common_args::parse_policy;
use super::output::Output;
use super::trace;
use crate::cache::limits::CAPACITY_ENTRIES_MAX;
use crate::cache::{
    Cache, CacheConfig, Command, Condition, EntryId, Key, Op, Policy, Stamp, Touch, TouchConfig, Ttl, Value,
};
use crate::replica::encode_touches;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The trace to replay, and the settings of the cache.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// An .xz file of big-endian 32-bit keys, or a text file with one key per line
    pub trace: PathBuf,
    /// Capacity in entries
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(1..=CAPACITY_ENTRIES_MAX))]
    pub capacity: u64,
    /// Requests between two log entries that report reads; with 1 each read counts at once
    #[arg(long, value_delimiter = ',', default_value = "1,100,500,1024", value_parser = clap::value_parser!(u64).range(1..))]
    pub delay: Vec<u64>,
    /// Eviction policies: lru, lfu, s3fifo or noeviction
    #[arg(long, value_delimiter = ',', default_value = "lru,lfu,s3fifo", value_parser = parse_policy)]
    pub policy: Vec<Policy>,
    /// Print one JSON object on the last line
    #[arg(long, env = "LOCKSTEP_JSON")]
    pub json: bool,
}

/// The result of the simulation.
#[derive(Debug, Serialize)]
struct Report {
    requests: usize,
    capacity_entries: u64,
    runs: Vec<Run>,
}

/// One policy with one delay.
#[derive(Debug, Serialize)]
struct Run {
    policy: Policy,
    /// Requests between two log entries that tell of reads; `None` where none does, and only writes count.
    delay: Option<u64>,
    hits: u64,
    hit_percent: f64,
    touch_bytes_per_request: f64,
    /// Hits whose touches were dropped.
    suppressed: u64,
}

/// Runs the command.
pub async fn simulate(args: SimulateArgs) -> Result<()> {
    let output = Output { json: args.json };
    let report = tokio::task::spawn_blocking(move || -> Result<Report> {
        let keys = trace::read(&args.trace)?;
        let delays: Vec<_> = std::iter::once(None).chain(args.delay.iter().copied().map(Some)).collect();
        let each = args.policy.iter().flat_map(|policy| delays.iter().map(|delay| (*policy, *delay)));
        let runs = each.map(|(policy, delay)| play(&keys, args.capacity, policy, delay)).collect();
        Ok(Report { requests: keys.len(), capacity_entries: args.capacity, runs })
    });
    let report = report.await??;
    output.print(&report, || describe(&report))
}

/// Replays a trace as a cache-aside client would: reads each key, and stores it if it is absent.
fn play(keys: &[Key], capacity_entries: u64, policy: Policy, delay: Option<u64>) -> Run {
    let touch = TouchConfig { enabled: delay.is_some(), ..TouchConfig::default() };
    let capacity_bytes = u64::MAX;
    let config = CacheConfig { policy, capacity_entries, capacity_bytes, default_ttl_ms: None, touch };
    let mut cache = Cache::new(config);
    let mut reads = Reads { of: HashMap::new(), max: touch.max_per_flush as usize };
    let (mut index, mut hits, mut bytes, mut suppressed) = (0, 0, 0, 0);
    for (now, key) in (1..).zip(keys) {
        let seen = cache.read(key.as_str());
        if let Some(seen) = &seen {
            hits += 1;
            let counts = delay == Some(1) || delay.is_some() && seen.matters;
            suppressed += u64::from(!(counts && reads.add(seen.entry, now)));
        }
        let is_due = delay.is_some_and(|delay| now % delay == 0);
        let touches = if is_due { reads.take() } else { Vec::new() };
        let command = match seen {
            None => put(key),
            Some(_) if touches.is_empty() => continue,
            Some(_) => Command::Tick,
        };
        bytes += encode_touches(&touches).len();
        index += 1;
        // A policy that evicts nothing refuses the put, and the key stays a miss.
        cache.apply(Stamp { index, at_ms: 1, idempotency_key: None, origin: None, touches }, command);
    }
    let requests = keys.len().max(1) as f64;
    Run {
        policy,
        delay,
        hits,
        hit_percent: hundredths(100.0 * hits as f64 / requests),
        touch_bytes_per_request: hundredths(bytes as f64 / requests),
        suppressed,
    }
}

fn put(key: &Key) -> Command {
    let value = Value { bytes: "v".into(), content_type: None };
    let (ttl, condition) = (Ttl::Never, Condition::Always);
    Command::One(Op::Put { key: key.clone(), value, ttl, condition, previous: false })
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Reads whose touches are not in the log yet.
struct Reads {
    /// When each entry was last read, and how often.
    of: HashMap<EntryId, (u64, u16)>,
    max: usize,
}

impl Reads {
    /// False when there is no room for another entry.
    fn add(&mut self, entry: EntryId, now: u64) -> bool {
        let is_new = !self.of.contains_key(&entry);
        if is_new && self.of.len() == self.max {
            return false;
        }
        let (last, count) = self.of.entry(entry).or_default();
        (*last, *count) = (now, count.saturating_add(1));
        true
    }

    /// All of them, the entry that was read last at the end.
    fn take(&mut self) -> Vec<Touch> {
        let mut reads: Vec<_> = self.of.drain().collect();
        reads.sort_unstable_by_key(|(_, (last, _))| *last);
        reads.into_iter().map(|(entry, (_, count))| Touch { entry, count }).collect()
    }
}

fn describe(report: &Report) -> String {
    let mut out = format!(
        "{} requests, capacity {} entries\n{:<11} {:>11} {:>7} {:>15} {:>11}",
        report.requests, report.capacity_entries, "policy", "delay", "hits %", "bytes/request", "suppressed"
    );
    for run in &report.runs {
        let delay = run.delay.map_or_else(|| "writes only".into(), |delay| delay.to_string());
        let _ = write!(
            out,
            "\n{:<11} {delay:>11} {:>7.2} {:>15.2} {:>11}",
            run.policy.name(),
            run.hit_percent,
            run.touch_bytes_per_request,
            run.suppressed
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of which the k-th is asked for about 1/k as often as the first, in an order that is always the same.
    fn zipf(keys: u64, requests: usize) -> Vec<Key> {
        let mut total = 0;
        let up_to: Vec<u64> = (1..=keys)
            .map(|k| {
                total += 1_000_000 / k;
                total
            })
            .collect();
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let drawn = (state >> 33) % total;
            Key::new(&up_to.partition_point(|end| *end <= drawn).to_string()).unwrap()
        };
        (0..requests).map(|_| next()).collect()
    }

    /// The hits of a list that is in the order of use.
    fn naive_lru(trace: &[Key], capacity: usize) -> u64 {
        let (mut used, mut hits) = (Vec::new(), 0);
        for key in trace {
            match used.iter().position(|other| other == key) {
                Some(at) => {
                    used.remove(at);
                    hits += 1;
                }
                None if used.len() == capacity => drop(used.remove(0)),
                None => {}
            }
            used.push(key.clone());
        }
        hits
    }

    #[test]
    fn with_every_read_told_lru_is_lru() {
        let trace = zipf(300, 5_000);
        for capacity in [1, 2, 37, 300] {
            let run = play(&trace, capacity as u64, Policy::Lru, Some(1));
            assert_eq!(run.hits, naive_lru(&trace, capacity), "capacity {capacity}");
            assert_eq!(run.suppressed, 0);
        }
    }

    #[test]
    fn frequency_beats_the_order_of_writes() {
        let trace = zipf(2_000, 20_000);
        let writes_only = play(&trace, 100, Policy::Lru, None);
        assert_eq!((writes_only.touch_bytes_per_request, writes_only.suppressed), (0.0, writes_only.hits));
        for policy in [Policy::Lfu, Policy::S3Fifo] {
            for delay in [1, 100] {
                let run = play(&trace, 100, policy, Some(delay));
                assert!(run.hits > writes_only.hits, "{run:?} {writes_only:?}");
                assert!(run.touch_bytes_per_request > 0.0, "{run:?}");
            }
        }
    }

    #[test]
    fn reads_of_one_entry_are_told_together_and_the_last_one_last() {
        let entry = |slot| EntryId { slot, generation: 1 };
        let mut reads = Reads { of: HashMap::new(), max: 2 };
        assert!(reads.add(entry(7), 1) && reads.add(entry(8), 2) && reads.add(entry(7), 3));
        assert!(!reads.add(entry(9), 4), "there is no room for a third");
        let touch = |slot, count| Touch { entry: entry(slot), count };
        assert_eq!(reads.take(), [touch(8, 1), touch(7, 2)]);
        assert_eq!(reads.take(), []);
    }

    #[test]
    fn the_table_has_a_row_for_each_run() {
        let trace = zipf(50, 500);
        let runs = vec![play(&trace, 10, Policy::Lru, None), play(&trace, 10, Policy::NoEviction, Some(20))];
        let table = describe(&Report { requests: trace.len(), capacity_entries: 10, runs });
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 4, "{table}");
        assert_eq!(rows[2][..3], ["lru", "writes", "only"]);
        assert_eq!(rows[3][..2], ["noeviction", "20"]);
    }
}

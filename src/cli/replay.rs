//! `lockstep replay`: a cache-aside client. It asks for each key of a trace, and stores a value for those
//! that are missing, as an application in front of a database would. The requests go to all nodes in turn.
//! Those for the same key are made one after the other: in the trace they are far apart in time, and made at
//! once each of them would miss.

use super::commands::ReplayArgs;
use super::exit::Usage;
use super::output::Output;
use super::trace;
use crate::cache::Key;
use crate::client::{Client, ClientError, PutOptions};
use anyhow::{Result, anyhow};
use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Reads of one worker that may fail one after another.
const GIVE_UP_AFTER: usize = 3;

/// Turns that keys take.
const TURNS: u64 = 4_096;
/// Longest latency told apart from longer ones, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What a replay found.
#[derive(Debug, Serialize)]
struct Report {
    requests: u64,
    hits: u64,
    hit_percent: f64,
    errors: u64,
    errors_by_code: BTreeMap<String, u64>,
    seconds: f64,
    requests_per_s: f64,
    get: Latencies,
    put: Latencies,
}

/// Latencies of one kind of request, in microseconds.
#[derive(Debug, Serialize)]
struct Latencies {
    count: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// One worker's counts.
struct Tally {
    requests: u64,
    hits: u64,
    errors: BTreeMap<String, u64>,
    get: Histogram<u64>,
    put: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).map_err(|error| anyhow!(error));
        Ok(Self { requests: 0, hits: 0, errors: BTreeMap::new(), get: histogram()?, put: histogram()? })
    }

    fn failed(&mut self, error: &ClientError) {
        tracing::debug!(%error, "request failed");
        *self.errors.entry(error.code().to_string()).or_default() += 1;
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.requests += other.requests;
        self.hits += other.hits;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.get.add(&other.get).map_err(|error| anyhow!("{error}"))?;
        self.put.add(&other.put).map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }
}

/// Runs the command.
pub async fn replay(args: ReplayArgs) -> Result<()> {
    let output = Output { json: args.target.json };
    let path = args.trace.clone();
    let keys = tokio::task::spawn_blocking(move || trace::read(&path)).await??;
    let length = keys.len();
    let keys = keys.into_iter().skip(args.skip).take(args.limit.unwrap_or(usize::MAX));
    let keys: Arc<[Key]> = keys.collect();
    if keys.is_empty() {
        return Err(Usage(format!("that leaves nothing of the trace's {length} requests")).into());
    }
    let next = Arc::new(AtomicUsize::new(0));
    let progress = progress_bar(keys.len() as u64)?;
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    let turns: Arc<[Mutex<()>]> = (0..TURNS).map(|_| Mutex::new(())).collect();
    // One for each node: a client stays with the node it begins with as long as that answers.
    let client = |node| {
        let client = args.target.client_of(&args.target.url, args.target.timeout())?;
        Ok(client.starting_at(node))
    };
    let clients = (0..args.target.url.len()).map(client).collect::<Result<Arc<[Client]>>>()?;
    for _ in 0..args.concurrency {
        let worker = Worker {
            clients: clients.clone(),
            turns: turns.clone(),
            keys: keys.clone(),
            next: next.clone(),
            value: Bytes::from(vec![b'v'; args.value_bytes]),
            progress: progress.clone(),
        };
        workers.spawn(worker.run(args.consistency));
    }
    let mut total = Tally::new()?;
    while let Some(tally) = workers.join_next().await {
        total.merge(&tally??)?;
    }
    progress.finish_and_clear();
    let report = report(&total, started.elapsed());
    output.print(&report, || describe(&report))?;
    if report.errors > 0 {
        Err(anyhow!("{} of {} requests failed", report.errors, report.requests))
    } else {
        Ok(())
    }
}

struct Worker {
    clients: Arc<[Client]>,
    turns: Arc<[Mutex<()>]>,
    keys: Arc<[Key]>,
    next: Arc<AtomicUsize>,
    value: Bytes,
    progress: ProgressBar,
}

impl Worker {
    async fn run(self, consistency: crate::api::Consistency) -> Result<Tally> {
        let mut tally = Tally::new()?;
        let mut failures_in_a_row = 0;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(key) = self.keys.get(number) else { break };
            let client = &self.clients[number % self.clients.len()];
            let _turn = self.turns[turn(key)].lock().await;
            tally.requests += 1;
            self.progress.inc(1);
            let started = Instant::now();
            let found = client.get(key.as_str(), consistency).await;
            tally.get.saturating_record(micros(started));
            match found {
                Ok(Some(_)) => tally.hits += 1,
                Ok(None) => self.fill(client, key, &mut tally).await,
                Err(error) => {
                    tally.failed(&error);
                    failures_in_a_row += 1;
                    // The client has tried every node for as long as it may: nobody is there.
                    if failures_in_a_row == GIVE_UP_AFTER {
                        return Err(error.into());
                    }
                    continue;
                }
            }
            failures_in_a_row = 0;
        }
        Ok(tally)
    }

    async fn fill(&self, client: &Client, key: &Key, tally: &mut Tally) {
        let started = Instant::now();
        if let Err(error) = client.put(key.as_str(), self.value.clone(), &PutOptions::default()).await {
            tally.failed(&error);
        }
        tally.put.saturating_record(micros(started));
    }
}

/// Whose turn a key takes; different keys may share one.
fn turn(key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % TURNS) as usize
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn progress_bar(length: u64) -> Result<ProgressBar> {
    // indicatif draws on standard error, and only if that is a terminal.
    let bar = ProgressBar::new(length);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} ({per_sec}, {eta} left)")?);
    Ok(bar)
}

fn report(total: &Tally, took: Duration) -> Report {
    let seconds = took.as_secs_f64();
    let latencies = |histogram: &Histogram<u64>| Latencies {
        count: histogram.len(),
        p50_us: histogram.value_at_quantile(0.5),
        p99_us: histogram.value_at_quantile(0.99),
        max_us: histogram.max(),
    };
    let percent = if total.requests == 0 { 0.0 } else { 100.0 * total.hits as f64 / total.requests as f64 };
    Report {
        requests: total.requests,
        hits: total.hits,
        hit_percent: (percent * 100.0).round() / 100.0,
        errors: total.errors.values().sum(),
        errors_by_code: total.errors.clone(),
        seconds: (seconds * 1_000.0).round() / 1_000.0,
        requests_per_s: (total.requests as f64 / seconds.max(1e-9)).round(),
        get: latencies(&total.get),
        put: latencies(&total.put),
    }
}

fn describe(report: &Report) -> String {
    let line = |kind: &str, l: &Latencies| {
        format!(
            "{kind} {:>9}   p50 {:>7} us   p99 {:>7} us   max {:>8} us",
            l.count, l.p50_us, l.p99_us, l.max_us
        )
    };
    format!(
        "requests  {}\nhits      {} ({:.2} %)\nerrors    {} {:?}\nrequests/s {:.0} ({:.1} s)\n{}\n{}",
        report.requests,
        report.hits,
        report.hit_percent,
        report.errors,
        report.errors_by_code,
        report.requests_per_s,
        report.seconds,
        line("get", &report.get),
        line("put", &report.put),
    )
}

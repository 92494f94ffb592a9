//! What was found, as JSON and in words.

use super::args::{BenchArgs, Work, name};
use super::measure::Tally;
use super::target::Server;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    work: String,
    urls: Vec<String>,
    to: String,
    connections: u32,
    /// Requests a second that were asked for; `None` for a closed loop.
    rate: Option<f64>,
    value_bytes: u32,
    keys: u64,
    distribution: String,
    consistency: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u32>,
    /// Commands that were sent at once; `None` for HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<u32>,
    seed: u64,
    /// From the first request that counts until the last one was answered.
    seconds: f64,
    /// Those that were answered as they should be; errors are apart.
    pub requests: u64,
    requests_per_s: f64,
    /// Keys read or written: a batch writes several.
    operations: u64,
    operations_per_s: f64,
    misses: u64,
    pub errors: u64,
    pub errors_by_code: BTreeMap<String, u64>,
    /// What was wrong with a request that got no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_error: Option<String>,
    latency_us: Latencies,
    /// Reads and writes apart, where there are both.
    #[serde(skip_serializing_if = "Option::is_none")]
    get: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    put: Option<Part>,
    /// Requests that were due, but not sent before time was up.
    behind: u64,
}

/// One kind of request.
#[derive(Debug, Serialize)]
struct Part {
    requests: u64,
    latency_us: Latencies,
}

/// Latencies in microseconds.
#[derive(Debug, Serialize)]
struct Latencies {
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
    mean: f64,
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
            mean: tenths(histogram.mean()),
        }
    }

    /// One line of a table whose head is [`HEAD`].
    fn line(&self, kind: &str) -> String {
        let [p50, p90, p99, p99_9, max] = [self.p50, self.p90, self.p99, self.p99_9, self.max].map(in_words);
        format!("{kind:<11} {p50:>9} {p90:>9} {p99:>9} {p99_9:>9} {max:>9}")
    }
}

const HEAD: &str = "latency           p50       p90       p99     p99.9       max";

/// A latency with three digits or more.
fn in_words(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{ms:.2} ms"),
        10_000..100_000 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl Report {
    /// `operations` are those of one request.
    pub fn new(
        args: &BenchArgs,
        servers: &[Server],
        operations: u64,
        total: &Tally,
        took: Duration,
    ) -> anyhow::Result<Self> {
        let seconds = took.as_secs_f64();
        let per_s = |count: u64| tenths(count as f64 / seconds.max(1e-9));
        let (requests, operations) = (total.requests(), total.requests() * operations);
        let mut both = total.reads.clone();
        both.add(&total.writes).map_err(|error| anyhow::anyhow!("{error}"))?;
        let part = |histogram: &Histogram<u64>| {
            let part = Part { requests: histogram.len(), latency_us: Latencies::of(histogram) };
            (args.work == Work::Mixed).then_some(part)
        };
        Ok(Self {
            work: name(args.work),
            urls: servers.iter().map(|server| server.url.clone()).collect(),
            to: name(args.to),
            connections: args.connections,
            rate: args.rate,
            value_bytes: args.value_bytes,
            keys: args.keys,
            distribution: args.distribution.to_string(),
            consistency: args.consistency().as_str(),
            write_percent: (args.work == Work::Mixed).then(|| args.write_percent()),
            batch: (args.work == Work::Batch).then(|| args.batch()),
            pipeline: (!args.redis.is_empty()).then(|| args.pipeline()),
            seed: args.seed,
            seconds: (seconds * 1_000.0).round() / 1_000.0,
            requests,
            requests_per_s: per_s(requests),
            operations,
            operations_per_s: per_s(operations),
            misses: total.misses,
            errors: total.errors.values().sum(),
            errors_by_code: total.errors.clone(),
            transport_error: total.broken.clone(),
            latency_us: Latencies::of(&both),
            get: part(&total.reads),
            put: part(&total.writes),
            behind: total.behind,
        })
    }

    pub fn in_words(&self) -> String {
        let connections = if self.connections == 1 { "connection" } else { "connections" };
        let mut out =
            format!("{} on {} {connections} to {}\n", self.work, self.connections, self.urls.join(", "));
        let _ = match self.rate {
            None => writeln!(out, "closed loop: latency counts from when a request was sent"),
            Some(rate) => {
                writeln!(out, "open loop, {rate} requests/s: latency counts from when a request was due")
            }
        };
        let _ = writeln!(
            out,
            "\nrequests/s  {:>9.0}   ({} in {} s)",
            self.requests_per_s, self.requests, self.seconds
        );
        if self.operations != self.requests {
            let operations = if self.pipeline.unwrap_or(1) > 1 { "commands/s" } else { "puts/s" };
            let _ = writeln!(out, "{operations:<11} {:>9.0}", self.operations_per_s);
        }
        let _ = writeln!(out, "{HEAD}\n{}", self.latency_us.line("  all"));
        for (kind, part) in [("  get", &self.get), ("  put", &self.put)] {
            if let Some(part) = part {
                let _ = writeln!(out, "{}", part.latency_us.line(kind));
            }
        }
        if self.misses > 0 {
            let _ = writeln!(out, "misses      {:>9}", self.misses);
        }
        let _ = writeln!(out, "errors      {:>9}", self.errors);
        for (code, count) in &self.errors_by_code {
            let _ = writeln!(out, "  {code} {count}");
        }
        if let Some(error) = &self.transport_error {
            let _ = writeln!(out, "  (transport: {error})");
        }
        if self.behind > 0 {
            let _ = writeln!(out, "behind      {:>9}   (due, but not sent before time was up)", self.behind);
        }
        let _ = write!(out, "seed        {:>9}", self.seed);
        out
    }
}

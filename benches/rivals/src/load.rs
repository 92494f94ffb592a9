//! Callers that each have one request under way, and how long the answers took: what every load generator here shares.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How much is asked, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Measured time, in seconds
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Time before it that is not counted, in seconds
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// How many different keys, all as likely
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 128)]
    pub value_bytes: usize,
    /// Of the choice of keys
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// One object on the last line
    #[arg(long)]
    pub json: bool,
}

impl Load {
    /// The keys' names, made before anything is measured.
    pub fn key_names(&self) -> impl Iterator<Item = String> {
        (0..self.keys).map(|number| format!("bench:{number:08}"))
    }

    /// What is stored: letters, always the same.
    pub fn value(&self) -> bytes::Bytes {
        (b'a'..=b'z').cycle().take(self.value_bytes).collect()
    }
}

/// One caller: asks, waits for the answer, asks again.
pub trait Caller: Send + 'static {
    /// One request about the key of this number. The error is a short name to be counted under.
    fn ask(&mut self, key: usize) -> impl Future<Output = Result<(), String>> + Send;
}

/// What all callers together were answered.
pub struct Measured {
    /// From the end of the warm-up to the last answer.
    pub took: Duration,
    /// In nanoseconds, of the requests that succeeded.
    pub latency: Histogram<u64>,
    pub errors: BTreeMap<String, u64>,
}

/// Microseconds of a histogram that counts nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 nanoseconds")]
fn micros(nanos: u64) -> f64 {
    (nanos as f64 / 100.0).round() / 10.0
}

fn histogram() -> Histogram<u64> {
    // Up to two minutes with three digits; the bounds are constants that fit.
    Histogram::new_with_bounds(1, 120_000_000_000, 3).expect("the bounds are right")
}

impl Measured {
    /// The figures, with what was done before them.
    pub fn report(&self, work: &str, load: &Load, more: Value) -> Value {
        let requests = self.latency.len();
        let seconds = self.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "requests are far below 2^52")]
        let per_second = (requests as f64 / seconds * 10.0).round() / 10.0;
        let mut report = json!({ "work": work });
        let head = report.as_object_mut().expect("it is one");
        if let Value::Object(more) = more {
            head.extend(more);
        }
        let rest = json!({
            "value_bytes": load.value_bytes,
            "keys": load.keys,
            "seed": load.seed,
            "seconds": (seconds * 1_000.0).round() / 1_000.0,
            "requests": requests,
            "requests_per_s": per_second,
            "errors": self.errors.values().sum::<u64>(),
            "errors_by_code": self.errors,
            "latency_us": {
                "p50": micros(self.latency.value_at_quantile(0.50)),
                "p90": micros(self.latency.value_at_quantile(0.90)),
                "p99": micros(self.latency.value_at_quantile(0.99)),
                "p99_9": micros(self.latency.value_at_quantile(0.999)),
                "max": micros(self.latency.max()),
                "mean": (self.latency.mean() / 100.0).round() / 10.0,
            },
        });
        if let Value::Object(rest) = rest {
            head.extend(rest);
        }
        report
    }
}

/// Lets all callers ask until time is up. Requests sent during the warm-up are not counted; those under way at the end
/// are waited for and counted, so that a slow answer is never left out.
pub async fn run<C: Caller>(load: &Load, callers: Vec<C>) -> Measured {
    let begin = Instant::now() + Duration::from_secs_f64(load.warm_up);
    let end = begin + Duration::from_secs_f64(load.seconds);
    let keys = usize::try_from(load.keys).unwrap_or(usize::MAX);
    let mut tasks = JoinSet::new();
    for (number, mut caller) in callers.into_iter().enumerate() {
        let mut random = fastrand::Rng::with_seed(load.seed.wrapping_add(number as u64));
        tasks.spawn(async move {
            let mut latency = histogram();
            let mut errors = BTreeMap::<String, u64>::new();
            let mut now = Instant::now();
            while now < end {
                let sent = now;
                let answer = caller.ask(random.usize(..keys)).await;
                now = Instant::now();
                if sent < begin {
                    continue;
                }
                match answer {
                    Ok(()) => {
                        let nanos = u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX);
                        latency.saturating_record(nanos);
                    }
                    Err(what) => {
                        *errors.entry(what).or_default() += 1;
                        // A system that refuses at once must not keep the machine busy with refusals.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        now = Instant::now();
                    }
                }
            }
            (now, latency, errors)
        });
    }
    let mut all = Measured { took: end - begin, latency: histogram(), errors: BTreeMap::new() };
    while let Some(done) = tasks.join_next().await {
        let (until, latency, errors) = done.expect("no caller panics");
        all.took = all.took.max(until - begin);
        all.latency.add(&latency).expect("the bounds are the same");
        for (what, count) in errors {
            *all.errors.entry(what).or_default() += count;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sleeper(u64);

    impl Caller for Sleeper {
        async fn ask(&mut self, _key: usize) -> Result<(), String> {
            self.0 += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
            if self.0.is_multiple_of(2) { Err("odd".into()) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn answers_and_failures_are_counted_apart() {
        let load = Load { seconds: 0.2, warm_up: 0.05, keys: 3, value_bytes: 4, seed: 1, json: true };
        let measured = run(&load, vec![Sleeper(0), Sleeper(0)]).await;
        let report = measured.report("put", &load, json!({ "clients": 2 }));
        assert!(report["requests"].as_u64() > Some(10), "{report}");
        assert!(report["errors"].as_u64() > Some(10), "{report}");
        assert_eq!(report["errors"], report["errors_by_code"]["odd"]);
        assert_eq!(report["clients"], 2);
        assert!(report["latency_us"]["p50"].as_f64() >= Some(2_000.0), "{report}");
        assert_eq!(load.value(), "abcd");
    }
}

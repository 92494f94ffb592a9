//! Counts and latencies of requests, by what was asked and how it was answered. No series is ever named by a key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// The route under which commands of the Redis protocol are counted. Their method is the command's name.
pub const REDIS_ROUTE: &str = "redis";

/// Upper bounds of the latency buckets, in microseconds.
pub const BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000];

/// Requests by bucket; the last number is of those that took longer than every bound.
pub type Latencies = [u64; BUCKETS_US.len() + 1];

/// What a request is, for the totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// It reads keys.
    Read,
    /// It writes keys.
    Write,
    /// It is not about keys.
    Other,
}

/// Every request so far. Once a series exists, counting takes no lock that another request could wait for.
#[derive(Debug, Default)]
pub struct RequestStats(RwLock<BTreeMap<String, RouteSeries>>);

/// The series of a route, by method and status.
type RouteSeries = BTreeMap<(&'static str, u16), Arc<Counters>>;

#[derive(Debug)]
struct Counters {
    kind: RequestKind,
    sum_us: AtomicU64,
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
}

impl Counters {
    fn new(kind: RequestKind) -> Self {
        Self { kind, sum_us: AtomicU64::new(0), buckets: Default::default() }
    }

    fn latencies(&self) -> Latencies {
        let mut latencies = Latencies::default();
        latencies.iter_mut().zip(&self.buckets).for_each(|(count, bucket)| *count = bucket.load(Relaxed));
        latencies
    }
}

/// Requests of one route, method and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub route: String,
    pub method: &'static str,
    pub status: u16,
    pub latencies: Latencies,
    /// How long they took together, in microseconds.
    pub sum_us: u64,
}

/// All requests so far, whatever their route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    /// Requests that were answered with a status of 500 or more.
    pub errors: u64,
    /// Reads of keys.
    pub reads: u64,
    /// Writes of keys.
    pub writes: u64,
    /// Latencies of reads and writes of keys.
    pub latencies: Latencies,
}

impl RequestStats {
    /// Counts a request. `kind` is asked for when the series is new. `status` is as in HTTP, whatever the protocol.
    pub fn note(
        &self,
        route: &str,
        method: &'static str,
        status: u16,
        took: Duration,
        kind: impl FnOnce() -> RequestKind,
    ) {
        let known = {
            let routes = self.0.read().expect("no panic while held");
            routes.get(route).and_then(|series| series.get(&(method, status))).cloned()
        };
        let counters = known.unwrap_or_else(|| {
            let mut routes = self.0.write().expect("no panic while held");
            let series = routes.entry(route.to_owned()).or_default().entry((method, status));
            series.or_insert_with(|| Arc::new(Counters::new(kind()))).clone()
        });
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counters.sum_us.fetch_add(took_us, Relaxed);
        let bucket = BUCKETS_US.iter().position(|&bound| took_us <= bound).unwrap_or(BUCKETS_US.len());
        counters.buckets[bucket].fetch_add(1, Relaxed);
    }

    /// Every series, in the order of route, method and status.
    pub fn series(&self) -> Vec<Series> {
        let routes = self.0.read().expect("no panic while held");
        let series = routes.iter().flat_map(|(route, series)| {
            series.iter().map(|((method, status), counters)| Series {
                route: route.clone(),
                method,
                status: *status,
                latencies: counters.latencies(),
                sum_us: counters.sum_us.load(Relaxed),
            })
        });
        series.collect()
    }

    /// Adds up all series.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for series in self.0.read().expect("no panic while held").values() {
            for ((_, status), counters) in series {
                let latencies = counters.latencies();
                let requests: u64 = latencies.iter().sum();
                totals.requests += requests;
                if *status >= 500 {
                    totals.errors += requests;
                }
                match counters.kind {
                    RequestKind::Read => totals.reads += requests,
                    RequestKind::Write => totals.writes += requests,
                    RequestKind::Other => continue,
                }
                totals.latencies.iter_mut().zip(latencies).for_each(|(sum, count)| *sum += count);
            }
        }
        totals
    }
}

/// The latency that `percent` of the requests did not exceed, in microseconds, as if the requests of a bucket were spread
/// evenly within it; `None` without requests. Beyond the last bound, that bound is all that is known.
pub fn percentile(latencies: &Latencies, percent: u64) -> Option<u64> {
    let all: u64 = latencies.iter().sum();
    let rank = (all * percent).div_ceil(100);
    let (mut below, mut lower_us) = (0, 0);
    for (&upper_us, &count) in BUCKETS_US.iter().zip(latencies) {
        if count > 0 && below + count >= rank {
            return Some(lower_us + (upper_us - lower_us) * (rank - below) / count);
        }
        below += count;
        lower_us = upper_us;
    }
    (all > 0).then_some(lower_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_their_bucket() {
        let mut latencies = Latencies::default();
        assert_eq!(percentile(&latencies, 50), None);
        // A hundred between 250 and 500 µs.
        latencies[2] = 100;
        assert_eq!((percentile(&latencies, 50), percentile(&latencies, 99)), (Some(375), Some(497)));
        // Two took longer than a second: of the slowest percent only the bound is known.
        latencies[2] = 98;
        latencies[BUCKETS_US.len()] = 2;
        assert_eq!(percentile(&latencies, 99), Some(1_000_000));
        let one = [&[1][..], &[0; BUCKETS_US.len()]].concat();
        assert_eq!(percentile(&one.try_into().unwrap(), 50), Some(100));
    }

    #[test]
    fn totals_are_sums_over_all_series() {
        let stats = RequestStats::default();
        let note = |route, method, status, micros, kind| {
            stats.note(route, method, status, Duration::from_micros(micros), || kind);
        };
        note("/k", "GET", 200, 100, RequestKind::Read);
        note("/k", "GET", 200, 101, RequestKind::Read);
        note("/k", "PUT", 503, 2_000_000, RequestKind::Write);
        note("/status", "GET", 500, 5, RequestKind::Other);
        let totals = stats.totals();
        assert_eq!((totals.requests, totals.errors, totals.reads, totals.writes), (4, 2, 2, 1));
        let mut latencies = Latencies::default();
        (latencies[0], latencies[1], latencies[BUCKETS_US.len()]) = (1, 1, 1);
        assert_eq!(totals.latencies, latencies, "only requests about keys");
        let series = stats.series();
        assert_eq!((series.len(), series[0].sum_us, series[0].latencies[0]), (3, 201, 1));
    }
}

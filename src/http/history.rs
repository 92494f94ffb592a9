//! `GET /v1/history`: what this node did in the last hour, a sample a second.

use super::door::{Door, Ready};
use super::extract::{Query, bad_query, whole};
use super::metrics::{BUCKETS_US, Requests, Totals};
use super::respond::{ApiError, no_store};
use crate::api::{Columns, History, NodeName};
use crate::node::{Node, Vitals};
use crate::raft::wall_ms;
use crate::storage::FlushStats;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const INTERVAL: Duration = Duration::from_secs(1);
/// Samples kept: an hour, in less than a megabyte.
const SAMPLES_KEPT: usize = 3_600;

/// The samples of the last hour, oldest first. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Samples(Arc<Mutex<VecDeque<Sample>>>);

impl Samples {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().expect("no panic while held")
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.lock();
        if samples.len() == SAMPLES_KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn since(&self, at_ms: u64) -> Vec<Sample> {
        self.lock().iter().filter(|sample| sample.at_ms > at_ms).copied().collect()
    }
}

/// What the counters stood at.
#[derive(Clone, Copy)]
struct Reading {
    requests: Totals,
    vitals: Vitals,
    flushes: FlushStats,
}

impl Reading {
    fn of(node: &Node, requests: &Requests) -> Self {
        Self { requests: requests.totals(), vitals: node.vitals(), flushes: node.flushes() }
    }
}

/// One second: what happened between two readings, and how it was at the second one.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    at_ms: u64,
    requests: u64,
    errors: u64,
    reads: u64,
    writes: u64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    hits: u64,
    misses: u64,
    puts: u64,
    evicted: u64,
    expired: u64,
    touches: u64,
    flushes: u64,
    flush_us: Option<u64>,
    entries: u64,
    bytes: u64,
    applied_index: u64,
    is_leader: u64,
}

impl Sample {
    fn between(before: &Reading, after: &Reading, at_ms: u64) -> Self {
        let (asked, asked_before) = (&after.requests, &before.requests);
        let (now, then) = (&after.vitals, &before.vitals);
        let mut latencies = asked.latencies;
        latencies.iter_mut().zip(asked_before.latencies).for_each(|(count, old)| *count -= old.min(*count));
        let flushes = after.flushes.count.saturating_sub(before.flushes.count);
        let flushing = after.flushes.total.saturating_sub(before.flushes.total).as_micros();
        Self {
            at_ms,
            requests: asked.requests.saturating_sub(asked_before.requests),
            errors: asked.errors.saturating_sub(asked_before.errors),
            reads: asked.reads.saturating_sub(asked_before.reads),
            writes: asked.writes.saturating_sub(asked_before.writes),
            p50_us: percentile(&latencies, 50),
            p99_us: percentile(&latencies, 99),
            hits: now.hits.saturating_sub(then.hits),
            misses: now.misses.saturating_sub(then.misses),
            // These may fall: a snapshot puts another state in place of this node's.
            puts: now.counts.puts.saturating_sub(then.counts.puts),
            evicted: now.counts.evicted().saturating_sub(then.counts.evicted()),
            expired: now.counts.expired.saturating_sub(then.counts.expired),
            touches: now.counts.touched.saturating_sub(then.counts.touched),
            flushes,
            flush_us: flushing.checked_div(u128::from(flushes)).and_then(|mean| u64::try_from(mean).ok()),
            entries: now.entries,
            bytes: now.bytes,
            applied_index: now.applied_index,
            is_leader: u64::from(now.is_leader),
        }
    }
}

/// The latency that so many percent did not exceed, taken as spread evenly within their bucket; `None` when there
/// were none. Of those beyond the last bound only that is known.
fn percentile(latencies: &[u64; BUCKETS_US.len() + 1], percent: u64) -> Option<u64> {
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

/// Takes a sample a second, from the moment that the node has its cluster.
pub(super) async fn keep_sampling(door: Door) {
    let mut seconds = interval(INTERVAL);
    // A second that came late is one sample, not two.
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        seconds.tick().await;
        let Some(node) = door.node() else { continue };
        let after = Reading::of(&node, &door.requests);
        if let Some(before) = before.replace(after) {
            door.samples.add(Sample::between(&before, &after, wall_ms()));
        }
    }
}

/// Query of `GET /v1/history`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    since_ms: Option<String>,
}

/// `GET /v1/history`.
pub(super) async fn history(
    State(door): State<Door>,
    Ready(node): Ready,
    Query(query): Query<HistoryQuery>,
) -> Result<(HeaderMap, Json<History>), ApiError> {
    let since_ms = match query.since_ms.as_deref().map(whole) {
        None => 0,
        Some(Some(since_ms)) => since_ms,
        Some(None) => return Err(bad_query("since_ms", "expected milliseconds since 1970".into())),
    };
    let node = NodeName { id: node.id(), name: node.name().to_owned() };
    let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
    let columns = columns(&door.samples.since(since_ms));
    Ok((no_store(), Json(History { node, interval_ms, now_ms: wall_ms(), columns })))
}

fn columns(samples: &[Sample]) -> Columns {
    fn column<T>(samples: &[Sample], of: impl Fn(&Sample) -> T) -> Vec<T> {
        samples.iter().map(of).collect()
    }
    Columns {
        at_ms: column(samples, |s| s.at_ms),
        requests: column(samples, |s| s.requests),
        errors: column(samples, |s| s.errors),
        reads: column(samples, |s| s.reads),
        writes: column(samples, |s| s.writes),
        p50_us: column(samples, |s| s.p50_us),
        p99_us: column(samples, |s| s.p99_us),
        hits: column(samples, |s| s.hits),
        misses: column(samples, |s| s.misses),
        puts: column(samples, |s| s.puts),
        evicted: column(samples, |s| s.evicted),
        expired: column(samples, |s| s.expired),
        touches: column(samples, |s| s.touches),
        flushes: column(samples, |s| s.flushes),
        flush_us: column(samples, |s| s.flush_us),
        entries: column(samples, |s| s.entries),
        bytes: column(samples, |s| s.bytes),
        applied_index: column(samples, |s| s.applied_index),
        is_leader: column(samples, |s| s.is_leader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_within_their_bucket() {
        let mut latencies = [0; BUCKETS_US.len() + 1];
        assert_eq!(percentile(&latencies, 50), None);
        // A hundred between 250 and 500 µs.
        latencies[2] = 100;
        assert_eq!((percentile(&latencies, 50), percentile(&latencies, 99)), (Some(375), Some(497)));
        // One among them took longer than a second: the slowest percent is known by its bound only.
        latencies[2] = 98;
        latencies[BUCKETS_US.len()] = 2;
        assert_eq!(percentile(&latencies, 99), Some(1_000_000));
        let one = [&[1][..], &[0; BUCKETS_US.len()]].concat();
        assert_eq!(percentile(&one.try_into().unwrap(), 50), Some(100));
    }

    #[test]
    fn an_hour_is_kept() {
        let samples = Samples::default();
        for at_ms in 1..=SAMPLES_KEPT as u64 + 5 {
            samples.add(Sample { at_ms, ..Sample::default() });
        }
        let kept = samples.since(0);
        assert_eq!((kept.len(), kept[0].at_ms), (SAMPLES_KEPT, 6));
        assert_eq!(samples.since(SAMPLES_KEPT as u64).len(), 5);
    }

    /// Counters that fall, as after a snapshot, count as nothing.
    #[test]
    fn a_sample_is_the_difference_of_two_readings() {
        let reading = |requests, puts, millis| Reading {
            requests: Totals { requests, reads: requests, ..Totals::default() },
            vitals: Vitals {
                counts: crate::cache::Stats { puts, ..Default::default() },
                ..Vitals::default()
            },
            flushes: FlushStats {
                count: requests,
                total: Duration::from_millis(millis),
                last: Duration::ZERO,
            },
        };
        let sample = Sample::between(&reading(10, 50, 100), &reading(14, 20, 108), 7);
        assert_eq!((sample.at_ms, sample.requests, sample.reads, sample.puts), (7, 4, 4, 0));
        assert_eq!((sample.flushes, sample.flush_us), (4, Some(2_000)));
        assert_eq!(Sample::between(&reading(1, 1, 1), &reading(1, 1, 1), 8).flush_us, None);
    }
}

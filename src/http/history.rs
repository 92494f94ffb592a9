//! `GET /v1/history`: what a node did in the last hour, a sample a second; and who takes the samples.

use super::door::Door;
use super::extract::{Query, bad_query, whole};
use super::metrics::{BUCKETS_US, Requests, Totals};
use super::respond::{ApiError, no_store};
use crate::api::{Columns, History};
use crate::node::{Admin, Node, Sample, SamplesOf, Vitals};
use crate::replica::wall_ms;
use crate::storage::FlushStats;
use axum::Json;
use axum::http::HeaderMap;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const INTERVAL: Duration = Duration::from_secs(1);

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

/// What happened between two readings, and how it was at the second one.
fn between(before: &Reading, after: &Reading, at_ms: u64) -> Sample {
    let (asked, asked_before) = (&after.requests, &before.requests);
    let (now, then) = (&after.vitals, &before.vitals);
    let mut latencies = asked.latencies;
    latencies.iter_mut().zip(asked_before.latencies).for_each(|(count, old)| *count -= old.min(*count));
    let flushes = after.flushes.count.saturating_sub(before.flushes.count);
    let flushing = after.flushes.total.saturating_sub(before.flushes.total).as_micros();
    Sample {
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

/// Takes a sample a second, from the moment that the node has its cluster, and has them kept.
pub(super) async fn keep_sampling(door: Door) {
    let node = door.opened().await;
    let kept = node.load_samples().await;
    let keeping = async {
        if let Some(kept) = kept {
            kept.keep().await;
        }
    };
    tokio::join!(sample(&node, &door), keeping);
}

async fn sample(node: &Node, door: &Door) {
    let mut seconds = interval(INTERVAL);
    // A second that came late is one sample, not two.
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        seconds.tick().await;
        let after = Reading::of(node, &door.requests);
        if let Some(before) = before.replace(after) {
            node.add_sample(between(&before, &after, wall_ms()));
        }
    }
}

/// Query of `GET /v1/history`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    since_ms: Option<String>,
    node: Option<String>,
}

/// `GET /v1/history`.
pub(super) async fn history(
    admin: Admin,
    Query(query): Query<HistoryQuery>,
) -> Result<(HeaderMap, Json<History>), ApiError> {
    let since_ms = number("since_ms", query.since_ms.as_deref(), "expected milliseconds since 1970")?;
    let id = number("node", query.node.as_deref(), "expected a member's number")?;
    let id = id.unwrap_or(admin.node_id());
    let SamplesOf { node, now_ms, samples } = admin.samples_of(id, since_ms.unwrap_or(0)).await?;
    let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
    Ok((no_store(), Json(History { node, interval_ms, now_ms, columns: columns(&samples) })))
}

fn number(field: &str, text: Option<&str>, expected: &str) -> Result<Option<u64>, ApiError> {
    text.map(|text| whole(text).ok_or_else(|| bad_query(field, expected.into()))).transpose()
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
        let sample = between(&reading(10, 50, 100), &reading(14, 20, 108), 7);
        assert_eq!((sample.at_ms, sample.requests, sample.reads, sample.puts), (7, 4, 4, 0));
        assert_eq!((sample.flushes, sample.flush_us), (4, Some(2_000)));
        assert_eq!(between(&reading(1, 1, 1), &reading(1, 1, 1), 8).flush_us, None);
    }
}

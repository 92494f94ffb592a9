//! Takes a sample a second of what the node does, for `/v1/samples` and the dashboard's charts.

use super::request_stats::{RequestStats, Totals, percentile};
use super::state::Front;
use crate::node::{Node, NodeCounters, Sample};
use crate::replica::wall_ms;
use crate::storage::FlushStats;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Time between two samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The counters at one moment.
#[derive(Clone, Copy)]
struct Reading {
    requests: Totals,
    counters: NodeCounters,
    flushes: FlushStats,
}

impl Reading {
    fn of(node: &Node, requests: &RequestStats) -> Self {
        Self { requests: requests.totals(), counters: node.counters(), flushes: node.flushes() }
    }
}

/// What happened between two readings, and the state at the second one.
fn between(before: &Reading, after: &Reading, at_ms: u64) -> Sample {
    let (asked, asked_before) = (&after.requests, &before.requests);
    let (now, then) = (&after.counters, &before.counters);
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
        // These can go down: a snapshot replaces this node's state with another one.
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

/// Takes a sample a second from the moment that the node has its cluster, and has them kept.
pub async fn keep_sampling(front: Arc<Front>) {
    let Some(node) = front.opened().await else { return };
    let kept = node.load_samples().await;
    let keeping = async {
        if let Some(kept) = kept {
            kept.run().await;
        }
    };
    tokio::join!(sample(&node, &front.requests), keeping);
}

async fn sample(node: &Node, requests: &RequestStats) {
    let mut seconds = interval(SAMPLE_INTERVAL);
    // A late second is one sample, not two.
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        seconds.tick().await;
        let after = Reading::of(node, requests);
        if let Some(before) = before.replace(after) {
            node.add_sample(between(&before, &after, wall_ms()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters that go down, as after a snapshot, count as nothing.
    #[test]
    fn a_sample_is_the_difference_of_two_readings() {
        let reading = |requests, puts, millis| Reading {
            requests: Totals { requests, reads: requests, ..Totals::default() },
            counters: NodeCounters {
                counts: crate::cache::Stats { puts, ..Default::default() },
                ..NodeCounters::default()
            },
            flushes: FlushStats {
                count: requests,
                total: Duration::from_millis(millis),
                ..FlushStats::default()
            },
        };
        let sample = between(&reading(10, 50, 100), &reading(14, 20, 108), 7);
        assert_eq!((sample.at_ms, sample.requests, sample.reads, sample.puts), (7, 4, 4, 0));
        assert_eq!((sample.flushes, sample.flush_us), (4, Some(2_000)));
        assert_eq!(between(&reading(1, 1, 1), &reading(1, 1, 1), 8).flush_us, None);
    }
}

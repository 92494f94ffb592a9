//! A node's report on its cache.

use super::shadow::ShadowReport;
use super::{inner::Inner, start::Node};
use crate::api::{CacheReport, HotKey, NextVictim, ReadCounts, ShadowHits, TouchReport};
use crate::cache::{Cache, Stats};
use std::sync::atomic::Ordering::Relaxed;

/// Most hot keys, and most next victims, in a report.
const KEYS_REPORTED: usize = 16;

/// Numbers that a node can read quickly, without asking another node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// Reads of single keys that this node answered since it started.
    pub hits: u64,
    pub misses: u64,
    /// What the applied log entries have done since the cluster was founded.
    pub counts: Stats,
    pub entries: u64,
    pub bytes: u64,
    pub applied_index: u64,
    pub is_leader: bool,
}

impl Node {
    /// This node's counters.
    pub fn counters(&self) -> NodeCounters {
        let counts = &self.inner.touches.counts;
        let (hits, misses) = (counts.hits.load(Relaxed), counts.misses.load(Relaxed));
        let is_leader = self.inner.consensus.is_leader();
        self.inner.consensus.replica().with_cache(|cache| NodeCounters {
            hits,
            misses,
            counts: cache.stats(),
            entries: cache.len(),
            bytes: cache.bytes(),
            applied_index: cache.index(),
            is_leader,
        })
    }
}

impl Inner {
    /// `shadow` is the leader's estimate.
    pub(super) fn cache_report(&self, cache: &Cache, shadow: Option<ShadowReport>) -> CacheReport {
        let counts = &self.touches.counts;
        let victims = cache.next_victims(KEYS_REPORTED).into_iter();
        CacheReport {
            policy: cache.config().policy,
            entries: cache.len(),
            bytes: cache.bytes(),
            entries_to_free: cache.entries_to_free(),
            entries_to_move: cache.entries_to_move(),
            feature_level: cache.feature_level(),
            counts: cache.stats(),
            reads: reads(counts.hits.load(Relaxed), counts.misses.load(Relaxed)),
            touches: TouchReport {
                sent: counts.sent.load(Relaxed),
                suppressed: counts.suppressed.load(Relaxed),
                dropped: counts.dropped.load(Relaxed),
                log_entries: counts.log_entries.load(Relaxed),
                log_bytes: counts.log_bytes.load(Relaxed),
            },
            hot_keys: self
                .touches
                .hot_keys
                .top(KEYS_REPORTED)
                .into_iter()
                .map(|(key, reads)| HotKey { key, reads })
                .collect(),
            next_victims: victims
                .map(|v| NextVictim { key: v.key.into(), frequency: v.frequency, bytes: v.bytes })
                .collect(),
            shadow: shadow.map(|report| ShadowHits {
                one_key_in: report.one_key_in,
                reads: report.reads,
                hit_percent: report.hit_percent.iter().map(|(p, hits)| (p.name().into(), *hits)).collect(),
            }),
        }
    }
}

fn reads(hits: u64, misses: u64) -> ReadCounts {
    let all = hits + misses;
    let percent = (all > 0).then(|| (10_000.0 * hits as f64 / all as f64).round() / 100.0);
    ReadCounts { hits, misses, hit_percent: percent }
}

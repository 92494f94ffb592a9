//! `GET /api/metrics`: the cache, the other nodes and this process in numbers. It needs no majority.

use super::answer::Context;
use super::memory::Memory;
use super::strategy;
use super::sync::Sync;
use crate::api::Consistency;
use crate::cache::CacheConfig;
use crate::node::Session;
use crate::replica::wall_ms;
use axum::Json;
use serde::Serialize;

/// The answer.
#[derive(Serialize)]
pub(super) struct Metrics {
    cache: CacheMetrics,
    sync: Sync,
    server: Server,
}

/// The cache in numbers. Rates and usage are in percent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheMetrics {
    strategy: String,
    size: u64,
    capacity: u64,
    usage: f64,
    /// What the entries count in bytes, and how much they may.
    bytes: u64,
    capacity_bytes: u64,
    /// Reads on this node since it started.
    hits: u64,
    misses: u64,
    total_requests: u64,
    hit_rate: f64,
    miss_rate: f64,
    /// What the whole cluster did since it began.
    sets: u64,
    deletes: u64,
    evictions: u64,
    expirations: u64,
}

/// This process.
#[derive(Serialize)]
struct Server {
    /// In seconds.
    uptime: f64,
    memory: Memory,
    /// This node's wall clock, in milliseconds.
    timestamp: u64,
}

/// Parts of a whole in percent, with two digits; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (10_000.0 * part as f64 / whole as f64).round() / 100.0 }
}

impl CacheMetrics {
    /// The policy's name.
    pub fn strategy(&self) -> &str {
        &self.strategy
    }

    /// As this node knows them.
    pub async fn of(session: &Session) -> Self {
        // A node that is out of service answers no read, so its settings are not known; its counts are.
        let config = session.clone().with_consistency(Consistency::Stale).config().await;
        let config: CacheConfig = config.map(|read| read.value).unwrap_or_default();
        let totals = session.totals();
        let (hits, misses, counts) = (totals.hits, totals.misses, totals.counts);
        Self {
            strategy: strategy::name(config.policy),
            size: totals.entries,
            capacity: config.capacity_entries,
            usage: percent(totals.entries, config.capacity_entries),
            bytes: totals.bytes,
            capacity_bytes: config.capacity_bytes,
            hits,
            misses,
            total_requests: hits + misses,
            hit_rate: percent(hits, hits + misses),
            miss_rate: percent(misses, hits + misses),
            sets: counts.puts + counts.incrs,
            deletes: counts.deletes + counts.cleared,
            evictions: counts.evicted(),
            expirations: counts.expired,
        }
    }
}

/// `GET`.
pub(super) async fn metrics(context: Context) -> Json<Metrics> {
    context.session.own_writes_applied().await;
    let (cache, sync) = tokio::join!(
        CacheMetrics::of(&context.session),
        Sync::of(&context.session, &context.state.old_nodes)
    );
    let memory = Memory::of_this_process(cache.bytes).await;
    let server = Server { uptime: sync.uptime_s(), memory, timestamp: wall_ms() };
    Json(Metrics { cache, sync, server })
}

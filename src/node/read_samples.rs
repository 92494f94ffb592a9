//! Samples of the reads, from which the leader estimates the hit ratio of other policies. Each node collects its own
//! and sends them to the leader. They do not go into the log.

use super::inner::Inner;
use super::shadow::{Shadow, ShadowReport, is_sampled};
use crate::cache::{Cache, TouchConfig};
use crate::raft::offload;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64;

/// How often the leader processes the samples that it has received.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Most sampled reads that a node sends per millisecond of an interval.
const SAMPLES_PER_MS_MAX: u64 = 10;
/// Sampled reads per second above which the leader samples fewer keys.
const SAMPLES_PER_S_MAX: u128 = 6_000;
/// Most sampled reads that wait to be sent or processed.
const QUEUED_SAMPLES_MAX: usize = 16_384;

/// Sampled reads of this node and, on the leader, those of all nodes.
#[derive(Default)]
pub(super) struct ReadSamples {
    /// Hashes of sampled keys that were read on this node.
    local: Mutex<Vec<u64>>,
    one_key_in: AtomicU64,
    /// On the leader: hashes of sampled keys from all nodes, and the newest estimate.
    received: Mutex<Vec<u64>>,
    report: Mutex<Option<ShadowReport>>,
}

impl ReadSamples {
    /// Records a read of a key, found or not.
    pub fn note(&self, key: &str, config: TouchConfig) {
        let hash = xxh3_64(key.as_bytes());
        if is_sampled(hash, self.one_key_in.load(Relaxed)) {
            let max = usize::try_from(config.interval_ms * SAMPLES_PER_MS_MAX).unwrap_or(usize::MAX);
            let mut local = lock(&self.local);
            if local.len() < max.min(QUEUED_SAMPLES_MAX) {
                local.push(hash);
            }
        }
    }

    /// Takes the samples that were not sent to the leader yet.
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.local))
    }

    /// Sets the sampling rate that the leader asks for.
    pub fn set_rate(&self, one_key_in: u64) {
        self.one_key_in.store(one_key_in, Relaxed);
    }

    /// On the leader: adds the samples of a node. Returns the sampling rate, as one key in so many.
    pub fn merge(&self, samples: &[u64]) -> u64 {
        let mut received = lock(&self.received);
        let room = QUEUED_SAMPLES_MAX.saturating_sub(received.len());
        received.extend(samples.iter().take(room));
        drop(received);
        self.one_key_in.load(Relaxed)
    }

    /// On the leader: feeds the new samples to the shadow caches. Blocks for a while.
    fn estimate(&self, shadow: Option<Shadow>, capacity: u64, since_last: Duration) -> Shadow {
        let samples = std::mem::take(&mut *lock(&self.received));
        let fits = |shadow: &Shadow| shadow.capacity().abs_diff(capacity) <= shadow.capacity() / 4;
        let mut shadow = shadow.filter(fits).unwrap_or_else(|| Shadow::new(capacity));
        // Until all nodes know the new rate, some sample more keys.
        let one_in = shadow.one_in();
        samples.iter().filter(|&&hash| is_sampled(hash, one_in)).for_each(|&hash| shadow.observe(hash));
        let per_s = samples.len() as u128 * 1_000 / since_last.as_millis().max(1);
        if per_s > SAMPLES_PER_S_MAX {
            shadow.halve_sample();
        }
        self.set_rate(shadow.one_in());
        *lock(&self.report) = Some(shadow.report());
        shadow
    }

    /// The estimate, if this node leads.
    pub fn report(&self) -> Option<ShadowReport> {
        lock(&self.report).clone()
    }

    fn clear(&self) {
        *lock(&self.report) = None;
        lock(&self.received).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while held")
}

/// About how many entries fit into the cache. If it is limited by its bytes, that is the present number.
fn capacity(cache: &Cache) -> u64 {
    let config = cache.config();
    let bytes_are_short = cache.bytes() > config.capacity_bytes / 10 * 9;
    let held = cache.len() + cache.entries_to_free();
    if bytes_are_short { held.clamp(1, config.capacity_entries) } else { config.capacity_entries }
}

/// On the leader, estimates the hit ratio of other policies.
pub(super) async fn estimate_loop(inner: Weak<Inner>) {
    let mut last = Instant::now();
    let mut shadow = None;
    loop {
        sleep(POLL_INTERVAL).await;
        let Some(node) = inner.upgrade() else { return };
        let since_last = last.elapsed();
        last = Instant::now();
        if node.consensus.is_leader() {
            let capacity = node.consensus.replica().with_cache(capacity);
            let before = shadow.take();
            let estimating = move || node.touches.samples.estimate(before, capacity, since_last);
            shadow = offload(estimating).await.ok();
        } else {
            shadow = None;
            node.touches.samples.clear();
        }
    }
}

//! Reads of a sample of the keys, from which the leader estimates what other policies would do. Each node collects its
//! own and tells the leader; the log does not hear of them.

use super::shadow::{Shadow, ShadowReport, is_sampled};
use super::start::Inner;
use crate::cache::{Cache, TouchConfig};
use crate::raft::offload;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64;

/// How often the leader looks at what was told.
const LOOK: Duration = Duration::from_millis(100);
/// Sampled reads that a node tells of for each millisecond of an interval, at most.
const SAMPLES_PER_MS_MAX: u64 = 10;
/// Sampled reads a second above which the leader looks at fewer keys.
const SAMPLES_PER_S_MAX: u128 = 6_000;
/// Sampled reads that wait for the leader to look at them, at most.
const TOLD_SAMPLES_MAX: usize = 16_384;

/// Sampled reads of this node, and as leader those of all.
#[derive(Default)]
pub(super) struct ReadSamples {
    /// Hashes of sampled keys that were read here.
    here: Mutex<Vec<u64>>,
    one_key_in: AtomicU64,
    /// As leader: the sampled keys that all nodes told of, and what they taught so far.
    told: Mutex<Vec<u64>>,
    report: Mutex<Option<ShadowReport>>,
}

impl ReadSamples {
    /// A key was looked for here.
    pub fn note(&self, key: &str, config: TouchConfig) {
        let hash = xxh3_64(key.as_bytes());
        if is_sampled(hash, self.one_key_in.load(Relaxed)) {
            let most = usize::try_from(config.interval_ms * SAMPLES_PER_MS_MAX).unwrap_or(usize::MAX);
            let mut here = lock(&self.here);
            if here.len() < most.min(TOLD_SAMPLES_MAX) {
                here.push(hash);
            }
        }
    }

    /// Takes out what the leader was not told of yet.
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.here))
    }

    /// From now on one key in so many is sampled, as the leader asks for.
    pub fn ask_for(&self, one_key_in: u64) {
        self.one_key_in.store(one_key_in, Relaxed);
    }

    /// As leader: takes in what a node tells of, and says which part of the keys is to be sampled.
    pub fn take_in(&self, samples: &[u64]) -> u64 {
        let mut told = lock(&self.told);
        let room = TOLD_SAMPLES_MAX.saturating_sub(told.len());
        told.extend(samples.iter().take(room));
        drop(told);
        self.one_key_in.load(Relaxed)
    }

    /// As leader: lets the small caches see what was told since the last time. Takes a while.
    fn estimate(&self, shadow: Option<Shadow>, room: u64, since_last: Duration) -> Shadow {
        let samples = std::mem::take(&mut *lock(&self.told));
        let fits = |shadow: &Shadow| shadow.capacity().abs_diff(room) <= shadow.capacity() / 4;
        let mut shadow = shadow.filter(fits).unwrap_or_else(|| Shadow::new(room));
        // Until all have heard of it, some tell of more than is asked for.
        let one_in = shadow.one_in();
        samples.iter().filter(|&&hash| is_sampled(hash, one_in)).for_each(|&hash| shadow.see(hash));
        let per_s = samples.len() as u128 * 1_000 / since_last.as_millis().max(1);
        if per_s > SAMPLES_PER_S_MAX {
            shadow.look_at_fewer();
        }
        self.ask_for(shadow.one_in());
        *lock(&self.report) = Some(shadow.report());
        shadow
    }

    /// What the other policies would have done, as far as this node has seen it as the leader.
    pub fn report(&self) -> Option<ShadowReport> {
        lock(&self.report).clone()
    }

    fn forget(&self) {
        *lock(&self.report) = None;
        lock(&self.told).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while held")
}

/// Entries that fit: where bytes are what runs out, about as many as there are.
fn room(cache: &Cache) -> u64 {
    let config = cache.config();
    let bytes_are_short = cache.bytes() > config.capacity_bytes / 10 * 9;
    if bytes_are_short { cache.len().clamp(1, config.capacity_entries) } else { config.capacity_entries }
}

/// As leader, estimates what other policies would do.
pub(super) async fn keep_estimating(inner: Weak<Inner>) {
    let mut last = Instant::now();
    let mut shadow = None;
    loop {
        sleep(LOOK).await;
        let Some(node) = inner.upgrade() else { return };
        let since_last = last.elapsed();
        last = Instant::now();
        if node.consensus.is_leader() {
            let room = node.consensus.replica().with_cache(room);
            let before = shadow.take();
            let estimating = move || node.touches.samples.estimate(before, room, since_last);
            shadow = offload(estimating).await.ok();
        } else {
            shadow = None;
            node.touches.samples.forget();
        }
    }
}

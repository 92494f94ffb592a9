//! Estimates the hit ratio of each policy with shadow caches: small caches that see only a sample of the keys read in
//! the cluster, and are smaller than the real cache by the same factor.
//!
//! Sampling keys, not reads, keeps the whole access pattern of a key: Waldspurger, Saemundsson, Ahmad, Park, "Cache
//! modeling and optimization using miniature simulations", 2017. A miss is assumed to be followed by a write of the
//! key. Sizes, TTLs and deletes are ignored.

use crate::cache::{Cache, CacheConfig, Command, Condition, Key, Op, Policy, Stamp, Touch, Ttl, Value};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Entries of a shadow cache, if the real cache has more.
const ENTRIES: u64 = 1_024;
/// Fewest entries of a shadow cache after the sample was made smaller.
const ENTRIES_MIN: u64 = 256;
/// About how many reads the counts cover: at twice as many, all counts are halved.
const WINDOW_READS: u64 = 1 << 16;

/// The estimate of the shadow caches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ShadowReport {
    /// The sampling rate: one key in so many.
    pub one_key_in: u64,
    /// The number of sampled reads behind the estimate.
    pub reads: u64,
    /// Policy and hit ratio in percent; none before the first reads.
    pub hit_percent: Vec<(Policy, f64)>,
}

/// The shadow caches.
pub(super) struct Shadow {
    capacity: u64,
    one_in: u64,
    caches: Vec<(Policy, Cache, u64)>,
    reads: u64,
}

/// Whether a key is sampled. All nodes use the same hash, and the leader sets the rate.
pub(super) fn is_sampled(hash: u64, one_in: u64) -> bool {
    hash.is_multiple_of(one_in.max(1))
}

impl Shadow {
    /// Shadows of a cache of `capacity` entries.
    pub fn new(capacity: u64) -> Self {
        let one_in = (capacity / ENTRIES).max(1).next_power_of_two();
        Self::sampling(capacity, one_in)
    }

    fn sampling(capacity: u64, one_in: u64) -> Self {
        let room = (capacity / one_in).max(1);
        let cache = |policy| {
            let config = CacheConfig { policy, capacity_entries: room, ..CacheConfig::default() };
            (policy, Cache::new(CacheConfig { capacity_bytes: u64::MAX, ..config }), 0)
        };
        let caches = Policy::ALL.into_iter().filter(|policy| policy.evicts()).map(cache).collect();
        Self { capacity, one_in, caches, reads: 0 }
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn one_in(&self) -> u64 {
        self.one_in
    }

    /// Halves the sample, unless the shadow caches would become too small. The counts start over.
    pub fn halve_sample(&mut self) {
        let one_in = self.one_in * 2;
        if self.capacity / one_in >= ENTRIES_MIN {
            *self = Self::sampling(self.capacity, one_in);
        }
    }

    /// Records a read of a sampled key.
    pub fn observe(&mut self, hash: u64) {
        let Ok(key) = Key::new(&format!("{hash:016x}")) else { return };
        self.reads += 1;
        for (_, cache, hits) in &mut self.caches {
            let seen = cache.read(key.as_str());
            *hits += u64::from(seen.is_some());
            let (touches, command) = match seen {
                Some(seen) => (vec![Touch { entry: seen.entry, count: 1 }], Command::Tick),
                None => (Vec::new(), put(key.clone())),
            };
            let index = cache.index() + 1;
            cache.apply(Stamp { index, at_ms: 0, idempotency_key: None, origin: None, touches }, command);
        }
        if self.reads >= 2 * WINDOW_READS {
            self.reads /= 2;
            self.caches.iter_mut().for_each(|(_, _, hits)| *hits /= 2);
        }
    }

    pub fn report(&self) -> ShadowReport {
        let percent = |hits: u64| (10_000.0 * hits as f64 / self.reads as f64).round() / 100.0;
        let caches = self.caches.iter().filter(|_| self.reads > 0);
        ShadowReport {
            one_key_in: self.one_in,
            reads: self.reads,
            hit_percent: caches.map(|(policy, _, hits)| (*policy, percent(*hits))).collect(),
        }
    }
}

fn put(key: Key) -> Command {
    let value = Value { bytes: Bytes::new(), content_type: None };
    Command::One(Op::Put { key, value, ttl: Ttl::Never, condition: Condition::Always, previous: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, the same every time.
    fn hash(number: u64) -> u64 {
        let mixed = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 3
    }

    #[test]
    fn a_sample_of_the_keys_tells_the_hit_ratio() {
        // Popular keys, and between them a scan that never comes back.
        let (mut whole, mut sample) = (Shadow::sampling(4_096, 1), Shadow::sampling(4_096, 8));
        for round in 0..120_000u64 {
            let popular = hash(hash(round) % (1 + hash(round + 7) % 6_000));
            for key in [popular, hash(round + 1_000_000)] {
                whole.observe(key);
                if is_sampled(key, 8) {
                    sample.observe(key);
                }
            }
        }
        let (whole, sample) = (whole.report(), sample.report());
        for ((policy, exact), (_, estimate)) in whole.hit_percent.iter().zip(&sample.hit_percent) {
            assert!((exact - estimate).abs() < 4.0, "{policy:?}: {exact} {estimate}");
        }
        // The scan hurts lru, which is what the estimate is for.
        assert!(sample.hit_percent[2].1 > sample.hit_percent[0].1 + 2.0, "{sample:?}");
    }

    #[test]
    fn counts_are_bounded_and_few_keys_are_enough() {
        let mut shadow = Shadow::new(10_000);
        assert_eq!(shadow.one_in(), 16);
        shadow.halve_sample();
        shadow.halve_sample();
        assert_eq!(shadow.one_in(), 32, "no fewer than {ENTRIES_MIN} entries");
        (0..2 * WINDOW_READS).for_each(|n| shadow.observe(n % 2));
        assert_eq!(shadow.report().reads, WINDOW_READS);
        assert!(shadow.report().hit_percent.iter().all(|(_, percent)| *percent > 99.0));
        assert_eq!(Shadow::new(5).one_in(), 1);
        assert_eq!(Shadow::new(5).report().hit_percent, []);
    }
}

//! The keys that are read most on this node, in bounded memory.
//!
//! Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005
//! (Space-Saving): a key without a counter takes over the smallest counter, with its count. So counts are never too
//! low, and too high by at most the smallest count.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of counters.
const KEYS: usize = 128;
/// One read in so many is counted, with this weight.
const ONE_IN: u64 = 8;
/// How often all counts are halved, so that keys that are no longer hot make room.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// Counts reads by key.
pub(super) struct HotKeys {
    reads: AtomicU64,
    counted: Mutex<Counted>,
}

struct Counted {
    counts: HashMap<String, u64>,
    halved: Instant,
}

impl Default for HotKeys {
    fn default() -> Self {
        let counted = Counted { counts: HashMap::with_capacity(KEYS), halved: Instant::now() };
        Self { reads: AtomicU64::new(0), counted: Mutex::new(counted) }
    }
}

impl HotKeys {
    /// Records a read of a key.
    pub fn note(&self, key: &str) {
        if self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_IN) {
            self.counted.lock().expect("no panic while held").add(key, ONE_IN);
        }
    }

    /// The `max` keys with most reads, most first, each with about how often it was read in the last minutes.
    pub fn top(&self, max: usize) -> Vec<(String, u64)> {
        let mut counted = self.counted.lock().expect("no panic while held");
        counted.age();
        let mut top: Vec<(String, u64)> = counted.counts.iter().map(|(key, n)| (key.clone(), *n)).collect();
        drop(counted);
        top.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        top.truncate(max);
        top
    }
}

impl Counted {
    /// Halves the counts once for each half-life that has passed.
    fn age(&mut self) {
        let lives = self.halved.elapsed().as_secs() / HALF_LIFE.as_secs();
        if lives > 0 {
            self.halved = Instant::now();
            self.counts.values_mut().for_each(|count| *count = count.checked_shr(lives as u32).unwrap_or(0));
            self.counts.retain(|_, count| *count > 0);
        }
    }

    fn add(&mut self, key: &str, weight: u64) {
        self.age();
        if let Some(count) = self.counts.get_mut(key) {
            *count += weight;
        } else if self.counts.len() < KEYS {
            self.counts.insert(key.to_owned(), weight);
        } else if let Some((least, count)) = self.counts.iter().min_by_key(|(_, count)| **count) {
            let (least, count) = (least.clone(), *count);
            self.counts.remove(&least);
            self.counts.insert(key.to_owned(), count + weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_keys_are_found_among_many_others() {
        let hot = HotKeys::default();
        for round in 0..40_000u64 {
            hot.note(&format!("cold{round}"));
            // Not in step with the sampling.
            for _ in 0..=round % 3 {
                hot.note("hot");
            }
            if round % 2 == 0 {
                hot.note("warm");
            }
        }
        let top = hot.top(2);
        assert_eq!((top[0].0.as_str(), top[1].0.as_str()), ("hot", "warm"), "{top:?}");
        assert!(hot.top(usize::MAX).len() <= KEYS);
        // Never too low but for the sampling, and too high by the least count at most.
        assert!((70_000..95_000).contains(&top[0].1), "{top:?}");
    }
}

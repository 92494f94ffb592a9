//! The state machine: one log entry at a time, with few and with many entries held.

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};
use lockstep::cache::{Cache, CacheConfig, Command, Condition, Key, Op, Policy, Stamp, Touch, Ttl, Value};
use std::hint::black_box;
use std::time::Duration;

const EVICTING: [Policy; 3] = [Policy::Lru, Policy::Lfu, Policy::S3Fifo];
const VALUE_BYTES: usize = 128;

pub fn all(criterion: &mut Criterion) {
    for (name, entries) in [("10k", 10_000), ("1M", 1_000_000)] {
        let mut group = criterion.benchmark_group(format!("apply at {name} entries"));
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(30);
        for policy in EVICTING {
            let mut held = Held::full(policy, entries);
            if policy == Policy::Lru {
                same_for_all_policies(&mut group, &mut held);
            }
            group.bench_function(format!("put of a new key evicts, {}", policy.name()), |bencher| {
                let Held { cache, numbers, .. } = &mut held;
                bencher.iter_batched(
                    || Command::One(put(numbers.new_key())),
                    |command| apply(cache, Vec::new(), command),
                    BatchSize::SmallInput,
                );
            });
            group.bench_function(format!("read and count 100, {}", policy.name()), |bencher| {
                // What was put last is there, whatever was evicted.
                let Held { cache, numbers, .. } = &mut held;
                let keys: Vec<String> = (0..100).map(|_| numbers.recent_key(entries / 20)).collect();
                bencher.iter(|| {
                    let seen = keys.iter().filter_map(|key| cache.read(black_box(key)));
                    let touches = seen.map(|seen| Touch { entry: seen.entry, count: 1 }).collect();
                    apply(cache, touches, Command::Tick);
                });
            });
        }
        group.finish();
    }
}

/// Only keys that are there: nothing is evicted.
fn same_for_all_policies(group: &mut BenchmarkGroup<'_, WallTime>, held: &mut Held) {
    let Held { cache, numbers, entries } = held;
    group.bench_function("get", |bencher| {
        bencher.iter_batched(
            || numbers.held_key(*entries),
            |key| black_box(cache.get(&key)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("put over a key", |bencher| {
        bencher.iter_batched(
            || Command::One(put(numbers.held_key(*entries))),
            |command| apply(cache, Vec::new(), command),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("batch of 100 puts over keys", |bencher| {
        bencher.iter_batched(
            || Command::Batch(numbers.held_keys(*entries, 100).map(put).collect()),
            |command| apply(cache, Vec::new(), command),
            BatchSize::SmallInput,
        );
    });
}

/// A cache that is full, and what to ask it for.
struct Held {
    cache: Cache,
    numbers: Numbers,
    entries: u64,
}

impl Held {
    fn full(policy: Policy, entries: u64) -> Self {
        let config = CacheConfig { policy, capacity_entries: entries, ..CacheConfig::default() };
        let mut held = Self { cache: Cache::new(config), numbers: Numbers { state: 1, put: 0 }, entries };
        for _ in 0..entries {
            let key = held.numbers.new_key();
            apply(&mut held.cache, Vec::new(), Command::One(put(key)));
        }
        assert_eq!(held.cache.len(), entries);
        held
    }
}

/// Chooses keys, in no order and the same ones every time.
struct Numbers {
    state: u64,
    /// New keys so far.
    put: u64,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    fn new_key(&mut self) -> String {
        self.put += 1;
        key_of(self.put - 1)
    }

    /// One of the last so many that were put.
    fn recent_key(&mut self, last: u64) -> String {
        key_of(self.put - 1 - self.next() % last)
    }

    /// One that has been there from the beginning, as long as nothing was evicted.
    fn held_key(&mut self, entries: u64) -> String {
        key_of(self.next() % entries)
    }

    fn held_keys(&mut self, entries: u64, count: u64) -> impl Iterator<Item = String> {
        let first = self.next();
        (0..count).map(move |number| key_of((first + number) % entries))
    }
}

/// Keys that were put one after another are not beside each other.
fn key_of(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn put(key: String) -> Op {
    let value = Value { bytes: Bytes::from(vec![b'v'; VALUE_BYTES]), content_type: None };
    let (key, condition) = (Key::new(&key).expect("a key"), Condition::Always);
    Op::Put { key, value, ttl: Ttl::Never, condition, previous: false }
}

fn apply(cache: &mut Cache, touches: Vec<Touch>, command: Command) {
    let at = Stamp { index: cache.index() + 1, at_ms: 1, idempotency_key: None, origin: None, touches };
    let applied = cache.apply(at, command);
    assert!(black_box(applied).outcome.is_ok());
}

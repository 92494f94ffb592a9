//! What a log holds in memory does not grow with how much went through it. A test of its own, because it counts all that its
//! process holds.

#[path = "support/held.rs"]
mod held;

use bytes::Bytes;
use held::{Counting, held};
use lockstep::cache::{
    Cache, CacheConfig, CacheMemory, Command, Condition, Key, Op, Policy, Stamp, Ttl, Value,
};
use lockstep::storage::{LogOptions, LogStore, StorageError};
use std::alloc::System;
use std::sync::mpsc;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);

fn wait(start: impl FnOnce(Box<dyn FnOnce(Result<(), StorageError>) + Send>)) {
    let (done, result) = mpsc::channel();
    start(Box::new(move |outcome| drop(done.send(outcome))));
    result.recv().expect("an answer").expect("no failure");
}

/// The values of a long log stay in its files: in memory are the newest entries, and where the others are. No test of its
/// own, because both count everything that the process holds.
fn a_long_log_is_not_held() {
    const MB: usize = 1_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let store = LogStore::open(folder.path(), LogOptions::default()).expect("a new log");
    let entry = Bytes::from(vec![7; 10_000]);
    for first in (0..15_000).step_by(50) {
        // A copy of its own for each, as they come from a network.
        let entries = (first..first + 50).map(|index| (index, Bytes::copy_from_slice(&entry))).collect();
        wait(|done| store.append(entries, done).expect("they follow"));
    }
    println!("{} MB for a log of 150 MB", held() / MB);
    assert!(held() < 64 * MB, "{} MB for a log of 150 MB", held() / MB);
}

/// Small entries, and a purge now and then, as a node with a steady load does it.
#[test]
fn what_went_through_the_log_is_freed() {
    const A_FLUSH: u64 = 100;
    const KEPT: u64 = 20_000;
    const MB: usize = 1_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let store = LogStore::open(folder.path(), LogOptions::default()).expect("a new log");
    let entry = Bytes::from(vec![7; 180]);
    let mut next = 1;
    let mut held_most_until = |end: u64| {
        let mut most = 0;
        while next < end {
            let entries = (next..next + A_FLUSH).map(|index| (index, entry.clone())).collect();
            wait(|done| store.append(entries, done).expect("they follow"));
            next += A_FLUSH;
            if next % 50_000 == 1 && next > KEPT {
                wait(|done| store.purge(next - KEPT, Bytes::from_static(b"purged"), done));
                most = most.max(held());
            }
        }
        most
    };
    let first = held_most_until(300_000);
    let most = held_most_until(1_500_000);
    println!("{} MB, then {} MB", first / MB, most / MB);
    assert!(most < 40 * MB, "{} MB, then {} MB", first / MB, most / MB);
    drop(store);
    a_long_log_is_not_held();
    Policy::ALL.into_iter().for_each(a_cache_knows_what_it_holds);
}

/// What a cache says of its memory is what it has asked for: entries, some with a TTL, evictions, removals, results.
fn a_cache_knows_what_it_holds(policy: Policy) {
    const ENTRIES: u64 = 200_000;
    let before = held();
    let mut cache = Cache::new(CacheConfig { policy, capacity_entries: ENTRIES, ..CacheConfig::default() });
    // Half as many more than there is room for, so that keys are evicted.
    for index in 1..=ENTRIES + ENTRIES / 2 {
        let full = policy == Policy::NoEviction && index > ENTRIES;
        let ttl = if index.is_multiple_of(4) { Ttl::Ms(3_600_000) } else { Ttl::Never };
        let key = Key::new(&format!("key:{index:011}")).expect("a key");
        let value = Value::new(vec![7; 100 + index as usize % 57].into(), None).expect("a value");
        let put = Op::Put { key, value, ttl, condition: Condition::Always, previous: false };
        let earlier = Key::new(&format!("key:{:011}", index / 2)).expect("a key");
        let delete = Op::Delete { key: earlier, condition: Condition::Always, previous: false };
        let op = if index.is_multiple_of(9) || full { delete } else { put };
        let idempotency_key = index.is_multiple_of(16).then(|| format!("request {index}"));
        let stamp = Stamp {
            index,
            at_ms: 1,
            idempotency_key: idempotency_key.map(Into::into),
            origin: None,
            touches: Vec::new(),
        };
        cache.apply(stamp, Command::One(op)).outcome.expect("it fits");
    }
    let right = |cache: &Cache, when: &str| {
        let memory = cache.memory();
        let CacheMemory { entries, indexes, remembered, snapshots } = memory;
        let (said, holds) = ((entries + indexes + remembered + snapshots) as usize, held() - before);
        println!("{policy:?}, {when}: {holds} bytes, said to be {memory:?}");
        assert!(said.abs_diff(holds) < holds / 12, "{policy:?}, {when}: {holds} bytes, and it says {said}");
        snapshots
    };
    assert_eq!(right(&cache, "filled"), 0);
    // A snapshot keeps what is replaced and removed meanwhile.
    let view = cache.snapshot_view();
    for index in ENTRIES + ENTRIES / 2 + 1..=2 * ENTRIES {
        let key = Key::new(&format!("key:{:011}", ENTRIES * 3 / 4 + (index - ENTRIES - ENTRIES / 2) / 2))
            .expect("a key");
        let value = Value::new(vec![8; 128].into(), None).expect("a value");
        let put = Op::Put {
            key: key.clone(),
            value,
            ttl: Ttl::Never,
            condition: Condition::Present,
            previous: false,
        };
        let delete = Op::Delete { key, condition: Condition::Always, previous: false };
        let op = if index.is_multiple_of(3) { delete } else { put };
        let stamp = Stamp { index, at_ms: 2, idempotency_key: None, origin: None, touches: Vec::new() };
        // Some keys are not there.
        let _ = cache.apply(stamp, Command::One(op));
    }
    assert!(right(&cache, "with a snapshot") > 1_000_000);
    drop(view);
    assert_eq!(right(&cache, "without it again"), 0);
}

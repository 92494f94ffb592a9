//! Measures the state machine by itself, at 1,000,000 entries of 16-byte keys and 64-byte values:
//!
//! `cargo bench --bench cache [-- clear|steady|fork|restore]`. Prints one line a figure: what an entry takes in memory beyond its key
//! and value, how long the longest log entry takes while the policy is switched, the capacity is made smaller, or keys
//! are cleared (with `clear`, only that), how long writes and counts of reads take (with `steady`, only that), what an
//! open fork adds to writes (with `fork`, only that), and how long reading a snapshot takes (with `restore`, only that). How
//! fast things are is printed, not judged.

#[path = "../src/allocator.rs"]
mod allocator;
#[path = "../tests/support/held.rs"]
mod held;

use allocator::Allocator;
use bytes::Bytes;
use held::{Counting, held};
use lockstep::cache::{
    Cache, CacheConfig, Command, Condition, ConfigChange, Key, Op, Policy, Stamp, Touch, Ttl, Value,
};
use std::time::{Duration, Instant};

const ENTRIES: u64 = 1_000_000;
const KEY_BYTES: u64 = 16;
const VALUE_BYTES: usize = 64;
const POLICIES: [Policy; 3] = [Policy::Lru, Policy::Lfu, Policy::S3Fifo];

#[global_allocator]
static ALLOCATOR: Counting<Allocator> = Counting(Allocator);

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    // What a process held before counts as resident still, so each policy gets a process of its own.
    let name = std::env::args().skip_while(|argument| argument != "memory").nth(1);
    if let Some(policy) = name.and_then(|name| Policy::from_name(&name)) {
        memory(policy);
        return;
    }
    for (name, part) in
        [("clear", clear as fn(Policy)), ("steady", steady), ("fork", fork), ("restore", restore)]
    {
        if std::env::args().any(|argument| argument == name) {
            POLICIES.into_iter().for_each(part);
            return;
        }
    }
    for policy in POLICIES {
        let program = std::env::current_exe().expect("this program");
        let ended = std::process::Command::new(program).args(["memory", policy.name()]).status();
        assert!(ended.is_ok_and(|status| status.success()));
    }
    for from in POLICIES {
        for to in POLICIES.into_iter().filter(|to| *to != from) {
            switch(from, to);
        }
    }
    POLICIES.into_iter().for_each(shrink);
    POLICIES.into_iter().for_each(clear);
    POLICIES.into_iter().for_each(steady);
    POLICIES.into_iter().for_each(fork);
    POLICIES.into_iter().for_each(restore);
}

/// A cache, and a generator of numbers that are the same every time.
struct Bench {
    cache: Cache,
    state: u64,
}

impl Bench {
    /// Full, and with a tenth as many keys evicted before, so that ghosts are there as well.
    fn full(policy: Policy) -> Self {
        let config = CacheConfig { policy, capacity_entries: ENTRIES, ..CacheConfig::default() };
        let mut bench = Self { cache: Cache::new(config), state: 1 };
        for number in 0..2 * ENTRIES {
            bench.put(number);
            if number % 4 == 0 {
                let touches = bench.some_reads(4);
                bench.apply(touches, Command::Tick);
            }
        }
        bench
    }

    fn number(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    fn some_reads(&mut self, count: usize) -> Vec<Touch> {
        let len = self.cache.len().max(1);
        let mut touch = || {
            let key = key_of(self.number() % (2 * len));
            let seen = self.cache.read(&key)?;
            Some(Touch { entry: seen.entry, count: 1 })
        };
        (0..count).filter_map(|_| touch()).collect()
    }

    /// Applies, and says how long that took.
    fn apply(&mut self, touches: Vec<Touch>, command: Command) -> Duration {
        let at =
            Stamp { index: self.cache.index() + 1, at_ms: 1, idempotency_key: None, origin: None, touches };
        let begun = Instant::now();
        let applied = self.cache.apply(at, command);
        let took = begun.elapsed();
        assert!(applied.outcome.is_ok());
        took
    }

    /// The keys come in no order.
    fn put(&mut self, number: u64) -> Duration {
        self.put_key(&key_of(number))
    }

    fn put_key(&mut self, key: &str) -> Duration {
        let key = Key::new(key).expect("a key");
        let value = Value { bytes: Bytes::from(vec![b'v'; VALUE_BYTES]), content_type: None };
        let condition = Condition::Always;
        self.apply(
            Vec::new(),
            Command::One(Op::Put { key, value, ttl: Ttl::Never, condition, previous: false }),
        )
    }
}

fn key_of(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn memory(policy: Policy) {
    let before = held();
    let resident_before = resident();
    let bench = Bench::full(policy);
    let content = (KEY_BYTES as usize + VALUE_BYTES) * ENTRIES as usize;
    let per_entry = |bytes: usize| (bytes as f64 - content as f64) / ENTRIES as f64;
    println!(
        "memory {}: {:.0} bytes an entry beyond key and value; {:.0} as the system counts resident memory",
        policy.name(),
        per_entry(held() - before),
        per_entry(resident().saturating_sub(resident_before)),
    );
    assert_eq!(bench.cache.len(), ENTRIES);
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096
}

/// Clears the keys with a prefix, about a sixteenth, and then all.
fn clear(policy: Policy) {
    let mut bench = Bench::full(policy);
    for (what, prefix) in [("a sixteenth", Some("7".to_owned())), ("everything", None)] {
        let before = bench.cache.len();
        let first = bench.apply(Vec::new(), Command::Clear { prefix, unless: None });
        let cleared = before - bench.cache.len();
        let (mut longest, mut all, mut entries) = (first, first, 1);
        while bench.cache.next_due_ms().is_some() {
            let took = bench.apply(Vec::new(), Command::Tick);
            (longest, all, entries) = (longest.max(took), all + took, entries + 1);
        }
        println!(
            "clear {what} ({cleared} keys), {}: the clear took {:.1} ms, the longest of {entries} log entries {:.1} ms, \
             all of them {:.0} ms",
            policy.name(),
            ms(first),
            ms(longest),
            ms(all)
        );
    }
}

fn switch(from: Policy, to: Policy) {
    let mut bench = Bench::full(from);
    let change = ConfigChange { policy: Some(to), ..ConfigChange::default() };
    let first = bench.apply(Vec::new(), Command::Configure(change));
    let (mut longest, mut all, mut entries) = (first, first, 1);
    while bench.cache.next_due_ms().is_some() {
        let took = bench.apply(Vec::new(), Command::Tick);
        (longest, all, entries) = (longest.max(took), all + took, entries + 1);
    }
    assert_eq!((bench.cache.len(), bench.cache.entries_to_move()), (ENTRIES, 0));
    println!(
        "switch {} to {}: the longest of {entries} log entries took {:.1} ms, all of them {:.0} ms",
        from.name(),
        to.name(),
        ms(longest),
        ms(all)
    );
}

fn shrink(policy: Policy) {
    let mut bench = Bench::full(policy);
    let change = ConfigChange { capacity_entries: Some(ENTRIES / 2), ..ConfigChange::default() };
    let first = bench.apply(Vec::new(), Command::Configure(change));
    let (mut longest, mut entries) = (first, 1);
    while bench.cache.next_due_ms().is_some() {
        longest = longest.max(bench.apply(Vec::new(), Command::Tick));
        entries += 1;
    }
    assert_eq!(bench.cache.len(), ENTRIES / 2);
    println!(
        "shrink {} to half: the longest of {entries} log entries took {:.1} ms",
        policy.name(),
        ms(longest)
    );
}

/// Writes of new keys and a few reads, a write of a new key, which evicts another, and a flush of 4,096 reads.
fn steady(policy: Policy) {
    let begun = Instant::now();
    let mut bench = Bench::full(policy);
    let filled = begun.elapsed();
    let mut puts: Vec<Duration> = (0..20_000).map(|n| bench.put(3 * ENTRIES + n)).collect();
    let flush = |bench: &mut Bench| {
        let touches = bench.some_reads(3 * 4_096);
        bench.apply(touches.into_iter().take(4_096).collect(), Command::Tick)
    };
    let mut flushes: Vec<Duration> = (0..20).map(|_| flush(&mut bench)).collect();
    puts.sort();
    flushes.sort();
    println!(
        "steady {}: {ENTRIES} entries and as many evictions, with the commands and a read for each, took {:.0} ms; a put \
         that evicts takes {:.1} us at the median, {:.1} at the 99th percentile; counting 4,096 reads takes {:.1} ms at \
         the median",
        policy.name(),
        ms(filled),
        ms(puts[puts.len() / 2]) * 1_000.0,
        ms(puts[puts.len() * 99 / 100]) * 1_000.0,
        ms(flushes[flushes.len() / 2]),
    );
}

/// What an open fork adds to writes: of keys that are there, which nothing is noted for, and of new ones, each of which evicts a
/// common entry. The two caches take turns.
fn fork(policy: Policy) {
    const PUTS: u64 = 20_000;
    const ROUNDS: u64 = 30;
    let (mut plain, mut forked) = (Bench::full(policy), Bench::full(policy));
    assert!(forked.cache.open_fork("the other side"));
    for (what, first) in [("that replaces a value", 3 * ENTRIES / 2), ("that evicts", 4 * ENTRIES)] {
        let mut slices: [Vec<Duration>; 2] = Default::default();
        for round in 0..ROUNDS {
            for (bench, slices) in [&mut plain, &mut forked].into_iter().zip(&mut slices) {
                let begin = first + round * PUTS % (ENTRIES / 2);
                slices.push((begin..begin + PUTS).map(|number| bench.put(number)).sum());
            }
        }
        let [plain, forked] = slices.map(|mut slices| {
            slices.sort();
            ms(slices[slices.len() / 2]) * 1e6 / PUTS as f64
        });
        println!(
            "fork {}: a put {what} takes {plain:.0} ns at the median without, {forked:.0} ns with an open fork: {:.0} more",
            policy.name(),
            forked - plain,
        );
    }
}

/// How long it takes to read a snapshot, whose keys came in their order, or in none.
fn restore(policy: Policy) {
    const ROUNDS: usize = 5;
    let config = CacheConfig { policy, capacity_entries: ENTRIES, ..CacheConfig::default() };
    let mut sorted = Bench { cache: Cache::new(config), state: 1 };
    for number in 0..ENTRIES {
        sorted.put_key(&format!("{number:016}"));
    }
    for (what, bench) in [("in their order", sorted), ("in no order", Bench::full(policy))] {
        let mut snapshot = Vec::new();
        bench.cache.snapshot_view().encode(&mut snapshot).expect("it is written");
        drop(bench);
        let restored = || {
            let begun = Instant::now();
            let cache = Cache::restore(snapshot.as_slice()).expect("it is read");
            let took = begun.elapsed();
            assert_eq!(cache.len(), ENTRIES);
            took
        };
        let mut rounds: Vec<Duration> = (0..ROUNDS).map(|_| restored()).collect();
        rounds.sort();
        println!(
            "restore {}: {ENTRIES} entries whose keys came {what} take {:.0} ms at the median",
            policy.name(),
            ms(rounds[ROUNDS / 2]),
        );
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

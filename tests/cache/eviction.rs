//! Who goes, when, and how many at once: switches of the policy, smaller capacities, reads that count.

use crate::bounds::{Log, key, put, put_bytes};
use crate::{check_accounts, restored, snapshot};
use lockstep::cache::{
    CacheConfig, Command, Condition, ConfigChange, EntryId, Event, Op, Policy, Touch, Ttl, limits,
};

fn switch_to(policy: Policy) -> Command {
    Command::Configure(ConfigChange { policy: Some(policy), ..ConfigChange::default() })
}

/// C3 bytes_used_is_exact_and_bounded: a smaller capacity is reached a bounded number of victims at a time.
#[test]
fn shrinking_evicts_in_steps() {
    let mut log = Log::new(CacheConfig::default());
    for number in 0..10_000 {
        log.commit(Command::One(put(&format!("k{number:05}"))));
    }
    let shrink = ConfigChange { capacity_entries: Some(100), ..ConfigChange::default() };
    let events = log.commit(Command::Configure(shrink)).events;
    assert_eq!(events.len(), 1 + limits::EVICT_PER_APPLY_MAX);
    let mut ticks = 0;
    while log.cache.next_due_ms().is_some() {
        assert_eq!(log.cache.next_due_ms(), Some(log.cache.now_ms()));
        log.cache = restored(&log.cache);
        log.commit(Command::Tick);
        ticks += 1;
    }
    assert_eq!((log.cache.len(), ticks), (100, 9));
    assert!(log.cache.get("k09900").is_some() && log.cache.get("k09899").is_none());
    check_accounts(&log.cache);
}

/// A switch of the policy keeps every entry, and moves them a bounded number at a time, whatever happens
/// meanwhile; a replica restored in its midst goes on the same way (C1, C7).
#[test]
fn a_switch_moves_the_entries_in_steps() {
    let count = 3 * limits::MOVE_PER_APPLY_MAX as u64 + 10;
    let mut log = Log::new(CacheConfig { capacity_entries: count, ..CacheConfig::default() });
    for number in 0..count {
        log.commit(Command::One(put(&format!("k{number:05}"))));
    }
    log.commit(switch_to(Policy::Lfu));
    assert_eq!((log.cache.entries_to_move(), log.cache.len()), (count, count));
    let mut ticks = 0;
    while log.cache.next_due_ms().is_some() {
        assert_eq!(log.cache.next_due_ms(), Some(log.cache.now_ms()));
        log.cache = restored(&log.cache);
        let before = log.cache.entries_to_move();
        log.commit(Command::Tick);
        ticks += 1;
        let moved = before - log.cache.entries_to_move();
        assert!(moved <= limits::MOVE_PER_APPLY_MAX as u64);
        check_accounts(&log.cache);
    }
    assert_eq!((log.cache.entries_to_move(), log.cache.len(), ticks), (0, count, 4));
}

/// Switched again and again before a switch is done, with reads, writes and evictions all the while: the
/// replica that is restored at every step stays equal, those left behind go first, and in the end all are moved.
#[test]
fn switches_in_the_midst_of_switches() {
    let count = 2 * limits::MOVE_PER_APPLY_MAX as u64;
    let mut log = Log::new(CacheConfig { capacity_entries: count, ..CacheConfig::default() });
    for number in 0..count {
        log.commit(Command::One(put(&format!("k{number:05}"))));
    }
    let mut other = Log { cache: restored(&log.cache), at_ms: log.at_ms };
    let policies =
        [Policy::S3Fifo, Policy::Lfu, Policy::Lru, Policy::S3Fifo, Policy::NoEviction, Policy::Lfu];
    for (round, policy) in policies.into_iter().enumerate() {
        let reads = (0..200u32).map(|n| Touch {
            entry: EntryId { slot: (n * 37 + round as u32) % count as u32, generation: 0 },
            count: 1 + (n % 3) as u16,
        });
        let reads: Vec<Touch> = reads.collect();
        let room = ConfigChange { capacity_entries: Some(count - round as u64), ..ConfigChange::default() };
        for log in [&mut log, &mut other] {
            log.commit(switch_to(policy));
            let written = log.commit_reading(reads.clone(), Command::One(put(&format!("new{round}"))));
            assert!(written.outcome.is_ok() || policy == Policy::NoEviction);
            log.commit(Command::Configure(room.clone()));
        }
        assert_eq!(log.cache.digest(), other.cache.digest());
        other.cache = restored(&other.cache);
        check_accounts(&log.cache);
    }
    while log.cache.next_due_ms().is_some() {
        log.commit(Command::Tick);
        other.commit(Command::Tick);
    }
    assert_eq!(log.cache.entries_to_move(), 0);
    assert_eq!(snapshot(&log.cache), snapshot(&other.cache));
    assert!(log.cache.get("new5").is_some(), "what was just written stays");
    assert_eq!(log.cache.len(), count - 5);
}

/// C10 reads_change_only_order_and_sliding_deadlines, whatever slots and generations they name.
#[test]
fn reads_change_nothing_that_clients_see() {
    for policy in Policy::ALL {
        let mut log = Log::new(CacheConfig { policy, ..CacheConfig::default() });
        for name in ["a", "b", "c"] {
            log.commit(Command::One(put(name)));
        }
        log.commit(Command::One(put_bytes("sliding", Vec::new(), Ttl::Sliding(500))));
        let condition = Condition::Always;
        log.commit(Command::One(Op::Delete { key: key("b"), condition, previous: false }));
        let seen = |log: &Log| ["a", "b", "c"].map(|name| log.cache.get(name));
        let before = seen(&log);
        log.at_ms += 100;
        let touch = |slot, generation| Touch { entry: EntryId { slot, generation }, count: u16::MAX };
        let slots = [0, 1, 2, 3, 4, u32::MAX].into_iter();
        let touches: Vec<Touch> =
            slots.flat_map(|slot| [0, 1, 2, u32::MAX].map(|generation| touch(slot, generation))).collect();
        let told = touches.len() as u64;
        let applied = log.commit_reading(touches, Command::Tick);
        assert!(applied.events.is_empty());
        assert_eq!(seen(&log), before);
        assert_eq!((log.cache.stats().touched, log.cache.stats().touched_late), (told, told - 3));
        assert_eq!(log.cache.get("sliding").and_then(|found| found.expires_at_ms), Some(log.at_ms + 500));
        check_accounts(&log.cache);
    }
}

/// C12 a_write_is_not_its_own_victim, however often the others were used; a batch that is larger than the
/// cache evicts its own first ones.
#[test]
fn what_is_written_stays_for_now() {
    for policy in [Policy::Lru, Policy::Lfu, Policy::S3Fifo] {
        let mut log = Log::new(CacheConfig { policy, capacity_entries: 10, ..CacheConfig::default() });
        for number in 0..10 {
            log.commit(Command::One(put(&format!("old{number}"))));
        }
        for _ in 0..5 {
            let read = (0..10).map(|slot| Touch { entry: EntryId { slot, generation: 0 }, count: 9 });
            log.commit_reading(read.collect(), Command::Tick);
        }
        for number in 0..30 {
            let name = format!("new{number}");
            log.commit(Command::One(put(&name)));
            assert!(log.cache.get(&name).is_some(), "{policy:?} {name}");
            assert_eq!(log.cache.len(), 10);
        }
        let capacity_bytes = Some(limits::ENTRY_OVERHEAD_BYTES * 10);
        log.commit(Command::Configure(ConfigChange { capacity_bytes, ..ConfigChange::default() }));
        // An old entry that grows makes room for itself among the others too.
        log.commit(Command::One(put_bytes("new29", vec![1; 900], Ttl::Never)));
        assert!(log.cache.get("new29").is_some(), "{policy:?}");
        let batch = (0..20).map(|number| put(&format!("batch{number:02}"))).collect();
        let events = log.commit(Command::Batch(batch)).events;
        let evicted = events.iter().filter(|event| matches!(event, Event::Removed { .. })).count();
        assert!(evicted > 10 && log.cache.get("batch19").is_some(), "{policy:?}");
        check_accounts(&log.cache);
    }
}

/// C3: what a write brings finds room at once, however many small entries have to go for it.
#[test]
fn large_values_do_not_outrun_eviction() {
    let capacity_bytes = 2_000_000;
    let mut log = Log::new(CacheConfig { capacity_bytes, ..CacheConfig::default() });
    for number in 0..14_000 {
        log.commit(Command::One(put(&format!("k{number:05}"))));
    }
    let large = log.commit(Command::One(put_bytes("large", vec![7; 1_000_000], Ttl::Never)));
    assert!(large.events.len() > limits::EVICT_PER_APPLY_MAX);
    assert!(log.cache.bytes() <= capacity_bytes);
    check_accounts(&log.cache);
}

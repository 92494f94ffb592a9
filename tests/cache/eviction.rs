//! Who goes, when, and how many at once: switches of the policy, smaller capacities, reads that count.

use crate::bounds::{Log, key, put, put_bytes};
use crate::model::Model;
use crate::{check_accounts, restored, snapshot};
use lockstep::cache::{
    Cache, CacheConfig, Cause, Command, Condition, ConfigChange, EntryId, Event, Op, Policy, RestoreError,
    Stamp, Touch, Ttl, limits,
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
    let count = 3 * limits::MOVES_PER_APPLY_MAX as u64 + 10;
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
        assert!(moved <= limits::MOVES_PER_APPLY_MAX as u64);
        check_accounts(&log.cache);
    }
    assert_eq!((log.cache.entries_to_move(), log.cache.len(), ticks), (0, count, 4));
}

/// Switched again and again before a switch is done, with reads, writes and evictions all the while: the
/// replica that is restored at every step stays equal, those left behind go first, and in the end all are moved.
#[test]
fn switches_in_the_midst_of_switches() {
    let count = 2 * limits::MOVES_PER_APPLY_MAX as u64;
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
        assert_eq!(
            log.cache.get("sliding").and_then(|found| found.info.expires_at_ms),
            Some(log.at_ms + 500)
        );
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

/// The next victims that are told are those that go, in that order, also where second chances run out.
#[test]
fn the_next_victims_go_next() {
    for policy in [Policy::Lru, Policy::Lfu, Policy::S3Fifo] {
        for reads in [0, 40, 400, 4_000u32] {
            let mut log = Log::new(CacheConfig { policy, capacity_entries: 100, ..CacheConfig::default() });
            for number in 0..160 {
                log.commit(Command::One(put(&format!("k{number:03}"))));
            }
            let mut state = 11u32;
            for _ in 0..reads {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let name = format!("k{:03}", (state >> 16) % 160);
                let touch = log.cache.read(&name).map(|seen| Touch { entry: seen.entry, count: 1 });
                log.commit_reading(touch.into_iter().collect(), Command::Tick);
            }
            let told: Vec<_> = log.cache.next_victims(40).into_iter().map(|victim| victim.key).collect();
            let shrink = ConfigChange { capacity_entries: Some(60), ..ConfigChange::default() };
            let events = log.commit(Command::Configure(shrink)).events;
            let gone = events.into_iter().filter_map(|event| match event {
                Event::Removed { key, .. } => Some(key),
                _ => None,
            });
            let gone: Vec<_> = gone.collect();
            // With the capacity the parts of the queues change too, so only the very next is sure there.
            let sure = if policy == Policy::S3Fifo { 1 } else { 40 };
            assert_eq!(told[..sure], gone[..sure], "{policy:?} after {reads} reads");
            assert_eq!((told.len(), gone.len()), (40, 40));
        }
    }
}

/// A read of what was used last tells nobody anything new.
#[test]
fn a_read_of_the_newest_entry_does_not_matter() {
    let mut log = Log::new(CacheConfig::default());
    for name in ["a", "b", "c"] {
        log.commit(Command::One(put(name)));
    }
    let matters = |log: &Log, name: &str| log.cache.read(name).expect("it is there").matters;
    assert!(!matters(&log, "c") && matters(&log, "a"));
}

/// C7: a snapshot in which two entries share a place in a queue is refused, though its digest is right. (One of
/// them could never be evicted.)
#[test]
fn a_shared_place_in_a_queue_is_refused() {
    let mut log = Log::new(CacheConfig { policy: Policy::S3Fifo, ..CacheConfig::default() });
    for name in ["aa", "bb", "cc"] {
        log.commit(Command::One(put(name)));
    }
    let intact = snapshot(&log.cache);
    // An entry ends with its rank: the stamp it was queued with (1, 2, 3), shifted by three bits.
    let rank = |stamp: u64| (stamp << 3).to_le_bytes();
    let place = |bytes: &[u8], key: &[u8], stamp: u64| {
        let from = bytes.windows(2).position(|two| two == key).expect("the key");
        from + bytes[from..].windows(8).position(|eight| eight == rank(stamp)).expect("its rank")
    };
    for (stamp, why) in [(1, "no place"), (2, "no place"), (3, "share a recency"), (9, "in the future")] {
        let mut crafted = intact.clone();
        let at = place(&intact, b"bb", 2);
        let moved = if stamp == 3 { place(&intact, b"cc", 3) } else { at };
        crafted[moved..moved + 8].copy_from_slice(&rank(stamp));
        if stamp == 3 {
            // bb takes the stamp of cc's recency, and cc another one.
            crafted[at..at + 8].copy_from_slice(&rank(3));
            crafted[moved..moved + 8].copy_from_slice(&rank(2));
        }
        if let Err(RestoreError::Digest { computed, .. }) = Cache::restore(crafted.as_slice()) {
            crafted[12..28].copy_from_slice(&computed.0.to_le_bytes());
        }
        let refusal = Cache::restore(crafted.as_slice()).map(|_| ()).map_err(|error| error.to_string());
        if stamp == 2 {
            assert_eq!(refusal, Ok(()), "nothing was changed");
        } else {
            assert!(
                refusal.as_ref().is_err_and(|error| error.contains(why) || error.contains("share")),
                "{refusal:?}"
            );
        }
    }
}

/// C9: where everything was used, a victim is found after a bounded number of second chances; the naive model says the
/// same.
#[test]
fn a_victim_costs_a_bounded_number_of_second_chances() {
    let entries = 3 * 32;
    let config = CacheConfig { policy: Policy::S3Fifo, capacity_entries: entries, ..CacheConfig::default() };
    let (mut cache, mut model) = (Cache::new(config.clone()), Model::new(config));
    let mut index = 0;
    let mut commit = |command: Command| {
        index += 1;
        let stamp = Stamp { index, at_ms: index, idempotency_key: None, origin: None, touches: Vec::new() };
        let by_model = model.apply(stamp.clone(), command.clone());
        let applied = cache.apply(stamp, command);
        assert_eq!(applied, by_model, "at {index}");
        applied.events
    };
    for _ in 0..4 {
        for number in 0..entries {
            commit(Command::One(put(&format!("k{number:05}"))));
        }
    }
    let events = commit(Command::One(put("new")));
    let victim = Event::Removed { key: key("k00032"), cause: Cause::Evict };
    assert!(events.contains(&victim), "{events:?}");
    for number in 0..2 * entries {
        commit(Command::One(put(&format!("n{number:05}"))));
    }
}

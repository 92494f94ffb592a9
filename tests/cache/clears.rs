//! Clears of more entries than one log entry may free. `properties.rs` compares the same with the naive model.

use crate::bounds::{Log, key, put, put_bytes};
use crate::{check_accounts, restored};
use lockstep::cache::{
    CacheConfig, Cause, Command, CommandError, ConfigChange, Event, Op, Outcome, Policy, Touch, Ttl, limits,
};

const STEP: u64 = limits::FREE_PER_APPLY_MAX as u64;

/// A cache with this many keys `k00000`, `k00001`, … and one key `other`.
fn filled(count: u64, config: CacheConfig) -> Log {
    let mut log = Log::new(config);
    log.commit(Command::One(put("other")));
    for number in 0..count {
        log.commit(Command::One(put(&name(number))));
    }
    log
}

fn name(number: u64) -> String {
    format!("k{number:05}")
}

fn clear(log: &mut Log, prefix: &str) -> u64 {
    let applied = log.commit(Command::Clear { prefix: Some(prefix.to_owned()), unless: None });
    let Ok(Outcome::Cleared { removed, .. }) = applied.outcome else { panic!("{applied:?}") };
    let told = applied.events.iter().filter(|event| matches!(event, Event::Cleared { .. })).count();
    assert_eq!((told, applied.events.len()), (usize::from(removed > 0), usize::from(removed > 0)));
    removed
}

/// C4, C8: cleared entries are gone for every reader with the clear, and nobody is told of them again.
#[test]
fn cleared_entries_are_gone_at_once_and_freed_in_steps() {
    let count = 3 * STEP + 10;
    let mut log = filled(count, CacheConfig::default());
    let read = log.cache.read(&name(5)).expect("it is there");
    let bytes = log.cache.bytes();

    assert_eq!(clear(&mut log, "k"), count);
    assert_eq!((log.cache.len(), log.cache.entries_to_free()), (1, count));
    assert_eq!((log.cache.get(&name(5)), log.cache.read(&name(5))), (None, None));
    assert_eq!(log.cache.keys("", None, usize::MAX).len(), 1);
    assert_eq!(log.cache.tombstone(&name(5)).map(|t| t.revision), Some(log.cache.index()));
    assert_eq!(log.cache.bytes(), bytes, "their memory follows");
    assert_eq!(log.cache.next_due_ms(), Some(log.cache.now_ms()), "a leader has something to do");

    let stats = log.cache.stats();
    let late = log.commit_reading(vec![Touch { entry: read.entry, count: 1 }], Command::Tick);
    assert_eq!((late.events, log.cache.entries_to_free()), (vec![], count - STEP));
    assert_eq!(log.cache.stats().touched_late, stats.touched_late + 1, "a read of a cleared entry is late");
    log.cache = restored(&log.cache);
    check_accounts(&log.cache);
    for left in [count - 2 * STEP, 10, 0] {
        assert_eq!(log.commit(Command::Tick).events, vec![]);
        assert_eq!(log.cache.entries_to_free(), left);
    }
    assert_eq!((log.cache.len(), log.cache.next_due_ms()), (1, None));
    assert_eq!(log.cache.stats().cleared, count);
    assert_eq!(log.cache.stats().expired + log.cache.stats().evicted(), 0);
    check_accounts(&log.cache);
}

/// A key that is written again is a new one, which the clear does not touch, also across a snapshot.
#[test]
fn keys_written_after_a_clear_stay() {
    let count = 3 * STEP;
    let mut log = filled(count, CacheConfig::default());
    clear(&mut log, "k");
    let again = log.commit(Command::One(put(&name(count - 1))));
    assert!(matches!(again.outcome, Ok(Outcome::Put { created: true, .. })));
    let created = log.cache.get(&name(count - 1)).expect("it is there");
    assert_eq!((created.info.version, created.info.created_revision), (1, log.cache.index()));
    log.cache = restored(&log.cache);
    // A second clear, of what was written since and of nothing that the first one removed.
    log.cache.set_free_per_apply_max(0);
    for number in 0..STEP {
        log.commit(Command::One(put(&name(number))));
    }
    assert_eq!(clear(&mut log, "k000"), 100);
    assert!(log.cache.get(&name(99)).is_none() && log.cache.get(&name(100)).is_some());
    log.cache = restored(&log.cache);
    check_accounts(&log.cache);
    while log.cache.entries_to_free() > 0 {
        assert_eq!(log.commit(Command::Tick).events, vec![]);
    }
    assert_eq!(log.cache.len(), 2 + STEP - 100);
    assert_eq!(log.cache.get(&name(count - 1)), Some(created));
    check_accounts(&log.cache);
}

/// C4: whether a cleared entry expires or is the policy's next victim, it goes without a word.
#[test]
fn cleared_entries_expire_and_make_room_in_silence() {
    for policy in Policy::ALL {
        let count = 2 * STEP;
        let mut log = Log::new(CacheConfig { policy, capacity_entries: count, ..CacheConfig::default() });
        for number in 0..count {
            let ttl = if number % 2 == 0 { Ttl::Ms(500) } else { Ttl::Never };
            log.commit(Command::One(put_bytes(&name(number), b"1".to_vec(), ttl)));
        }
        log.cache.set_free_per_apply_max(0);
        assert_eq!(clear(&mut log, ""), count, "{policy:?}");
        let put = log.commit(Command::One(put("new")));
        assert!(matches!(&put.events[..], [Event::Put { created: true, .. }]), "{policy:?}: {put:?}");
        assert_eq!((log.cache.len(), log.cache.entries_to_free()), (1, count - 1), "{policy:?}");
        assert!(log.cache.next_victims(5).len() <= 1, "{policy:?}");
        log.at_ms += 1_000;
        assert_eq!(log.commit(Command::Tick).events, vec![], "{policy:?}");
        assert_eq!(log.cache.entries_to_free(), count / 2, "{policy:?}");
        assert_eq!((log.cache.stats().expired, log.cache.stats().evicted()), (0, 0), "{policy:?}");
        check_accounts(&log.cache);
    }
}

/// Where nothing is evicted, what was cleared makes room for a write; what it cannot make room for is refused.
#[test]
fn a_write_does_not_wait_for_cleared_entries() {
    let (policy, capacity_entries) = (Policy::NoEviction, 2 * STEP + 1);
    let mut log = filled(2 * STEP, CacheConfig { policy, capacity_entries, ..CacheConfig::default() });
    let full = log.commit(Command::One(put("one more")));
    assert_eq!(full.outcome, Err(CommandError::CacheFull { op: None }));
    log.cache.set_free_per_apply_max(0);
    clear(&mut log, "k");
    let batch: Vec<Op> = (0..200).map(|number| put(&format!("new{number}"))).collect();
    assert!(log.commit(Command::Batch(batch)).outcome.is_ok());
    assert_eq!((log.cache.len(), log.cache.entries_to_free()), (201, 2 * STEP - 200));
    let change = ConfigChange { capacity_entries: Some(202), ..ConfigChange::default() };
    log.commit(Command::Configure(change));
    let batch = Command::Batch(vec![put("last"), put("too many")]);
    assert_eq!(log.commit(batch).outcome, Err(CommandError::CacheFull { op: Some(1) }));
    assert_eq!(log.cache.entries_to_free(), 0, "all of it was not enough");
    assert!(log.commit(Command::One(put("last"))).outcome.is_ok());
    check_accounts(&log.cache);
}

/// One log entry frees no more for many operations than for one.
#[test]
fn operations_of_one_log_entry_share_what_it_may_free() {
    let count = 50_000;
    let config =
        CacheConfig { policy: Policy::NoEviction, capacity_entries: count, ..CacheConfig::default() };
    let mut log = Log::new(config);
    let names: Vec<String> = (0..count).map(name).collect();
    for names in names.chunks(limits::BATCH_OPS_MAX) {
        assert!(log.commit(Command::Batch(names.iter().map(|name| put(name)).collect())).outcome.is_ok());
    }
    let change = ConfigChange { capacity_bytes: Some(log.cache.bytes()), ..ConfigChange::default() };
    log.commit(Command::Configure(change));
    assert_eq!(clear(&mut log, "k"), count);
    log.cache.set_free_per_apply_max(0);
    // Each takes the room of about 15,500 of them.
    let large =
        |number| put_bytes(&format!("large{number}"), vec![b'x'; limits::VALUE_BYTES_MAX - 512], Ttl::Never);
    let before = log.cache.entries_to_free();
    let applied =
        log.commit(Command::Sequence { guards: Vec::new(), ops: vec![large(1), large(2), large(3)] });
    let freed = before - log.cache.entries_to_free();
    assert!(freed <= limits::FREE_FOR_WRITE_MAX as u64, "{freed} entries");
    let Ok(Outcome::Sequence { results, .. }) = applied.outcome else { panic!("{:?}", applied.outcome) };
    let refusals: Vec<_> =
        results.into_iter().map(|result| result.err().map(|refusal| refusal.error)).collect();
    let full = Some(CommandError::CacheFull { op: None });
    assert_eq!(
        refusals,
        [None, full.clone(), full],
        "what does not fit now fits after a few more log entries"
    );
    assert!(log.commit(Command::One(large(2))).outcome.is_ok());
    check_accounts(&log.cache);
}

/// No log entry removes more bytes than it may, whatever the reason: large values go in smaller steps.
#[test]
fn large_values_go_in_smaller_steps() {
    const LARGE: u64 = 1024 * 1024;
    let at_most = limits::REMOVED_BYTES_PER_APPLY_MAX + 2 * LARGE;
    let filled = || {
        let mut log = Log::new(CacheConfig { capacity_bytes: 1 << 30, ..CacheConfig::default() });
        for number in 0..40 {
            log.commit(Command::One(put_bytes(&name(number), vec![b'x'; LARGE as usize], Ttl::Ms(500))));
        }
        log
    };
    let steps = |log: &mut Log| {
        let mut steps = 0;
        while log.cache.bytes() > 0 {
            let before = log.cache.bytes();
            log.commit(Command::Tick);
            assert!(before > log.cache.bytes() && before - log.cache.bytes() <= at_most);
            steps += 1;
            assert!(log.cache.bytes() == 0 || log.cache.next_due_ms() == Some(log.cache.now_ms()));
        }
        steps
    };
    let mut expiring = filled();
    expiring.at_ms += 1_000;
    assert!(steps(&mut expiring) >= 4);
    let mut cleared = filled();
    assert_eq!(clear(&mut cleared, ""), 40);
    assert!(cleared.cache.is_empty() && cleared.cache.entries_to_free() > 0);
    assert!(steps(&mut cleared) >= 4);

    let mut shrunk = filled();
    let change = ConfigChange { capacity_bytes: Some(LARGE), ..ConfigChange::default() };
    let first = shrunk.commit(Command::Configure(change));
    let evicted =
        first.events.iter().filter(|e| matches!(e, Event::Removed { cause: Cause::Evict, .. })).count();
    assert!((8..=10).contains(&evicted), "{evicted}");
}

/// Many short clears do not pile up: beyond a number of them, each frees its own entries.
#[test]
fn short_clears_do_not_pile_up() {
    let groups = limits::PENDING_CLEARS_SHORT_MAX as u64 + 5;
    let mut log = Log::new(CacheConfig::default());
    for number in 0..groups * 3 {
        log.commit(Command::One(put(&format!("{:03}:{number}", number % groups))));
    }
    log.cache.set_free_per_apply_max(0);
    for group in 0..groups {
        assert_eq!(clear(&mut log, &format!("{group:03}:")), 3);
    }
    assert_eq!(log.cache.entries_to_free(), limits::PENDING_CLEARS_SHORT_MAX as u64 * 3);
    log.cache = restored(&log.cache);
    check_accounts(&log.cache);
    assert!(log.cache.is_empty());
}

/// A prefix that no key has removes nothing and leaves nothing behind.
#[test]
fn a_clear_of_nothing_changes_nothing() {
    let mut log = filled(2 * STEP, CacheConfig::default());
    assert_eq!(clear(&mut log, "x"), 0);
    assert_eq!((log.cache.len(), log.cache.entries_to_free()), (2 * STEP + 1, 0));
    assert_eq!(clear(&mut log, "other"), 1);
    assert!(log.cache.tombstone(key("other").as_str()).is_some());
    check_accounts(&log.cache);
}

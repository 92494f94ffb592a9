//! At the limits, and past them.

use crate::{check_accounts, restored, snapshot};
use bytes::Bytes;
use lockstep::cache::{
    Applied, Cache, CacheConfig, Cause, Command, CommandError, Condition, ConfigChange, DeadlineCondition,
    Event, HASH_CONTENT_TYPE, IdempotencyKey, InvalidField, Key, Op, Outcome, Policy, Stamp, Touch,
    TouchConfig, Ttl, Value, limits,
};

/// A cache, and the clock of a leader.
pub struct Log {
    pub cache: Cache,
    pub at_ms: u64,
}

impl Log {
    pub fn new(config: CacheConfig) -> Self {
        Self { cache: Cache::new(config), at_ms: 1_000 }
    }

    pub fn commit(&mut self, command: Command) -> Applied {
        self.commit_as(None::<IdempotencyKey>, command)
    }

    pub fn commit_reading(&mut self, touches: Vec<Touch>, command: Command) -> Applied {
        let index = self.cache.index() + 1;
        self.cache
            .apply(Stamp { index, at_ms: self.at_ms, idempotency_key: None, origin: None, touches }, command)
    }

    pub fn commit_as(&mut self, id: Option<impl Into<IdempotencyKey>>, command: Command) -> Applied {
        let (index, idempotency_key) = (self.cache.index() + 1, id.map(Into::into));
        self.cache.apply(
            Stamp { index, at_ms: self.at_ms, idempotency_key, origin: None, touches: Vec::new() },
            command,
        )
    }
}

fn incr() -> Command {
    let (key, condition) = (key("n"), Condition::Always);
    Command::One(Op::Incr { key, by: 1, initial: 0, ttl: Ttl::Never, condition })
}

pub fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

pub fn put_bytes(name: &str, bytes: Vec<u8>, ttl: Ttl) -> Op {
    let value = Value { bytes: Bytes::from(bytes), content_type: None };
    Op::Put { key: key(name), value, ttl, condition: Condition::Always, previous: false }
}

pub fn put(name: &str) -> Op {
    put_bytes(name, b"1".to_vec(), Ttl::Default)
}

fn get(name: &str) -> Op {
    Op::Get { key: key(name) }
}

/// A page of whole entries is bounded in number and in bytes, and skips what has expired.
#[test]
fn a_page_of_entries_is_bounded() {
    let mut log = Log::new(CacheConfig::default());
    for name in ["a", "b", "c", "d"] {
        log.commit(Command::One(put_bytes(name, vec![b'x'; 100], Ttl::Never)));
    }
    log.commit(Command::One(put_bytes("aa", vec![b'x'; 100], Ttl::Ms(5))));
    log.commit(Command::One(put("b")));
    log.at_ms += 5;
    log.commit(Command::Batch(vec![get("c")]));
    let page = |after: Option<&str>, limit, bytes_max| {
        let entries = log.cache.entries("", after, limit, bytes_max);
        entries.into_iter().map(|entry| (entry.key.to_string(), entry.uses)).collect::<Vec<(String, u64)>>()
    };
    let all = [("a", 1), ("b", 2), ("c", 2), ("d", 1)].map(|(name, uses)| (name.to_owned(), uses));
    assert_eq!(page(None, 9, u64::MAX), all);
    assert_eq!(page(Some("a"), 2, u64::MAX), all[1..3]);
    // It stops behind the one with which the bytes are reached.
    assert_eq!(page(None, 9, 102), all[..2]);
    assert_eq!(page(None, 9, 104), all[..3]);
    assert_eq!(page(Some("d"), 9, u64::MAX), []);
}

/// C6 request_applies_at_most_once: the number of answers remembered is bounded, and the oldest go first.
#[test]
fn the_oldest_answers_are_forgotten_first() {
    let mut log = Log::new(CacheConfig::default());
    for number in 0..=limits::DEDUP_RESULTS_MAX {
        assert!(!log.commit_as(Some(number.to_string()), incr()).replayed);
    }
    assert!(log.commit_as(Some("1"), incr()).replayed, "the second is still known");
    assert!(!log.commit_as(Some("0"), incr()).replayed, "the first made room");
    assert_eq!(restored(&log.cache).digest(), log.cache.recompute_digest());
}

/// C6: a request that may have been carried out before, of which nobody knows any more, is not carried out.
#[test]
fn what_may_have_been_done_and_is_forgotten_is_not_done_again() {
    let mut log = Log::new(CacheConfig::default());
    let sent_after = |index, name: &str| IdempotencyKey { text: name.into(), sent_after: Some(index) };
    assert!(log.commit_as(Some(sent_after(0, "mine")), incr()).outcome.is_ok());
    for number in 1..=limits::DEDUP_RESULTS_MAX as u64 {
        assert!(log.commit_as(Some(number.to_string()), incr()).outcome.is_ok());
    }
    // The first made room.
    let before = log.cache.get("n").map(|found| found.value);
    let again = log.commit_as(Some(sent_after(0, "mine")), incr());
    assert_eq!((again.outcome, again.replayed), (Err(CommandError::OutcomeForgotten), false));
    log.cache = restored(&log.cache);
    assert_eq!(
        log.commit_as(Some(sent_after(0, "mine")), incr()).outcome,
        Err(CommandError::OutcomeForgotten)
    );
    assert_eq!(log.cache.get("n").map(|found| found.value), before);
    // What was sent later cannot have been among what was dropped.
    assert!(log.commit_as(Some(sent_after(1, "other")), incr()).outcome.is_ok());
    assert!(log.commit_as(Some(sent_after(0, "other")), incr()).replayed);
    check_accounts(&log.cache);
}

/// C6: too many answers grow old at once to be forgotten at once. None of them counts any more, and a name
/// used again meanwhile is not forgotten with its first use.
#[test]
fn old_answers_are_forgotten_in_steps() {
    let mut log = Log::new(CacheConfig::default());
    let count = limits::EXPIRE_PER_APPLY_MAX + 100;
    for number in 0..count {
        log.commit_as(Some(number.to_string()), Command::One(put("k")));
    }
    log.at_ms += limits::DEDUP_MS_MAX;
    let last = (count - 1).to_string();
    assert!(!log.commit_as(Some(last.as_str()), Command::One(put("k"))).replayed);
    log.cache = restored(&log.cache);
    for _ in 0..3 {
        assert!(log.commit_as(Some(last.as_str()), Command::One(put("k"))).replayed);
        check_accounts(&log.cache);
    }
}

/// C6: the bytes of the answers are bounded too.
#[test]
fn large_answers_push_out_older_ones() {
    let mut log = Log::new(CacheConfig::default());
    log.commit(Command::One(put_bytes("large", vec![7; limits::VALUE_BYTES_MAX], Ttl::Never)));
    let more_than_fit = limits::DEDUP_BYTES_MAX / limits::VALUE_BYTES_MAX as u64 + 1;
    for id in 1..=more_than_fit {
        log.commit_as(Some(id.to_string()), Command::One(get("large")));
    }
    assert!(log.commit_as(Some(more_than_fit.to_string()), Command::One(get("large"))).replayed);
    assert!(!log.commit_as(Some("1"), Command::One(get("large"))).replayed);
    check_accounts(&log.cache);
}

/// C6: an answer too large to be remembered is refused before anything happens.
#[test]
fn a_batch_that_reads_too_much_is_refused() {
    let mut log = Log::new(CacheConfig::default());
    let large = || put_bytes("large", vec![7; limits::VALUE_BYTES_MAX], Ttl::Never);
    let refused = log.commit(Command::Batch(vec![large(), get("large"), get("large")]));
    assert!(matches!(refused.outcome, Err(CommandError::InvalidBatch { op: Some(2), .. })));
    assert!(refused.events.is_empty() && log.cache.is_empty());
    assert!(log.commit(Command::Batch(vec![large(), get("large")])).outcome.is_ok());
    let refused = log.commit(Command::Batch(vec![get("large"), get("large")]));
    assert!(matches!(refused.outcome, Err(CommandError::InvalidBatch { op: Some(1), .. })));
}

/// C4 expired_is_invisible_at_log_time: even while a backlog is purged a bounded number at a time.
#[test]
fn a_backlog_of_deadlines_is_purged_in_steps() {
    let mut log = Log::new(CacheConfig::default());
    let count = 2 * limits::EXPIRE_PER_APPLY_MAX + 10;
    for number in 0..count {
        log.commit(Command::One(put_bytes(&format!("k{number:05}"), Vec::new(), Ttl::Ms(10))));
    }
    assert_eq!(log.cache.next_due_ms(), Some(1_010));
    log.at_ms = 2_000;
    let last = format!("k{:05}", count - 1);
    let condition = Condition::Present;
    let first = log.commit(Command::One(Op::Delete { key: key(&last), condition, previous: false }));
    assert!(matches!(
        first.outcome,
        Err(CommandError::PreconditionFailed { current: None, absence: Some(_), .. })
    ));
    assert_eq!(first.events.len(), limits::EXPIRE_PER_APPLY_MAX);
    assert_eq!(log.cache.len(), limits::EXPIRE_PER_APPLY_MAX as u64 + 10);
    assert_eq!(log.cache.next_due_ms(), Some(2_000), "the rest is due now");
    assert_eq!(log.cache.get(&last), None);
    assert!(log.cache.keys("", None, 10).is_empty());
    check_accounts(&log.cache);

    log.cache = restored(&log.cache);
    assert_eq!(log.commit(Command::Tick).events.len(), limits::EXPIRE_PER_APPLY_MAX);
    assert_eq!(log.commit(Command::Tick).events.len(), 10);
    assert_eq!(log.cache.next_due_ms(), None);
}

/// C8 one_event_per_visible_change_in_order: what is expired but not purged yet expires before it is
/// overwritten, and is not counted by a clear.
#[test]
fn expired_entries_go_before_they_are_written_or_cleared() {
    let mut log = Log::new(CacheConfig::default());
    let count = 2 * limits::EXPIRE_PER_APPLY_MAX + 5;
    for number in 0..count {
        log.commit(Command::One(put_bytes(&format!("k{number:05}"), Vec::new(), Ttl::Ms(10))));
    }
    log.at_ms = 2_000;
    let last = format!("k{:05}", count - 1);
    let written = log.commit(Command::One(put(&last)));
    assert_eq!(
        written.outcome,
        Ok(Outcome::Put { revision: log.cache.index(), created: true, previous: None })
    );
    let tail = &written.events[limits::EXPIRE_PER_APPLY_MAX..];
    assert_eq!(tail[0], Event::Removed { key: key(&last), cause: Cause::Expire });
    assert!(matches!(&tail[1], Event::Put { created: true, .. }));
    assert_eq!(tail.len(), 2);

    let cleared = log.commit(Command::Clear { prefix: None, unless: None });
    assert!(matches!(cleared.outcome, Ok(Outcome::Cleared { removed: 1, .. })));
    assert_eq!(cleared.events.len(), limits::EXPIRE_PER_APPLY_MAX + 4 + 1);
    assert!(log.cache.is_empty());
    check_accounts(&log.cache);
}

/// Many keys that come and go in no order are listed in theirs, from anywhere, also after a restore.
#[test]
fn keys_stay_in_order_however_they_come_and_go() {
    let mut log = Log::new(CacheConfig::default());
    let mut expected = std::collections::BTreeSet::new();
    let mut state = 1u64;
    let mut number = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let compare = |log: &Log, expected: &std::collections::BTreeSet<String>| {
        let listed: Vec<String> =
            log.cache.keys("", None, usize::MAX).into_iter().map(|(key, _)| key.into()).collect();
        assert!(listed.iter().eq(expected), "{} listed, {} expected", listed.len(), expected.len());
        for start in ["", "k1", "k2500", "k25001", "k9999999"] {
            let page: Vec<String> =
                log.cache.keys("k", Some(start), 3).into_iter().map(|(key, _)| key.into()).collect();
            let after =
                expected.range::<str, _>((std::ops::Bound::Excluded(start), std::ops::Bound::Unbounded));
            assert!(page.iter().eq(after.take(3)), "{page:?} after {start}");
        }
    };
    // It grows, shrinks to almost nothing, and grows again in order.
    for (steps, put_percent) in [(9_000, 90), (9_000, 50), (22_000, 10)] {
        for _ in 0..steps {
            let name = format!("k{}", number(8_000));
            if number(100) < put_percent {
                log.commit(Command::One(put(&name)));
                expected.insert(name);
            } else {
                let condition = Condition::Always;
                log.commit(Command::One(Op::Delete { key: key(&name), condition, previous: false }));
                expected.remove(&name);
            }
        }
        compare(&log, &expected);
        log.cache = restored(&log.cache);
    }
    for number in 0..3_000 {
        let name = format!("k{number:07}");
        log.commit(Command::One(put(&name)));
        expected.insert(name);
    }
    compare(&log, &expected);
    assert!(expected.iter().all(|name| log.cache.get(name).is_some()));
    check_accounts(&log.cache);
}

/// Snapshots are written, and caches kept, where the caller wants.
#[test]
fn caches_and_views_can_be_sent_to_other_threads() {
    fn can<T: Send + Sync + 'static>() {}
    can::<Cache>();
    can::<lockstep::cache::SnapshotView>();
}

/// A value shares memory with its entry: it stays whole on other threads, whether the entry was written again, or removed,
/// or the cache is gone, and whoever drops it last.
#[test]
fn values_outlive_their_entries_on_other_threads() {
    let mut log = Log::new(CacheConfig::default());
    let (sender, receiver) = std::sync::mpsc::channel::<(Value, Value)>();
    let reader = std::thread::spawn(move || {
        receiver.into_iter().for_each(|(value, same)| {
            assert_eq!(value, same);
            let fill = value.bytes[0];
            assert!(value.bytes.len() == 100 + usize::from(fill) && value.bytes.iter().all(|b| *b == fill));
        });
    });
    for round in 0..40_u8 {
        for number in 0..50_u8 {
            let bytes = vec![number ^ round; 100 + usize::from(number ^ round)];
            log.commit(Command::One(put_bytes(&format!("k{number}"), bytes, Ttl::Never)));
            let value = log.cache.get(&format!("k{number}")).expect("just written").value;
            // The reader drops its values while the cache drops, writes and copies the records.
            sender
                .send((value.clone(), log.cache.get(&format!("k{number}")).expect("it").value))
                .expect("sent");
            if number % 7 == 0 {
                let key = key(&format!("k{number}"));
                log.commit(Command::One(Op::Delete { key, condition: Condition::Always, previous: false }));
            }
        }
        let view = log.cache.snapshot_view();
        log.commit(Command::Clear { prefix: None, unless: None });
        drop(view);
    }
    drop(log);
    drop(sender);
    reader.join().expect("every value was whole");
}

/// The window of tombstones is bounded; the oldest go first.
#[test]
fn the_oldest_tombstones_go_first() {
    let mut log = Log::new(CacheConfig::default());
    let delete = |name: &str| Op::Delete { key: key(name), condition: Condition::Always, previous: false };
    log.commit(Command::One(put("first")));
    log.commit(Command::One(delete("first")));
    for round in 0..limits::TOMBSTONES_MAX - 1 {
        let name = format!("k{round}");
        log.commit(Command::One(put(&name)));
        log.commit(Command::One(delete(&name)));
    }
    assert!(log.cache.tombstone("first").is_some());
    log.commit(Command::One(put("last")));
    log.commit(Command::One(delete("last")));
    assert!(log.cache.tombstone("first").is_none());
    assert!(log.cache.tombstone("k0").is_some() && log.cache.tombstone("last").is_some());
    assert_eq!(log.cache.tombstones().count(), limits::TOMBSTONES_MAX);

    // A window restored in its middle goes on as it would have (C1, C7).
    let mut other = Log { cache: restored(&log.cache), at_ms: log.at_ms };
    for number in 0..200 {
        for log in [&mut log, &mut other] {
            log.commit_as(Some(number.to_string()), Command::One(put("k")));
            log.commit(Command::One(delete("k")));
        }
        assert_eq!(log.cache.digest(), other.cache.digest());
    }
    assert_eq!(snapshot(&log.cache), snapshot(&other.cache));
    check_accounts(&other.cache);
}

/// C9 apply_never_panics_and_refuses_by_value: commands that no edge would let through.
#[test]
fn nonsense_is_refused_by_value() {
    let mut log = Log::new(CacheConfig::default());
    let odd = |bytes: usize, media: Option<&str>| {
        let value = Value { bytes: vec![0; bytes].into(), content_type: media.map(Into::into) };
        Op::Put { key: key("k"), value, ttl: Ttl::Default, condition: Condition::Always, previous: false }
    };
    let long = "x".repeat(limits::CONTENT_TYPE_BYTES_MAX + 1);
    let incr = Op::Incr {
        key: key("k"),
        by: i64::MIN,
        initial: i64::MIN,
        ttl: Ttl::Ms(u64::MAX),
        condition: Condition::Revision(u64::MAX),
    };
    let listed: Box<[u64]> = (0..=limits::CONDITION_REVISIONS_MAX as u64).collect();
    let any_of = Op::Persist { key: key("k"), condition: Condition::AnyOf(listed.clone()) };
    let none_of = Op::Persist { key: key("k"), condition: Condition::NoneOf(listed) };
    let too_many = (0..=limits::BATCH_OPS_MAX).map(|n| get(&n.to_string())).collect();
    let expire = Op::Expire {
        key: key("k"),
        ttl: Ttl::Ms(0),
        condition: Condition::Always,
        only: DeadlineCondition::Always,
    };
    let sliding = Ttl::Sliding(limits::SLIDING_TTL_MS_MAX + 1);
    let slide = Op::Expire {
        key: key("k"),
        ttl: sliding,
        condition: Condition::Always,
        only: DeadlineCondition::Always,
    };
    let config = |entries, bytes, ttl| {
        let default_ttl_ms = Some(Some(ttl));
        let (capacity_entries, capacity_bytes) = (Some(entries), Some(bytes));
        Command::Configure(ConfigChange {
            capacity_entries,
            capacity_bytes,
            default_ttl_ms,
            ..ConfigChange::default()
        })
    };
    let touch = |interval_ms, most| {
        let (touch_interval_ms, touch_max_per_flush) = (Some(interval_ms), Some(most));
        Command::Configure(ConfigChange { touch_interval_ms, touch_max_per_flush, ..ConfigChange::default() })
    };
    let nonsense = vec![
        Command::One(odd(limits::VALUE_BYTES_MAX + 1, None)),
        Command::One(odd(1, Some(""))),
        Command::One(odd(1, Some(&long))),
        Command::One(odd(1, Some("text/plain\n"))),
        Command::One(odd(1, Some("tëxt"))),
        Command::One(odd(9, Some(HASH_CONTENT_TYPE))),
        Command::One(incr),
        Command::One(expire),
        Command::One(slide),
        Command::One(any_of),
        Command::One(none_of),
        Command::RaiseFeatureLevel { level: 0 },
        Command::RaiseFeatureLevel { level: limits::FEATURE_LEVEL + 1 },
        touch(9, 1),
        touch(60_001, 1),
        touch(100, 0),
        touch(100, limits::TOUCHES_MAX + 1),
        Command::Batch(Vec::new()),
        Command::Batch(too_many),
        Command::Clear { prefix: Some("x".repeat(limits::KEY_BYTES_MAX + 1)), unless: None },
        Command::Clear { prefix: None, unless: Some("x".repeat(limits::KEY_BYTES_MAX + 1)) },
        config(0, 1, 1),
        config(u64::MAX, 1, 1),
        config(1, 0, 1),
        config(1, 1, 0),
        config(1, 1, u64::MAX),
    ];
    let count = nonsense.len() as u64;
    for command in nonsense {
        let applied = log.commit(command.clone());
        assert!(applied.outcome.is_err() && applied.events.is_empty(), "{command:?}");
    }
    for id in ["", &"x".repeat(limits::STORED_IDEMPOTENCY_KEY_BYTES_MAX + 1)] {
        assert!(log.commit_as(Some(id), Command::One(put("k"))).outcome.is_err());
    }
    assert!(log.cache.is_empty());
    assert_eq!(log.cache.stats().refused, count + 2);
    check_accounts(&log.cache);
}

/// C9, C2 log_clock_never_goes_back: a leader whose clock is at the end of time does harm, but not this one.
#[test]
fn the_end_of_time_is_no_panic() {
    let mut log = Log::new(CacheConfig { default_ttl_ms: Some(5), ..CacheConfig::default() });
    log.commit_as(Some("id"), Command::One(put("k")));
    log.at_ms = u64::MAX;
    log.commit_as(Some("id"), Command::One(put("k")));
    assert_eq!(log.cache.get("k"), None, "every deadline has passed");
    log.at_ms = 0;
    for _ in 0..3 {
        log.commit_as(Some("id"), Command::One(put("k")));
        log.cache = restored(&log.cache);
        check_accounts(&log.cache);
    }
    assert_eq!(log.cache.now_ms(), u64::MAX);
}

/// C5 revision_strictly_rises: a log entry is applied once, and in order.
#[test]
fn an_index_that_does_not_rise_is_refused() {
    let mut log = Log::new(CacheConfig::default());
    log.commit(Command::One(put("k")));
    let digest = log.cache.digest();
    for index in [0, 1] {
        let at = Stamp { index, at_ms: 9_999, idempotency_key: None, origin: None, touches: Vec::new() };
        let applied = log.cache.apply(at, Command::One(put("k")));
        assert!(matches!(applied.outcome, Err(CommandError::Invalid { field: InvalidField::Index, .. })));
    }
    log.cache.advance(1);
    assert_eq!(log.cache.digest(), digest, "nothing moved");
    log.cache.advance(2);
    assert_ne!(log.cache.digest(), digest);
}

/// Settings a cache is made with are brought within the limits.
#[test]
fn a_new_cache_has_sane_settings() {
    let config = CacheConfig {
        policy: Policy::Lru,
        capacity_entries: 0,
        capacity_bytes: 0,
        default_ttl_ms: Some(u64::MAX),
        touch: TouchConfig { enabled: true, interval_ms: 0, max_per_flush: u64::MAX },
    };
    let cache = Cache::new(config);
    assert_eq!((cache.config().capacity_entries, cache.config().capacity_bytes), (1, 1));
    assert_eq!(cache.config().default_ttl_ms, Some(limits::TTL_MS_MAX));
    let touch = TouchConfig { enabled: true, interval_ms: 10, max_per_flush: limits::TOUCHES_MAX };
    assert_eq!(cache.config().touch, touch);
    assert_eq!(restored(&cache).digest(), cache.digest());
}

//! What the longest keys can fill is bounded in bytes, not only in number.

use crate::bounds::{Log, key, put, put_bytes};
use crate::{check_accounts, restored};
use lockstep::cache::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX, TOMBSTONES_BYTES_MAX};
use lockstep::cache::{
    CacheConfig, Command, CommandError, Condition, InvalidField, Key, Op, SessionChange, Ttl,
};

/// A key of the longest kind.
fn long(number: usize) -> String {
    format!("{number:0>KEY_BYTES_MAX$}")
}

#[test]
fn the_longest_key_is_stored_and_a_longer_one_is_none() {
    let mut log = Log::new(CacheConfig::default());
    let (longest, longer) = (long(1), long(1) + "1");
    log.commit(Command::One(put(&longest)));
    assert!(log.cache.get(&longest).is_some() && Key::new(&longer).is_err());
    assert_eq!(restored(&log.cache).digest(), log.cache.recompute_digest());
}

/// The newest removals are known, as many as fit.
#[test]
fn tombstones_are_bounded_in_bytes() {
    let mut log = Log::new(CacheConfig::default());
    let fitting = TOMBSTONES_BYTES_MAX as usize / KEY_BYTES_MAX;
    for number in 0..fitting + 10 {
        let name = long(number);
        log.commit(Command::One(put(&name)));
        let delete = Op::Delete { key: key(&name), condition: Condition::Always, previous: false };
        log.commit(Command::One(delete));
    }
    let kept = log.cache.tombstones().count();
    assert_eq!(kept, fitting);
    assert!(log.cache.tombstone(&long(9)).is_none() && log.cache.tombstone(&long(10)).is_some());
    assert!(log.cache.absence(&long(9)).known_after > 0, "what was forgotten is not called unknown");
    assert!(log.cache.memory().remembered >= TOMBSTONES_BYTES_MAX);
    // A key that is back makes room.
    log.commit(Command::One(put(&long(20))));
    log.commit(Command::One(put("short")));
    let delete = Op::Delete { key: key("short"), condition: Condition::Always, previous: false };
    log.commit(Command::One(delete));
    assert_eq!(log.cache.tombstones().count(), fitting);
    assert_eq!(restored(&log.cache).digest(), log.cache.recompute_digest());
    check_accounts(&log.cache);
}

#[test]
fn a_listing_ends_at_its_bytes() {
    let mut log = Log::new(CacheConfig::default());
    for number in 0..10 {
        log.commit(Command::One(put_bytes(&long(number), Vec::new(), Ttl::Never)));
    }
    let listed = |bytes_max: usize| log.cache.keys_within("", None, 9, bytes_max as u64).len();
    assert_eq!([0, 1, KEY_BYTES_MAX, KEY_BYTES_MAX + 1, usize::MAX].map(listed), [0, 1, 1, 2, 9]);
}

#[test]
fn names_of_sessions_and_locks_are_shorter() {
    let mut log = Log::new(CacheConfig::default());
    let (fitting, longer) = ("n".repeat(NAME_BYTES_MAX), "n".repeat(NAME_BYTES_MAX + 1));
    let refused = Err(CommandError::Invalid { op: None, field: InvalidField::Name });
    let open =
        |name: &str| Command::Sessions(Box::new(SessionChange::Open { name: key(name), ttl_ms: 5_000 }));
    assert_eq!(log.commit(open(&longer)).outcome, refused);
    assert!(log.commit(open(&fitting)).outcome.is_ok());
    let (session, session_name) = (log.cache.index(), key(&fitting));
    let mut lock = |name: &str| {
        let (name, session_name) = (key(name), session_name.clone());
        let change = SessionChange::Lock { name, session, session_name };
        log.commit(Command::Sessions(Box::new(change))).outcome
    };
    assert_eq!(lock(&longer), refused);
    assert!(lock(&fitting).is_ok());
}

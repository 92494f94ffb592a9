//! What a cache says of a key that is not there, where it does not remember everything.

use crate::bounds::{Log, key, put, put_bytes};
use lockstep::cache::{CacheConfig, Command, CommandError, Condition, Op, RemovalCause, Ttl, limits};

fn delete(name: &str) -> Op {
    Op::Delete { key: key(name), condition: Condition::Always, previous: false }
}

/// C13: of a key whose last removal may be forgotten, no older one is said to be the last.
#[test]
fn a_removal_that_may_not_be_the_last_is_not_named() {
    // Two keys with the same place in the table of those that were lost: the newer loss displaces the older one.
    let mut log = Log::new(CacheConfig { capacity_entries: 1, ..CacheConfig::default() });
    for name in ["a", "other"] {
        log.commit(Command::One(put(name)));
    }
    let cleared_at = log.cache.index() + 1;
    log.commit(Command::Clear { prefix: None, unless: None });
    let absence = log.cache.absence("a");
    assert_eq!(
        absence.removal.map(|removal| (removal.cause, removal.revision)),
        Some((RemovalCause::Clear, cleared_at))
    );
    for name in ["a", "wzi", "other"] {
        log.commit(Command::One(put(name)));
    }
    let displaced_at = log.cache.index();
    let known = log.cache.absence("wzi");
    assert_eq!(known.removal.map(|removal| removal.cause), Some(RemovalCause::Evict));
    let absence = log.cache.absence("a");
    assert_eq!((absence.removal, absence.known_after, absence.is_complete()), (None, displaced_at, false));

    // A key with a tombstone of its own was not there since.
    log.commit(Command::One(put("a")));
    log.commit(Command::One(delete("a")));
    for name in ["wzi", "other"] {
        log.commit(Command::One(put(name)));
    }
    let absence = log.cache.absence("a");
    assert_eq!(absence.removal.map(|removal| removal.cause), Some(RemovalCause::Delete));
    assert!(
        absence.is_complete() && absence.is_since(displaced_at + 2) && !absence.is_since(displaced_at + 1)
    );

    // It expired, was there again, and its tombstone is forgotten.
    let mut log = Log::new(CacheConfig::default());
    log.commit(Command::One(put_bytes("a", b"1".to_vec(), Ttl::Ms(1))));
    log.at_ms += 10;
    log.commit(Command::Tick);
    assert_eq!(log.cache.absence("a").removal.map(|removal| removal.cause), Some(RemovalCause::Expire));
    log.commit(Command::One(put("a")));
    let deleted_at = log.cache.index() + 1;
    log.commit(Command::One(delete("a")));
    let names: Vec<String> = (0..limits::TOMBSTONES_MAX).map(|number| format!("k{number}")).collect();
    for names in names.chunks(limits::BATCH_OPS_MAX) {
        log.commit(Command::Batch(names.iter().map(|name| put(name)).collect()));
        log.commit(Command::Batch(names.iter().map(|name| delete(name)).collect()));
    }
    let absence = log.cache.absence("a");
    assert_eq!((absence.removal, absence.known_after, absence.is_complete()), (None, deleted_at, false));
}

/// Of an index that is still to come nothing is certain.
#[test]
fn nobody_was_absent_since_an_index_that_is_not_reached() {
    let mut log = Log::new(CacheConfig::default());
    log.commit(Command::Tick);
    let put_since = |index| {
        let Op::Put { key, value, ttl, previous, .. } = put("a") else { unreachable!("it is a put") };
        Command::One(Op::Put { key, value, ttl, condition: Condition::AbsentSince(index), previous })
    };
    let next = log.cache.index() + 1;
    for (later, index) in [next, next + 2, u64::MAX].into_iter().enumerate() {
        let refused = log.commit(put_since(index)).outcome;
        let is_refused = matches!(refused, Err(CommandError::PreconditionFailed { current: None, .. }));
        assert!(is_refused, "{index} at {}: {refused:?}", next + later as u64);
    }
    let newest = log.cache.index();
    assert!(log.commit(put_since(newest)).outcome.is_ok());
}

//! Hashes at their limits, and bytes that only say that they are one.

use crate::bounds::{Log, key};
use crate::model_hashes::{Fields, decode, encode};
use crate::{check_accounts, restored};
use bytes::Bytes;
use lockstep::cache::limits::{COPIED_BYTES_PER_APPLY_MAX, VALUE_BYTES_MAX};
use lockstep::cache::{
    BatchFault, CacheConfig, Command, CommandError, Condition, HASH_CONTENT_TYPE, InvalidField, Op, Outcome,
    Ttl, Value,
};

fn set(name: &str, fields: Vec<(Bytes, Bytes)>) -> Op {
    Op::SetFields { key: key(name), fields, only_new: false }
}

fn numbered(count: u32, value: usize) -> Vec<(Bytes, Bytes)> {
    (0..count).map(|number| (number.to_be_bytes().to_vec().into(), vec![b'x'; value].into())).collect()
}

fn put(bytes: Vec<u8>) -> Op {
    let value = Value { bytes: bytes.into(), content_type: Some(HASH_CONTENT_TYPE.into()) };
    Op::Put { key: key("h"), value, ttl: Ttl::Never, condition: Condition::Always, previous: false }
}

/// A hash of the size of the largest value is one, and has room for no more.
#[test]
fn a_hash_is_as_large_as_a_value() {
    let mut log = Log::new(CacheConfig::default());
    // Five bytes at its head; of each field four for its end, one for the length of its name, four for the name.
    let largest = VALUE_BYTES_MAX - 5 - 9;
    let one = |value: usize| set("h", numbered(1, value));
    let too_large = Err(CommandError::Invalid { op: None, field: InvalidField::Value });
    assert_eq!(log.commit(Command::One(one(largest + 1))).outcome, too_large);
    assert!(log.cache.get("h").is_none());
    assert!(log.commit(Command::One(one(largest))).outcome.is_ok());
    assert_eq!(log.cache.value_bytes("h"), VALUE_BYTES_MAX as u64);
    let more = set("h", vec![("".into(), "".into())]);
    assert_eq!(log.commit(Command::One(more)).outcome, too_large);
    let by_one = Op::IncrField { key: key("h"), field: "n".into(), by: 1 };
    assert_eq!(log.commit(Command::One(by_one)).outcome, too_large);
    check_accounts(&log.cache);
    assert_eq!(restored(&log.cache).digest(), log.cache.digest());
}

/// Every change of a hash copies it: one log entry does that within the same bound as all other copies.
#[test]
fn copies_of_hashes_are_bounded() {
    let mut log = Log::new(CacheConfig::default());
    log.commit(Command::One(set("h", numbered(100_000, 4))));
    let bytes = log.cache.value_bytes("h");
    let again = Op::IncrField { key: key("h"), field: 7u32.to_be_bytes().to_vec().into(), by: 1 };
    log.commit(Command::One(set("h", vec![(7u32.to_be_bytes().to_vec().into(), "1".into())])));
    let ops = vec![again; 100];
    let applied = log.commit(Command::Sequence { guards: Vec::new(), ops });
    let Ok(Outcome::Sequence { results, .. }) = applied.outcome else { panic!("{:?}", applied.outcome) };
    let done = results.iter().filter(|result| result.is_ok()).count() as u64;
    let most = COPIED_BYTES_PER_APPLY_MAX / bytes;
    assert!((most - 1..=most).contains(&done), "{done} of {most}");
    let refused = CommandError::InvalidBatch { op: None, fault: BatchFault::LargeWork };
    assert!(
        results.iter().all(|result| result.as_ref().err().is_none_or(|refusal| refusal.error == refused))
    );
    assert_eq!(applied.events.len(), 1);
    check_accounts(&log.cache);
}

/// Nobody stores bytes as a hash that are none.
#[test]
fn what_says_that_it_is_a_hash_is_one() {
    let mut log = Log::new(CacheConfig::default());
    let fields: Fields = [(b"a".to_vec(), b"1".to_vec()), (b"bc".to_vec(), Vec::new())].into();
    let good = encode(&fields);
    assert!(log.commit(Command::One(put(good.clone()))).outcome.is_ok());
    let invalid = Err(CommandError::Invalid { op: None, field: InvalidField::ContentType });
    for at in 0..good.len() {
        let cut = good[..at].to_vec();
        assert_eq!(log.commit(Command::One(put(cut))).outcome, invalid, "cut at {at}");
        for flip in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << flip;
            let outcome = log.commit(Command::One(put(bytes.clone()))).outcome;
            assert_eq!(outcome.is_ok(), decode(&bytes).is_some(), "bit {flip} of byte {at}");
            assert_eq!(Value::new(bytes.into(), Some(HASH_CONTENT_TYPE)).is_ok(), outcome.is_ok());
        }
    }
    let long = [&good[..], b"x"].concat();
    assert_eq!(log.commit(Command::One(put(long))).outcome, invalid);
    // To another content type it is a value as any other.
    let value = Value { bytes: "x".into(), content_type: Some("application/vnd.lockstep.hash; a=b".into()) };
    let other =
        Op::Put { key: key("o"), value, ttl: Ttl::Never, condition: Condition::Always, previous: false };
    assert!(log.commit(Command::One(other)).outcome.is_ok());
    check_accounts(&log.cache);
}

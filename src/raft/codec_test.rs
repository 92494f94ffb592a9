//! P2 malformed_frames_are_errors_never_panics, for what peers and log records hold: any bytes are taken, and
//! only what was encoded comes back.

use super::codec::{decode_append, decode_entry, encode_append, encode_entry};
use super::types::{Entry, LogId, Payload, Types, Vote};
use crate::cache::{Command, Condition, DeadlineCondition, Guard, IdempotencyKey, Key, Op, Step, Ttl, Value};
use crate::replica::{
    CodecError, Envelope, Member, Membership as Members, Proposal, from_postcard, to_bytes,
};
use bytes::Bytes;
use openraft::Membership;
use openraft::entry::RaftEntry;
use openraft::raft::AppendEntriesRequest;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn noise(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn membership() -> impl Strategy<Value = Membership<u64, Member>> {
    prop::collection::btree_map(1..9u64, ("[a-z]{1,5}", "[a-z]{1,5}"), 1..5).prop_map(|nodes| {
        let member = |(name, peer): (String, String)| Member { name, peer, ..Member::default() };
        let nodes: BTreeMap<u64, Member> = nodes.into_iter().map(|(id, node)| (id, member(node))).collect();
        let voters: BTreeSet<u64> = nodes.keys().copied().take(3).collect();
        Membership::new(vec![voters], nodes).expect("every voter is a node")
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Blank),
        (any::<u64>(), any::<u64>(), noise(16), noise(64)).prop_map(|(at_ms, by, touches, body)| {
            Payload::Normal(Proposal { at_ms, by, touches, body })
        }),
        membership().prop_map(Payload::Membership),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let position = (any::<u64>(), 0..u64::MAX);
    (position, payload())
        .prop_map(|((term, index), payload)| Entry::new(LogId::new(term.into(), index), payload))
}

fn request() -> impl Strategy<Value = AppendEntriesRequest<Types>> {
    let positions = (prop::option::of(0..1u64 << 40), prop::option::of(0..1u64 << 40));
    let entries = prop::collection::vec((any::<u64>(), payload()), 0..6);
    (any::<u64>(), any::<u64>(), positions, entries).prop_map(|(term, node, (prev, commit), payloads)| {
        let at = |index: u64| LogId::new(term.into(), index);
        let first = prev.map_or(0, |prev| prev + 1);
        let entries = (first..).zip(payloads);
        let entries =
            entries.map(|(index, (term, payload))| Entry::new(LogId::new(term.into(), index), payload));
        AppendEntriesRequest {
            vote: Vote::new(term, node),
            prev_log_id: prev.map(at),
            leader_commit: commit.map(at),
            entries: entries.collect(),
        }
    })
}

fn key() -> impl Strategy<Value = Key> {
    "[a-z]{1,20}".prop_map(|text| Key::new(&text).expect("a good key"))
}

fn op() -> impl Strategy<Value = Op> {
    let ttl = prop_oneof![
        Just(Ttl::Default),
        Just(Ttl::Never),
        (1..1_000u64).prop_map(Ttl::Ms),
        (1..1_000u64).prop_map(Ttl::Sliding),
        any::<u64>().prop_map(Ttl::At),
        Just(Ttl::Keep)
    ];
    let condition = prop_oneof![
        Just(Condition::Always),
        Just(Condition::Absent),
        Just(Condition::Present),
        any::<u64>().prop_map(Condition::Revision),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(|listed| Condition::AnyOf(listed.into())),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(|listed| Condition::NoneOf(listed.into())),
        noise(64).prop_map(Condition::ValueIs),
        noise(64).prop_map(Condition::ValueIsNot),
        any::<u64>().prop_map(Condition::DigestIs),
        any::<u64>().prop_map(Condition::DigestIsNot),
        Just(Condition::NoHash),
        Just(Condition::PresentNoHash),
    ];
    let value = noise(64).prop_map(|bytes| Value::new(bytes, Some("text/plain")).expect("a good value"));
    prop_oneof![
        key().prop_map(|key| Op::Get { key }),
        (key(), value, ttl.clone(), condition.clone(), any::<bool>()).prop_map(
            |(key, value, ttl, condition, previous)| Op::Put { key, value, ttl, condition, previous }
        ),
        (key(), condition.clone(), any::<bool>()).prop_map(|(key, condition, previous)| Op::Delete {
            key,
            condition,
            previous
        }),
        (key(), ttl.clone(), condition.clone()).prop_map(|(key, ttl, condition)| Op::Expire {
            key,
            ttl,
            condition,
            only: DeadlineCondition::Later
        }),
        (key(), noise(64)).prop_map(|(key, bytes)| Op::Append { key, bytes }),
        (key(), any::<u64>(), noise(64)).prop_map(|(key, offset, bytes)| Op::SetRange { key, offset, bytes }),
        (key(), "[0-9.e]{1,9}").prop_map(|(key, by)| Op::IncrDecimal { key, by }),
        (key(), step(), any::<bool>(), prop::option::of(ttl.clone()), any::<bool>()).prop_map(
            |(key, step, saturates, ttl, keeps_deadline)| Op::IncrWithin {
                key,
                step,
                saturates,
                ttl,
                keeps_deadline
            }
        ),
        (key(), prop::option::of(ttl.clone())).prop_map(|(key, ttl)| Op::GetEx { key, ttl }),
        key().prop_map(|key| Op::Look { key }),
        (key(), noise(64)).prop_map(|(channel, message)| Op::Publish { channel, message }),
        (key(), prop::collection::vec((noise(9), noise(9)), 0..4), any::<bool>())
            .prop_map(|(key, fields, only_new)| Op::SetFields { key, fields, only_new }),
        (key(), prop::collection::vec(noise(9), 0..4))
            .prop_map(|(key, fields)| Op::DeleteFields { key, fields }),
        (key(), noise(9), any::<i64>()).prop_map(|(key, field, by)| Op::IncrField { key, field, by }),
        (key(), noise(9), "[0-9.e]{1,9}").prop_map(|(key, field, by)| Op::IncrFieldDecimal {
            key,
            field,
            by
        }),
        (key(), any::<i64>(), any::<i64>(), ttl, condition)
            .prop_map(|(key, by, initial, ttl, condition)| Op::Incr { key, by, initial, ttl, condition }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let bound = || prop::option::of("[0-9.e]{1,9}");
    prop_oneof![
        (any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(by, lower, upper)| Step::Integer {
            by,
            lower,
            upper
        }),
        ("[0-9.e]{1,9}", bound(), bound()).prop_map(|(by, lower, upper)| Step::Decimal { by, lower, upper }),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let command = prop_oneof![
        op().prop_map(Command::One),
        prop::collection::vec(op(), 0..5).prop_map(Command::Batch),
        prop::collection::vec(op(), 0..5).prop_map(|ops| {
            let guard = |op: &Op| match op {
                Op::Get { key } => Guard::Keys { prefix: key.as_str().into(), since: 3, count: 1 },
                _ => Guard::Key { key: op.key().clone(), condition: Condition::Present },
            };
            Command::Sequence { guards: ops.iter().take(2).map(guard).collect(), ops }
        }),
        (prop::option::of("[a-z]{1,5}"), prop::option::of("[a-z]{1,5}"))
            .prop_map(|(prefix, unless)| Command::Clear { prefix, unless }),
    ];
    let name = || prop::option::of("[a-z]{1,5}");
    let key = (name(), any::<Option<u64>>())
        .prop_map(|(text, sent_after)| text.map(|text| IdempotencyKey { text, sent_after }));
    (key, name(), command).prop_map(|(idempotency_key, origin, command)| Envelope {
        idempotency_key,
        origin,
        command,
    })
}

/// The same bytes with one of them changed.
fn flipped(bytes: &Bytes, at: usize, flip: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = at % bytes.len();
    bytes[at] ^= flip;
    bytes.into()
}

fn shortened(bytes: &Bytes, at: usize) -> Bytes {
    bytes.slice(..at % bytes.len())
}

fn same(a: &AppendEntriesRequest<Types>, b: &AppendEntriesRequest<Types>) -> bool {
    (a.vote, a.prev_log_id, a.leader_commit, &a.entries)
        == (b.vote, b.prev_log_id, b.leader_commit, &b.entries)
}

proptest! {
    #[test]
    fn every_entry_comes_back_as_it_was(entry in entry()) {
        prop_assert_eq!(decode_entry(encode_entry(&entry)), Ok(entry));
    }

    #[test]
    fn every_append_request_comes_back_as_it_was(request in request()) {
        let back = decode_append(encode_append(&request)).expect("a request");
        prop_assert!(same(&back, &request), "{back:?} is not {request:?}");
    }

    #[test]
    fn every_command_comes_back_as_it_was(envelope in envelope()) {
        prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }

    #[test]
    fn any_bytes_are_taken(bytes in noise(400)) {
        let _ = decode_entry(bytes.clone());
        let _ = decode_append(bytes.clone());
        let _ = Envelope::decode(&bytes);
        let _ = from_postcard::<Members>("a membership", &bytes);
    }

    /// Also behind a right beginning, where random bytes alone would not get.
    #[test]
    fn any_bytes_behind_a_right_beginning_are_taken(kind in 0..4u8, bytes in noise(400)) {
        let _ = decode_entry([&[1, kind], bytes.as_ref()].concat().into());
        let _ = Envelope::decode(&[&[1], bytes.as_ref()].concat());
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        let _ = decode_append([&length, bytes.as_ref(), bytes.as_ref()].concat().into());
    }

    /// What a changed byte leaves readable is read as what it says then, to the last byte.
    #[test]
    fn a_changed_byte_does_no_harm(request in request(), envelope in envelope(), at: usize, flip in 1..=255u8) {
        if let Ok(other) = decode_append(flipped(&encode_append(&request), at, flip)) {
            let back = decode_append(encode_append(&other)).expect("what was read can be told");
            prop_assert!(same(&back, &other));
        }
        if let Ok(other) = Envelope::decode(&flipped(&envelope.encode(), at, flip)) {
            prop_assert_eq!(Envelope::decode(&other.encode()), Ok(other));
        }
    }

    #[test]
    fn a_missing_end_is_noticed(request in request(), envelope in envelope(), at: usize) {
        prop_assert!(decode_append(shortened(&encode_append(&request), at)).is_err());
        prop_assert!(Envelope::decode(&shortened(&envelope.encode(), at)).is_err());
    }

    #[test]
    fn an_entry_without_its_head_is_short(entry in entry(), at in 0..18usize) {
        let short = Err(CodecError::Short { what: "a log record" });
        prop_assert_eq!(decode_entry(encode_entry(&entry).slice(..at)), short);
    }

    #[test]
    fn bytes_too_many_are_noticed(envelope in envelope(), rest in noise(20)) {
        let bytes = [envelope.encode(), rest.clone()].concat();
        prop_assert_eq!(Envelope::decode(&bytes).is_ok(), rest.is_empty());
    }
}

fn blank(index: u64) -> Entry {
    Entry::new(LogId::new(1.into(), index), Payload::Blank)
}

fn append(prev: Option<u64>, commit: Option<u64>, entries: Vec<Entry>) -> AppendEntriesRequest<Types> {
    let at = |index| LogId::new(1.into(), index);
    AppendEntriesRequest {
        vote: Vote::new_committed(1, 1),
        prev_log_id: prev.map(at),
        leader_commit: commit.map(at),
        entries,
    }
}

#[test]
fn entries_that_do_not_follow_one_another_are_refused() {
    for indexes in [vec![5], vec![7], vec![6, 8], vec![6, 6]] {
        let request = append(Some(5), None, indexes.into_iter().map(blank).collect());
        assert!(decode_append(encode_append(&request)).is_err(), "{request:?}");
    }
}

/// One further than the last position there is would overflow in whoever counts on.
#[test]
fn positions_at_the_end_of_the_range_are_refused() {
    let last = u64::MAX;
    for request in [
        append(Some(last), None, Vec::new()),
        append(None, Some(last), Vec::new()),
        append(Some(last - 1), None, vec![blank(last)]),
        append(Some(last), None, vec![blank(last)]),
        append(Some(last - 1), None, vec![blank(5)]),
    ] {
        assert!(decode_append(encode_append(&request)).is_err(), "{request:?}");
    }
}

#[test]
fn other_formats_are_named() {
    let record = decode_entry(Bytes::from([&[9], [0; 17].as_slice()].concat()));
    assert_eq!(record, Err(CodecError::Version { what: "a log record", found: 9, known: 1 }));
    let command = Envelope::decode(&[9]);
    assert_eq!(command, Err(CodecError::Version { what: "a command", found: 9, known: 1 }));
    assert_eq!(Envelope::decode(&[]), Err(CodecError::Short { what: "a command" }));
    assert!(from_postcard::<u64>("a number", &to_bytes(&7u64)).is_ok());
}

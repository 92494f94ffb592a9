//! Sequences at their limits.

use crate::bounds::{Log, key, put, put_bytes};
use crate::{check_accounts, restored};
use bytes::Bytes;
use lockstep::cache::limits::{
    BATCH_OUTCOME_BYTES_MAX, COPIED_BYTES_PER_APPLY_MAX, GUARDED_EXPIRED_MAX, GUARDED_KEYS_MAX,
    PREFIX_GUARDS_MAX, SEQUENCE_GUARDS_MAX, SEQUENCE_OPS_MAX, TOLD_BYTES_PER_APPLY_MAX, VALUE_BYTES_MAX,
};
use lockstep::cache::{
    Applied, BatchFault, CacheConfig, Command, CommandError, Condition, Event, Guard, KeyState, Op,
    OpRefusal, Outcome, Policy, Ttl,
};

fn sequence(ops: Vec<Op>) -> Command {
    Command::Sequence { guards: Vec::new(), ops }
}

fn results(applied: Applied) -> Vec<Result<Outcome, Box<OpRefusal>>> {
    match applied.outcome {
        Ok(Outcome::Sequence { results, .. }) => results,
        other => panic!("{other:?}"),
    }
}

fn fault(result: &Result<Outcome, Box<OpRefusal>>) -> Option<BatchFault> {
    match result.as_ref().err()?.error {
        CommandError::InvalidBatch { op: None, fault } => Some(fault),
        ref other => panic!("{other:?}"),
    }
}

fn incr(name: &str) -> Op {
    Op::Incr { key: key(name), by: 1, initial: 0, ttl: Ttl::Never, condition: Condition::Always }
}

fn append(name: &str, bytes: &[u8]) -> Op {
    Op::Append { key: key(name), bytes: Bytes::copy_from_slice(bytes) }
}

/// As many operations as there may be, on few keys and on many, with some that come and go.
#[test]
fn the_longest_sequence_is_carried_out() {
    for policy in Policy::ALL {
        let mut log = Log::new(CacheConfig { policy, ..CacheConfig::default() });
        log.commit(Command::One(put("other")));
        let op = |number: usize| match number % 4 {
            0 => incr("counter"),
            1 => put(&format!("k{}", number % 4_096)),
            2 => Op::Delete {
                key: key(&format!("k{}", (number - 1) % 512)),
                condition: Condition::Always,
                previous: false,
            },
            _ => Op::Get { key: key("other") },
        };
        let ops: Vec<Op> = (0..SEQUENCE_OPS_MAX).map(op).collect();
        let applied = log.commit(sequence(ops));
        let events = applied.events.len();
        let results = results(applied);
        assert!(results.iter().all(Result::is_ok));
        let counted = log.cache.get("counter").expect("it was counted").value.bytes;
        assert_eq!(counted, (SEQUENCE_OPS_MAX / 4).to_string());
        assert_eq!(events as u64, log.cache.len() - 1, "one for each key that is there");
        check_accounts(&log.cache);
        assert_eq!(restored(&log.cache).digest(), log.cache.recompute_digest());
    }
    let mut log = Log::new(CacheConfig::default());
    let longer = vec![incr("n"); SEQUENCE_OPS_MAX + 1];
    let guard = Guard::Key { key: key("n"), condition: Condition::Absent };
    let of_keys = |count| Guard::Keys { prefix: "n".into(), since: 1, count };
    let guarded = |guards| Command::Sequence { guards, ops: vec![incr("n")] };
    for command in [
        sequence(longer),
        guarded(vec![guard; SEQUENCE_GUARDS_MAX + 1]),
        guarded(vec![of_keys(0); PREFIX_GUARDS_MAX + 1]),
        guarded(vec![of_keys(GUARDED_KEYS_MAX), of_keys(1)]),
        guarded(vec![of_keys(u64::MAX), of_keys(1)]),
    ] {
        let refused = CommandError::InvalidBatch { op: None, fault: BatchFault::Length };
        assert_eq!(log.commit(command).outcome, Err(refused));
    }
}

/// Many that expire at once are not removed at once. A guard about them looks at a bounded number.
#[test]
fn a_guard_looks_at_a_bounded_number_of_expired_keys() {
    let mut log = Log::new(CacheConfig::default());
    let count = 50 * GUARDED_EXPIRED_MAX as usize;
    let put = |number: usize| put_bytes(&format!("k{number}"), b"v".to_vec(), Ttl::Ms(10));
    log.commit(sequence((0..count).map(put).collect()));
    log.at_ms += 20;
    let guarded = || Command::Sequence {
        guards: vec![Guard::Keys { prefix: "k".into(), since: 1, count: 0 }],
        ops: vec![incr("n")],
    };
    let mut refused = 0;
    while log.commit(guarded()).outcome == Err(CommandError::GuardFailed { guard: 0 }) {
        refused += 1;
    }
    assert!(refused > 0, "all were removed at once");
    assert!(log.cache.count("k") <= GUARDED_EXPIRED_MAX);
}

/// A read that does not fit the answer any more is refused, and what follows goes on.
#[test]
fn answers_are_bounded_one_by_one() {
    let mut log = Log::new(CacheConfig::default());
    log.commit(Command::One(put_bytes("half", vec![b'x'; VALUE_BYTES_MAX / 2], Ttl::Never)));
    let get = || Op::Get { key: key("half") };
    let (value, condition) =
        (lockstep::cache::Value { bytes: "1".into(), content_type: None }, Condition::Always);
    let swap = Op::Put { key: key("half"), value, ttl: Ttl::Never, condition, previous: true };
    let results = results(log.commit(sequence(vec![
        get(),
        get(),
        get(),
        swap.clone(),
        append("half", b"y"),
        incr("n"),
    ])));
    let faults: Vec<Option<BatchFault>> = results.iter().map(fault).collect();
    let large = Some(BatchFault::LargeAnswer);
    assert_eq!(faults, [None, None, large, large, None, None]);
    let refusal = results[3].as_ref().expect_err("it was refused");
    assert!(
        matches!(&refusal.key, KeyState::Present { value: None, .. }),
        "the value is left out there, too"
    );
    assert_eq!(log.cache.value_bytes("half"), VALUE_BYTES_MAX as u64 / 2 + 1, "the put was not carried out");
    const { assert!(BATCH_OUTCOME_BYTES_MAX < 3 * VALUE_BYTES_MAX as u64 / 2) };
}

/// To append to a large value copies all of it. What one log entry copies is bounded, and so is what it tells.
#[test]
fn copies_are_bounded() {
    let mut log = Log::new(CacheConfig::default());
    let large = VALUE_BYTES_MAX - 1_000;
    log.commit(Command::One(put_bytes("large", vec![b'x'; large], Ttl::Never)));
    let applied = log.commit(sequence(vec![append("large", b"y"); 100]));
    let told: usize = applied
        .events
        .iter()
        .map(|event| match event {
            Event::Put { record, .. } => record.bytes().len(),
            _ => 0,
        })
        .sum();
    let done = results(applied).iter().filter(|result| fault(result).is_none()).count();
    assert_eq!(done as u64, COPIED_BYTES_PER_APPLY_MAX / (large as u64 + 20), "the rest is refused");
    assert_eq!((told, log.cache.value_bytes("large")), (large + done, (large + done) as u64));
    assert!(log.commit(Command::One(append("large", b"z"))).outcome.is_ok(), "another log entry goes on");

    // Zeros that nobody sent count as what is told.
    let ops: Vec<Op> = (0..5)
        .map(|number| Op::SetRange {
            key: key(&format!("new{number}")),
            offset: large as u64,
            bytes: "y".into(),
        })
        .chain([append("new0", b"z"), incr("n")])
        .collect();
    let results = results(log.commit(sequence(ops.clone())));
    let faults: Vec<Option<BatchFault>> = results.iter().map(fault).collect();
    let work = Some(BatchFault::LargeWork);
    assert_eq!(faults, [None, None, work, work, work, None, None]);
    const { assert!(TOLD_BYTES_PER_APPLY_MAX >= 2 * VALUE_BYTES_MAX as u64) };
    let batch: Vec<Op> = (0..5)
        .map(|number| Op::SetRange {
            key: key(&format!("more{number}")),
            offset: large as u64,
            bytes: "y".into(),
        })
        .collect();
    let refused = CommandError::InvalidBatch { op: Some(2), fault: BatchFault::LargeWork };
    assert_eq!(log.commit(Command::Batch(batch)).outcome, Err(refused));
    assert!(log.cache.get("more0").is_none(), "all or none");
}

/// A batch and a sequence under `noeviction`: each operation finds the room that those before it left.
#[test]
fn a_sequence_makes_its_own_room() {
    let config = CacheConfig { policy: Policy::NoEviction, capacity_entries: 1, ..CacheConfig::default() };
    let mut log = Log::new(config);
    let delete = |name| Op::Delete { key: key(name), condition: Condition::Always, previous: false };
    let results = results(log.commit(sequence(vec![put("a"), put("b"), delete("a"), put("b"), put("b")])));
    let full: Vec<bool> = results
        .iter()
        .map(|result| {
            result.as_ref().is_err_and(|refusal| refusal.error == CommandError::CacheFull { op: None })
        })
        .collect();
    assert_eq!(full, [false, true, false, false, false]);
    check_accounts(&log.cache);
}

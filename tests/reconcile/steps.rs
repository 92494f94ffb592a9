//! The steps by which another side's changes come in.

use crate::oracle::{Branch, FORK, trunk};
use lockstep::cache::{
    Cache, Command, CommandError, Condition, Key, MergeChange, MergeEnd, MergeGuard, MergeOp, MergeResult,
    MergeStep, MergeTimes, Op, Outcome, Stamp, Stored, Ttl, Value,
};
use lockstep::reconcile::{Clock, Fate, View};

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn value(text: &'static str) -> Value {
    Value::new(text.into(), Some("text/plain")).expect("a value")
}

fn put(text: &'static str, at_ms: u64) -> MergeChange {
    MergeChange::Put { value: value(text), times: times(at_ms) }
}

fn times(at_ms: u64) -> MergeTimes {
    MergeTimes { at_ms, version: 7, expires_at_ms: None, sliding_ms: 0 }
}

fn op(name: &str, guard: MergeGuard, change: MergeChange) -> MergeOp {
    MergeOp { key: key(name), guard, change }
}

fn step(number: u64, ops: Vec<MergeOp>, end: Option<MergeEnd>) -> MergeStep {
    // Later than anything that the tests do.
    let planned_at = 1_000;
    MergeStep { merge: "m".into(), history: FORK.into(), number, after: 0, planned_at, ops, end }
}

fn send(cache: &mut Cache, step: MergeStep) -> Result<Vec<MergeResult>, CommandError> {
    let stamp = Stamp {
        index: cache.index() + 1,
        at_ms: 50,
        idempotency_key: None,
        origin: None,
        touches: Vec::new(),
    };
    let outcome = cache.apply(stamp, Command::Merge(Box::new(step))).outcome;
    assert_eq!(cache.digest(), cache.recompute_digest(), "the digest drifted");
    outcome.map(|outcome| match outcome {
        Outcome::Merged { results, .. } => results,
        other => panic!("{other:?}"),
    })
}

fn stored(cache: &Cache, name: &str) -> Stored {
    cache.stored(name).expect("it is there")
}

/// A snapshot has everything: a node that starts from it goes on as the others do.
fn restored(cache: &Cache) -> Cache {
    let mut bytes = Vec::new();
    cache.snapshot_view().encode(&mut bytes).expect("a Vec takes everything");
    let again = Cache::restore(bytes.as_slice()).expect("an intact snapshot");
    assert_eq!(again.digest(), cache.digest());
    again
}

fn live() -> Cache {
    Branch::of(&trunk(&["a", "b", "c", "counter"], 100), true).cache
}

#[test]
fn each_step_is_applied_once_and_in_order() {
    let mut cache = live();
    let first = || step(0, vec![op("a", MergeGuard::Revision(1), put("there", 9))], None);
    assert_eq!(
        send(&mut cache, step(1, Vec::new(), None)),
        Err(CommandError::MergeOutOfTurn { next: 0, ended: false })
    );
    assert_eq!(send(&mut cache, first()), Ok(vec![MergeResult::Done]));
    let mut cache = restored(&cache);
    assert_eq!(send(&mut cache, first()), Err(CommandError::MergeOutOfTurn { next: 1, ended: false }));
    let other = MergeStep { merge: "other".into(), ..step(0, Vec::new(), None) };
    assert_eq!(send(&mut cache, other.clone()), Err(CommandError::AnotherMerge));
    let add = || step(1, vec![op("n", MergeGuard::Absent, put("1", 9))], None);
    assert_eq!(send(&mut cache, add()), Ok(vec![MergeResult::Done]));
    let by = |number| step(number, vec![op("n", MergeGuard::Present, MergeChange::Add { by: 5 })], None);
    assert_eq!(send(&mut cache, by(2)), Ok(vec![MergeResult::Done]));
    assert_eq!(send(&mut cache, by(2)), Err(CommandError::MergeOutOfTurn { next: 3, ended: false }));
    assert_eq!(stored(&cache, "n").record.counter(), Some(6), "added once");
    assert!(cache.fork(FORK).is_some());
    assert_eq!(send(&mut cache, step(3, Vec::new(), Some(MergeEnd::UpTo(77)))), Ok(Vec::new()));
    assert_eq!(send(&mut cache, by(4)), Err(CommandError::MergeOutOfTurn { next: 4, ended: true }));
    assert!(cache.fork(FORK).is_some(), "others of that history may come");
    assert_eq!(cache.decided_until(FORK), 77);
    let merge = &restored(&cache).merges()[0].clone();
    assert_eq!((merge.end, merge.results), (Some(MergeEnd::UpTo(77)), [3, 0, 0, 0]));
    let mut cache = restored(&cache);
    assert_eq!(send(&mut cache, other.clone()), Err(CommandError::PlanOutdated), "a plan of an earlier time");
    let other = MergeStep { after: 77, ..other };
    assert_eq!(send(&mut cache, other), Ok(Vec::new()));
    let aborted = MergeStep { merge: "other".into(), ..step(1, Vec::new(), Some(MergeEnd::Aborted)) };
    assert_eq!(send(&mut cache, aborted), Ok(Vec::new()));
    let forgotten = step(0, Vec::new(), Some(MergeEnd::Forgotten));
    let forgotten = MergeStep { merge: "last".into(), after: 77, ..forgotten };
    assert_eq!(send(&mut cache, forgotten), Ok(Vec::new()));
    assert!(cache.fork(FORK).is_none(), "nobody needs the notes any more");
    assert_eq!(restored(&cache).decided_until(FORK), 77);
}

/// How far a history is decided outlives the merges themselves: else its changes would come in again, and sums be added twice.
#[test]
fn what_is_decided_is_remembered_for_ever() {
    let mut cache = live();
    assert_eq!(send(&mut cache, step(0, Vec::new(), Some(MergeEnd::UpTo(77)))), Ok(Vec::new()));
    for number in 0..100 {
        let other =
            MergeStep { merge: format!("m{number}"), history: "third".into(), ..step(0, Vec::new(), None) };
        assert_eq!(send(&mut cache, other.clone()), Ok(Vec::new()));
        let end = MergeStep { number: 1, end: Some(MergeEnd::Aborted), ..other };
        assert_eq!(send(&mut cache, end), Ok(Vec::new()));
    }
    let mut cache = restored(&cache);
    assert_eq!((cache.merges().len(), cache.decided_until(FORK)), (64, 77));
    assert_eq!(send(&mut cache, step(0, Vec::new(), None)), Err(CommandError::PlanOutdated));
}

/// The cluster remembers 65,536 removals. A plan that is older than all of them is refused before anything is done; those of the
/// merge itself keep none of its own changes out.
#[test]
fn a_plan_with_more_removals_than_are_remembered_comes_in() {
    const KEYS: u64 = 70_000;
    let names: Vec<String> = (0..KEYS).map(|number| format!("k{number:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut cache = Branch::of(&trunk(&names, 2 * KEYS), true).cache;
    let planned_at = cache.index();
    let at = |number: u64, ops: Vec<MergeOp>| MergeStep { planned_at, ..step(number, ops, None) };
    let mut number = 0;
    for some in (1..=KEYS).zip(&names).collect::<Vec<_>>().chunks(1_024) {
        let remove = |(revision, name): &(u64, &&str)| {
            op(name, MergeGuard::Revision(*revision), MergeChange::Remove { at_ms: 40 })
        };
        let stamp = crate::oracle::stamp(cache.index() + 1, 50);
        let command = Command::Merge(Box::new(at(number, some.iter().map(remove).collect())));
        cache.apply(stamp, command).outcome.expect("it is due");
        number += 1;
    }
    let new = vec![op("new", MergeGuard::Absent, put("there", 40))];
    assert_eq!(send(&mut cache, at(number, new.clone())), Ok(vec![MergeResult::Done]));
    let end = MergeStep { end: Some(MergeEnd::Aborted), ..at(number + 1, Vec::new()) };
    assert_eq!(send(&mut cache, end), Ok(Vec::new()));
    let later = |planned_at| MergeStep { merge: "later".into(), planned_at, ..step(0, new.clone(), None) };
    assert_eq!(send(&mut cache, later(planned_at)), Err(CommandError::PlanOutdated));
    let now = cache.index();
    assert_eq!(send(&mut cache, later(now)), Ok(vec![MergeResult::Changed]), "it is there now");
}

/// A key that is gone here was removed on another side: a third side must not bring it back.
#[test]
fn a_removal_that_is_brought_in_is_known_afterwards() {
    let mut branch = Branch::of(&trunk(&["a", "b"], 2), true);
    // Evicted unchanged, to make room.
    for name in ["c", "d"] {
        let op = Op::Put {
            key: key(name),
            value: value("x"),
            ttl: Ttl::Never,
            condition: Condition::Always,
            previous: false,
        };
        branch.apply(Command::One(op), 3);
    }
    assert_eq!(branch.knows(&key("a")).fate, Fate::Absent);
    let bury = vec![op("a", MergeGuard::Absent, MergeChange::Bury { at_ms: 40 })];
    assert_eq!(send(&mut branch.cache, step(0, bury, None)), Ok(vec![MergeResult::Done]));
    assert_eq!(branch.knows(&key("a")).fate, Fate::Deleted { stamp_ms: 40 });
}

#[test]
fn row_33_a_key_that_was_changed_meanwhile_keeps_no_other_out() {
    let mut cache = live();
    let results = send(
        &mut cache,
        step(
            0,
            vec![
                op("a", MergeGuard::Revision(99), put("there", 9)),
                op("b", MergeGuard::Revision(2), MergeChange::Remove { at_ms: 9 }),
                op("c", MergeGuard::Absent, put("there", 9)),
                op("counter", MergeGuard::Present, MergeChange::Add { by: 1 }),
                op("gone", MergeGuard::Absent, MergeChange::Bury { at_ms: 9 }),
                op("new", MergeGuard::Absent, put("there", 99)),
            ],
            None,
        ),
    );
    let (done, changed, invalid) = (MergeResult::Done, MergeResult::Changed, MergeResult::Invalid);
    assert_eq!(results, Ok(vec![changed, done, changed, invalid, done, done]));
    let cache = restored(&cache);
    assert_eq!(cache.merges()[0].results, [3, 2, 0, 1]);
    assert_eq!(stored(&cache, "a").record.bytes(), b"base");
    assert!(cache.stored("b").is_none());
    // What comes in keeps its times, and is never younger than now.
    let tombstone = |name: &str| cache.tombstone(name).map(|found| found.at_ms);
    assert_eq!((tombstone("b"), tombstone("gone")), (Some(9), Some(9)));
    let new = stored(&cache, "new");
    assert_eq!((new.modified_at_ms, new.version, new.record.content_type()), (50, 7, Some("text/plain")));
}

#[test]
fn a_merged_change_counts_as_one_of_its_own_time() {
    let mut cache = live();
    let ops = vec![
        op("a", MergeGuard::Revision(1), put("there", 9)),
        op("b", MergeGuard::Revision(2), MergeChange::SetTimes(times(8))),
        op("c", MergeGuard::Revision(3), MergeChange::Remove { at_ms: 7 }),
    ];
    assert_eq!(send(&mut cache, step(0, ops, None)), Ok(vec![MergeResult::Done; 3]));
    let clock = Clock { shift_ms: 0, fork_ms: 0, now_ms: cache.now_ms() };
    let fork = cache.fork(FORK).cloned();
    let view =
        View { cache: &cache, fork_index: 4, decided_until: 0, merged: None, fork: fork.as_ref(), clock };
    let stamp = |name: &str| match view.of(name).fate {
        Fate::Changed(entry) => entry.stamp_ms,
        Fate::Deleted { stamp_ms } => stamp_ms,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!([stamp("a"), stamp("b"), stamp("c")], [9, 8, 7]);
}

#[test]
fn what_was_brought_in_before_is_not_brought_in_again() {
    let mut side = Branch::of(&trunk(&["a", "b", "c"], 100), true);
    let command = |name: &str| {
        Command::One(Op::Put {
            key: key(name),
            value: value("x"),
            ttl: Ttl::Never,
            condition: Condition::Always,
            previous: false,
        })
    };
    side.apply(command("a"), 5);
    let delete = Op::Delete { key: key("b"), condition: Condition::Always, previous: false };
    side.apply(Command::One(delete), 6);
    let decided_until = side.cache.index();
    side.apply(command("c"), 7);
    let view = View { decided_until, ..side.view(10) };
    let fates = ["a", "b", "c"].map(|name| view.of(name).fate);
    assert!(matches!(fates, [Fate::Absent, Fate::Absent, Fate::Changed(_)]), "{fates:?}");
}

#[test]
fn malformed_steps_change_nothing() {
    let mut cache = live();
    let before = cache.merges().len();
    let twice = vec![op("a", MergeGuard::Present, put("x", 1)), op("a", MergeGuard::Present, put("y", 1))];
    send(&mut cache, step(0, twice, None)).expect_err("a key twice");
    let long = MergeStep { merge: "m".repeat(65), ..step(0, Vec::new(), None) };
    send(&mut cache, long).expect_err("too long");
    let nameless = MergeStep { history: String::new(), ..step(0, Vec::new(), None) };
    send(&mut cache, nameless).expect_err("no history");
    let many = (0..1_025).map(|n| op(&format!("k{n}"), MergeGuard::Absent, put("x", 1))).collect();
    send(&mut cache, step(0, many, None)).expect_err("too many");
    assert_eq!(cache.merges().len(), before);
    let bad = MergeTimes { sliding_ms: 5, ..times(1) };
    let ops = vec![
        op("a", MergeGuard::Present, MergeChange::SetTimes(bad)),
        op("b", MergeGuard::Present, MergeChange::Bury { at_ms: 1 }),
        op("x", MergeGuard::Absent, MergeChange::Remove { at_ms: 1 }),
    ];
    let results = send(&mut cache, step(0, ops, None));
    assert_eq!(results, Ok(vec![MergeResult::Invalid, MergeResult::Changed, MergeResult::Changed]));
    assert_eq!(stored(&cache, "a").revision, 1);
}

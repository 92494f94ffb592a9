//! Rows of the table of cases that are about how a side came to know something, or about time.

use crate::oracle::{Branch, trunk};
use lockstep::cache::{
    Command, Condition, ConfigChange, Key, MergeChange, MergeEnd, MergeGuard, MergeOp, MergeResult,
    MergeStep, MergeTimes, Op, Outcome, Policy as Eviction, Ttl, Value,
};
use lockstep::reconcile::{
    Action, Base, Case, Clock, Counts, Deletes, Fate, Guard, Knowledge, Policy, Rule, Rules, Terms, Verdict,
    judge, plan,
};
use std::convert::Infallible;

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn put(name: &str, value: &'static str, ttl: Ttl) -> Command {
    let value = Value::new(value.into(), None).expect("a value");
    Command::One(Op::Put { key: key(name), value, ttl, condition: Condition::Always, previous: false })
}

fn newest(incoming: Knowledge, live: Knowledge) -> Verdict {
    let rule = Rule { policy: Policy::Newest, deletes: Deletes::ByTime };
    let terms = Terms { rule, remove_unknown: false, base_number: None, was_merged: false };
    judge(incoming, live, terms).expect("the sides fit together")
}

/// A clear removes what its side had: a key that live changed later, or made for itself, stays.
#[test]
fn row_17_a_clear_is_a_removal_of_what_it_saw() {
    let trunk = trunk(&["p/a", "p/b", "q"], 100);
    for notes in [true, false] {
        let (mut theirs, mut ours) = (Branch::of(&trunk, notes), Branch::of(&trunk, true));
        theirs.apply(Command::Clear { prefix: Some("p/".into()), unless: None }, 20);
        ours.apply(put("p/b", "later", Ttl::Never), 30);
        ours.apply(put("p/new", "ours", Ttl::Never), 10);
        theirs.cache.free_all_cleared();
        let verdict = |name: &str| newest(theirs.knows(&key(name)), ours.knows(&key(name)));
        let a = verdict("p/a");
        assert_eq!((a.case, a.action, a.guard), (Case::DeletedThere, Action::Remove, Guard::Revision(1)));
        assert_eq!(verdict("p/b").action, Action::Keep, "changed later here");
        assert_eq!(verdict("p/new").action, Action::Keep, "the clear never saw it");
        assert_eq!(verdict("q").action, Action::Keep);
    }
}

/// A change whose deadline has passed: what it replaced must not come back, and it is gone itself.
#[test]
fn row_18_a_change_that_has_expired_counts_as_lost() {
    let trunk = trunk(&["a"], 100);
    let (mut theirs, ours) = (Branch::of(&trunk, true), Branch::of(&trunk, true));
    theirs.apply(put("a", "there", Ttl::Ms(5)), 20);
    assert!(matches!(theirs.view(24).of("a").fate, Fate::Changed(_)));
    // The side is off: nothing was applied that would have removed it.
    let theirs = theirs.view(25).of("a");
    assert_eq!(theirs.fate, Fate::Lost { stamp_ms: 20 });
    let found = newest(theirs, ours.knows(&key("a")));
    assert_eq!((found.action, found.guard), (Action::Remove, Guard::Revision(1)), "it stays a miss");
}

/// Reads move a sliding deadline, and are no change.
#[test]
fn row_20_a_deadline_that_reads_moved_is_no_change() {
    let mut common = Branch::of(&trunk(&["a"], 100), false);
    common.apply(put("s", "v", Ttl::Sliding(50)), 10);
    let (mut theirs, ours) = (Branch::of(&common.cache, true), Branch::of(&common.cache, true));
    let seen = theirs.cache.read("s").expect("it is there");
    theirs.read(seen.entry, 40);
    let deadline = |branch: &Branch| branch.cache.stored("s").expect("it is there").expires_at_ms;
    assert!(deadline(&theirs) > deadline(&ours), "the read renewed it");
    let found = newest(theirs.knows(&key("s")), ours.knows(&key("s")));
    assert_eq!(found.action, Action::Keep, "live's deadline stands");
}

/// No change is dated after now, or before the fork.
#[test]
fn row_31_times_are_kept_between_the_fork_and_now() {
    let mut side = Branch::of(&trunk(&["a", "b"], 100), true);
    side.apply(put("a", "x", Ttl::Never), 30);
    let stamp = |shift_ms, now_ms| {
        let mut view = side.view(now_ms);
        view.clock = Clock { shift_ms, fork_ms: 10, now_ms };
        match view.of("a").fate {
            Fate::Changed(entry) => entry.stamp_ms,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([stamp(0, 50), stamp(5, 50), stamp(100, 50), stamp(-100, 50)], [30, 35, 50, 10]);
}

/// What a whole plan counts and proposes.
fn planned(theirs: &Branch, ours: &Branch) -> (Counts, Vec<(String, Action)>) {
    let (mut proposals, now_ms) = (Vec::new(), theirs.cache.now_ms().max(ours.cache.now_ms()));
    let counts =
        plan(theirs.view(now_ms), ours.view(now_ms), &Rules::default(), &Base::default(), |proposal| {
            proposals.push((proposal.key.as_str().to_owned(), proposal.verdict.action));
            Ok::<(), Infallible>(())
        });
    (counts.expect("both come from one log"), proposals)
}

/// How often and how lately a key was used elsewhere says nothing about its use here.
#[test]
fn row_21_uses_are_never_merged() {
    let trunk = trunk(&["a", "b"], 100);
    let (mut theirs, ours) = (Branch::of(&trunk, true), Branch::of(&trunk, true));
    let before = theirs.cache.next_victims(1)[0].key.clone();
    let seen = theirs.cache.read("a").expect("it is there");
    theirs.read(seen.entry, 40);
    assert_ne!(theirs.cache.next_victims(1)[0].key, before, "there it counts");
    let (counts, proposals) = planned(&theirs, &ours);
    assert_eq!((counts.changes, proposals), (0, vec![]));
}

/// Settings are the living cluster's own.
#[test]
fn row_24_settings_are_not_merged() {
    let trunk = trunk(&["a"], 100);
    let (mut theirs, ours) = (Branch::of(&trunk, true), Branch::of(&trunk, true));
    let change = ConfigChange { policy: Some(Eviction::Lfu), ..ConfigChange::default() };
    theirs.apply(Command::Configure(change), 5);
    assert_ne!(theirs.cache.config(), ours.cache.config());
    let (counts, proposals) = planned(&theirs, &ours);
    assert_eq!((counts.changes, proposals), (0, vec![]));
}

/// A batch is all or none where it is carried out. Elsewhere each of its keys is judged alone.
#[test]
fn row_25_a_batch_is_judged_key_by_key() {
    let trunk = trunk(&["a", "b"], 100);
    let (mut theirs, mut ours) = (Branch::of(&trunk, true), Branch::of(&trunk, true));
    let op = |name: &str| match put(name, "there", Ttl::Never) {
        Command::One(op) => op,
        other => panic!("{other:?}"),
    };
    theirs.apply(Command::Batch(vec![op("a"), op("b")]), 20);
    ours.apply(put("b", "later", Ttl::Never), 30);
    let (_, proposals) = planned(&theirs, &ours);
    let kept = ("b".to_owned(), Action::Keep);
    assert_eq!(proposals.len(), 2, "{proposals:?}");
    assert_ne!(proposals[0].1, Action::Keep);
    assert_eq!(proposals[1], kept);
}

fn merge(side: &mut Branch, history: &str, name: &str, at_ms: u64) -> Vec<MergeResult> {
    let value = Value::new("third".into(), None).expect("a value");
    let times = MergeTimes { at_ms, version: 2, expires_at_ms: None, sliding_ms: 0 };
    let planned_at = side.cache.index();
    merge_as_planned(side, history, name, planned_at, MergeChange::Put { value, times })
}

/// Carries out a plan of this index, which took the key for absent.
fn merge_as_planned(
    side: &mut Branch,
    history: &str,
    name: &str,
    planned_at: u64,
    change: MergeChange,
) -> Vec<MergeResult> {
    let op = MergeOp { key: key(name), guard: MergeGuard::Absent, change };
    let step = MergeStep {
        merge: format!("{history}-into-this"),
        history: history.into(),
        number: 0,
        after: 0,
        planned_at,
        ops: vec![op],
        end: Some(MergeEnd::Aborted),
    };
    let stamp = crate::oracle::stamp(side.cache.index() + 1, 50);
    match side.cache.apply(stamp, Command::Merge(Box::new(step))).outcome {
        Ok(Outcome::Merged { results, .. }) => results,
        other => panic!("{other:?}"),
    }
}

/// What a client has removed since the plan stays removed, also where the plan had expected nothing to be there; and so does what was
/// written and has gone by itself.
#[test]
fn row_33_what_went_since_the_plan_stays_gone() {
    let delete = || Command::One(Op::Delete { key: key("k"), condition: Condition::Always, previous: false });
    let clear = |prefix: &str| Command::Clear { prefix: Some(prefix.into()), unless: None };
    let third = || MergeChange::Put {
        value: Value::new("third".into(), None).expect("a value"),
        times: MergeTimes { at_ms: 35, version: 2, expires_at_ms: None, sliding_ms: 0 },
    };
    type Since = fn(&mut Branch);
    let since: [(&str, Since, MergeResult); 7] = [
        ("nothing", |_| {}, MergeResult::Done),
        ("another key", |side| side.apply(put("l", "live", Ttl::Never), 40), MergeResult::Done),
        ("deleted", |_| {}, MergeResult::Changed),
        ("cleared", |_| {}, MergeResult::Changed),
        ("a clear of nothing", |_| {}, MergeResult::Changed),
        ("expired", |side| side.apply(put("k", "live", Ttl::Ms(5)), 40), MergeResult::Changed),
        (
            "evicted",
            |side| {
                for (name, at_ms) in ["k", "x", "y", "z"].into_iter().zip(40..) {
                    side.apply(put(name, "live", Ttl::Never), at_ms);
                }
            },
            MergeResult::Changed,
        ),
    ];
    for was_common in [true, false] {
        for (what, happen, expected) in &since {
            // The tombstone of the key shows that the clear did not meet it.
            let is_sure = was_common && *what == "a clear of nothing";
            let expected = if is_sure { &MergeResult::Done } else { expected };
            let trunk = trunk(if was_common { &["a", "k"] } else { &["a"] }, 3);
            let mut side = Branch::of(&trunk, true);
            // Deleted before the plan: that does not count against it.
            side.apply(delete(), 30);
            let planned_at = side.cache.index();
            happen(&mut side);
            match *what {
                "deleted" | "cleared" => {
                    side.apply(put("k", "live", Ttl::Never), 40);
                    side.apply(if *what == "deleted" { delete() } else { clear("k") }, 41);
                }
                "a clear of nothing" => side.apply(clear(""), 41),
                "expired" => side.apply(Command::Tick, 46),
                _ => {}
            }
            assert!(side.cache.get("k").is_none(), "{what}");
            for change in [third(), MergeChange::Bury { at_ms: 35 }] {
                let mut side = Branch::of(&side.cache, false);
                let removed = side.cache.absence("k");
                let done = merge_as_planned(&mut side, "third", "k", planned_at, change.clone());
                assert_eq!(done, [*expected], "{what}, {was_common}, {change:?}");
                if *expected == MergeResult::Changed {
                    assert!(side.cache.get("k").is_none(), "{what}");
                    assert_eq!(side.cache.absence("k"), removed, "{what}, {was_common}: it went as it went");
                }
            }
        }
    }
}

/// Who wrote a value does not make it another one.
#[test]
fn equal_values_of_different_origins_are_no_conflict() {
    let trunk = trunk(&["a"], 100);
    let (mut theirs, mut ours) = (Branch::of(&trunk, true), Branch::of(&trunk, true));
    for (side, origin) in [(&mut theirs, "app-1"), (&mut ours, "app-2")] {
        let stamp = crate::oracle::stamp(side.cache.index() + 1, 20);
        let by = lockstep::cache::Stamp { origin: Some(origin.into()), ..stamp };
        side.cache.apply(by, put("a", "same", Ttl::Never)).outcome.expect("it is done");
    }
    let found = newest(theirs.knows(&key("a")), ours.knows(&key("a")));
    assert_eq!((found.case, found.action, found.loser), (Case::SameChange, Action::Keep, None));
    // Where the words end counts.
    let hash = |media: &str, value: &'static str| {
        let record = lockstep::cache::Value::new(value.into(), Some(media)).expect("a value");
        let mut side = Branch::of(&trunk, false);
        side.apply(
            Command::One(Op::Put {
                key: key("b"),
                value: record,
                ttl: Ttl::Never,
                condition: Condition::Always,
                previous: false,
            }),
            20,
        );
        side.cache.stored("b").expect("it is there").record.value_hash()
    };
    assert_ne!(hash("text/plain", "x"), hash("text/plainx", ""));
    assert_ne!(hash("text/plain", "x"), hash("text/plain", "y"));
    assert_eq!(hash("text/plain", "x"), hash("text/plain", "x"));
}

/// What does not fit where nothing may be evicted is refused alone, and the others come in.
#[test]
fn row_32_what_does_not_fit_is_refused() {
    let mut ours = Branch::of(&trunk(&["a", "b"], 3), true);
    let change = ConfigChange { policy: Some(Eviction::NoEviction), ..ConfigChange::default() };
    ours.apply(Command::Configure(change), 5);
    assert_eq!(merge(&mut ours, "third", "new", 20), [MergeResult::Done]);
    assert_eq!(merge(&mut ours, "fourth", "newer", 20), [MergeResult::Full]);
    assert!(ours.cache.stored("newer").is_none() && ours.cache.stored("a").is_some());
}

/// Two sides that have both taken in a third one's change have the same change.
#[test]
fn row_34_what_both_have_from_a_third_is_no_conflict() {
    let trunk = trunk(&["a"], 100);
    let (mut theirs, mut ours) = (Branch::of(&trunk, true), Branch::of(&trunk, true));
    for side in [&mut theirs, &mut ours] {
        assert_eq!(merge(side, "third", "c", 20), [MergeResult::Done]);
    }
    // At another index here, and so with another revision.
    ours.apply(put("d", "ours", Ttl::Never), 30);
    let found = newest(theirs.knows(&key("c")), ours.knows(&key("c")));
    assert_eq!((found.action, found.loser), (Action::Keep, None));
    assert_eq!(planned(&theirs, &ours).1, vec![]);
}

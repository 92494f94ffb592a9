//! Rows of the table of cases that are about how a side came to know something, or about time.

use crate::oracle::{Branch, trunk};
use lockstep::cache::{Command, Condition, Key, Op, Ttl, Value};
use lockstep::reconcile::{
    Action, Case, Clock, Deletes, Fate, Guard, Knowledge, Policy, Rule, Terms, Verdict, judge,
};

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
        theirs.apply(Command::Clear { prefix: Some("p/".into()) }, 20);
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

//! A plan that leaves out the end of incoming's log: what counts is proposed, and each change of the end is set aside.

use crate::oracle::{Branch, trunk};
use lockstep::cache::{Command, Condition, Key, Op, Ttl, Value};
use lockstep::reconcile::{Case, Counts, Fate, left_out};
use std::collections::BTreeMap;
use std::convert::Infallible;

const NOW_MS: u64 = 100;

fn put(key: &str, value: &'static str) -> Command {
    put_for(key, value, Ttl::Never)
}

fn put_for(key: &str, value: &'static str, ttl: Ttl) -> Command {
    let (key, value) = (Key::new(key).expect("a key"), Value::new(value.into(), None).expect("a value"));
    Command::One(Op::Put { key, value, ttl, condition: Condition::Always, previous: false })
}

fn delete(key: &str) -> Command {
    let key = Key::new(key).expect("a key");
    Command::One(Op::Delete { key, condition: Condition::Always, previous: false })
}

fn clear(prefix: &str) -> Command {
    Command::Clear { prefix: Some(prefix.into()), unless: None }
}

/// What is set aside of the end, by its key: a value, or that it was removed.
fn set_aside(counted: &[Command], end: &[Command], live: &[Command]) -> BTreeMap<String, &'static str> {
    let trunk = trunk(&["k", "l"], 100);
    let play = |commands: &[&[Command]]| {
        let mut branch = Branch::of(&trunk, true);
        for (command, at_ms) in commands.concat().into_iter().zip(10..) {
            branch.apply(command, at_ms);
        }
        branch.cache.free_all_cleared();
        branch
    };
    let (whole, part, ours) = (play(&[counted, end]), play(&[counted]), play(&[live]));
    let (mut counts, mut found) = (Counts::default(), BTreeMap::new());
    let until = part.cache.index();
    let Ok(()) =
        left_out(whole.view(NOW_MS), part.view(NOW_MS), until, ours.view(NOW_MS), &mut counts, |proposal| {
            assert_eq!((proposal.verdict.case, proposal.verdict.set_aside), (Case::LeftOut, true));
            let what = match proposal.incoming.fate {
                Fate::Changed(_) => "put",
                Fate::Deleted { .. } => "removed",
                other => panic!("{other:?}"),
            };
            assert!(found.insert(proposal.key.as_str().to_owned(), what).is_none(), "twice");
            Ok::<(), Infallible>(())
        });
    assert_eq!(counts.left_out, found.len() as u64);
    found
}

#[test]
fn each_change_of_the_end_is_set_aside() {
    let one = |what| BTreeMap::from([("k".to_owned(), what)]);
    let none = BTreeMap::new();
    assert_eq!(set_aside(&[put("k", "x")], &[], &[]), none);
    assert_eq!(set_aside(&[], &[put("k", "x")], &[]), one("put"));
    assert_eq!(set_aside(&[], &[delete("k")], &[]), one("removed"));
    assert_eq!(set_aside(&[], &[clear("k")], &[]), one("removed"));
    // What counts comes in, so that the end is nowhere, whatever is here now.
    assert_eq!(set_aside(&[put("k", "x")], &[put("k", "base")], &[]), one("put"));
    assert_eq!(set_aside(&[delete("k")], &[put("k", "base")], &[]), one("put"));
    assert_eq!(set_aside(&[put("k", "x")], &[delete("k")], &[delete("k")]), one("removed"));
    // A key that only this side knew.
    let new = |what| BTreeMap::from([("new".to_owned(), what)]);
    for removal in [delete("new"), clear("n")] {
        assert_eq!(set_aside(&[put("new", "x")], &[removal], &[]), new("removed"));
    }
    assert_eq!(set_aside(&[], &[put("new", "x")], &[]), new("put"));
    assert_eq!(set_aside(&[], &[put("new", "x"), delete("new")], &[]), none, "it came and went");
}

#[test]
fn what_is_here_already_is_not_set_aside() {
    let none = BTreeMap::new();
    let one = |what| BTreeMap::from([("k".to_owned(), what)]);
    assert_eq!(set_aside(&[], &[put("k", "x")], &[put("k", "x")]), none);
    assert_eq!(set_aside(&[], &[put("k", "x")], &[put("k", "y")]), one("put"));
    assert_eq!(set_aside(&[], &[put("k", "x")], &[put_for("k", "x", Ttl::Ms(1_000))]), one("put"));
    assert_eq!(set_aside(&[], &[delete("k")], &[delete("k")]), none);
    assert_eq!(
        set_aside(&[], &[put("k", "15")], &[put("k", "15")]),
        one("put"),
        "a sum may have it in it or not"
    );
}

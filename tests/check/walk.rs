//! The model `walk`: what was there all the time is told once, and what was absent all the time is not.

use crate::support::{asked, failed, history, judged, ok, unknown, verdict};
use lockstep::check::{ModelName, Operation, Verdict};
use serde_json::{Value, json};

fn add(member: u64, times: (u64, u64)) -> Operation {
    ok(0, "add", json!(member), Value::Null, times)
}

fn remove(member: u64, times: (u64, u64)) -> Operation {
    ok(0, "remove", json!(member), Value::Null, times)
}

fn walk(members: &[u64], times: (u64, u64)) -> Operation {
    ok(1, "read", Value::Null, json!(members), times)
}

/// 1 is there; 2 was removed; 3 was removed and came back; 4 may have come; 5 may have gone; 6 was refused.
fn past() -> Vec<Operation> {
    vec![
        add(1, (0, 10)),
        add(2, (0, 10)),
        remove(2, (20, 30)),
        add(3, (0, 10)),
        remove(3, (20, 30)),
        add(3, (40, 50)),
        unknown(add(4, (0, 10))),
        add(5, (0, 10)),
        unknown(remove(5, (20, 30))),
        failed("unavailable", add(6, (0, 10))),
    ]
}

fn with(more: &[Operation]) -> Vec<Operation> {
    [past(), more.to_vec()].concat()
}

#[track_caller]
fn assert_fits(more: &[Operation]) {
    assert_eq!(verdict(ModelName::Walk, &with(more)), Verdict::Yes);
}

/// The reason; the walk, or what missed, is what contradicts.
#[track_caller]
fn reason(more: &[Operation]) -> String {
    let report = judged(&history(ModelName::Walk, with(more)));
    assert_eq!(report.verdict, Verdict::No);
    let failure = &report.failures[0];
    assert_eq!(failure.order.len() + failure.stuck.len(), failure.prefix.len());
    assert!(more.contains(&failure.prefix[failure.stuck[0]]));
    failure.reason.clone()
}

#[test]
fn a_walk_may_tell_or_leave_out_what_nobody_knows_of() {
    for told in [&[1, 3][..], &[1, 3, 4], &[1, 3, 5], &[5, 4, 3, 1]] {
        assert_fits(&[walk(told, (100, 200))]);
    }
}

#[test]
fn a_missing_member_is_noticed() {
    assert_eq!(reason(&[walk(&[3], (100, 200))]), "1 was there all the time, and is missing");
    assert_eq!(reason(&[walk(&[1], (100, 200))]), "3 was there all the time, and is missing");
    let none = ok(1, "read", Value::Null, Value::Null, (100, 200));
    assert!(reason(&[none]).ends_with("is missing"));
}

#[test]
fn an_invented_member_is_noticed() {
    assert_eq!(reason(&[walk(&[1, 3, 7], (100, 200))]), "nobody added 7");
    assert_eq!(reason(&[walk(&[1, 2, 3], (100, 200))]), "2 was absent all the time, and is told");
    assert_eq!(reason(&[walk(&[1, 3, 6], (100, 200))]), "nobody added 6");
    // It came only after the walk.
    let later = [walk(&[1, 3, 8], (100, 200)), add(8, (201, 210))];
    assert_eq!(reason(&later), "8 was absent all the time, and is told");
}

#[test]
fn a_member_that_stays_is_told_once() {
    assert_eq!(reason(&[walk(&[1, 3, 1], (100, 200))]), "1 was there all the time, and is told 2 times");
    // It may have gone and come again, behind where it was.
    let again = [remove(1, (110, 120)), add(1, (130, 140)), walk(&[1, 3, 1], (100, 200))];
    assert_fits(&again);
}

#[test]
fn what_changes_during_a_walk_may_be_told_or_not() {
    for told in [&[1, 3][..], &[3], &[1, 3, 8], &[3, 8]] {
        assert_fits(&[remove(1, (150, 160)), add(8, (200, 210)), walk(told, (100, 200))]);
        assert_fits(&[unknown(remove(1, (90, 95))), add(8, (95, 100)), walk(told, (100, 200))]);
    }
    // A change that ended before it has happened.
    assert!(reason(&[remove(1, (60, 99)), walk(&[1, 3], (100, 200))]).starts_with("1 was absent"));
    assert!(reason(&[add(8, (60, 99)), walk(&[1, 3], (100, 200))]).starts_with("8 was there"));
}

#[test]
fn changes_at_the_same_time_can_be_in_either_order() {
    let both = [add(8, (60, 80)), remove(8, (70, 90))];
    for told in [&[1, 3][..], &[1, 3, 8]] {
        assert_fits(&[&both[..], &[walk(told, (100, 200))]].concat());
    }
}

#[test]
fn a_removal_that_finds_nothing_is_judged() {
    let missed = |member, times| failed("not_found", remove(member, times));
    for member in [2, 4, 5, 6, 7] {
        assert_fits(&[missed(member, (100, 110))]);
    }
    assert_eq!(reason(&[missed(1, (100, 110))]), "1 was there all the time, and was not found");
    assert_fits(&[remove(1, (100, 110)), missed(1, (105, 120))]);
    // One that was refused says nothing.
    assert_fits(&[failed("unavailable", remove(1, (60, 70))), walk(&[1, 3], (100, 200))]);
}

#[test]
fn what_makes_no_sense_is_undecided() {
    for odd in [
        asked(0, "append", json!(1), 0, 1),
        asked(0, "add", Value::Null, 0, 1),
        ok(1, "read", Value::Null, json!(1), (0, 1)),
    ] {
        assert_eq!(verdict(ModelName::Walk, &[odd]), Verdict::Undecided);
    }
}

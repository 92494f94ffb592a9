//! Every way in which two sides can stand to each other at a key, and what is proposed.

use lockstep::reconcile::{
    Action, Case, Deletes, Entry, Fate, Guard, Knowledge, Lifetime, Policy, Rule, Side, Terms, Verdict, judge,
};

const NEWEST: Terms = by(Policy::Newest);

const fn by(policy: Policy) -> Terms {
    Terms {
        rule: Rule { policy, deletes: Deletes::ByTime },
        remove_unknown: false,
        base_number: None,
        was_merged: false,
    }
}

/// The entry at the fork.
const BASE: Entry = Entry {
    revision: 7,
    created_revision: 7,
    version: 1,
    stamp_ms: 1,
    lifetime: Lifetime::FOREVER,
    hash: 70,
    number: None,
};
/// The revision of everything that live changed.
const OURS: Guard = Guard::Revision(30);

fn common(fate: Fate) -> Knowledge {
    Knowledge { fate, was_common: Some(true), is_merged: false }
}

fn unchanged() -> Knowledge {
    common(Fate::Unchanged(BASE))
}

fn entry(stamp_ms: u64, hash: u128) -> Entry {
    Entry { revision: 30, version: 2, stamp_ms, hash, ..BASE }
}

fn changed(stamp_ms: u64, hash: u128) -> Knowledge {
    common(Fate::Changed(entry(stamp_ms, hash)))
}

fn counted(number: i64) -> Knowledge {
    let hash = number.unsigned_abs().into();
    common(Fate::Changed(Entry { number: Some(number), ..entry(5, hash) }))
}

fn deleted(stamp_ms: u64) -> Knowledge {
    common(Fate::Deleted { stamp_ms })
}

fn lost(stamp_ms: u64) -> Knowledge {
    common(Fate::Lost { stamp_ms })
}

fn absent() -> Knowledge {
    common(Fate::Absent)
}

fn unknown() -> Knowledge {
    Knowledge { fate: Fate::Unknown { forgotten_ms: 4 }, was_common: None, is_merged: false }
}

/// All that live can know.
fn any_live() -> [Knowledge; 6] {
    [unchanged(), changed(5, 71), deleted(5), lost(5), absent(), unknown()]
}

#[track_caller]
fn verdict(incoming: Knowledge, live: Knowledge, terms: Terms) -> Verdict {
    judge(incoming, live, terms).expect("the sides fit together")
}

#[track_caller]
fn told(incoming: Knowledge, live: Knowledge, terms: Terms, expected: (Case, Action, Guard, Option<Side>)) {
    let found = verdict(incoming, live, terms);
    assert_eq!((found.case, found.action, found.guard, found.loser), expected);
    assert!(!found.set_aside);
}

#[track_caller]
fn set_aside(incoming: Knowledge, live: Knowledge, terms: Terms, case: Case) {
    let found = verdict(incoming, live, terms);
    let found = (found.case, found.action, found.loser, found.set_aside);
    assert_eq!(found, (case, Action::Keep, Some(Side::Incoming), true));
}

#[test]
fn row_1_what_incoming_did_not_change_stays_as_live_has_it() {
    for live in any_live() {
        let found = verdict(unchanged(), live, NEWEST);
        assert_eq!((found.case, found.action, found.loser), (Case::UnchangedThere, Action::Keep, None));
    }
    let other = common(Fate::Unchanged(Entry { hash: 71, ..BASE }));
    judge(other, unchanged(), NEWEST).expect_err("one revision, two values");
    let other = common(Fate::Unchanged(Entry { revision: 6, ..BASE }));
    judge(other, unchanged(), NEWEST).expect_err("one entry, two revisions");
}

#[test]
fn row_2_what_incoming_evicted_stays_as_live_has_it() {
    for live in any_live() {
        let found = verdict(absent(), live, NEWEST);
        assert_eq!((found.case, found.action, found.loser), (Case::AbsentThere, Action::Keep, None));
    }
}

#[test]
fn row_3_an_absence_without_a_reason_removes_only_on_request() {
    let at = Guard::Revision(7);
    told(unknown(), unchanged(), NEWEST, (Case::UnknownAbsence, Action::Keep, at, None));
    let remove = Terms { remove_unknown: true, ..NEWEST };
    told(unknown(), unchanged(), remove, (Case::UnknownAbsence, Action::Remove, at, None));
    told(unknown(), changed(5, 71), remove, (Case::AbsentThere, Action::Keep, OURS, None));
}

#[test]
fn row_4_what_only_incoming_changed_is_taken_whatever_the_clocks_say() {
    for policy in [Policy::Newest, Policy::Oldest, Policy::PreferLive, Policy::Quarantine, Policy::Custom] {
        let expected = (Case::ChangedThere, Action::Put, Guard::Revision(7), None);
        told(changed(0, 71), unchanged(), by(policy), expected);
    }
}

#[test]
fn row_5_what_incoming_changed_and_live_evicted_is_taken() {
    told(changed(5, 71), absent(), NEWEST, (Case::ChangedThereAbsentHere, Action::Put, Guard::Absent, None));
}

#[test]
fn row_6_a_removal_that_live_may_have_forgotten_is_not_undone() {
    let case = Case::ChangedThereUnknownHere;
    told(changed(5, 71), unknown(), NEWEST, (case, Action::Put, Guard::Absent, None));
    set_aside(changed(4, 71), unknown(), NEWEST, case);
    set_aside(changed(5, 71), unknown(), by(Policy::PreferIncoming), case);
}

#[test]
fn row_7_the_same_change_on_both_sides_changes_the_lifetime_at_most() {
    let sooner = |stamp_ms| {
        let lifetime = Lifetime { expires_at_ms: 90, sliding_ms: 0 };
        common(Fate::Changed(Entry { lifetime, ..entry(stamp_ms, 71) }))
    };
    let case = Case::SameChange;
    told(changed(5, 71), changed(5, 71), NEWEST, (case, Action::Keep, OURS, None));
    told(sooner(6), changed(5, 71), NEWEST, (case, Action::SetLifetime, OURS, None));
    told(sooner(5), changed(5, 71), NEWEST, (case, Action::Keep, OURS, None));
    told(sooner(6), changed(5, 71), by(Policy::PreferLive), (case, Action::Keep, OURS, None));
}

#[test]
fn row_8_where_both_changed_a_key_the_policy_decides() {
    let case = Case::ChangedTwice;
    let (theirs, ours) =
        ((case, Action::Put, OURS, Some(Side::Live)), (case, Action::Keep, OURS, Some(Side::Incoming)));
    told(changed(6, 71), changed(5, 72), NEWEST, theirs);
    told(changed(5, 71), changed(6, 72), NEWEST, ours);
    // At equal times the greater value wins, whoever has it.
    told(changed(5, 71), changed(5, 72), NEWEST, ours);
    told(changed(5, 72), changed(5, 71), NEWEST, theirs);
    told(changed(4, 71), changed(5, 72), by(Policy::Oldest), theirs);
    told(changed(4, 71), changed(5, 72), by(Policy::PreferIncoming), theirs);
    told(changed(6, 71), changed(5, 72), by(Policy::PreferLive), ours);
    set_aside(changed(6, 71), changed(5, 72), by(Policy::Quarantine), case);
    told(changed(6, 71), changed(5, 72), by(Policy::Custom), (case, Action::Decide, OURS, None));
}

#[test]
fn row_9_a_change_against_a_removal() {
    let case = Case::ChangedThereDeletedHere;
    let put = (case, Action::Put, Guard::Absent, Some(Side::Live));
    let keep = (case, Action::Keep, Guard::Absent, Some(Side::Incoming));
    told(changed(6, 71), deleted(5), NEWEST, put);
    told(changed(5, 71), deleted(5), NEWEST, put);
    told(changed(4, 71), deleted(5), NEWEST, keep);
    let deletes = |deletes| Terms { rule: Rule { policy: Policy::Newest, deletes }, ..NEWEST };
    told(changed(6, 71), deleted(5), deletes(Deletes::Win), keep);
    told(changed(4, 71), deleted(5), deletes(Deletes::Lose), put);
    // Live removed a key of that name which it had made for itself.
    let made_here = Knowledge { fate: Fate::Deleted { stamp_ms: 9 }, was_common: None, is_merged: false };
    let theirs = Knowledge { was_common: Some(false), ..changed(4, 71) };
    let expected = (Case::ChangedThereAbsentHere, Action::Put, Guard::Absent, None);
    told(theirs, made_here, NEWEST, expected);
}

#[test]
fn row_10_a_change_against_one_that_live_has_lost() {
    let case = Case::ChangedThereLostHere;
    told(changed(6, 71), lost(5), NEWEST, (case, Action::Put, Guard::Absent, None));
    told(changed(4, 71), lost(5), NEWEST, (case, Action::Keep, Guard::Absent, Some(Side::Incoming)));
    told(
        changed(4, 71),
        lost(5),
        by(Policy::Custom),
        (case, Action::Keep, Guard::Absent, Some(Side::Incoming)),
    );
}

#[test]
fn row_11_what_only_incoming_touched_and_removed_is_removed() {
    told(deleted(0), unchanged(), NEWEST, (Case::DeletedThere, Action::Remove, Guard::Revision(7), None));
}

#[test]
fn row_12_a_removal_against_a_change() {
    let case = Case::DeletedThereChangedHere;
    told(deleted(6), changed(5, 71), NEWEST, (case, Action::Remove, OURS, Some(Side::Live)));
    told(deleted(5), changed(5, 71), NEWEST, (case, Action::Keep, OURS, Some(Side::Incoming)));
    told(deleted(5), changed(6, 71), by(Policy::Custom), (case, Action::Decide, OURS, None));
    set_aside(deleted(5), changed(6, 71), by(Policy::Quarantine), case);
}

#[test]
fn row_13_a_removal_of_a_key_that_live_made_for_itself_is_of_another_key() {
    let made_here = Knowledge { was_common: Some(false), ..changed(5, 71) };
    let theirs = Knowledge { fate: Fate::Deleted { stamp_ms: 9 }, was_common: None, is_merged: false };
    told(theirs, made_here, NEWEST, (Case::Unrelated, Action::Keep, OURS, None));
    // Where nobody can tell, it is a conflict.
    let unsure = Knowledge { was_common: None, ..changed(5, 71) };
    told(theirs, unsure, NEWEST, (Case::DeletedThereChangedHere, Action::Remove, OURS, Some(Side::Live)));
}

#[test]
fn row_14_of_two_removals_the_one_that_counts_is_kept() {
    let case = Case::GoneTwice;
    for theirs in [deleted(6), lost(6)] {
        for (ours, action) in [
            (deleted(5), Action::Bury),
            (lost(5), Action::Bury),
            (deleted(6), Action::Keep),
            (deleted(7), Action::Keep),
            (absent(), Action::Bury),
            (unknown(), Action::Bury),
        ] {
            told(theirs, ours, NEWEST, (case, action, Guard::Absent, None));
        }
        told(theirs, deleted(7), by(Policy::Oldest), (case, Action::Bury, Guard::Absent, None));
    }
}

#[test]
fn row_15_a_value_that_was_replaced_elsewhere_does_not_stay() {
    told(lost(5), unchanged(), NEWEST, (Case::LostThere, Action::Remove, Guard::Revision(7), None));
}

#[test]
fn row_16_a_change_that_is_lost_against_one_that_is_there() {
    let case = Case::LostThereChangedHere;
    told(lost(6), changed(5, 71), NEWEST, (case, Action::Remove, OURS, Some(Side::Live)));
    told(lost(4), changed(5, 71), NEWEST, (case, Action::Keep, OURS, None));
    told(lost(4), changed(5, 71), by(Policy::PreferIncoming), (case, Action::Remove, OURS, Some(Side::Live)));
    told(lost(6), changed(5, 71), by(Policy::PreferLive), (case, Action::Keep, OURS, None));
}

#[test]
fn row_19_only_the_lifetime_was_changed() {
    let theirs = common(Fate::Changed(Entry {
        lifetime: Lifetime { expires_at_ms: 90, sliding_ms: 0 },
        ..entry(5, BASE.hash)
    }));
    told(theirs, unchanged(), NEWEST, (Case::LifetimeThere, Action::SetLifetime, Guard::Revision(7), None));
}

#[test]
fn row_22_counters_get_what_both_sides_added() {
    let sum = Terms { base_number: Some(10), ..by(Policy::SumDelta) };
    let case = Case::ChangedTwice;
    told(counted(13), counted(15), sum, (case, Action::Add(3), OURS, None));
    told(counted(15), counted(15), sum, (case, Action::Add(5), OURS, None));
    told(counted(10), counted(15), sum, (case, Action::Keep, OURS, None));
    // A part of it came in before.
    set_aside(counted(13), counted(15), Terms { was_merged: true, ..sum }, case);
    // Nobody knows how it began.
    set_aside(counted(13), counted(15), by(Policy::SumDelta), case);
    // It began on both sides.
    let made = |number| Knowledge { was_common: Some(false), ..counted(number) };
    told(made(3), made(5), by(Policy::SumDelta), (case, Action::Add(3), OURS, None));
    // No number, and no room for the sum.
    set_aside(changed(5, 71), counted(15), sum, case);
    set_aside(counted(i64::MAX), counted(15), Terms { base_number: Some(0), ..sum }, case);
    set_aside(counted(i64::MIN), counted(15), sum, case);
}

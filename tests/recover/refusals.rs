//! When no plan is made.

use lockstep::lineage::{HistoryKind, Lineage, TermStart};
use lockstep::recover::{LastEntry, MembershipAt, NamedMember, Refusal, Survivor, plan};
use std::collections::BTreeSet;

pub fn member(id: u64) -> NamedMember {
    NamedMember {
        id,
        name: format!("n{id}"),
        http: format!("http://n{id}"),
        peer: format!("n{id}:6000"),
        store_uuid: format!("store {id}"),
    }
}

pub fn survivor(id: u64, last: (u64, u64), committed_index: u64, memberships: Vec<MembershipAt>) -> Survivor {
    Survivor {
        survivor: 1,
        folder: format!("/n{id}"),
        node: member(id),
        lineage: Lineage::founded("c", 0),
        term_starts: vec![TermStart { term: last.0, index: 1 }],
        last: LastEntry { term: last.0, index: last.1 },
        committed_index,
        voted_term: last.0,
        memberships,
        heard_of: 0,
        last_entry_at_ms: Some(7),
        tail: Vec::new(),
        superseded_by: None,
    }
}

pub fn membership(index: u64, voters: &[&[u64]], members: &[u64]) -> MembershipAt {
    let voters = voters.iter().map(|set| set.iter().copied().collect::<BTreeSet<u64>>()).collect();
    MembershipAt { index, voters, members: members.iter().map(|id| member(*id)).collect() }
}

/// A survivor of five nodes, all voters, whose log ends at a position.
fn of_five(id: u64, last: (u64, u64)) -> Survivor {
    survivor(id, last, 10, vec![membership(1, &[&[1, 2, 3, 4, 5]], &[1, 2, 3, 4, 5])])
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn refused(survivors: &[Survivor], lost: &[&str]) -> Refusal {
    plan(survivors, &names(lost), "new".into(), 9).expect_err("it is refused")
}

#[test]
fn the_best_log_goes_on() {
    let survivors = [of_five(1, (3, 90)), of_five(2, (4, 70))];
    for survivors in [survivors.clone(), [survivors[1].clone(), survivors[0].clone()]] {
        let plan = plan(&survivors, &names(&["n3", "n4", "5"]), "new".into(), 9).expect("a plan");
        assert_eq!(plan.seed.node.id, 2, "a later term counts before a greater index");
        assert_eq!(
            plan.others.iter().map(|other| (other.node.id, other.voter)).collect::<Vec<_>>(),
            [(1, true)]
        );
        assert_eq!(plan.lost.iter().map(|member| member.id).collect::<Vec<_>>(), [3, 4, 5]);
        let history = plan.lineage.current();
        assert_eq!((history.kind, history.fork_index, history.number), (HistoryKind::Recovered, 70, 2));
        assert!(history.start_index > 90, "above every index that anybody has");
        assert!(history.reason.contains("n2 without n3, n4, n5"), "{}", history.reason);
    }
}

/// A leader that only itself followed has the later term, and not what the others committed without it.
#[test]
fn what_somebody_knows_to_be_committed_is_kept() {
    let starts = |starts: &[(u64, u64)]| -> Vec<TermStart> {
        starts.iter().map(|(term, index)| TermStart { term: *term, index: *index }).collect()
    };
    let alone =
        Survivor { term_starts: starts(&[(1, 1), (4, 50)]), committed_index: 49, ..of_five(1, (4, 60)) };
    let knows =
        Survivor { term_starts: starts(&[(1, 1), (3, 45)]), committed_index: 52, ..of_five(2, (3, 52)) };
    let seed = |survivors: &[Survivor]| {
        plan(survivors, &names(&["n3", "n4", "n5"]), "new".into(), 9).expect("a plan").seed.node.id
    };
    assert_eq!(seed(&[alone.clone(), knows.clone()]), 2);
    let both = Survivor { term_starts: starts(&[(1, 1), (3, 45), (4, 55)]), ..alone.clone() };
    assert_eq!(seed(&[both, knows]), 1, "it has what the other one knows");
}

#[test]
fn equal_logs_are_chosen_among_alike_in_every_order() {
    let (one, two) = (of_five(1, (3, 90)), of_five(2, (3, 90)));
    let seed = |survivors: &[Survivor]| {
        plan(survivors, &names(&["n3", "n4", "n5"]), "new".into(), 9).expect("a plan").seed.node.id
    };
    assert_eq!(seed(&[one.clone(), two.clone()]), seed(&[two, one]));
}

#[test]
fn what_raft_can_do_by_itself_is_refused() {
    let survivors: Vec<Survivor> = (1..=3).map(|id| of_five(id, (3, 90))).collect();
    assert_eq!(refused(&survivors, &["n4", "n5"]), Refusal::MajorityIsLeft);
    // Half of a joint membership has lost its majority.
    let joint = vec![membership(80, &[&[1, 2, 3], &[3, 4, 5]], &[1, 2, 3, 4, 5])];
    let survivors: Vec<Survivor> = (1..=3).map(|id| survivor(id, (3, 90), 85, joint.clone())).collect();
    assert!(plan(&survivors, &names(&["n4", "n5"]), "new".into(), 9).is_ok());
}

#[test]
fn everybody_is_accounted_for() {
    let (one, two) = (of_five(1, (3, 90)), of_five(2, (3, 90)));
    let both = [one.clone(), two.clone()];
    assert_eq!(refused(&[], &["n1"]), Refusal::NoSurvivor);
    assert_eq!(refused(&both, &["n3", "n4"]), Refusal::Unaccounted("n5".into()));
    assert_eq!(refused(&both, &["n2", "n3", "n4", "n5"]), Refusal::NotLost("n2".into()));
    assert!(matches!(refused(&both, &["n3", "n4", "n9"]), Refusal::NoSuchMember(name, _) if name == "n9"));
    assert_eq!(refused(&[one.clone(), one.clone()], &["n3", "n4", "n5"]), Refusal::Twice("n1".into()));

    // A node that was removed, or whose number another folder has now.
    let gone = Survivor { node: member(6), ..one.clone() };
    assert_eq!(refused(&[two.clone(), gone], &["n1", "n3", "n4", "n5"]), Refusal::NotAMember("n6".into()));
    let wiped = Survivor { node: NamedMember { store_uuid: "another".into(), ..member(1) }, ..one };
    assert_eq!(refused(&[two, wiped], &["n3", "n4", "n5"]), Refusal::NotAMember("n1".into()));
}

#[test]
fn logs_of_two_histories_are_refused() {
    let (one, two) = (of_five(1, (3, 90)), of_five(2, (3, 80)));
    let lost = ["n3", "n4", "n5"];
    let foreign = Survivor { lineage: Lineage::founded("other", 0), ..two.clone() };
    assert!(matches!(refused(&[one.clone(), foreign], &lost), Refusal::Foreign(..)));
    let next = one.lineage.fork("b".into(), HistoryKind::Recovered, 5, 0, 0, "").expect("room");
    let later = Survivor { lineage: next.clone(), ..two.clone() };
    assert_eq!(refused(&[one.clone(), later], &lost), Refusal::OtherHistory("n2".into(), 2, "n1".into(), 1));
    let superseded = Survivor { superseded_by: Some(next), ..two };
    assert_eq!(refused(&[one, superseded], &lost), Refusal::Superseded("n2".into(), 2));
}

#[test]
fn half_of_an_even_number_meets_every_majority() {
    let four = || vec![membership(1, &[&[1, 2, 3, 4]], &[1, 2, 3, 4])];
    let survivors = [survivor(1, (3, 90), 80, four()), survivor(2, (3, 85), 82, four())];
    let loss = plan(&survivors, &names(&["n3", "n4"]), "new".into(), 9).expect("a plan").loss;
    assert!(loss.nothing_acknowledged);
    assert_eq!((loss.committed_index, loss.last_index), (82, 90));
    let loss = plan(&survivors[..1], &names(&["n2", "n3", "n4"]), "new".into(), 9).expect("a plan").loss;
    assert!(!loss.nothing_acknowledged);
}

/// The membership that a survivor knows last may never have been committed: then the lost nodes may have decided by the one
/// before it.
#[test]
fn a_membership_that_may_not_count_proves_nothing() {
    let known =
        vec![membership(1, &[&[1, 2, 3]], &[1, 2, 3, 4, 5]), membership(90, &[&[3, 4, 5]], &[1, 2, 3, 4, 5])];
    let survivors = [survivor(4, (3, 90), 80, known.clone()), survivor(3, (3, 70), 70, known[..1].to_vec())];
    // Of 3, 4 and 5 a majority would be left.
    assert_eq!(refused(&survivors, &["n1", "n2", "n5"]), Refusal::MajorityIsLeft);
    let joint = vec![known[0].clone(), membership(90, &[&[1, 2, 3], &[3, 4, 5]], &[1, 2, 3, 4, 5])];
    let survivors = [survivor(4, (3, 90), 80, joint.clone()), survivor(5, (3, 90), 80, joint)];
    let loss = plan(&survivors, &names(&["n1", "n2", "n3"]), "new".into(), 9).expect("a plan").loss;
    assert!(
        !loss.nothing_acknowledged,
        "1, 2 and 3 may have decided without ever seeing the joint membership"
    );
}

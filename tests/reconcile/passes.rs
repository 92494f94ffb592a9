//! One side's changes come in again and again, while it goes on changing keys.

use crate::oracle::{Branch, FORK, trunk};
use lockstep::cache::{
    Cache, Command, Condition, Key, MergeChange, MergeEnd, MergeGuard, MergeOp, MergeStep, MergeTimes, Op,
    Outcome, Stamp, Ttl, Value,
};
use lockstep::reconcile::{
    Action, Base, Clock, Guard, KeyState, Merged, PlanLine, Policy, Rules, View, plan,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
/// The name by which the incoming side calls the cluster.
const LEFT: &str = "left";

/// A side changes a key; `None` removes it.
type Change = (usize, Option<u8>);

fn key(at: usize) -> Key {
    Key::new(KEYS[at]).expect("a key")
}

fn change(cache: &mut Cache, (at, to): Change, at_ms: u64) {
    let condition = Condition::Always;
    let op = match to {
        Some(value) => {
            let value = Value::new(vec![value].into(), None).expect("a value");
            Op::Put { key: key(at), value, ttl: Ttl::Never, condition, previous: false }
        }
        None => Op::Delete { key: key(at), condition, previous: false },
    };
    let _ = apply(cache, Command::One(op), at_ms);
}

fn apply(cache: &mut Cache, command: Command, at_ms: u64) -> Outcome {
    let stamp =
        Stamp { index: cache.index() + 1, at_ms, idempotency_key: None, origin: None, touches: Vec::new() };
    cache.apply(stamp, command).outcome.expect("it is done")
}

/// Brings in what incoming has changed since the last pass.
fn pass(live: &mut Cache, incoming: &Cache, fork_index: u64, policy: Policy, number: usize, at_ms: u64) {
    let clock = Clock { shift_ms: 0, fork_ms: 1, now_ms: at_ms };
    let mut merged = Merged::default();
    for merge in live.merges() {
        merged.steps.extend(&merge.steps);
        merged.mixed.extend(&merge.mixed);
    }
    let decided_until = live.decided_until(FORK);
    let theirs =
        View { cache: incoming, fork_index, decided_until, merged: None, fork: incoming.fork(LEFT), clock };
    let ours = View {
        cache: live,
        fork_index,
        decided_until: 0,
        merged: Some(&merged),
        fork: live.fork(FORK),
        clock,
    };
    let mut ops = Vec::new();
    plan(theirs, ours, &Rules::all(policy), &Base::default(), |proposal| {
        let stored = |cache: &Cache| cache.stored(proposal.key.as_str());
        let line = PlanLine::of(&proposal, stored(incoming).as_ref(), stored(live).as_ref());
        ops.extend(op_of(&line));
        Ok::<(), Infallible>(())
    })
    .expect("both come from one log");
    let step = MergeStep {
        merge: format!("pass {number}"),
        history: FORK.into(),
        number: 0,
        after: decided_until,
        planned_at: live.index(),
        ops,
        end: Some(MergeEnd::UpTo(incoming.index())),
    };
    apply(live, Command::Merge(Box::new(step)), at_ms);
    assert_eq!(live.digest(), live.recompute_digest(), "the digest drifted");
}

fn op_of(line: &PlanLine) -> Option<MergeOp> {
    let guard = match line.guard {
        Guard::Absent => MergeGuard::Absent,
        Guard::Revision(revision) => MergeGuard::Revision(revision),
    };
    let times = |at_ms| MergeTimes { at_ms, version: 1, expires_at_ms: None, sliding_ms: 0 };
    let gone_ms = match line.incoming {
        KeyState::Deleted { stamp_ms } | KeyState::Lost { stamp_ms } => stamp_ms,
        _ => 0,
    };
    let change = match line.action {
        Action::Keep => return None,
        Action::Put => {
            let written = line.incoming.written().expect("a value");
            let value = Value::new(written.bytes().expect("bytes").into(), None).expect("a value");
            MergeChange::Put { value, times: times(written.stamp_ms) }
        }
        Action::Remove => MergeChange::Remove { at_ms: gone_ms },
        Action::Bury => MergeChange::Bury { at_ms: gone_ms },
        Action::SetLifetime => {
            MergeChange::SetTimes(times(line.incoming.written().expect("a value").stamp_ms))
        }
        Action::Add(_) | Action::Decide => panic!("{line:?}"),
    };
    Some(MergeOp { key: line.key.clone(), guard, change })
}

/// A node leaves the cluster: what both have at first, and the fork that each has opened.
fn part(trunk: &Cache) -> (Cache, Cache) {
    let mut live = Branch::of(trunk, false).cache;
    let open = Command::OpenFork { history: FORK.into(), node: 9, start_index: 1_000 };
    apply(&mut live, open, 2);
    let mut incoming = Branch::of(&live, false).cache;
    live.note_members(|node| node != 9);
    incoming.close_fork(FORK);
    assert!(incoming.open_fork(LEFT));
    (live, incoming)
}

/// The incoming side is about to be merged, and goes on: from now on all that it has may become common.
fn announce(incoming: &mut Cache, at_ms: u64) {
    apply(incoming, Command::OpenFork { history: LEFT.into(), node: 9, start_index: 0 }, at_ms);
}

fn values(cache: &Cache) -> BTreeMap<String, u128> {
    cache.all_stored().map(|stored| (stored.record.key().to_owned(), stored.record.hash())).collect()
}

fn changes(keys: usize) -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((0..keys, prop::option::weighted(0.7, any::<u8>())), 0..8)
}

proptest! {
    /// The cluster changes nothing itself, so whatever the rules, it has what the node has.
    #[test]
    fn a_side_that_changes_nothing_follows(
        passes in prop::collection::vec(changes(4), 1..5),
        policy in prop::sample::select(vec![Policy::Newest, Policy::Oldest, Policy::PreferLive, Policy::PreferIncoming]),
    ) {
        let trunk = trunk(&["a", "b"], 100);
        let (mut live, mut incoming) = part(&trunk);
        let (fork_index, mut at_ms) = (live.index(), 10);
        for (changes, number) in passes.into_iter().zip(0..) {
            for one in changes {
                at_ms += 1;
                change(&mut incoming, one, at_ms);
            }
            announce(&mut incoming, at_ms);
            pass(&mut live, &incoming, fork_index, policy, number, at_ms);
            prop_assert_eq!(values(&live), values(&incoming), "pass {}", number);
        }
    }

    /// Both sides change keys that both had, in turns, and the last change of each is what counts.
    #[test]
    fn the_last_change_of_a_key_counts_over_any_number_of_passes(
        passes in prop::collection::vec(prop::collection::vec((any::<bool>(), 0..3_usize, prop::option::weighted(0.7, any::<u8>())), 0..10), 1..5),
    ) {
        let trunk = trunk(&["a", "b", "c"], 100);
        let (mut live, mut incoming) = part(&trunk);
        let (fork_index, mut at_ms) = (live.index(), 10);
        let mut last: BTreeMap<usize, Option<u8>> = BTreeMap::new();
        for (changes, number) in passes.into_iter().zip(0..) {
            for (is_live, at, to) in changes {
                at_ms += 1;
                let cache = if is_live { &mut live } else { &mut incoming };
                // Removing what is not there is no change.
                if to.is_some() || cache.stored(KEYS[at]).is_some() {
                    last.insert(at, to);
                }
                change(cache, (at, to), at_ms);
            }
            at_ms += 1;
            announce(&mut incoming, at_ms);
            pass(&mut live, &incoming, fork_index, Policy::Newest, number, at_ms);
            for (at, to) in &last {
                let found = live.stored(KEYS[*at]).map(|stored| stored.record.bytes()[0]);
                prop_assert_eq!(found, *to, "{} in pass {}", KEYS[*at], number);
            }
        }
    }
}

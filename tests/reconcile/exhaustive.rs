//! All short logs on both sides, with ties of their times, compared with the oracle.

use crate::oracle::{Branch, FORK, Seen, stamp, trunk};
use lockstep::cache::{Command, Condition, DeadlineCondition, Key, Op, Ttl, Value};
use lockstep::reconcile::{Action, Base, Fate, Knowledge, Policy, Rules, Terms, judge, plan};
use std::collections::BTreeMap;
use std::convert::Infallible;

const KEYS: [&str; 3] = ["a", "b", "c"];
/// With two places, a third key evicts one.
const CAPACITY: u64 = 2;
const LENGTH_MAX: usize = 3;

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn put(name: &str, value: &'static str, ttl: Ttl) -> Command {
    let value = Value::new(value.into(), None).expect("a value");
    Command::One(Op::Put { key: key(name), value, ttl, condition: Condition::Always, previous: false })
}

/// What a side can do, with how much time passes before it.
fn steps() -> Vec<(Command, u64)> {
    let delete = Op::Delete { key: key("a"), condition: Condition::Always, previous: false };
    let expire = Op::Expire {
        key: key("a"),
        ttl: Ttl::Ms(5),
        condition: Condition::Always,
        only: DeadlineCondition::Always,
    };
    vec![
        (put("a", "x", Ttl::Never), 0),
        (put("a", "y", Ttl::Never), 1),
        (put("a", "base", Ttl::Never), 1),
        (put("a", "z", Ttl::Ms(1)), 0),
        (Command::One(delete.clone()), 0),
        (Command::One(delete), 1),
        (Command::One(expire), 0),
        (Command::Clear { prefix: Some("a".into()), unless: None }, 0),
        (Command::Clear { prefix: None, unless: None }, 1),
        (put("b", "x", Ttl::Never), 0),
        (put("c", "x", Ttl::Never), 1),
        (Command::Tick, 10),
    ]
}

/// A side at its end, key by key: what it knows, and what the oracle saw.
type Ending = Vec<(Knowledge, Seen)>;

fn ending(branch: &Branch) -> Ending {
    KEYS.iter().map(|name| (branch.knows(&key(name)), branch.seen(&key(name)))).collect()
}

/// Every ending that a side can come to, with one log that leads there, as numbers of steps.
fn endings(keys: &[&str], notes: bool, slow_clears: bool) -> Vec<(Vec<usize>, Ending)> {
    let (trunk, steps) = (trunk(keys, CAPACITY), steps());
    let mut found: BTreeMap<String, (Vec<usize>, Ending)> = BTreeMap::new();
    let mut logs = vec![Vec::new()];
    for _ in 0..LENGTH_MAX {
        let longer =
            |log: &Vec<usize>| (0..steps.len()).map(|step| [log.as_slice(), &[step]].concat()).collect();
        let last = logs.last().map_or(0, Vec::len);
        let next: Vec<Vec<usize>> =
            logs.iter().filter(|log| log.len() == last).flat_map(|log| -> Vec<_> { longer(log) }).collect();
        logs.extend(next);
    }
    for log in logs {
        let mut branch = Branch::of(&trunk, notes);
        if slow_clears {
            branch.cache.set_free_per_apply_max(0);
        }
        let mut at_ms = 2;
        for &step in &log {
            let (command, later_ms) = steps[step].clone();
            at_ms += later_ms;
            branch.apply(command, at_ms);
        }
        branch.cache.free_all_cleared();
        let ending = ending(&branch);
        found.entry(format!("{ending:?}")).or_insert((log, ending));
    }
    found.into_values().collect()
}

const TRUNKS: [&[&str]; 3] = [&[], &["a"], &["a", "b"]];

/// A side with a fork's notes knows all that the oracle saw, also where cleared entries were freed late.
#[test]
fn notes_are_exact() {
    for (keys, slow_clears) in TRUNKS.into_iter().flat_map(|keys| [(keys, false), (keys, true)]) {
        for (log, ending) in endings(keys, true, slow_clears) {
            for ((known, seen), name) in ending.into_iter().zip(KEYS) {
                let told = Seen::of(known.fate);
                assert_eq!(told, seen, "{keys:?}, {log:?}: {name} is {known:?}");
            }
        }
    }
}

/// The side that a node leaves on purpose knows as much: it notes what goes before the node leaves, and until it hears that the
/// node has left, which may be later.
#[test]
fn notes_for_a_node_that_leaves_are_exact() {
    let steps = steps();
    let (mut runs, mut taken_for_common) = (0, 0);
    for keys in TRUNKS {
        for log in 0..steps.len().pow(3) {
            let log = [log % steps.len(), log / steps.len() % steps.len(), log / steps.len().pow(2)];
            // It leaves after so many of the steps, and is heard to have left after so many.
            for (leaves, heard) in (0..=3).flat_map(|leaves| (leaves..=3).map(move |heard| (leaves, heard))) {
                let mut cache = trunk(keys, CAPACITY);
                let open = Command::OpenFork { history: FORK.into(), node: 7, start_index: 1_000 };
                let mut at_ms = 2;
                cache.apply(stamp(cache.index() + 1, at_ms), open).outcome.expect("room");
                for &step in &log[..leaves] {
                    let (command, later_ms) = steps[step].clone();
                    at_ms += later_ms;
                    let _ = cache.apply(stamp(cache.index() + 1, at_ms), command);
                }
                let mut branch = Branch::of(&cache, false);
                for (&step, done) in log[leaves..].iter().zip(leaves..) {
                    branch.cache.note_members(|node| node != 7 || done < heard);
                    let (command, later_ms) = steps[step].clone();
                    at_ms += later_ms;
                    branch.apply(command, at_ms);
                }
                branch.cache.free_all_cleared();
                for ((known, seen), name) in ending(&branch).into_iter().zip(KEYS) {
                    let told = Seen::of(known.fate);
                    // What comes and goes while the node leaves counts as something that it may have, too: then what it did
                    // with a key of that name is compared with the removal, instead of coming in at once.
                    let is_taken_for_common = matches!(told, Seen::Deleted { .. } | Seen::Lost { .. })
                        && seen == Seen::Absent
                        && cache.stored(name).is_none()
                        && heard > 0;
                    taken_for_common += u64::from(is_taken_for_common);
                    let is_right = told == seen || is_taken_for_common;
                    assert!(
                        is_right,
                        "{keys:?}, {log:?}, {leaves}, {heard}: {name} is {known:?}, and was seen {seen:?}"
                    );
                }
                assert!(branch.cache.digest() == branch.cache.recompute_digest());
                runs += 1;
            }
        }
    }
    println!("{runs} runs, {taken_for_common} keys taken for common ones");
}

/// A side without notes says nothing wrong: it may not know.
#[test]
fn tombstones_alone_tell_no_lies() {
    for keys in TRUNKS {
        let mut unknown = 0;
        for (log, ending) in endings(keys, false, false) {
            for ((known, seen), name) in ending.into_iter().zip(KEYS) {
                let is_right = match (Seen::of(known.fate), seen) {
                    (Seen::Unknown, Seen::Absent | Seen::Lost { .. }) => {
                        unknown += 1;
                        true
                    }
                    // Of a key that only this side knew.
                    (Seen::Deleted { .. }, Seen::Absent) => known.was_common.is_none(),
                    // A later clear, which did not find it.
                    (Seen::Deleted { stamp_ms: told }, Seen::Deleted { stamp_ms: seen }) => told >= seen,
                    // The same, or an earlier clear: it hides what became of keys that were made after it.
                    (Seen::Deleted { .. }, Seen::Lost { .. }) => known.was_common.is_none(),
                    (told, seen) => told == seen,
                };
                assert!(is_right, "{keys:?}, {log:?}: {name} is {known:?}, and was seen {seen:?}");
            }
        }
        assert!(unknown > 0);
    }
}

fn hash(known: Knowledge) -> Option<u128> {
    match known.fate {
        Fate::Unchanged(entry) | Fate::Changed(entry) => Some(entry.hash),
        _ => None,
    }
}

/// The value that the key should have then: whoever wished something gets it, and where both did, the later one.
fn expected((theirs, their_seen): (Knowledge, Seen), (ours, our_seen): (Knowledge, Seen)) -> Option<u128> {
    let wish = |seen| match seen {
        Seen::Changed { stamp_ms } => Some((stamp_ms, true)),
        Seen::Deleted { stamp_ms } | Seen::Lost { stamp_ms } => Some((stamp_ms, false)),
        Seen::Unchanged | Seen::Absent | Seen::Unknown => None,
    };
    match (wish(their_seen), wish(our_seen)) {
        (None, _) => hash(ours),
        (Some(_), None) => hash(theirs),
        (Some(left), Some(right)) if left > right => hash(theirs),
        (Some(left), Some(right)) if left < right => hash(ours),
        // The same time and kind: a change of the same version and lifetime with the greater hash.
        (Some(_), Some(_)) => {
            let order = |known: Knowledge| match known.fate {
                Fate::Changed(entry) => Some((entry.version, entry.lifetime, entry.hash)),
                _ => None,
            };
            order(theirs).max(order(ours)).map(|(.., hash)| hash)
        }
    }
}

/// All pairs of endings of two sides with notes.
#[test]
fn every_pair_of_short_logs_is_reconciled_as_the_oracle_would() {
    let terms = Terms {
        rule: Rules::all(Policy::Newest).default,
        remove_unknown: false,
        base_number: None,
        was_merged: false,
    };
    let mut pairs = 0_u64;
    for keys in TRUNKS {
        let endings = endings(keys, true, false);
        for (their_log, theirs) in &endings {
            for (our_log, ours) in &endings {
                for ((theirs, ours), name) in theirs.iter().zip(ours).zip(KEYS) {
                    let verdict = judge(theirs.0, ours.0, terms).expect("both come from one log");
                    let result = match verdict.action {
                        Action::Keep | Action::Bury => hash(ours.0),
                        Action::Put | Action::SetLifetime => hash(theirs.0),
                        Action::Remove => None,
                        Action::Add(_) | Action::Decide => panic!("{verdict:?}"),
                    };
                    assert_eq!(
                        result,
                        expected(*theirs, *ours),
                        "{name} of {keys:?} after {their_log:?} and {our_log:?}: {verdict:?} of {theirs:?} and {ours:?}"
                    );
                    pairs += 1;
                }
            }
        }
    }
    println!("{pairs} pairs");
    assert!(pairs > 10_000);
}

/// A plan has one proposal for each key that needs one, and each change of the incoming side is counted once.
#[test]
fn a_plan_is_the_verdicts_of_all_keys() {
    let terms = Terms {
        rule: Rules::all(Policy::Newest).default,
        remove_unknown: false,
        base_number: None,
        was_merged: false,
    };
    let (trunk, steps) = (trunk(&["a", "b"], CAPACITY), steps());
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..2_000 {
        let mut side = || {
            let mut branch = Branch::of(&trunk, true);
            let mut at_ms = 2;
            for _ in 0..random.usize(0..5) {
                let (command, later_ms) = steps[random.usize(..steps.len())].clone();
                at_ms += later_ms;
                branch.apply(command, at_ms);
            }
            branch
        };
        let (incoming, live) = (side(), side());
        let now_ms = incoming.cache.now_ms().max(live.cache.now_ms());
        let mut planned = BTreeMap::new();
        let counts =
            plan(incoming.view(now_ms), live.view(now_ms), &Rules::default(), &Base::default(), |proposal| {
                assert!(planned.insert(proposal.key.clone(), proposal.verdict).is_none(), "twice");
                Ok::<(), Infallible>(())
            })
            .expect("both come from one log");
        let mut changes = 0;
        for key in KEYS.map(key) {
            let theirs = incoming.view(now_ms).of(key.as_str());
            let verdict = judge(theirs, live.view(now_ms).of(key.as_str()), terms).expect("one log");
            let does_nothing = verdict.action == Action::Keep && verdict.loser.is_none();
            let expected = (!does_nothing).then_some(verdict);
            // What neither side has is only looked at where incoming has a tombstone.
            if expected.is_some_and(|verdict| verdict.action == Action::Bury) && !planned.contains_key(&key) {
                assert!(
                    incoming
                        .cache
                        .tombstone(key.as_str())
                        .is_none_or(|found| found.scope != lockstep::cache::Scope::Key(key.clone()))
                );
                continue;
            }
            assert_eq!(planned.get(&key).copied(), expected, "round {round}: {key:?}");
            changes +=
                u64::from(matches!(theirs.fate, Fate::Changed(_) | Fate::Deleted { .. } | Fate::Lost { .. }));
        }
        assert!(counts.changes >= counts.won_by_live && counts.changes <= changes, "{counts:?}");
    }
}

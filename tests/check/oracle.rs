//! Small histories, right and wrong, against a search that leaves nothing out.

use crate::naive::{Naive, can_be_ordered};
use crate::simulation::{Plan, short};
use crate::support::{MS, Random, history, shown};
use lockstep::check::{ModelName, Operation, Options, Outcome, Verdict, check};
use serde_json::{Value, json};

const HISTORIES: usize = 10_000;

/// Compares on random histories of one model; both verdicts have to be common.
fn compare(model: ModelName, use_revisions: bool) {
    let mut random = Random::new(&format!("{model:?}, revisions {use_revisions}"));
    let options = Options { use_revisions, ..Options::default() };
    let mut yes = 0;
    for _ in 0..HISTORIES {
        let plan = Plan {
            model,
            clients: 2 + random.below(3),
            operations: 1 + random.below(7) as usize,
            unknown_percent: 20,
            answered: &[],
            fail_percent: 5,
            longest_ns: *random.pick(&[3, 10 * MS]),
            values: 3,
        };
        let mut operations = short(&plan, &mut random);
        if random.chance(75) {
            (0..1 + random.below(2)).for_each(|_| distort(model, &mut operations, &mut random));
        }
        let expected = can_be_ordered(&Naive::new(model, use_revisions), &operations);
        let report = check(&history(model, operations.clone()), &options);
        let verdict = if expected { Verdict::Yes } else { Verdict::No };
        assert_eq!(report.verdict, verdict, "{}", shown(&operations));
        yes += usize::from(expected);
        if !expected {
            verify_counterexample(&report.failures[0].prefix, &report.failures[0], &options, model);
        }
    }
    let percent = yes * 100 / HISTORIES;
    println!("{model:?}: {percent} % can be ordered");
    assert!((20..=80).contains(&percent), "{percent} % can be ordered");
}

/// Changes an answer, which may make it wrong.
fn distort(model: ModelName, operations: &mut [Operation], random: &mut Random) {
    let is_answer = |operation: &&mut Operation| match operation.outcome {
        Outcome::Ok => operation.op == "read" || operation.revision.is_some() || !operation.result.is_null(),
        Outcome::Fail => true,
        Outcome::Unknown => false,
    };
    let mut answers: Vec<&mut Operation> = operations.iter_mut().filter(is_answer).collect();
    if answers.is_empty() {
        return;
    }
    let at = random.below(answers.len() as u64) as usize;
    let operation = &mut *answers[at];
    if operation.outcome == Outcome::Fail {
        operation.error = Some((*random.pick(&["not_found", "precondition_failed"])).into());
    } else if operation.revision.is_some() && random.chance(50) {
        operation.revision = Some(1 + random.below(8));
    } else if matches!(model, ModelName::List | ModelName::Set) {
        let mut items = operation.result.as_array().cloned().unwrap_or_default();
        let place = random.below(items.len() as u64 + 1) as usize;
        match random.below(3) {
            0 if place < items.len() => drop(items.remove(place)),
            1 if place > 0 && place < items.len() => items.swap(0, place),
            _ => items.insert(place, json!(random.below(3))),
        }
        operation.result = json!(items);
    } else if operation.op == "read" || !operation.result.is_null() {
        let nothing = operation.op == "read" && random.chance(30);
        operation.result = if nothing { Value::Null } else { json!(random.below(4)) };
    }
}

/// The order explains the beginning but for the answers that are stuck, and the beginning is inexplicable.
fn verify_counterexample(
    prefix: &[Operation],
    failure: &lockstep::check::Failure,
    options: &Options,
    model: ModelName,
) {
    let all = shown(prefix);
    let mut copy = Naive::new(model, options.use_revisions);
    assert!(failure.shortest);
    assert!(!can_be_ordered(&copy, prefix), "{all}");
    let open = |operation: &Operation| crate::support::unknown(operation.clone());
    for (number, at) in failure.order.iter().enumerate() {
        let is_stuck = failure.stuck.contains(at);
        let operation = if is_stuck { open(&prefix[*at]) } else { prefix[*at].clone() };
        assert!(copy.allows(&operation), "{:?}: number {number} does not follow in\n{all}", failure.order);
        let earlier = &failure.order[..number];
        let is_before =
            |other: &Operation| other.return_ns.is_some_and(|return_ns| return_ns < operation.call_ns);
        let forgotten = (0..prefix.len()).find(|other| {
            let answered = prefix[*other].outcome != Outcome::Unknown && !failure.stuck.contains(other);
            answered && is_before(&prefix[*other]) && !earlier.contains(other)
        });
        assert_eq!(forgotten, None, "{:?}\n{all}", failure.order);
    }
    let left_out = (0..prefix.len()).find(|at| {
        prefix[*at].outcome != Outcome::Unknown && !failure.order.contains(at) && !failure.stuck.contains(at)
    });
    assert_eq!(left_out, None, "{:?}\n{all}", failure.order);
    // Without the last answer it could be ordered, and that one is stuck.
    let last = (0..prefix.len())
        .filter(|at| prefix[*at].outcome != Outcome::Unknown)
        .max_by_key(|at| prefix[*at].return_ns)
        .expect("something was answered");
    assert_eq!(prefix[failure.stuck[0]].return_ns, prefix[last].return_ns);
    let shorter = prefix.iter().enumerate().filter_map(|(at, operation)| match failure.stuck.contains(&at) {
        false => Some(operation.clone()),
        true if operation.outcome == Outcome::Fail => None,
        true => Some(open(operation)),
    });
    let shorter: Vec<Operation> = shorter.collect();
    assert!(can_be_ordered(&Naive::new(model, options.use_revisions), &shorter), "{all}");
}

#[test]
fn registers_with_revisions() {
    compare(ModelName::Register, true);
}

#[test]
fn registers_without_revisions() {
    compare(ModelName::Register, false);
}

#[test]
fn counters() {
    compare(ModelName::Counter, true);
}

#[test]
fn lists() {
    compare(ModelName::List, true);
}

#[test]
fn sets() {
    compare(ModelName::Set, true);
}

#[test]
fn times_to_live() {
    compare(ModelName::Ttl, true);
}

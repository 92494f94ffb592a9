//! What a check may cost: it ends at its deadline, and is quick where histories are long.

use crate::simulation::{Plan, short};
use crate::support::{Random, asked, history, judged, ok, unknown};
use lockstep::check::{History, ModelName, Operation, Options, Verdict, check};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Adds that nobody answered, and a sum that no choice of them gives: there are 2^40 choices.
fn explosive(key: &str) -> Vec<Operation> {
    let adds =
        (0..40).map(|client| unknown(asked(client, "add", json!(2_i64.pow(client as u32 % 20) * 2), 0, 1)));
    let read = ok(40, "read", Value::Null, json!(1_234_567), (10, 20));
    adds.chain([read]).map(|operation| Operation { key: key.into(), ..operation }).collect()
}

#[test]
fn the_deadline_is_kept() {
    let deadline = Duration::from_millis(300);
    let operations = (0..6).flat_map(|key| explosive(&format!("k{key}"))).collect();
    let started = Instant::now();
    let report = check(&history(ModelName::Counter, operations), &Options { deadline, ..Options::default() });
    // Not much later, also on a busy machine: without a deadline it would take for ever.
    assert!(started.elapsed() < deadline * 20, "{:?}", started.elapsed());
    assert_eq!(report.verdict, Verdict::Undecided);
    assert_eq!(report.undecided.len(), 6);
    assert_eq!(report.undecided[0].reason, "there was not enough time");
    assert!(report.elapsed_ms >= 300);
}

#[test]
fn a_key_that_is_wrong_outweighs_one_that_is_undecided() {
    let mut operations = explosive("a");
    let wrong = ok(0, "read", Value::Null, json!(1), (0, 1));
    operations.push(Operation { key: "b".into(), ..wrong });
    let options = Options { deadline: Duration::from_millis(100), ..Options::default() };
    let report = check(&history(ModelName::Counter, operations), &options);
    assert_eq!((report.verdict, report.failures.len(), report.undecided.len()), (Verdict::No, 1, 1));
}

#[test]
fn without_operations_there_is_nothing_wrong() {
    let report = judged(&history(ModelName::Register, Vec::new()));
    assert_eq!((report.verdict, report.operations, report.keys), (Verdict::Yes, 0, 0));
}

/// One key with 20,000 operations: the stack is not the thread's.
#[test]
fn a_long_history_of_one_key_is_no_trouble() {
    let mut random = Random::new("long");
    let plan = Plan { operations: 20_000, unknown_percent: 0, ..Plan::long(ModelName::Register) };
    let report = judged(&history(ModelName::Register, short(&plan, &mut random)));
    assert_eq!(report.verdict, Verdict::Yes);
}

/// 10 clients, 100,000 operations, 200 of each key. It prints how long that takes; after a minute it would be undecided.
fn measure(model: ModelName, unknown_percent: u64) {
    let mut random = Random::new(&format!("{model:?}, {unknown_percent} % unknown"));
    let plan = Plan { clients: 10, operations: 200, unknown_percent, ..Plan::long(model) };
    let operations = (0..500).flat_map(|key| {
        let of_key = short(&plan, &mut random);
        of_key.into_iter().map(move |operation| Operation { key: format!("k{key}"), ..operation })
    });
    let mut whole: History = history(model, operations.collect());
    let report = judged(&whole);
    println!("{model:?}, {unknown_percent} % unknown: 100,000 operations in {} ms", report.elapsed_ms);
    assert_eq!((report.verdict, report.operations, report.keys), (Verdict::Yes, 100_000, 500));

    // The last read of some keys is wrong, so all else of them has to be looked at.
    for key in whole.operations.chunk_by_mut(|one, other| one.key == other.key).step_by(25) {
        let is_read = |operation: &&mut Operation| {
            operation.op == "read" && operation.outcome == lockstep::check::Outcome::Ok
        };
        let last = key.iter_mut().rfind(is_read).expect("there are many");
        last.result =
            if matches!(model, ModelName::List | ModelName::Set) { json!(["?"]) } else { json!(-9_999) };
    }
    let report = judged(&whole);
    println!("{model:?}, {unknown_percent} % unknown, 20 keys wrong: in {} ms", report.elapsed_ms);
    assert_eq!(report.failures.len(), 20, "{} undecided", report.undecided.len());
    assert!(report.failures.iter().all(|failure| failure.shortest));
}

#[test]
fn registers_are_quick() {
    measure(ModelName::Register, 2);
}

/// With revisions in the answers, what was never answered costs little.
#[test]
fn registers_with_much_unknown_are_quick() {
    measure(ModelName::Register, 20);
}

#[test]
fn counters_are_quick() {
    measure(ModelName::Counter, 1);
}

#[test]
fn lists_are_quick() {
    measure(ModelName::List, 2);
}

#[test]
fn sets_are_quick() {
    measure(ModelName::Set, 2);
}

#[test]
fn times_to_live_are_quick() {
    measure(ModelName::Ttl, 2);
}

//! Longer histories of registers, against another checker: porcupine-rs, with a model of its own.

use crate::simulation::{Plan, short};
use crate::support::{MS, Random, history, shown};
use lockstep::check::{ModelName, Operation, Options, Outcome, Verdict, check};
use porcupine_rs::{CheckResult, Model, check_operations_timeout};
use serde_json::{Value, json};
use std::time::Duration;

const HISTORIES: usize = 1_000;

#[derive(Clone)]
struct Register;

/// What was asked, and `None` instead of an answer when there is none.
#[derive(Clone, Debug)]
enum Asked {
    Read(Value),
    Write(Value),
    Cas { from: Value, to: Value, swapped: Option<bool> },
    Delete { found: Option<bool> },
    Create { value: Value, created: Option<bool> },
}

impl Model for Register {
    type State = Value;
    type Op = Asked;
    type Metadata = ();

    fn init() -> Value {
        Value::Null
    }

    fn step(now: &Value, asked: &Asked) -> (bool, Value) {
        let when = |holds: bool, told: Option<bool>, new: &Value| {
            (told.is_none_or(|told| told == holds), if holds { new.clone() } else { now.clone() })
        };
        match asked {
            Asked::Read(seen) => (seen == now, now.clone()),
            Asked::Write(value) => (true, value.clone()),
            Asked::Cas { from, to, swapped } => when(from == now, *swapped, to),
            Asked::Delete { found } => when(!now.is_null(), *found, &Value::Null),
            Asked::Create { value, created } => when(now.is_null(), *created, value),
        }
    }
}

/// In the other checker's terms; `None` for what tells nothing.
fn translated(operation: &Operation) -> Option<porcupine_rs::Operation<Register>> {
    let argument = &operation.argument;
    let told = match (operation.outcome, operation.error.as_deref()) {
        (Outcome::Ok, _) => Some(true),
        (Outcome::Fail, Some("not_found" | "precondition_failed")) => Some(false),
        (Outcome::Fail, _) => return None,
        (Outcome::Unknown, _) => None,
    };
    let op = match operation.op.as_str() {
        "read" if told.is_none() => return None,
        "read" => Asked::Read(operation.result.clone()),
        "write" => Asked::Write(argument.clone()),
        "delete" => Asked::Delete { found: told },
        "cas" if argument.get("from").is_some() => {
            Asked::Cas { from: argument["from"].clone(), to: argument["to"].clone(), swapped: told }
        }
        "cas" => Asked::Create { value: argument["value"].clone(), created: told },
        other => panic!("nobody asks for `{other}`"),
    };
    let return_ns = operation.return_ns.filter(|_| told.is_some()).unwrap_or(i64::MAX as u64);
    Some(porcupine_rs::Operation {
        client_id: None,
        call_time: operation.call_ns as i64,
        return_time: return_ns as i64,
        op,
        metadata: None,
    })
}

#[test]
fn another_checker_agrees() {
    let mut random = Random::new("second opinion");
    let (mut yes, mut no) = (0, 0);
    for _ in 0..HISTORIES {
        let plan = Plan {
            model: ModelName::Register,
            clients: 2 + random.below(5),
            operations: 50 + random.below(51) as usize,
            unknown_percent: 6,
            answered: &[],
            fail_percent: 3,
            longest_ns: 10 * MS,
            values: 3 + random.below(3),
        };
        let mut operations = short(&plan, &mut random);
        // The other model has no revisions.
        operations.retain(|operation| operation.argument["revision"].is_null());
        for operation in &mut operations {
            // Nor has its swap an answer that says more than no.
            if operation.argument.get("from").is_some() {
                operation.revision = None;
            }
            if operation.op == "read" && operation.outcome == Outcome::Ok && random.chance(3) {
                operation.result = json!(random.below(plan.values));
            }
        }
        let others: Vec<_> = operations.iter().filter_map(translated).collect();
        let second = check_operations_timeout(&others, Duration::from_secs(20));
        let options = Options { use_revisions: false, ..Options::default() };
        let first = check(&history(ModelName::Register, operations.clone()), &options).verdict;
        let agreed = match first {
            Verdict::Yes => CheckResult::Ok,
            Verdict::No => CheckResult::Illegal,
            Verdict::Undecided => CheckResult::Unknown,
        };
        assert_eq!(second, agreed, "{}", shown(&operations));
        yes += usize::from(first == Verdict::Yes);
        no += usize::from(first == Verdict::No);
    }
    println!("{yes} can be ordered, {no} cannot");
    assert!(yes * 5 >= HISTORIES && no * 5 >= HISTORIES, "{yes} can be ordered, {no} cannot");
}

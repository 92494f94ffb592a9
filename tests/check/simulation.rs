//! Histories that are right by construction: a single copy answers each operation at a random moment between
//! its call and its return.

use crate::support::{BOUNDS, MS, Random, asked};
use lockstep::check::{ModelName, Operation, Outcome};
use serde_json::{Value, json};

/// The copy that answers.
#[derive(Default)]
struct Copy {
    value: Value,
    revision: u64,
    /// When the entry vanishes.
    until_ns: Option<u64>,
    ttl_ms: u64,
}

/// What is asked for, how often, and by whom.
#[derive(Clone, Copy)]
pub struct Plan {
    pub model: ModelName,
    pub clients: u64,
    pub operations: usize,
    pub unknown_percent: u64,
    /// What is always answered.
    pub answered: &'static [&'static str],
    pub fail_percent: u64,
    /// Longest time between call and return.
    pub longest_ns: u64,
    /// Values are drawn from so many; 0: each is new.
    pub values: u64,
}

impl Plan {
    /// Hundreds of operations, each with a value of its own.
    pub fn long(model: ModelName) -> Self {
        let (clients, operations, unknown_percent, fail_percent) = (5, 300, 4, 4);
        let (answered, longest_ns, values) = (&[][..], 20 * MS, 0);
        Self { model, clients, operations, unknown_percent, answered, fail_percent, longest_ns, values }
    }
}

/// A history in two halves; between them, all is answered and there is a second of silence.
pub struct Legal {
    pub operations: Vec<Operation>,
    /// How many belong to the first half, and when the silence begins.
    pub half: usize,
    pub silence_ns: u64,
    /// What was in the copy during the silence, and at which revision.
    pub value: Value,
    pub revision: u64,
}

/// Two halves of the plan's length each.
pub fn legal(plan: &Plan, random: &mut Random) -> Legal {
    let mut copy = Copy::default();
    let mut fresh = 0;
    let mut operations = half(plan, &mut copy, 0, &mut fresh, random);
    let last = operations.iter().map(|operation| operation.return_ns.unwrap_or(operation.call_ns)).max();
    let silence_ns = last.unwrap_or(0) + MS;
    // Whatever is in flight lands before the second half begins, or never.
    let (half_length, value, revision) = (operations.len(), copy.value.clone(), copy.revision);
    operations.extend(half(plan, &mut copy, silence_ns + 1_000 * MS, &mut fresh, random));
    Legal { operations, half: half_length, silence_ns, value, revision }
}

/// One half, in a copy that is empty.
pub fn short(plan: &Plan, random: &mut Random) -> Vec<Operation> {
    half(plan, &mut Copy::default(), 0, &mut 0, random)
}

fn half(plan: &Plan, copy: &mut Copy, start_ns: u64, fresh: &mut u64, random: &mut Random) -> Vec<Operation> {
    let mut free_ns = vec![start_ns; plan.clients as usize];
    let mut planned: Vec<(u64, Operation)> = (0..plan.operations)
        .map(|_| {
            let client = random.below(plan.clients);
            let call_ns = free_ns[client as usize] + random.below(plan.longest_ns / 2 + 1);
            let return_ns = call_ns + random.below(plan.longest_ns + 1);
            free_ns[client as usize] = return_ns + 1;
            let (op, argument) = question(plan, fresh, random);
            let mut operation = asked(client, op, argument, call_ns, return_ns);
            let mut point_ns = call_ns + random.below(return_ns - call_ns + 1);
            if random.chance(plan.unknown_percent) && !plan.answered.contains(&op) {
                operation.outcome = Outcome::Unknown;
                // It may take effect long after anybody waits for it.
                point_ns += random.below(3) * plan.longest_ns;
            } else if random.chance(plan.fail_percent) {
                operation.outcome = Outcome::Fail;
                operation.error = Some("unavailable".into());
            }
            (point_ns, operation)
        })
        .collect();
    planned.sort_by_key(|(point_ns, _)| *point_ns);
    let answer = |(point_ns, mut operation): (u64, Operation)| {
        let never = operation.outcome == Outcome::Unknown && random.chance(50);
        if operation.outcome != Outcome::Fail && !never {
            copy.answer(plan.model, &mut operation, point_ns, random);
        }
        if operation.outcome == Outcome::Unknown && random.chance(50) {
            operation.return_ns = None;
        }
        operation
    };
    let mut operations: Vec<Operation> = planned.into_iter().map(answer).collect();
    operations.sort_by_key(|operation| operation.call_ns);
    operations
}

fn question(plan: &Plan, fresh: &mut u64, random: &mut Random) -> (&'static str, Value) {
    *fresh += 1;
    let mut value = || json!(if plan.values == 0 { *fresh + 1_000 } else { random.below(plan.values) });
    let (first, second) = (value(), value());
    let dice = random.below(100);
    match (plan.model, dice) {
        (ModelName::Register, 0..45) => ("read", Value::Null),
        (ModelName::Register, 45..70) => ("write", first),
        (ModelName::Register, 70..78) => ("cas", json!({"from": first, "to": second})),
        (ModelName::Register, 78..90) => {
            // Sometimes absent, sometimes what may be there.
            let revision = random.below(6).checked_sub(1).map(|recent| recent + 1);
            ("cas", json!({"revision": revision, "value": first}))
        }
        (ModelName::Register, _) => ("delete", Value::Null),
        (ModelName::Counter, 0..50) => ("read", Value::Null),
        (ModelName::Counter, _) => ("add", json!(random.below(4) as i64 - 1)),
        (ModelName::List, 50..) => ("append", first),
        (ModelName::Set, 50..) => ("add", first),
        (ModelName::Ttl, 45..52) => ("left", Value::Null),
        (ModelName::Ttl, 52..60) => ("expire", json!({"ttl_ms": 1 + random.below(30)})),
        (ModelName::Ttl, 60..92) => ("put", json!({"value": first, "ttl_ms": 1 + random.below(30)})),
        (ModelName::Ttl, 92..) => ("delete", Value::Null),
        _ => ("read", Value::Null),
    }
}

impl Copy {
    /// The entry lives as long as this says from now on, give or take what the bounds allow.
    fn live(&mut self, argument: &Value, now_ns: u64, random: &mut Random) {
        self.ttl_ms = argument["ttl_ms"].as_u64().expect("a time to live");
        let jitter_ns = random.below((BOUNDS.early_ms + BOUNDS.late_ms) * MS);
        self.until_ns = Some((now_ns + self.ttl_ms * MS + jitter_ns).saturating_sub(BOUNDS.early_ms * MS));
    }

    /// Carries an operation out at this moment, and answers it unless nobody will hear.
    fn answer(&mut self, model: ModelName, operation: &mut Operation, now_ns: u64, random: &mut Random) {
        if self.until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
            *self = Self { revision: self.revision, ..Self::default() };
        }
        let is_heard = operation.outcome == Outcome::Ok;
        let argument = operation.argument.clone();
        let is_there = !self.value.is_null();
        let refuse = |operation: &mut Operation, error: &str, revision: Option<u64>| {
            if is_heard {
                operation.outcome = Outcome::Fail;
                operation.error = Some(error.into());
                operation.revision = revision;
            }
        };
        match operation.op.as_str() {
            "read" => {
                if is_heard {
                    operation.result = self.value.clone();
                    operation.revision = (model == ModelName::Register && is_there).then_some(self.revision);
                }
                return;
            }
            "left" => {
                if is_heard && is_there {
                    let left_ns = self.until_ns.expect("it has a time to live") - now_ns;
                    operation.result = json!(left_ns.div_ceil(MS).min(self.ttl_ms));
                }
                return;
            }
            "delete" | "expire" if !is_there => return refuse(operation, "not_found", None),
            "cas" => {
                let holds = match (argument.get("from"), argument["revision"].as_u64()) {
                    (Some(from), _) => *from == self.value,
                    (None, None) => !is_there,
                    (None, Some(revision)) => is_there && revision == self.revision,
                };
                if !holds {
                    return refuse(operation, "precondition_failed", is_there.then_some(self.revision));
                }
                let key = if argument.get("from").is_some() { "to" } else { "value" };
                self.value = argument[key].clone();
            }
            "write" => self.value = argument,
            "delete" => self.value = Value::Null,
            "put" => {
                self.value = argument["value"].clone();
                self.live(&argument, now_ns, random);
            }
            "expire" => self.live(&argument, now_ns, random),
            "add" if model == ModelName::Counter => {
                self.value = json!(self.value.as_i64().unwrap_or(0) + argument.as_i64().expect("a number"));
                if is_heard && random.chance(70) {
                    operation.result = self.value.clone();
                }
            }
            "add" | "append" => {
                let mut items = self.value.as_array().cloned().unwrap_or_default();
                if model == ModelName::List || !items.contains(&argument) {
                    items.push(argument);
                }
                self.value = Value::Array(items);
                if is_heard && model == ModelName::List && random.chance(30) {
                    operation.result = self.value.clone();
                }
            }
            other => panic!("nobody asks for `{other}`"),
        }
        self.revision += 1 + random.below(2);
        if is_heard && model == ModelName::Register {
            operation.revision = Some(self.revision);
        }
    }
}

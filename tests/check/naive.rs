//! A single copy of a key, written as plainly as can be, apart from the checker's models: it says whether it
//! could have given an answer. And an exhaustive search with it, for a handful of operations.

use crate::support::{BOUNDS, MS};
use lockstep::check::{ModelName, Operation, Outcome};
use serde_json::{Value, json};

#[derive(Clone)]
pub struct Naive {
    pub model: ModelName,
    pub use_revisions: bool,
    value: Value,
    /// What is known of the revision of each change so far.
    changes: Vec<Option<u64>>,
    /// The put that an entry is from.
    put: Option<Operation>,
}

impl Naive {
    pub fn new(model: ModelName, use_revisions: bool) -> Self {
        Self { model, use_revisions, value: Value::Null, changes: Vec::new(), put: None }
    }

    /// Takes an operation, and says whether the answer is one this copy could have given.
    pub fn allows(&mut self, operation: &Operation) -> bool {
        match self.model {
            ModelName::Register => self.register(operation),
            ModelName::Counter => self.counter(operation),
            ModelName::List | ModelName::Set => self.collection(operation),
            ModelName::Ttl => self.ttl(operation),
            ModelName::Session | ModelName::Walk => unreachable!("it is not searched"),
        }
    }

    /// Whether there are revisions, each higher than the one before, that agree with what is known.
    fn revisions_rise(&self) -> bool {
        let mut least = 0;
        self.changes.iter().all(|known| {
            least += 1;
            let rises = known.is_none_or(|known| known >= least);
            least = known.unwrap_or(least);
            rises
        })
    }

    /// The value was seen with this revision.
    fn seen_at(&mut self, revision: Option<u64>) -> bool {
        let (Some(revision), true) = (revision, self.use_revisions) else { return true };
        let last = self.changes.last_mut().expect("there is a value, so it was written");
        last.get_or_insert(revision) == &revision && self.revisions_rise()
    }

    fn change(&mut self, value: Value, revision: Option<u64>) -> bool {
        self.value = value;
        self.changes.push(revision.filter(|_| self.use_revisions));
        self.revisions_rise()
    }

    fn register(&mut self, operation: &Operation) -> bool {
        let Operation { argument, result, revision, outcome, .. } = operation;
        let is_there = !self.value.is_null();
        match (outcome, operation.error.as_deref(), operation.op.as_str()) {
            (Outcome::Fail, Some("not_found"), _) => !is_there,
            (Outcome::Fail, _, "cas") if argument.get("from").is_some() => {
                self.value != argument["from"] && (revision.is_none() || is_there && self.seen_at(*revision))
            }
            (Outcome::Fail, _, op) if revision.is_none() => {
                let expected_that = op == "cas" && argument["revision"].is_null();
                !is_there && !expected_that
            }
            (Outcome::Fail, ..) => {
                is_there
                    && self.seen_at(*revision)
                    && !(self.use_revisions && argument["revision"].as_u64() == *revision)
            }
            (_, _, "read") => *result == self.value && (!is_there || self.seen_at(*revision)),
            (_, _, "write") => self.change(argument.clone(), *revision),
            (_, _, "delete") => {
                is_there && self.seen_at(argument["revision"].as_u64()) && self.change(Value::Null, *revision)
            }
            (_, _, "cas") => match (argument.get("from"), &argument["revision"]) {
                (Some(from), _) => *from == self.value && self.change(argument["to"].clone(), *revision),
                (_, Value::Null) => !is_there && self.change(argument["value"].clone(), *revision),
                (_, expected) => {
                    is_there
                        && self.seen_at(expected.as_u64())
                        && self.change(argument["value"].clone(), *revision)
                }
            },
            other => panic!("{other:?}"),
        }
    }

    fn counter(&mut self, operation: &Operation) -> bool {
        let (result, now) = (&operation.result, self.value.as_i64().unwrap_or(0));
        if operation.op == "read" {
            return *result == self.value || *result == json!(now);
        }
        self.value = json!(now + operation.argument.as_i64().expect("a number"));
        result.is_null() || *result == self.value
    }

    fn collection(&mut self, operation: &Operation) -> bool {
        let mut items = self.value.as_array().cloned().unwrap_or_default();
        let is_set = self.model == ModelName::Set;
        let mut seen = operation.result.as_array().cloned().unwrap_or_default();
        if operation.op == "read" {
            if is_set {
                seen.sort_by_key(Value::to_string);
            }
            return seen == items;
        }
        if !(is_set && items.contains(&operation.argument)) {
            items.push(operation.argument.clone());
        }
        if is_set {
            items.sort_by_key(Value::to_string);
        }
        let agrees = is_set || operation.result.is_null() || seen == items;
        self.value = Value::Array(items);
        agrees
    }

    fn ttl(&mut self, operation: &Operation) -> bool {
        let looks = operation.op == "read" || operation.op == "left";
        let is_miss = operation.outcome == Outcome::Fail || looks && operation.result.is_null();
        if operation.op == "put" {
            self.value = operation.argument["value"].clone();
            self.put = Some(operation.clone());
            return true;
        }
        let Some(put) = &self.put else { return is_miss };
        let ttl_ns = put.argument["ttl_ms"].as_u64().map(|ttl_ms| ttl_ms * MS);
        if is_miss {
            let gone_from = ttl_ns.map(|ttl_ns| (put.call_ns + ttl_ns).saturating_sub(BOUNDS.early_ms * MS));
            let is_gone =
                gone_from.is_some_and(|gone_from| operation.return_ns.expect("answered") >= gone_from);
            self.put = None;
            return is_gone;
        }
        let answered_ns = put.return_ns.filter(|_| put.outcome == Outcome::Ok);
        let last_ns =
            ttl_ns.zip(answered_ns).map(|(ttl_ns, answered_ns)| answered_ns + ttl_ns + BOUNDS.late_ms * MS);
        let is_unknown = operation.outcome == Outcome::Unknown;
        let is_there = is_unknown || last_ns.is_none_or(|last_ns| operation.call_ns <= last_ns);
        match operation.op.as_str() {
            "delete" => self.put = None,
            // As if the same were put now.
            "expire" => self.put = Some(operation.clone()),
            "left" => {
                let left_ns = operation.result.as_u64().expect("a number") * MS;
                let ttl_ns = ttl_ns.unwrap_or(u64::MAX);
                let end_ns = operation.return_ns.expect("answered") + left_ns + BOUNDS.early_ms * MS;
                return is_there && left_ns <= ttl_ns && end_ns >= put.call_ns.saturating_add(ttl_ns);
            }
            _ => return is_there && operation.result == self.value,
        }
        is_there
    }
}

/// Whether an operation says nothing, and so may be left out.
fn is_silent(model: ModelName, operation: &Operation) -> bool {
    let told = match (model, operation.op.as_str()) {
        (ModelName::Register, _) => &["not_found", "precondition_failed"][..],
        (_, "read" | "delete" | "expire") => &["not_found"][..],
        _ => &[],
    };
    match operation.outcome {
        Outcome::Ok => false,
        Outcome::Fail => !told.contains(&operation.error.as_deref().expect("failures have a reason")),
        Outcome::Unknown => operation.op == "read" || operation.op == "left",
    }
}

/// Tries every order of the operations, with every choice of the unknown ones.
pub fn can_be_ordered(copy: &Naive, operations: &[Operation]) -> bool {
    let rest: Vec<&Operation> =
        operations.iter().filter(|operation| !is_silent(copy.model, operation)).collect();
    extend(copy, &rest)
}

fn extend(copy: &Naive, rest: &[&Operation]) -> bool {
    let is_unknown = |operation: &Operation| operation.outcome == Outcome::Unknown;
    if rest.iter().all(|operation| is_unknown(operation)) {
        return true;
    }
    rest.iter().enumerate().any(|(at, first)| {
        let is_late = rest
            .iter()
            .any(|other| !is_unknown(other) && other.return_ns.expect("it is answered") < first.call_ns);
        let mut copy = copy.clone();
        let others: Vec<&Operation> =
            rest.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| *other).collect();
        !is_late && copy.allows(first) && extend(&copy, &others)
    })
}

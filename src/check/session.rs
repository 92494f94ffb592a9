//! The model `session`: reads that may be old, but never older than the client asked for, and never wrong.
//!
//! Every answer names the log index it is from. So there is nothing to search for: a read at index `i` shows
//! the newest change at or below `i`, whichever node answers it. Judging takes one sort and one pass.

use super::counterexample::{Counterexample, Judgement};
use super::{Operation, Outcome};
use crate::api::ErrorCode;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Argument {
    value: Value,
    /// The answer is from this index or a later one.
    min_index: Option<u64>,
}

impl Argument {
    fn of(operation: &Operation) -> Result<Self, String> {
        if operation.argument.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(&operation.argument)
            .map_err(|_| "an argument is {\"value\", \"min_index\"}, each where it belongs".into())
    }
}

/// Whether an operation is one of this model's.
pub(super) fn understand(operation: &Operation) -> Result<(), String> {
    let argument = Argument::of(operation)?;
    let is_ok = operation.outcome == Outcome::Ok;
    match operation.op.as_str() {
        "write" if argument.value.is_null() => Err("what is written must not be null".into()),
        "read" | "delete" if !argument.value.is_null() => Err(format!("a {} takes no value", operation.op)),
        "write" | "delete" if is_ok && changed_at(operation).is_none() => {
            Err("a change that is ok has a `revision`".into())
        }
        "read" if is_ok && operation.index.is_none() => Err("a read that is ok has an `index`".into()),
        "read" if is_ok && !operation.result.is_null() && operation.revision.is_none() => {
            Err("a read that found something has its `revision`".into())
        }
        "read" | "write" | "delete" => Ok(()),
        _ => Err(format!("the model knows read, write and delete, not `{}`", operation.op)),
    }
}

/// The log index of a change.
fn changed_at(operation: &Operation) -> Option<u64> {
    operation.revision.or(operation.index)
}

/// An answer, and the operation it contradicts if there is one.
struct Contradiction<'a> {
    reason: String,
    answer: &'a Operation,
    other: Option<&'a Operation>,
}

/// Judges the operations of one key.
pub(super) fn judge(operations: &[&Operation]) -> Judgement {
    for (at, operation) in operations.iter().enumerate() {
        if let Err(what) = operation.check_times().and_then(|()| understand(operation)) {
            return Judgement::Undecided(format!("operation {} of the key: {what}", at + 1));
        }
    }
    let mut answers: Vec<&Operation> = operations.to_vec();
    answers.sort_by_key(|operation| operation.return_ns);
    let found = Past::of(&answers).and_then(|past| answers.iter().try_for_each(|answer| past.check(answer)));
    let Err(Contradiction { reason, answer, other }) = found else { return Judgement::Explained };
    let mut prefix: Vec<Operation> = [other, Some(answer)].into_iter().flatten().cloned().collect();
    prefix.sort_by_key(|operation| operation.call_ns);
    let (stuck, order) = (0..prefix.len()).partition(|at| prefix[*at] == *answer);
    Judgement::Inexplicable(Box::new(Counterexample { reason, prefix, order, stuck, shortest: true }))
}

/// What is known to have happened to a key, by log index.
struct Past<'a> {
    changes: BTreeMap<u64, Change<'a>>,
    /// For each revision, the read that found it at the highest index.
    last_found: HashMap<u64, &'a Operation>,
    /// When deletes that were never answered were called.
    open_deletes: Vec<u64>,
}

struct Change<'a> {
    /// Null: it was deleted.
    value: Value,
    /// The change itself, or a read that found it.
    told_by: &'a Operation,
}

impl<'a> Past<'a> {
    fn of(answers: &[&'a Operation]) -> Result<Self, Contradiction<'a>> {
        let is_open =
            |operation: &Operation, op: &str| operation.outcome == Outcome::Unknown && operation.op == op;
        let open_deletes = answers.iter().filter(|operation| is_open(operation, "delete"));
        let open_deletes = open_deletes.map(|operation| operation.call_ns).collect();
        let mut past = Self { changes: BTreeMap::new(), last_found: HashMap::new(), open_deletes };

        for &change in answers.iter().filter(|answer| answer.outcome == Outcome::Ok && answer.op != "read") {
            past.learn(changed_at(change).unwrap_or(0), value_of(change), change)?;
        }

        // For each value, when writes of it that were never answered were called.
        let mut open_writes: HashMap<Value, Vec<u64>> = HashMap::new();
        for write in answers.iter().filter(|operation| is_open(operation, "write")) {
            open_writes.entry(value_of(write)).or_default().push(write.call_ns);
        }
        for read in
            answers.iter().copied().filter(|answer| answer.outcome == Outcome::Ok && answer.op == "read")
        {
            let Some(revision) = read.revision.filter(|_| !read.result.is_null()) else { continue };
            let last = past.last_found.entry(revision).or_insert(read);
            if read.index > last.index {
                *last = read;
            }
            if !past.changes.contains_key(&revision) && !explains(&mut open_writes, read) {
                let reason = format!("nobody wrote {} at revision {revision}", read.result);
                return Err(Contradiction { reason, answer: read, other: None });
            }
            if let Some(change) = past.changes.get(&revision)
                && change.told_by.op != "read"
                && Some(change.told_by.call_ns) > read.return_ns
            {
                let reason = format!("revision {revision} was found before it was written");
                return Err(Contradiction { reason, answer: read, other: Some(change.told_by) });
            }
            past.learn(revision, read.result.clone(), read)?;
        }
        past.deletes_suffice(answers)?;
        Ok(past)
    }

    /// One revision always has the same value.
    fn learn(
        &mut self,
        revision: u64,
        value: Value,
        told_by: &'a Operation,
    ) -> Result<(), Contradiction<'a>> {
        let known = self.changes.entry(revision).or_insert(Change { value: value.clone(), told_by });
        if known.value == value {
            return Ok(());
        }
        let reason = format!("revision {revision} is both {} and {value}", known.value);
        Err(Contradiction { reason, answer: told_by, other: Some(known.told_by) })
    }

    /// Each revision that was seen gone though nobody is known to have deleted it needs an unanswered delete of its own.
    fn deletes_suffice(&self, answers: &[&'a Operation]) -> Result<(), Contradiction<'a>> {
        let mut gone = BTreeSet::new();
        for answer in answers.iter().filter(|answer| answer.outcome == Outcome::Ok && answer.op == "read") {
            let Some(index) = answer.index.filter(|_| answer.result.is_null()) else { continue };
            let newest =
                self.changes.range(..=index).next_back().filter(|(_, change)| !change.value.is_null());
            let Some((revision, change)) = newest else { continue };
            if gone.insert(*revision) && gone.len() > self.open_deletes.len() {
                let reason = format!("at index {index} there is revision {revision}, and nobody deleted it");
                return Err(Contradiction { reason, answer, other: Some(change.told_by) });
            }
        }
        Ok(())
    }

    fn check(&self, answer: &'a Operation) -> Result<(), Contradiction<'a>> {
        let wrong = |reason: String, other| Err(Contradiction { reason, answer, other });
        let missed = answer.failed_with(ErrorCode::NotFound);
        let Some(index) = answer.index.filter(|_| answer.outcome == Outcome::Ok || missed) else {
            return Ok(());
        };
        let min_index = Argument::of(answer).ok().and_then(|argument| argument.min_index).unwrap_or(0);
        if index < min_index {
            return wrong(format!("index {index} was answered where {min_index} was asked for"), None);
        }
        let found = answer.revision.filter(|_| answer.outcome == Outcome::Ok);
        if let Some(revision) = found.filter(|revision| *revision > index) {
            return wrong(format!("revision {revision} was not there yet at index {index}"), None);
        }
        if answer.op != "read" {
            return Ok(());
        }
        let newest = self.changes.range(..=index).next_back();
        match (found.filter(|_| !answer.result.is_null()), newest) {
            (Some(found), Some((newest, change))) if found != *newest => {
                let reason = format!("at index {index} the newest revision is {newest}, not {found}");
                wrong(reason, Some(change.told_by))
            }
            (None, Some((newest, change))) if !change.value.is_null() => {
                // A delete that was never answered may be between.
                if self.open_deletes.iter().all(|call_ns| Some(*call_ns) > answer.return_ns) {
                    let reason =
                        format!("at index {index} there is revision {newest}, and nobody deleted it");
                    return wrong(reason, Some(change.told_by));
                }
                match self.last_found.get(newest) {
                    Some(read) if read.index >= Some(index) => {
                        let reason =
                            format!("revision {newest} is absent at index {index}, and there later on");
                        wrong(reason, Some(read))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

fn value_of(change: &Operation) -> Value {
    Argument::of(change).map(|argument| argument.value).unwrap_or_default()
}

/// Whether a write that was never answered explains a revision found for the first time. Each explains one.
fn explains(open_writes: &mut HashMap<Value, Vec<u64>>, read: &Operation) -> bool {
    let Some(calls) = open_writes.get_mut(&read.result) else { return false };
    let called = calls.iter().position(|call_ns| Some(*call_ns) <= read.return_ns);
    called.map(|at| calls.swap_remove(at)).is_some()
}

//! The model `walk`: members that come and go, and reads that walk over them step by step.
//!
//! A walk shows no single moment. But a member that is there from its call to its return is told once, and one that is
//! absent all that time is not told. Whatever came or went meanwhile may be told or not, even twice, as it may have come again
//! behind the place where it was. So there is nothing to search for: each member of each walk is judged by when it surely was
//! there, and when it surely was not.

use super::counterexample::{Counterexample, Judgement};
use super::{Operation, Outcome};
use crate::api::ErrorCode;
use serde_json::Value;
use std::collections::HashMap;

/// What an operation says.
pub(super) enum Step<'a> {
    Add(&'a Value),
    Remove(&'a Value),
    /// It was not there to be removed.
    Miss(&'a Value),
    Read(&'a [Value]),
}

/// What an operation says, or `None` when it neither has an effect nor tells what it saw.
///
/// # Errors
/// It is none of this model's.
pub(super) fn understand(operation: &Operation) -> Result<Option<Step<'_>>, String> {
    let Operation { argument, result, outcome, .. } = operation;
    match operation.op.as_str() {
        "add" | "remove" if argument.is_null() => Err("a member must not be null".into()),
        "add" => Ok((*outcome != Outcome::Fail).then_some(Step::Add(argument))),
        "remove" if operation.failed_with(ErrorCode::NotFound) => Ok(Some(Step::Miss(argument))),
        "remove" => Ok((*outcome != Outcome::Fail).then_some(Step::Remove(argument))),
        "read" if *outcome != Outcome::Ok => Ok(None),
        "read" => match result {
            Value::Null => Ok(Some(Step::Read(&[]))),
            Value::Array(members) => Ok(Some(Step::Read(members))),
            other => Err(format!("a list was expected, not {other}")),
        },
        other => Err(format!("the model knows add, remove and read, not `{other}`")),
    }
}

/// A span of time, from a call to a return; without a return it lasts.
#[derive(Clone, Copy)]
struct Span {
    from_ns: u64,
    to_ns: u64,
}

impl Span {
    fn of(operation: &Operation) -> Self {
        let answered = operation.return_ns.filter(|_| operation.outcome != Outcome::Unknown);
        Self { from_ns: operation.call_ns, to_ns: answered.unwrap_or(u64::MAX) }
    }

    /// Whether this was over before the other began.
    fn is_before(self, other: Self) -> bool {
        self.to_ns < other.from_ns
    }
}

/// The changes of one member.
#[derive(Default)]
struct Changes<'a> {
    added: Vec<(Span, &'a Operation)>,
    removed: Vec<(Span, &'a Operation)>,
}

impl<'a> Changes<'a> {
    /// The addition by which it is there during all of a span, if there is one.
    fn there(&self, during: Span) -> Option<&'a Operation> {
        last_undisputed(&self.added, &self.removed, during)
    }

    /// Whether it is absent during all of a span; if that is so by a removal, by which.
    fn absent(&self, during: Span) -> Option<Option<&'a Operation>> {
        if self.added.iter().all(|(added, _)| during.is_before(*added)) {
            return Some(None);
        }
        last_undisputed(&self.removed, &self.added, during).map(Some)
    }
}

/// A change that was over before a span began, and that none of the others can have come after by the span's end.
fn last_undisputed<'a>(
    changes: &[(Span, &'a Operation)],
    others: &[(Span, &Operation)],
    during: Span,
) -> Option<&'a Operation> {
    // A change that surely happened.
    let sure =
        changes.iter().filter(|(span, operation)| operation.outcome == Outcome::Ok && span.is_before(during));
    let undisputed =
        |change: &Span| others.iter().all(|(other, _)| other.is_before(*change) || during.is_before(*other));
    let mut sure = sure.filter(|(span, _)| undisputed(span));
    sure.next().map(|(_, operation)| *operation)
}

/// Judges the operations of one key.
pub(super) fn judge(operations: &[&Operation]) -> Judgement {
    let mut members: HashMap<&Value, Changes<'_>> = HashMap::new();
    let mut answers = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        let understood = operation.check_times().and_then(|()| understand(operation));
        let step = match understood {
            Ok(step) => step,
            Err(what) => return Judgement::Undecided(format!("operation {} of the key: {what}", at + 1)),
        };
        let span = Span::of(operation);
        match step {
            Some(Step::Add(member)) => members.entry(member).or_default().added.push((span, operation)),
            Some(Step::Remove(member)) => members.entry(member).or_default().removed.push((span, operation)),
            Some(step @ (Step::Miss(_) | Step::Read(_))) => answers.push((span, step, *operation)),
            None => {}
        }
    }
    answers.sort_by_key(|(_, _, operation)| operation.return_ns);
    for (during, step, answer) in answers {
        let found = match step {
            Step::Read(told) => walked(&members, told, during),
            Step::Miss(member) => missed(&members, member, during),
            Step::Add(_) | Step::Remove(_) => Ok(()),
        };
        if let Err((reason, other)) = found {
            let mut prefix: Vec<Operation> = other.into_iter().chain([answer]).cloned().collect();
            prefix.sort_by_key(|operation| operation.call_ns);
            let (stuck, order) = (0..prefix.len()).partition(|at| prefix[*at] == *answer);
            let found = Counterexample { reason, prefix, order, stuck, shortest: true };
            return Judgement::Inexplicable(Box::new(found));
        }
    }
    Judgement::Explained
}

/// What is wrong, and the operation that it contradicts if there is one.
type Contradiction<'a> = (String, Option<&'a Operation>);

fn walked<'a>(
    members: &HashMap<&Value, Changes<'a>>,
    told: &[Value],
    during: Span,
) -> Result<(), Contradiction<'a>> {
    let mut times: HashMap<&Value, usize> = HashMap::new();
    for member in told {
        *times.entry(member).or_default() += 1;
    }
    for member in times.keys() {
        let Some(changes) = members.get(member) else {
            return Err((format!("nobody added {member}"), None));
        };
        if let Some(by) = changes.absent(during) {
            return Err((format!("{member} was absent all the time, and is told"), by));
        }
    }
    for (member, changes) in members {
        if let Some(by) = changes.there(during) {
            match times.get(member) {
                Some(1) => {}
                None => return Err((format!("{member} was there all the time, and is missing"), Some(by))),
                Some(count) => {
                    return Err((
                        format!("{member} was there all the time, and is told {count} times"),
                        Some(by),
                    ));
                }
            }
        }
    }
    Ok(())
}

fn missed<'a>(
    members: &HashMap<&Value, Changes<'a>>,
    member: &Value,
    during: Span,
) -> Result<(), Contradiction<'a>> {
    match members.get(member).and_then(|changes| changes.there(during)) {
        Some(by) => Err((format!("{member} was there all the time, and was not found"), Some(by))),
        None => Ok(()),
    }
}

//! One value that is read, written, compared and swapped, and deleted.
//!
//! Every change has a revision, higher than that of the change before. An answer that names one says exactly
//! when the change was; a change without an answer makes the revision uncertain until an answer names it again.

use super::{Model, Setup, Values, no_such_operation};
use crate::api::ErrorCode;
use crate::check::{Operation, Outcome};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// The number of all values that no answer and no condition names: nothing tells them apart.
const UNSEEN: u32 = u32::MAX;

pub(in crate::check) struct Register {
    values: Values,
    use_revisions: bool,
    told: Told,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::check) struct State {
    value: Option<u32>,
    changed: Changed,
}

/// The revision of the last change.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Changed {
    At(u64),
    /// An answer is missing, and what is known is what came before.
    AtOrAfter(u64),
}

/// The revisions in answers. Each is one that the key had, so none may be passed over.
#[derive(Default)]
struct Told {
    all: BTreeSet<u64>,
    /// Those of changes that were answered. No change without an answer had one of them.
    taken: BTreeSet<u64>,
}

impl Changed {
    /// The next change, if it may have this revision.
    fn next(self, revision: Option<u64>, told: &Told) -> Option<Self> {
        let least = match (self, revision) {
            (Self::At(last), _) => last.checked_add(1)?,
            (Self::AtOrAfter(least), None) if told.all.contains(&least) => return None,
            (Self::AtOrAfter(least), None) => return Some(Self::AtOrAfter(least.checked_add(1)?)),
            (Self::AtOrAfter(least), Some(_)) => least,
        };
        let Some(revision) = revision else { return Some(Self::AtOrAfter(least)) };
        let is_higher = match self {
            Self::At(last) => revision > last,
            Self::AtOrAfter(least) => revision > least,
        };
        (is_higher && told.all.range(least..revision).next().is_none()).then_some(Self::At(revision))
    }

    /// What is known once this revision was seen, if it can be.
    fn seen(self, revision: Option<u64>, told: &Told) -> Option<Self> {
        let Some(revision) = revision else { return Some(self) };
        let agrees = match self {
            Self::At(known) => known == revision,
            Self::AtOrAfter(least) => {
                revision >= least
                    && !told.taken.contains(&revision)
                    && told.all.range(least..revision).next().is_none()
            }
        };
        agrees.then_some(Self::At(revision))
    }

    /// Whether whatever may follow the other may follow this too. The other passed over nothing.
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::AtOrAfter(least), Self::AtOrAfter(other)) => least <= other,
            _ => self == other,
        }
    }
}

#[derive(PartialEq, Eq, Hash)]
pub(in crate::check) enum Step {
    /// The value was this, with this revision if that is known.
    See { value: Option<u32>, revision: Option<u64> },
    /// There was some value.
    SeeSome { revision: Option<u64> },
    /// The value was another; there was one, if it had a revision.
    SeeOther { than: Option<u32>, is_there: bool, revision: Option<u64> },
    /// An answer that no state gives.
    Impossible,
    /// The value becomes this, if it was as expected.
    Change { if_now: Expected, value: Option<u32>, revision: Option<u64> },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::check) enum Expected {
    Anything,
    Value(Option<u32>),
    Some { revision: Option<u64> },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Cas {
    ByRevision(CasByRevision),
    ByValue(CasByValue),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasByRevision {
    #[serde(deserialize_with = "Option::deserialize")]
    revision: Option<u64>,
    value: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasByValue {
    from: Value,
    to: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    revision: u64,
}

impl Model for Register {
    type State = State;
    type Step = Step;

    fn new(setup: &Setup) -> Self {
        Self { values: Values::default(), use_revisions: setup.use_revisions, told: Told::default() }
    }

    fn understand(&mut self, operation: &Operation) -> Result<Option<Step>, String> {
        let revision = operation.revision.filter(|_| self.use_revisions);
        let argument = &operation.argument;
        let (if_now, value) = match operation.op.as_str() {
            "read" => {
                let value = self.values.number(&operation.result);
                // What is absent has no revision.
                let revision = revision.filter(|_| value.is_some());
                let answer = Step::See { value, revision };
                return Ok(match operation.outcome {
                    Outcome::Ok => Some(answer),
                    Outcome::Fail => self.refusal(operation, Expected::Anything),
                    Outcome::Unknown => None,
                });
            }
            "write" => (Expected::Anything, Some(self.values.some(argument, "what is written")?)),
            "delete" if argument.is_null() => (Expected::Some { revision: None }, None),
            "delete" => {
                let Condition { revision } = Condition::deserialize(argument)
                    .map_err(|_| "a delete's argument is null or {\"revision\": number}".to_string())?;
                (self.at_revision(revision), None)
            }
            "cas" => match Cas::deserialize(argument) {
                Ok(Cas::ByRevision(CasByRevision { revision, value })) => {
                    let if_now =
                        revision.map_or(Expected::Value(None), |revision| self.at_revision(revision));
                    (if_now, Some(self.values.some(&value, "what is written")?))
                }
                Ok(Cas::ByValue(CasByValue { from, to })) => {
                    (Expected::Value(self.values.number(&from)), self.values.number(&to))
                }
                Err(_) => {
                    return Err("a cas's argument is {\"revision\", \"value\"} or {\"from\", \"to\"}".into());
                }
            },
            _ => return Err(no_such_operation(operation, "read, write, cas and delete")),
        };
        Ok(match operation.outcome {
            Outcome::Ok => Some(Step::Change { if_now, value, revision }),
            Outcome::Unknown => Some(Step::Change { if_now, value, revision: None }),
            Outcome::Fail => self.refusal(operation, if_now),
        })
    }

    fn look_ahead(&mut self, steps: &mut [Option<Step>]) {
        let mut named: HashSet<u32> = HashSet::new();
        for step in steps.iter().flatten() {
            match *step {
                Step::See { value, revision } => {
                    named.extend(value);
                    self.told.all.extend(revision);
                }
                Step::SeeSome { revision } => self.told.all.extend(revision),
                Step::SeeOther { than, revision, .. } => {
                    named.extend(than);
                    self.told.all.extend(revision);
                }
                Step::Change { if_now, revision, .. } => {
                    if let Expected::Value(expected) = if_now {
                        named.extend(expected);
                    }
                    self.told.all.extend(revision);
                    self.told.taken.extend(revision);
                }
                Step::Impossible => {}
            }
        }
        for step in steps.iter_mut().flatten() {
            if let Step::Change { value: Some(value), .. } = step
                && !named.contains(value)
            {
                *value = UNSEEN;
            }
        }
    }

    fn start(&self) -> State {
        State { value: None, changed: Changed::At(0) }
    }

    fn only_looks(step: &Step) -> bool {
        !matches!(step, Step::Change { .. })
    }

    fn covers(state: &State, other: &State) -> bool {
        state.value == other.value && state.changed.covers(other.changed)
    }

    fn step(&self, state: &State, step: &Step) -> Option<State> {
        let State { value: now, changed } = *state;
        match *step {
            Step::See { value, revision } if now == value => {
                Some(State { value, changed: changed.seen(revision, &self.told)? })
            }
            Step::SeeSome { revision } if now.is_some() => {
                Some(State { value: now, changed: changed.seen(revision, &self.told)? })
            }
            Step::SeeOther { than, is_there, revision } if now != than && (now.is_some() || !is_there) => {
                Some(State { value: now, changed: changed.seen(revision, &self.told)? })
            }
            Step::Change { if_now, value, revision } => {
                let changed = match if_now {
                    Expected::Anything => changed,
                    Expected::Value(expected) if now == expected => changed,
                    Expected::Some { revision } if now.is_some() => changed.seen(revision, &self.told)?,
                    _ => return None,
                };
                let changed = if self.use_revisions { changed.next(revision, &self.told)? } else { changed };
                Some(State { value, changed })
            }
            _ => None,
        }
    }
}

impl Register {
    /// Without revisions all that is known is that there was something.
    fn at_revision(&self, revision: u64) -> Expected {
        Expected::Some { revision: self.use_revisions.then_some(revision) }
    }

    /// What was seen by an operation that was refused, if it says so.
    fn refusal(&self, operation: &Operation, if_now: Expected) -> Option<Step> {
        let nothing = Step::See { value: None, revision: None };
        if operation.failed_with(ErrorCode::NotFound) {
            return Some(nothing);
        }
        if !operation.failed_with(ErrorCode::PreconditionFailed) {
            return None;
        }
        let revision = operation.revision.filter(|_| self.use_revisions);
        let compares_values = operation.argument.get("from").is_some();
        Some(match (if_now, operation.revision) {
            (Expected::Value(than), now) if compares_values => {
                Step::SeeOther { than, is_there: now.is_some(), revision }
            }
            // It was absent, as was expected.
            (Expected::Value(None), None) => Step::Impossible,
            // It is at the revision that was expected.
            (Expected::Some { revision: Some(expected) }, Some(now)) if expected == now => Step::Impossible,
            (_, None) => nothing,
            (_, Some(_)) => Step::SeeSome { revision },
        })
    }
}

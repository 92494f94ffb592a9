//! A list that is appended to.
//!
//! Items are never removed, so the longest list that was seen says what the shorter ones were. Until it is
//! reached, the state is no more than a length.

use super::{Model, Setup, Values, no_such_operation};
use crate::api::ErrorCode;
use crate::check::{Operation, Outcome};

#[derive(Default)]
pub(in crate::check) struct List {
    values: Values,
    /// The longest list in an answer.
    longest: Vec<u32>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::check) struct State {
    /// How much of the longest list there is.
    of_longest: usize,
    /// What was appended to it, once it was reached.
    more: Vec<u32>,
}

#[derive(PartialEq, Eq, Hash)]
pub(in crate::check) enum Step {
    Append { item: u32, is_open: bool, result: Option<Vec<u32>> },
    Read(Vec<u32>),
}

impl Model for List {
    type State = State;
    type Step = Step;

    fn new(_: &Setup) -> Self {
        Self::default()
    }

    fn understand(&mut self, operation: &Operation) -> Result<Option<Step>, String> {
        let Operation { argument, result, outcome, .. } = operation;
        Ok(match (operation.op.as_str(), outcome) {
            ("read", Outcome::Ok) => Some(Step::Read(self.values.numbers(result)?)),
            ("read", Outcome::Fail) if operation.failed_with(ErrorCode::NotFound) => {
                Some(Step::Read(Vec::new()))
            }
            ("append", Outcome::Ok | Outcome::Unknown) => {
                let item = self.values.some(argument, "what is appended")?;
                let is_open = *outcome == Outcome::Unknown;
                let tells = !is_open && !result.is_null();
                let result = if tells { Some(self.values.numbers(result)?) } else { None };
                Some(Step::Append { item, is_open, result })
            }
            ("read" | "append", _) => None,
            _ => return Err(no_such_operation(operation, "append and read")),
        })
    }

    fn look_ahead(&mut self, steps: &mut [Option<Step>]) {
        for step in steps.iter().flatten() {
            if let Step::Read(seen) | Step::Append { result: Some(seen), .. } = step
                && seen.len() > self.longest.len()
            {
                self.longest.clone_from(seen);
            }
        }
    }

    fn start(&self) -> State {
        State { of_longest: 0, more: Vec::new() }
    }

    fn only_looks(step: &Step) -> bool {
        matches!(step, Step::Read(_))
    }

    fn step(&self, state: &State, step: &Step) -> Option<State> {
        match step {
            Step::Read(seen) => self.is(state, seen).then(|| state.clone()),
            Step::Append { item, is_open, result } => {
                let mut new = state.clone();
                match self.longest.get(state.of_longest) {
                    // The longest list is still to be seen, so this has to lead there.
                    Some(expected) if expected != item => return None,
                    Some(_) => new.of_longest += 1,
                    // Nobody saw it.
                    None if *is_open => return None,
                    None => new.more.push(*item),
                }
                result.as_ref().is_none_or(|seen| self.is(&new, seen)).then_some(new)
            }
        }
    }

    fn heap_bytes(state: &State) -> usize {
        state.more.len() * size_of::<u32>()
    }
}

impl List {
    fn is(&self, state: &State, seen: &[u32]) -> bool {
        let whole = [&self.longest[..state.of_longest], &state.more];
        seen.len() == whole[0].len() + whole[1].len()
            && seen.starts_with(whole[0])
            && seen.ends_with(whole[1])
    }
}

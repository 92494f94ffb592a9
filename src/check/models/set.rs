//! A set that is added to.
//!
//! Members are never removed, so of the sets that were seen each is a part of the next larger one. Until the
//! largest is reached, the state is how many of them were passed, and what was added since.

use super::{Model, Setup, Values, no_such_operation};
use crate::api::ErrorCode;
use crate::check::{Operation, Outcome};

#[derive(Default)]
pub(in crate::check) struct Set {
    values: Values,
    /// The sets in answers and the empty one, by size. Each is sorted.
    seen: Vec<Vec<u32>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::check) struct State {
    /// The largest set of `seen` that was reached.
    reached: usize,
    /// What was added to it, sorted.
    more: Vec<u32>,
}

#[derive(PartialEq, Eq, Hash)]
pub(in crate::check) enum Step {
    Add {
        member: u32,
        is_open: bool,
    },
    /// Sorted.
    Read(Vec<u32>),
}

impl Model for Set {
    type State = State;
    type Step = Step;

    fn new(_: &Setup) -> Self {
        Self::default()
    }

    fn understand(&mut self, operation: &Operation) -> Result<Option<Step>, String> {
        let Operation { argument, result, outcome, .. } = operation;
        Ok(match (operation.op.as_str(), outcome) {
            ("read", Outcome::Ok) => {
                let mut members = self.values.numbers(result)?;
                members.sort_unstable();
                Some(Step::Read(members))
            }
            ("read", Outcome::Fail) if operation.failed_with(ErrorCode::NotFound) => {
                Some(Step::Read(Vec::new()))
            }
            ("add", Outcome::Ok | Outcome::Unknown) => {
                let member = self.values.some(argument, "what is added")?;
                Some(Step::Add { member, is_open: *outcome == Outcome::Unknown })
            }
            ("read" | "add", _) => None,
            _ => return Err(no_such_operation(operation, "add and read")),
        })
    }

    fn look_ahead(&mut self, steps: &mut [Option<Step>]) {
        self.seen = vec![Vec::new()];
        self.seen.extend(steps.iter().flatten().filter_map(|step| match step {
            Step::Read(members) => Some(members.clone()),
            Step::Add { .. } => None,
        }));
        self.seen.sort_unstable_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
        self.seen.dedup();
    }

    fn start(&self) -> State {
        State { reached: 0, more: Vec::new() }
    }

    fn only_looks(step: &Step) -> bool {
        matches!(step, Step::Read(_))
    }

    fn step(&self, state: &State, step: &Step) -> Option<State> {
        let whole = &self.seen[state.reached];
        let (member, is_open) = match step {
            Step::Read(members) => return (state.more.is_empty() && members == whole).then(|| state.clone()),
            Step::Add { member, is_open } => (member, *is_open),
        };
        let Err(place) = state.more.binary_search(member) else { return Some(state.clone()) };
        if whole.binary_search(member).is_ok() {
            return Some(state.clone());
        }
        let mut more = state.more.clone();
        more.insert(place, *member);
        match self.seen.get(state.reached + 1) {
            // That set is still to be seen, so this has to lead there.
            Some(next) if next.binary_search(member).is_err() => None,
            Some(next) if next.len() == whole.len() + more.len() => {
                let mut all = [&whole[..], &more].concat();
                all.sort_unstable();
                (all == *next).then_some(State { reached: state.reached + 1, more: Vec::new() })
            }
            Some(_) => Some(State { reached: state.reached, more }),
            // Nobody saw it.
            None if is_open => None,
            None => Some(State { reached: state.reached, more }),
        }
    }

    fn heap_bytes(state: &State) -> usize {
        state.more.len() * size_of::<u32>()
    }
}

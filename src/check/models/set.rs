//! A set that is added to.

use super::{Model, Setup, Values, no_such_operation};
use crate::api::ErrorCode;
use crate::check::{Operation, Outcome};
use std::collections::BTreeSet;

#[derive(Default)]
pub(in crate::check) struct Set {
    values: Values,
    /// All members in answers.
    seen: BTreeSet<u32>,
}

#[derive(PartialEq, Eq, Hash)]
pub(in crate::check) enum Step {
    Add { member: u32, is_open: bool },
    Read(Vec<u32>),
}

impl Model for Set {
    /// Its members, in order.
    type State = Vec<u32>;
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

    fn look_ahead<'a>(&mut self, steps: impl Iterator<Item = &'a Step>) {
        for step in steps {
            if let Step::Read(members) = step {
                self.seen.extend(members);
            }
        }
    }

    fn start(&self) -> Vec<u32> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u32>, step: &Step) -> Option<Vec<u32>> {
        match step {
            // A member that is there twice is none of a set, so this compares them all.
            Step::Read(members) => (members == state).then(|| state.clone()),
            // Nobody saw it.
            Step::Add { member, is_open: true } if !self.seen.contains(member) => None,
            Step::Add { member, .. } => {
                let mut new = state.clone();
                if let Err(at) = new.binary_search(member) {
                    new.insert(at, *member);
                }
                Some(new)
            }
        }
    }

    fn heap_bytes(state: &Vec<u32>) -> usize {
        state.len() * size_of::<u32>()
    }
}

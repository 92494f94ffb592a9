//! A number that is added to.

use super::{Model, Setup, no_such_operation};
use crate::api::ErrorCode;
use crate::check::{Operation, Outcome};
use serde_json::Value;

pub(in crate::check) struct Counter;

#[derive(PartialEq, Eq, Hash)]
pub(in crate::check) enum Step {
    Add {
        by: i64,
        /// The sum, if the answer says it.
        sum: Option<i64>,
    },
    /// `None`: there is no counter.
    Read(Option<i64>),
}

impl Model for Counter {
    /// `None` until something is added.
    type State = Option<i64>;
    type Step = Step;

    fn new(_: &Setup) -> Self {
        Self
    }

    fn understand(&mut self, operation: &Operation) -> Result<Option<Step>, String> {
        let Operation { argument, result, outcome, .. } = operation;
        let answer = if result.is_null() { None } else { Some(integer(result)?) };
        Ok(match (operation.op.as_str(), outcome) {
            ("read", Outcome::Ok) => Some(Step::Read(answer)),
            ("read", Outcome::Fail) if operation.failed_with(ErrorCode::NotFound) => Some(Step::Read(None)),
            ("add", Outcome::Ok) => Some(Step::Add { by: integer(argument)?, sum: answer }),
            ("add", Outcome::Unknown) => Some(Step::Add { by: integer(argument)?, sum: None }),
            ("read" | "add", _) => None,
            _ => return Err(no_such_operation(operation, "add and read")),
        })
    }

    fn start(&self) -> Option<i64> {
        None
    }

    fn only_looks(step: &Step) -> bool {
        matches!(step, Step::Read(_))
    }

    fn step(&self, state: &Option<i64>, step: &Step) -> Option<Option<i64>> {
        let now = state.unwrap_or(0);
        match *step {
            Step::Add { by, sum } => {
                let new = now.checked_add(by)?;
                sum.is_none_or(|sum| sum == new).then_some(Some(new))
            }
            // A reader may take a counter that is not there for 0.
            Step::Read(seen) => (seen == *state || seen == Some(now)).then_some(*state),
        }
    }
}

fn integer(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("a 64-bit number was expected, not {value}"))
}

//! What a single copy of a key would say. One model is one file.
//!
//! A model turns each operation into a step, with its values as small numbers, and says which steps are
//! allowed in a state. Time is none of its business, except that of `ttl`.

mod counter;
mod list;
mod register;
mod set;
mod ttl;

pub(super) use counter::Counter;
pub(super) use list::List;
pub(super) use register::Register;
pub(super) use set::Set;
pub(super) use ttl::Ttl;

use super::{Bounds, Header, ModelName, Operation, session, walk};
use serde_json::Value;
use std::collections::HashMap;
use std::hash::Hash;

/// What a model is told beforehand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub bounds: Option<Bounds>,
    pub use_revisions: bool,
}

/// A single copy of one key.
pub(super) trait Model: Sized {
    /// All that later answers depend on. Short, as many are kept.
    type State: Clone + Eq + Hash;
    /// An operation and its answer.
    type Step: Eq + Hash;

    fn new(setup: &Setup) -> Self;

    /// What an operation says, or `None` when it neither has an effect nor tells what it saw.
    ///
    /// # Errors
    /// It is none of this model's.
    fn understand(&mut self, operation: &Operation) -> Result<Option<Self::Step>, String>;

    /// Learns all steps before the first is taken, and may make those alike that nothing tells apart.
    fn look_ahead(&mut self, _steps: &mut [Option<Self::Step>]) {}

    /// Before the first operation: the key is absent.
    fn start(&self) -> Self::State;

    /// The state after a step, or `None` when it can't be taken here with this answer. A step that has no
    /// answer may be refused where it would be of no use.
    fn step(&self, state: &Self::State, step: &Self::Step) -> Option<Self::State>;

    /// Whether a step never does more than to look, wherever it is taken.
    fn only_looks(step: &Self::Step) -> bool;

    /// Whether whatever may follow the other state may follow this one too.
    fn covers(state: &Self::State, other: &Self::State) -> bool {
        state == other
    }

    /// Bytes of a state beyond its size.
    fn heap_bytes(_state: &Self::State) -> usize {
        0
    }
}

/// A model that knows some operations, and what each of them says.
pub(super) type Understood<M> = (M, Vec<Option<<M as Model>::Step>>);

/// # Errors
/// The place of an operation that can't be understood, and why.
pub(super) fn understand_all<M: Model>(
    operations: &[&Operation],
    setup: &Setup,
) -> Result<Understood<M>, (usize, String)> {
    let mut model = M::new(setup);
    let mut steps = Vec::with_capacity(operations.len());
    for (at, operation) in operations.iter().enumerate() {
        let understood = operation.check_times().and_then(|()| model.understand(operation));
        steps.push(understood.map_err(|what| (at, what))?);
    }
    model.look_ahead(&mut steps);
    Ok((model, steps))
}

/// Says why an operation can't be understood, if it can't.
pub(super) type Sieve = Box<dyn FnMut(&Operation) -> Result<(), String>>;

/// The sieve of a history's model.
pub(super) fn sieve(header: &Header) -> Sieve {
    fn of<M: Model + 'static>(header: &Header) -> Sieve {
        let mut model = M::new(&Setup { bounds: header.bounds, use_revisions: true });
        Box::new(move |operation| model.understand(operation).map(drop))
    }
    match header.model {
        ModelName::Register => of::<Register>(header),
        ModelName::Counter => of::<Counter>(header),
        ModelName::List => of::<List>(header),
        ModelName::Set => of::<Set>(header),
        ModelName::Ttl => of::<Ttl>(header),
        ModelName::Session => Box::new(session::understand),
        ModelName::Walk => Box::new(|operation| walk::understand(operation).map(drop)),
    }
}

/// Gives equal values equal numbers.
#[derive(Debug, Default)]
struct Values {
    numbers: HashMap<Value, u32>,
}

impl Values {
    /// The number of a value, or `None` for null, which is no value but the absence of one.
    fn number(&mut self, value: &Value) -> Option<u32> {
        if value.is_null() {
            return None;
        }
        if let Some(number) = self.numbers.get(value) {
            return Some(*number);
        }
        let next = u32::try_from(self.numbers.len()).expect("fewer values than fit into memory");
        self.numbers.insert(value.clone(), next);
        Some(next)
    }

    /// The numbers of a list's items; an absent list is empty.
    fn numbers(&mut self, list: &Value) -> Result<Vec<u32>, String> {
        match list {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items.iter().map(|item| self.some(item, "an item")).collect(),
            other => Err(format!("a list was expected, not {other}")),
        }
    }

    /// The number of a value that must not be null.
    fn some(&mut self, value: &Value, what: &str) -> Result<u32, String> {
        self.number(value).ok_or_else(|| format!("{what} must not be null"))
    }
}

fn no_such_operation(operation: &Operation, known: &str) -> String {
    format!("the model knows {known}, not `{}`", operation.op)
}

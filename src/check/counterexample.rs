//! Judges one key, and when nothing explains it, finds the shortest beginning that nothing explains.
//!
//! A beginning ends with a return. What was called by then and not answered is open in it. Whatever explains a
//! beginning explains every shorter one, so the shortest that is inexplicable is found by bisection, which starts
//! where the search of the whole got stuck. The one before it has a linearization: an order that explains all
//! answers but the last.

use super::budget::{Budget, Exhausted};
use super::models::{Model, Setup, understand_all};
use super::search::{Found, Task, search};
use super::{Operation, Outcome};
use serde_json::Value;

/// What came out for a key.
#[derive(Debug)]
pub(super) enum Judgement {
    Explained,
    Inexplicable(Box<Counterexample>),
    /// Why nothing is known.
    Undecided(String),
}

/// See [`super::Failure`].
#[derive(Debug)]
pub(super) struct Counterexample {
    pub reason: String,
    pub prefix: Vec<Operation>,
    pub order: Vec<usize>,
    pub stuck: Vec<usize>,
    pub shortest: bool,
}

/// Judges the operations of one key.
pub(super) fn judge<M: Model>(operations: &[&Operation], setup: &Setup, budget: &Budget) -> Judgement {
    let puzzle = match Puzzle::<M>::new(operations.iter().copied().enumerate(), setup) {
        Ok(puzzle) => puzzle,
        Err(what) => return Judgement::Undecided(what),
    };
    match puzzle.solve(budget) {
        Ok(Found::Order(_)) => Judgement::Explained,
        Ok(Found::Nothing { furthest_ns }) => {
            Judgement::Inexplicable(Box::new(shorten(operations, &puzzle, furthest_ns, setup, budget)))
        }
        Err(exhausted) => Judgement::Undecided(exhausted.as_str().into()),
    }
}

/// Operations of a key, or of a beginning of it, ready to be searched.
struct Puzzle<M: Model> {
    model: M,
    tasks: Vec<Task<M::Step>>,
    /// For each task, which of the key's operations it is.
    origins: Vec<usize>,
}

impl<M: Model> Puzzle<M> {
    fn new<'a>(
        operations: impl Iterator<Item = (usize, &'a Operation)>,
        setup: &Setup,
    ) -> Result<Self, String> {
        let (origins, operations): (Vec<usize>, Vec<&Operation>) = operations.unzip();
        let (model, steps) = understand_all::<M>(&operations, setup)
            .map_err(|(at, what)| format!("operation {} of the key: {what}", origins[at] + 1))?;
        let told = steps.into_iter().enumerate().filter_map(|(at, step)| Some((at, step?)));
        let (kept, tasks) = told
            .map(|(at, step)| {
                let Operation { call_ns, return_ns, outcome, .. } = *operations[at];
                let return_ns = return_ns.filter(|_| outcome != Outcome::Unknown);
                (origins[at], Task { call_ns, return_ns, step })
            })
            .unzip();
        Ok(Self { model, tasks, origins: kept })
    }

    /// An order names the key's operations.
    fn solve(&self, budget: &Budget) -> Result<Found, Exhausted> {
        Ok(match search(&self.model, &self.tasks, budget)? {
            Found::Order(order) => Found::Order(order.into_iter().map(|task| self.origins[task]).collect()),
            nothing @ Found::Nothing { .. } => nothing,
        })
    }
}

fn shorten<M: Model>(
    operations: &[&Operation],
    whole: &Puzzle<M>,
    furthest_ns: u64,
    setup: &Setup,
    budget: &Budget,
) -> Counterexample {
    let mut returns: Vec<(u64, usize)> = whole
        .tasks
        .iter()
        .zip(&whole.origins)
        .filter_map(|(task, origin)| Some((task.return_ns?, *origin)))
        .collect();
    returns.sort_unstable();
    let beginning = |answers: usize| {
        let cut = cut(operations, &returns[..answers]);
        let understood = Puzzle::<M>::new(cut.iter().map(|(origin, operation)| (*origin, operation)), setup);
        (cut, understood.expect("a part of what was understood"))
    };

    let (mut explained, mut inexplicable) = (0, returns.len());
    let (mut order, mut shortest) = (Vec::new(), true);
    // Most often the answer that the search could not get past is the last of the shortest beginning.
    let guess = returns.partition_point(|(return_ns, _)| *return_ns <= furthest_ns);
    while inexplicable - explained > 1 {
        let guesses = [guess, guess.saturating_sub(1), explained.midpoint(inexplicable)];
        let next = guesses.into_iter().find(|next| (explained + 1..inexplicable).contains(next));
        let next = next.expect("the middle is between them");
        match beginning(next).1.solve(budget) {
            Ok(Found::Order(found)) => (explained, order) = (next, found),
            Ok(Found::Nothing { .. }) => inexplicable = next,
            Err(_) => {
                shortest = false;
                break;
            }
        }
    }

    let (mut cut, puzzle) = beginning(inexplicable);
    cut.retain(|(origin, _)| puzzle.origins.contains(origin));
    cut.sort_by_key(|(_, operation)| operation.call_ns);
    let place = |origin: &usize| cut.iter().position(|(other, _)| other == origin);
    let order = order.iter().filter_map(place).collect();
    let stuck: Vec<usize> =
        returns[explained..inexplicable].iter().filter_map(|(_, origin)| place(origin)).collect();
    let reason = match stuck.as_slice() {
        [one] => format!("no order explains `{}` of client {}", cut[*one].1, cut[*one].1.client),
        several => format!("no order explains the last {} answers", several.len()),
    };
    let prefix = cut.into_iter().map(|(_, operation)| operation).collect();
    Counterexample { reason, prefix, order, stuck, shortest }
}

/// The beginning that ends with the last of these returns: each operation called by then, and which it is.
fn cut(operations: &[&Operation], returns: &[(u64, usize)]) -> Vec<(usize, Operation)> {
    let end_ns = returns.last().map_or(0, |(return_ns, _)| *return_ns);
    let mut is_answered = vec![false; operations.len()];
    returns.iter().for_each(|(_, origin)| is_answered[*origin] = true);
    let called = operations.iter().enumerate().filter(|(_, operation)| operation.call_ns <= end_ns);
    called
        .filter_map(|(origin, operation)| match operation.outcome {
            Outcome::Unknown => Some((origin, (*operation).clone())),
            _ if is_answered[origin] => Some((origin, (*operation).clone())),
            Outcome::Ok => Some((origin, unanswered(operation))),
            // It had no effect, and what it saw is not known yet.
            Outcome::Fail => None,
        })
        .collect()
}

fn unanswered(operation: &Operation) -> Operation {
    Operation {
        result: Value::Null,
        revision: None,
        index: None,
        return_ns: None,
        outcome: Outcome::Unknown,
        error: None,
        ..operation.clone()
    }
}

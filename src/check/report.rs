//! What came out of a check.

use super::counterexample::Judgement;
use super::{History, Operation, Outcome};
use serde::Serialize;

/// Whether there is an order that explains a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// There is one.
    Yes,
    /// There is none: something went wrong that no timing explains.
    No,
    /// The time or the memory ran out, or an operation can't be understood.
    Undecided,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Undecided => "undecided",
        }
    }
}

/// A key that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub key: String,
    /// How many operations the key has.
    pub operations: usize,
    /// What is wrong, in a sentence.
    pub reason: String,
    /// The shortest beginning of the history that can't be explained, in the order of calls. What is not
    /// answered by then has an unknown outcome, and what tells nothing is left out.
    pub prefix: Vec<Operation>,
    /// Places in `prefix`, in an order that explains all answers but the stuck ones.
    pub order: Vec<usize>,
    /// Places in `prefix` of the operations whose answers fit nowhere.
    pub stuck: Vec<usize>,
    /// False when there was no time to find out whether a shorter beginning would do.
    pub shortest: bool,
}

/// A key that nothing is known of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    pub key: String,
    pub operations: usize,
    /// Why, in a sentence.
    pub reason: String,
}

/// The verdict on a history, and what it rests on. Keys that are neither in `failures` nor in `undecided` are
/// linearizable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub verdict: Verdict,
    /// Of all keys, by outcome: `operations` is the sum of the next three.
    pub operations: usize,
    pub ok: usize,
    pub fail: usize,
    pub unknown: usize,
    /// How many keys there are.
    pub keys: usize,
    /// In the order of their keys.
    pub failures: Vec<Failure>,
    /// In the order of their keys.
    pub undecided: Vec<Doubt>,
    pub elapsed_ms: u64,
}

impl Report {
    pub(super) fn new(history: &History, keys: usize) -> Self {
        let operations = &history.operations;
        let count = |outcome| operations.iter().filter(|operation| operation.outcome == outcome).count();
        Self {
            verdict: Verdict::Yes,
            operations: operations.len(),
            ok: count(Outcome::Ok),
            fail: count(Outcome::Fail),
            unknown: count(Outcome::Unknown),
            keys,
            failures: Vec::new(),
            undecided: Vec::new(),
            elapsed_ms: 0,
        }
    }

    /// Takes in what came out for a key.
    pub(super) fn add(&mut self, key: &str, operations: usize, judgement: Judgement) {
        let key = key.to_string();
        match judgement {
            Judgement::Explained => {}
            Judgement::Inexplicable(counterexample) => {
                let super::counterexample::Counterexample { reason, prefix, order, stuck, shortest } =
                    *counterexample;
                self.failures.push(Failure { key, operations, reason, prefix, order, stuck, shortest });
                self.verdict = Verdict::No;
            }
            Judgement::Undecided(reason) => {
                self.undecided.push(Doubt { key, operations, reason });
                if self.verdict == Verdict::Yes {
                    self.verdict = Verdict::Undecided;
                }
            }
        }
    }
}

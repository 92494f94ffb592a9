//! A value that vanishes when its time to live is over.
//!
//! Nobody outside knows the moment. It is not before the put was called, plus the time to live, less
//! `early_ms`; and not after the put was answered, plus the time to live, plus `late_ms`. Once an entry was
//! seen gone, it stays gone until the next put.

use super::{Model, Setup, Values, no_such_operation};
use crate::api::ErrorCode;
use crate::check::{Operation, Outcome};
use serde::Deserialize;
use serde_json::Value;

const NS_PER_MS: u64 = 1_000_000;

pub(in crate::check) struct Ttl {
    values: Values,
    early_ns: u64,
    late_ns: u64,
}

/// An entry, and when it may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::check) struct Entry {
    value: u32,
    /// An answer from before can't say that it is gone.
    gone_from_ns: u64,
    /// What is called after can't find it.
    there_until_ns: u64,
}

#[derive(PartialEq, Eq, Hash)]
pub(in crate::check) enum Step {
    Put(Entry),
    Find {
        value: u32,
        call_ns: u64,
    },
    Miss {
        return_ns: u64,
    },
    /// With an answer: it was there.
    Delete {
        call_ns: Option<u64>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    value: Value,
    /// `None` lives for ever.
    ttl_ms: Option<u64>,
}

impl Model for Ttl {
    /// `None`: deleted, seen gone, or never put.
    type State = Option<Entry>;
    type Step = Step;

    fn new(setup: &Setup) -> Self {
        let (early_ms, late_ms) = setup.bounds.map_or((0, 0), |bounds| (bounds.early_ms, bounds.late_ms));
        let ns = |ms: u64| ms.saturating_mul(NS_PER_MS);
        Self { values: Values::default(), early_ns: ns(early_ms), late_ns: ns(late_ms) }
    }

    fn understand(&mut self, operation: &Operation) -> Result<Option<Step>, String> {
        let Operation { argument, call_ns, outcome, .. } = operation;
        let return_ns = operation.return_ns.filter(|_| *outcome != Outcome::Unknown);
        let miss = Step::Miss { return_ns: return_ns.unwrap_or(u64::MAX) };
        Ok(match (operation.op.as_str(), outcome) {
            ("read", Outcome::Ok) => Some(match self.values.number(&operation.result) {
                Some(value) => Step::Find { value, call_ns: *call_ns },
                None => miss,
            }),
            ("put", Outcome::Ok | Outcome::Unknown) => {
                let Put { value, ttl_ms } = Put::deserialize(argument)
                    .map_err(|_| "a put's argument is {\"value\", \"ttl_ms\"}".to_string())?;
                let value = self.values.some(&value, "what is put")?;
                Some(Step::Put(self.entry(value, ttl_ms, *call_ns, return_ns)))
            }
            ("delete", Outcome::Ok) => Some(Step::Delete { call_ns: Some(*call_ns) }),
            ("delete", Outcome::Unknown) => Some(Step::Delete { call_ns: None }),
            ("read" | "delete", Outcome::Fail) if operation.failed_with(ErrorCode::NotFound) => Some(miss),
            ("read" | "put" | "delete", _) => None,
            _ => return Err(no_such_operation(operation, "put, read and delete")),
        })
    }

    fn start(&self) -> Option<Entry> {
        None
    }

    fn only_looks(step: &Step) -> bool {
        // A miss does more: it says that an entry is gone.
        matches!(step, Step::Find { .. })
    }

    fn step(&self, state: &Option<Entry>, step: &Step) -> Option<Option<Entry>> {
        match (*state, step) {
            (_, Step::Put(entry)) => Some(Some(*entry)),
            (Some(entry), Step::Find { value, call_ns }) => {
                (entry.value == *value && *call_ns <= entry.there_until_ns).then_some(*state)
            }
            (Some(entry), Step::Miss { return_ns }) => (*return_ns >= entry.gone_from_ns).then_some(None),
            (Some(entry), Step::Delete { call_ns }) => {
                call_ns.is_none_or(|call_ns| call_ns <= entry.there_until_ns).then_some(None)
            }
            (None, Step::Miss { .. }) => Some(None),
            (None, Step::Find { .. } | Step::Delete { .. }) => None,
        }
    }
}

impl Ttl {
    fn entry(&self, value: u32, ttl_ms: Option<u64>, call_ns: u64, return_ns: Option<u64>) -> Entry {
        let Some(ttl_ns) = ttl_ms.map(|ttl_ms| ttl_ms.saturating_mul(NS_PER_MS)) else {
            return Entry { value, gone_from_ns: u64::MAX, there_until_ns: u64::MAX };
        };
        // What was never answered may take effect late, and then lives on.
        let until = |return_ns: u64| return_ns.saturating_add(ttl_ns).saturating_add(self.late_ns);
        Entry {
            value,
            gone_from_ns: call_ns.saturating_add(ttl_ns).saturating_sub(self.early_ns),
            there_until_ns: return_ns.map_or(u64::MAX, until),
        }
    }
}

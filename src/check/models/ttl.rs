//! A value that vanishes when its time to live is over.
//!
//! Nobody outside knows the moment. It is not before the put was called, plus the time to live, less
//! `early_ms`; and not after the put was answered, plus the time to live, plus `late_ms`. Once an entry was
//! seen gone, it stays gone until the next put. `expire` gives an entry another time to live, and `left` tells what is
//! left of it.

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
    /// No more than this can be left of its life.
    ttl_ns: u64,
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
    /// There is something, and this is left of its life.
    Left {
        left_ns: u64,
        call_ns: u64,
        return_ns: u64,
    },
    /// Whatever is there lives as if it were put now; with an answer, it was there. The value of the entry means nothing.
    Expire {
        lives: Entry,
        call_ns: Option<u64>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expire {
    ttl_ms: u64,
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
            ("left", Outcome::Ok) => Some(match (operation.result.as_u64(), return_ns) {
                (Some(left_ms), Some(return_ns)) => {
                    let left_ns = left_ms.saturating_mul(NS_PER_MS);
                    Step::Left { left_ns, call_ns: *call_ns, return_ns }
                }
                _ if operation.result.is_null() => miss,
                _ => return Err("what is left is a number of milliseconds, or null".into()),
            }),
            ("expire", Outcome::Ok | Outcome::Unknown) => {
                let Expire { ttl_ms } = Expire::deserialize(argument)
                    .map_err(|_| "an expire's argument is {\"ttl_ms\"}".to_string())?;
                let lives = self.entry(0, Some(ttl_ms), *call_ns, return_ns);
                Some(Step::Expire { lives, call_ns: return_ns.map(|_| *call_ns) })
            }
            ("delete", Outcome::Ok) => Some(Step::Delete { call_ns: Some(*call_ns) }),
            ("delete", Outcome::Unknown) => Some(Step::Delete { call_ns: None }),
            ("read" | "expire" | "delete", Outcome::Fail) if operation.failed_with(ErrorCode::NotFound) => {
                Some(miss)
            }
            ("read" | "left" | "put" | "expire" | "delete", _) => None,
            _ => return Err(no_such_operation(operation, "put, read, left, expire and delete")),
        })
    }

    fn start(&self) -> Option<Entry> {
        None
    }

    fn only_looks(step: &Step) -> bool {
        // A miss does more: it says that an entry is gone.
        matches!(step, Step::Find { .. } | Step::Left { .. })
    }

    fn step(&self, state: &Option<Entry>, step: &Step) -> Option<Option<Entry>> {
        match (*state, step) {
            (_, Step::Put(entry)) => Some(Some(*entry)),
            (Some(entry), Step::Find { value, call_ns }) => {
                (entry.value == *value && *call_ns <= entry.there_until_ns).then_some(*state)
            }
            (Some(entry), Step::Miss { return_ns }) => (*return_ns >= entry.gone_from_ns).then_some(None),
            (Some(entry), Step::Left { left_ns, call_ns, return_ns }) => {
                let ends_early = return_ns.saturating_add(*left_ns) < entry.gone_from_ns;
                let fits = *call_ns <= entry.there_until_ns && *left_ns <= entry.ttl_ns && !ends_early;
                fits.then_some(*state)
            }
            (Some(entry), Step::Expire { lives, call_ns }) => {
                let is_there = call_ns.is_none_or(|call_ns| call_ns <= entry.there_until_ns);
                is_there.then_some(Some(Entry { value: entry.value, ..*lives }))
            }
            (Some(entry), Step::Delete { call_ns }) => {
                call_ns.is_none_or(|call_ns| call_ns <= entry.there_until_ns).then_some(None)
            }
            (None, Step::Miss { .. }) => Some(None),
            (None, Step::Find { .. } | Step::Left { .. } | Step::Expire { .. } | Step::Delete { .. }) => None,
        }
    }
}

impl Ttl {
    fn entry(&self, value: u32, ttl_ms: Option<u64>, call_ns: u64, return_ns: Option<u64>) -> Entry {
        let Some(ttl_ns) = ttl_ms.map(|ttl_ms| ttl_ms.saturating_mul(NS_PER_MS)) else {
            return Entry { value, gone_from_ns: u64::MAX, there_until_ns: u64::MAX, ttl_ns: u64::MAX };
        };
        // What was never answered may take effect late, and then lives on.
        let until = |return_ns: u64| return_ns.saturating_add(ttl_ns).saturating_add(self.late_ns);
        Entry {
            value,
            gone_from_ns: call_ns.saturating_add(ttl_ns).saturating_sub(self.early_ns),
            there_until_ns: return_ns.map_or(u64::MAX, until),
            ttl_ns,
        }
    }
}

//! What the tests share: random numbers with a printed seed, operations in few words, verdicts.

use lockstep::check::{
    Bounds, Header, History, ModelName, Operation, Options, Outcome, Report, Verdict, check,
};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// Seeded from `LOCKSTEP_TEST_SEED`, or from the clock; prints the seed.
    pub fn new(what: &str) -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("LOCKSTEP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(clock);
        println!("{what}: LOCKSTEP_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must not be zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// Milliseconds an entry may vanish early and late.
pub const BOUNDS: Bounds = Bounds { early_ms: 2, late_ms: 3 };

pub const MS: u64 = 1_000_000;

/// An operation that took this time and was not answered yet.
pub fn asked(client: u64, op: &str, argument: Value, call_ns: u64, return_ns: u64) -> Operation {
    Operation {
        client,
        node: String::new(),
        key: "k".into(),
        op: op.into(),
        argument,
        result: Value::Null,
        revision: None,
        index: None,
        call_ns,
        return_ns: Some(return_ns),
        outcome: Outcome::Ok,
        error: None,
    }
}

/// The same with an answer.
pub fn ok(client: u64, op: &str, argument: Value, result: Value, times: (u64, u64)) -> Operation {
    Operation { result, ..asked(client, op, argument, times.0, times.1) }
}

/// The same without.
pub fn unknown(operation: Operation) -> Operation {
    let (outcome, result) = (Outcome::Unknown, Value::Null);
    Operation { outcome, result, revision: None, index: None, return_ns: None, ..operation }
}

pub fn at(revision: u64, operation: Operation) -> Operation {
    Operation { revision: Some(revision), ..operation }
}

pub fn failed(error: &str, operation: Operation) -> Operation {
    Operation { outcome: Outcome::Fail, error: Some(error.into()), result: Value::Null, ..operation }
}

pub fn history(model: ModelName, operations: Vec<Operation>) -> History {
    let header = if model == ModelName::Ttl { Header::ttl(BOUNDS) } else { Header::new(model) };
    History { header, operations }
}

pub fn judged(history: &History) -> Report {
    check(history, &Options::default())
}

pub fn verdict(model: ModelName, operations: &[Operation]) -> Verdict {
    judged(&history(model, operations.to_vec())).verdict
}

/// For messages: one operation a line.
pub fn shown(operations: &[Operation]) -> String {
    let line = |operation: &Operation| {
        let Operation { client, call_ns, return_ns, .. } = operation;
        format!("client {client} {call_ns}..{return_ns:?} {operation}\n")
    };
    operations.iter().map(line).collect()
}

//! Judges recorded histories: is there an order of the operations that explains every answer?
//!
//! A [`History`] says what clients asked, what they were answered, and when. [`check`] takes it apart by key
//! and looks for a *linearization* of each: an order in which every operation takes effect at one moment
//! between its call and its return, and every answer is what a single copy would have said (Herlihy and Wing
//! 1990). Read on in `search.rs` for how it looks, and in `models/` for what a single copy would say.
//! `session.rs` judges reads that promise less, and `walk.rs` those that take a while.
//!
//! Nothing here knows a cluster. What it judges may come from one, from a simulation or from another system.

mod bits;
mod budget;
mod counterexample;
mod history;
mod jepsen;
mod models;
mod report;
mod search;
mod session;
mod timeline;
mod walk;
mod writer;

pub use history::{Bounds, Header, History, HistoryError, ModelName, Operation, Outcome};
pub use report::{Doubt, Failure, Report, Verdict};
pub use timeline::timeline;
pub use writer::HistoryWriter;

use budget::Budget;
use counterexample::{Judgement, judge};
use models::{Counter, List, Model, Register, Set, Setup, Ttl};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How hard to look, and at what.
#[derive(Debug, Clone)]
pub struct Options {
    /// For the whole check. What is not decided by then stays undecided.
    pub deadline: Duration,
    /// Whether revisions count, in the model `register`; otherwise only values do.
    pub use_revisions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), use_revisions: true }
    }
}

/// Judges a history, key by key, on all cores.
///
/// The verdict is `No` if that of any key is, else `Undecided` if that of any key is. It never rejects what
/// could have happened, and never accepts what could not.
pub fn check(history: &History, options: &Options) -> Report {
    let started = Instant::now();
    let keys = by_key(&history.operations);
    let mut report = Report::new(history, keys.len());
    let setup = Setup { bounds: history.header.bounds, use_revisions: options.use_revisions };
    let budget = Budget::until(started + options.deadline);
    match history.header.model {
        ModelName::Register => check_keys::<Register>(&keys, &setup, &budget, &mut report),
        ModelName::Counter => check_keys::<Counter>(&keys, &setup, &budget, &mut report),
        ModelName::List => check_keys::<List>(&keys, &setup, &budget, &mut report),
        ModelName::Set => check_keys::<Set>(&keys, &setup, &budget, &mut report),
        ModelName::Ttl => check_keys::<Ttl>(&keys, &setup, &budget, &mut report),
        ModelName::Session => {
            for (key, operations) in &keys {
                report.add(key, operations.len(), session::judge(operations));
            }
        }
        ModelName::Walk => {
            for (key, operations) in &keys {
                report.add(key, operations.len(), walk::judge(operations));
            }
        }
    }
    report.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

fn by_key(operations: &[Operation]) -> BTreeMap<&str, Vec<&Operation>> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    keys
}

/// Judges the keys one by one, on as many threads as there are cores.
fn check_keys<M: Model>(
    keys: &BTreeMap<&str, Vec<&Operation>>,
    setup: &Setup,
    budget: &Budget,
    report: &mut Report,
) {
    let mut work: Vec<(&str, &[&Operation])> =
        keys.iter().map(|(key, operations)| (*key, operations.as_slice())).collect();
    // The longest first, so that none is left over while the other threads have nothing to do.
    work.sort_by_key(|(_, operations)| std::cmp::Reverse(operations.len()));
    let next = AtomicUsize::new(0);
    let judged: Mutex<BTreeMap<&str, Judgement>> = Mutex::new(BTreeMap::new());
    let threads = thread::available_parallelism().map_or(1, usize::from).min(work.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((key, operations)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let judgement = judge::<M>(operations, setup, budget);
                    judged.lock().expect("no thread panics").insert(key, judgement);
                }
            });
        }
    });
    for (key, judgement) in judged.into_inner().expect("no thread panics") {
        report.add(key, keys[key].len(), judgement);
    }
}

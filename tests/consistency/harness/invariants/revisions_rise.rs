//! C5, R5: what began after another thing was answered comes after it in the log. This holds over all keys at once, and
//! for reads too: the index that they were answered at is never one that somebody had already seen passed.

use super::Invariant;
use crate::harness::load::Recorded;
use crate::harness::workloads::Workload;
use lockstep::api::Status;
use lockstep::check::{Operation, Outcome};
use std::collections::HashMap;

pub struct RevisionsRise;

impl Invariant for RevisionsRise {
    fn name(&self) -> &'static str {
        "revisions strictly rise"
    }

    fn end(&mut self, _last: &[Status], recorded: &Recorded) -> Result<(), String> {
        let mut placed: Vec<(&Operation, u64, bool)> = Vec::new();
        for (workload, operations) in recorded {
            placed.extend(operations.iter().filter_map(|told| place(*workload, told)));
        }
        one_entry_each(&placed)?;
        // Both in time: what has been answered when something begins is a floor for it.
        let mut by_call = placed.clone();
        by_call.sort_by_key(|(told, ..)| told.call_ns);
        placed.sort_by_key(|(told, ..)| told.return_ns);
        let mut answered = placed.iter().peekable();
        let mut floor: Option<(&Operation, u64)> = None;
        for (told, index, writes) in by_call {
            while let Some((earlier, passed, _)) =
                answered.next_if(|(o, ..)| o.return_ns < Some(told.call_ns))
            {
                if floor.is_none_or(|(_, highest)| *passed > highest) {
                    floor = Some((earlier, *passed));
                }
            }
            if let Some((earlier, passed)) = floor
                && (index < passed || (writes && index == passed))
            {
                return Err(format!("index {passed} was told by {earlier:?}, then came {told:?} at {index}"));
            }
        }
        Ok(())
    }
}

/// Where in the log an answer places an operation, and whether it wrote there.
fn place(workload: Workload, told: &Operation) -> Option<(&Operation, u64, bool)> {
    if told.outcome != Outcome::Ok {
        return None;
    }
    match (workload, told.op.as_str()) {
        // Stale reads may be answered anywhere, and batches that read are log entries of their own.
        (Workload::Session | Workload::Batch | Workload::Eviction, "read") => None,
        // The times of those in pipelines are only in the right order.
        (Workload::Eviction | Workload::Pipeline, _) => None,
        (_, "read" | "left") => Some((told, told.index?, false)),
        _ => Some((told, told.revision?, true)),
    }
}

fn one_entry_each(placed: &[(&Operation, u64, bool)]) -> Result<(), String> {
    let mut writers: HashMap<u64, &Operation> = HashMap::new();
    for (told, index, _) in placed.iter().filter(|(.., writes)| *writes) {
        if let Some(other) = writers.insert(*index, told) {
            return Err(format!("{other:?} and {told:?} are one log entry"));
        }
    }
    Ok(())
}

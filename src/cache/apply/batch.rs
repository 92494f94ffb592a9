//! A batch: several operations, all or none. All are checked against the state before the batch, which is
//! enough because no two of them write the same key.

use super::capacity_check::CapacityCheck;
use super::check::Check;
use super::checked_op::CheckedOp;
use super::maintenance::Budget;
use super::work::Work;
use crate::cache::limits::{BATCH_OPS_MAX, BATCH_OUTCOME_BYTES_MAX};
use crate::cache::{BatchFault, Cache, CommandError, Event, Key, Op, Outcome};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// What an operation's outcome takes beyond the value in it, at least.
const OUTCOME_OVERHEAD_BYTES: u64 = 128;

/// So the outcomes of a batch that reads nothing always fit.
const _: () = assert!(BATCH_OPS_MAX as u64 * OUTCOME_OVERHEAD_BYTES <= BATCH_OUTCOME_BYTES_MAX);

impl Cache {
    pub(super) fn execute_batch(
        &mut self,
        ops: Vec<Op>,
        origin: Option<&str>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        check_shape(&ops)?;
        let mut checked = Vec::with_capacity(ops.len());
        let mut capacity = CapacityCheck::default();
        let mut work = Work::default();
        for (position, op) in (0u32..).zip(ops) {
            if !work.add(self, &op) {
                return Err(CommandError::InvalidBatch { op: Some(position), fault: BatchFault::LargeWork });
            }
            let op = Check::of_batch(self, origin, position).op(op)?;
            capacity.add(self, &op, Some(position));
            checked.push(op);
        }
        capacity.verdict(self, &mut Budget::for_writes())?;
        if checked.iter().any(|op| op.reads().is_some()) {
            let stored = checked.iter().filter_map(stored_bytes).collect();
            check_answers(self, checked.iter().map(CheckedOp::reads), &stored)?;
        }
        let outcomes = checked.into_iter().map(|op| self.perform(op, events)).collect();
        Ok(Outcome::Batch { revision: self.index, outcomes })
    }
}

/// Refuses a batch that reads more than a response may hold. A read is counted with the largest value it can find: the one
/// before the batch, or the one that the batch stores.
fn check_answers<'a>(
    cache: &Cache,
    reads: impl Iterator<Item = Option<&'a Key>>,
    stored: &BTreeMap<Key, u64>,
) -> Result<(), CommandError> {
    let mut bytes = 0u64;
    for (position, key) in (0u32..).zip(reads) {
        bytes += OUTCOME_OVERHEAD_BYTES;
        if let Some(key) = key {
            let before = cache.store.find(key.as_str()).map_or(0, |(_, entry)| entry.record.value_cost());
            bytes += before.max(stored.get(key).copied().unwrap_or_default());
        }
        if bytes > BATCH_OUTCOME_BYTES_MAX {
            return Err(CommandError::InvalidBatch { op: Some(position), fault: BatchFault::LargeAnswer });
        }
    }
    Ok(())
}

fn stored_bytes(op: &CheckedOp) -> Option<(Key, u64)> {
    match op {
        CheckedOp::Store { key, record, .. } => Some((key.clone(), record.value_cost())),
        _ => None,
    }
}

fn check_shape(ops: &[Op]) -> Result<(), CommandError> {
    if ops.is_empty() || ops.len() > BATCH_OPS_MAX {
        return Err(CommandError::InvalidBatch { op: None, fault: BatchFault::Length });
    }
    match first_repeated(ops) {
        None => Ok(()),
        repeated => Err(CommandError::InvalidBatch { op: repeated, fault: BatchFault::RepeatedKey }),
    }
}

/// The position of the first operation that writes the same key as one before it.
fn first_repeated<'a>(ops: &'a [Op]) -> Option<u32> {
    let written = (0u32..).zip(ops).filter(|(_, op)| op.writes_key());
    // Sorted by hash: keys are compared only where their hashes are equal.
    let hashed = |(position, op): (u32, &'a Op)| {
        let key = op.key().as_str();
        (xxh3_64(key.as_bytes()), key, position)
    };
    let mut written: Vec<(u64, &str, u32)> = written.map(hashed).collect();
    written.sort_unstable();
    let repeated = written.windows(2).filter(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1));
    repeated.map(|pair| pair[1].2).min()
}

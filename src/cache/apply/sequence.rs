//! Several operations, one after another, in one log entry: each is carried out or refused by itself.

use super::capacity_check::CapacityCheck;
use super::check::Check;
use super::fold;
use super::maintenance::Budget;
use super::work::Work;
use crate::cache::limits::{
    BATCH_OUTCOME_BYTES_MAX, GUARDED_EXPIRED_MAX, GUARDED_KEYS_MAX, KEY_BYTES_MAX, PREFIX_GUARDS_MAX,
    SEQUENCE_GUARDS_MAX, SEQUENCE_OPS_MAX,
};
use crate::cache::{
    BatchFault, Cache, CommandError, Event, Guard, InvalidField, Key, KeyState, Op, OpRefusal, Outcome,
};

/// What the result of an operation takes beyond the value in it, at least.
const RESULT_OVERHEAD_BYTES: u64 = 128;

/// So the results of a sequence that reads nothing always fit.
const _: () = assert!(SEQUENCE_OPS_MAX as u64 * RESULT_OVERHEAD_BYTES <= BATCH_OUTCOME_BYTES_MAX);

/// What is left for the operations that follow.
struct Left {
    /// Cleared entries that may be freed to make room.
    room: Budget,
    work: Work,
    /// Bytes of values in the results.
    answers: u64,
}

impl Cache {
    pub(super) fn execute_sequence(
        &mut self,
        guards: &[Guard],
        ops: Vec<Op>,
        origin: Option<&str>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let counts = guards.iter().filter_map(|guard| match guard {
            Guard::Keys { count, .. } => Some(*count),
            Guard::Key { .. } => None,
        });
        if !(1..=SEQUENCE_OPS_MAX).contains(&ops.len())
            || guards.len() > SEQUENCE_GUARDS_MAX
            || counts.clone().count() > PREFIX_GUARDS_MAX
            || counts.fold(0, u64::saturating_add) > GUARDED_KEYS_MAX
        {
            return Err(CommandError::InvalidBatch { op: None, fault: BatchFault::Length });
        }
        for (position, guard) in (0u32..).zip(guards) {
            self.check_guard(guard, position)?;
        }
        let overhead = ops.len() as u64 * RESULT_OVERHEAD_BYTES;
        let answers = BATCH_OUTCOME_BYTES_MAX.saturating_sub(overhead);
        let mut left = Left { room: Budget::for_writes(), work: Work::default(), answers };
        let start = events.len();
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.execute_next(op, origin, &mut left, events));
        }
        fold::fold(self, events, start);
        self.stats.refused += results.iter().filter(|result| result.is_err()).count() as u64;
        Ok(Outcome::Sequence { revision: self.index, results })
    }

    fn check_guard(&self, guard: &Guard, position: u32) -> Result<(), CommandError> {
        let failed = CommandError::GuardFailed { guard: position };
        match guard {
            Guard::Key { key, condition } => {
                let check = Check::of_single(self, None);
                check.condition(key, check.find(key), condition).map_err(|error| match error {
                    CommandError::PreconditionFailed { .. } => failed,
                    error => error,
                })
            }
            Guard::Keys { prefix, .. } if prefix.len() > KEY_BYTES_MAX => {
                Err(CommandError::Invalid { op: None, field: InvalidField::Prefix })
            }
            Guard::Keys { prefix, since, count } => {
                if self.has_still(prefix, *since, *count) {
                    Ok(())
                } else {
                    Err(failed)
                }
            }
        }
    }

    /// Whether the keys with a prefix are those that were there after the log entry with this index, when there were so many: a key that went
    /// and came back is newer, and without a newer one there are fewer if one has gone.
    fn has_still(&self, prefix: &str, since: u64, count: u64) -> bool {
        let (mut live, mut expired) = (count, GUARDED_EXPIRED_MAX);
        for (_, entry) in self.store.range(prefix, None) {
            let is_live = !entry.is_expired(self.now_ms);
            let left = if is_live { &mut live } else { &mut expired };
            if *left == 0 || is_live && entry.created_revision.get() > since {
                return false;
            }
            *left -= 1;
        }
        live == 0
    }

    fn execute_next(
        &mut self,
        op: Op,
        origin: Option<&str>,
        left: &mut Left,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, Box<OpRefusal>> {
        let key = op.key().clone();
        let wants_value = op.reads().is_some();
        let found = if wants_value { self.store.find(key.as_str()) } else { None };
        let bytes = found.map_or(0, |(_, entry)| entry.record.value_cost());
        let invalid = |fault| CommandError::InvalidBatch { op: None, fault };
        if bytes > left.answers {
            return Err(self.refusal(invalid(BatchFault::LargeAnswer), &key, false));
        }
        left.answers -= bytes;
        if !left.work.add(self, &op) {
            return Err(self.refusal(invalid(BatchFault::LargeWork), &key, wants_value));
        }
        let checked = Check::of_single(self, origin).op(op);
        let fits = |checked| {
            let mut capacity = CapacityCheck::default();
            capacity.add(self, &checked, None);
            capacity.verdict(self, &mut left.room).map(|()| checked)
        };
        match checked.and_then(fits) {
            Ok(checked) => Ok(self.perform(checked, events)),
            Err(error) => Err(self.refusal(error, &key, wants_value)),
        }
    }

    fn refusal(&self, error: CommandError, key: &Key, wants_value: bool) -> Box<OpRefusal> {
        let key = match self.get(key.as_str()) {
            Some(found) => KeyState::Present { info: found.info, value: wants_value.then_some(found.value) },
            None => KeyState::Absent(self.absence(key.as_str())),
        };
        Box::new(OpRefusal { error, key })
    }
}

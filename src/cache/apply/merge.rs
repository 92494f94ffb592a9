//! `merge`: a step of bringing in what another side of a fork did.

use super::capacity_check::CapacityCheck;
use super::check::{Check, Lookup};
use super::checked_op::{CheckedOp, RemoveKind, StoreKind};
use super::maintenance::Budget;
use crate::cache::entry::{DEADLINE_MAX_MS, Lifetime};
use crate::cache::forks::key_hash;
use crate::cache::limits::{BATCH_OPS_MAX, HISTORY_BYTES_MAX, INDEX_MAX};
use crate::cache::lost_keys::Loss;
use crate::cache::merge::{
    Merge, MergeChange, MergeEnd, MergeGuard, MergeOp, MergeResult, MergeStep, MergeTimes, StepDone,
};
use crate::cache::record::Record;
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{BatchFault, Cache, CommandError, Event, InvalidField, Key, Outcome};
use std::collections::BTreeSet;
use std::num::NonZeroU64;

impl Cache {
    pub(super) fn merge(
        &mut self,
        step: MergeStep,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        self.check_step(&step)?;
        let MergeStep { merge: id, history, number, after: _, planned_at, ops, end } = step;
        let before = events.len();
        let mut mixed = Vec::new();
        let mut results = Vec::with_capacity(ops.len());
        let mut room = Budget::for_writes();
        for op in ops {
            // After these, what is there is not what the other side had alone, if this side had a wish of its own.
            let stays = matches!(
                op.change,
                MergeChange::Add { .. } | MergeChange::SetTimes(_) | MergeChange::Bury { .. }
            );
            if stays && self.has_own_wish(&history, &op.key) {
                mixed.push(key_hash(op.key.as_str().as_bytes()));
            }
            let is_late = op.guard == MergeGuard::Absent && self.went_after(planned_at, &history, &op.key);
            results.push(match is_late {
                true => MergeResult::Changed,
                false => self.merge_one(op, &mut room, events),
            });
        }
        if events.len() > before {
            events.insert(0, Event::Merged { history: history.clone() });
        }
        // Others of that history may come: the notes stay until they are forgotten on purpose.
        if end == Some(MergeEnd::Forgotten) {
            self.forks.close(&history);
        }
        // What came in is common from now on.
        self.forks.extend(self.index);
        let done = StepDone { number, index: self.index, end, results: &results, mixed };
        self.merges.note(&id, history, done);
        Ok(Outcome::Merged { revision: self.index, results })
    }

    /// Whether clients of this side have changed or removed a key since the fork.
    fn has_own_wish(&self, history: &str, key: &Key) -> bool {
        let Some(fork) = self.forks.get(history) else { return true };
        let is_own = |revision: u64| revision > fork.since && !self.merges.is_step(history, revision);
        match self.store.find(key.as_str()) {
            Some((_, entry)) => is_own(entry.revision.get()),
            None => {
                let removed = self.tombstones.find(key.as_str()).is_some_and(|found| is_own(found.revision));
                removed || fork.gone(key.as_str()).is_some_and(|gone| is_own(gone.revision))
            }
        }
    }

    /// Whether a key that is absent has been removed, or been there and gone again, since a plan that took it for absent: the plan must
    /// not undo that.
    fn went_after(&self, planned_at: u64, history: &str, key: &Key) -> bool {
        let key = key.as_str();
        let expired = self.store.find(key).map(|(_, entry)| entry.revision.get());
        let removed = self.tombstones.find(key).map(|removal| removal.revision);
        let gone = self.forks.get(history).and_then(|fork| fork.gone(key)).map(|gone| gone.revision);
        let lost = match self.lost_keys.find(key) {
            Loss::Known(lost) => Some(lost.revision),
            // A full cache loses keys all the time, and almost never this one.
            Loss::NotAfter(_) => None,
        };
        [expired, removed, gone, lost].into_iter().flatten().any(|revision| revision > planned_at)
    }

    fn check_step(&self, step: &MergeStep) -> Result<(), CommandError> {
        let invalid = |fault| CommandError::InvalidBatch { op: None, fault };
        let is_name = |text: &str| !text.is_empty() && text.len() <= HISTORY_BYTES_MAX;
        if !is_name(&step.merge) || !is_name(&step.history) {
            return Err(CommandError::Invalid { op: None, field: InvalidField::Merge });
        }
        // Clients could not read a greater index exactly.
        if matches!(step.end, Some(MergeEnd::UpTo(index)) if index > INDEX_MAX) {
            return Err(CommandError::Invalid { op: None, field: InvalidField::Merge });
        }
        if step.ops.len() > BATCH_OPS_MAX {
            return Err(invalid(BatchFault::Length));
        }
        let keys: BTreeSet<&Key> = step.ops.iter().map(|op| &op.key).collect();
        if keys.len() < step.ops.len() {
            return Err(invalid(BatchFault::RepeatedKey));
        }
        let out_of_turn = |next, ended| Err(CommandError::MergeOutOfTurn { next, ended });
        match self.merges.get(&step.merge) {
            Some(Merge { next_step, end: Some(_), .. }) => out_of_turn(*next_step, true),
            Some(Merge { next_step, .. }) if *next_step != step.number => out_of_turn(*next_step, false),
            Some(merge) if merge.history != step.history => {
                Err(CommandError::Invalid { op: None, field: InvalidField::Merge })
            }
            Some(_) => Ok(()),
            None if step.number > 0 => out_of_turn(0, false),
            None if self.merges.open().is_some() => Err(CommandError::AnotherMerge),
            None if step.after != self.merges.decided_until(&step.history) => Err(CommandError::PlanOutdated),
            // What has gone since the plan is not known any more. Later steps do not ask: the merge itself removes much.
            None if step.planned_at > 0 && self.tombstones.forgotten().revision > step.planned_at => {
                Err(CommandError::PlanOutdated)
            }
            None => Ok(()),
        }
    }

    fn merge_one(&mut self, op: MergeOp, room: &mut Budget, events: &mut Vec<Event>) -> MergeResult {
        let MergeOp { key, guard, change } = op;
        let found = Check::of_single(self, None).find(&key);
        let live = match found {
            Lookup::Live(slot, entry) => Some((slot, entry.revision.get())),
            Lookup::Expired(_) | Lookup::Absent => None,
        };
        if !guard.holds(live.map(|(_, revision)| revision)) {
            return MergeResult::Changed;
        }
        match (change, live) {
            (MergeChange::Put { value, times }, _) => {
                let slot = found.slot();
                let Ok(record) = Check::of_single(self, None).record(&key, &value) else {
                    return MergeResult::Invalid;
                };
                let Some(lifetime) = lifetime(times) else { return MergeResult::Invalid };
                let kind = StoreKind::Value { previous: false };
                let stored = self.store_merged(
                    CheckedOp::Store { key: key.clone(), slot, record, lifetime, kind },
                    room,
                    events,
                );
                if stored == MergeResult::Done {
                    self.set_times(&key, times);
                    self.tell_times(&key, events);
                }
                stored
            }
            (MergeChange::SetTimes(times), Some((slot, _))) => {
                let Some(lifetime) = lifetime(times) else { return MergeResult::Invalid };
                self.perform(
                    CheckedOp::SetLifetime { key: key.clone(), slot, lifetime, read: false },
                    events,
                );
                self.set_times(&key, times);
                MergeResult::Done
            }
            (MergeChange::Add { by }, Some((slot, _))) => self.add_merged(key, slot, by, room, events),
            (MergeChange::Remove { at_ms }, Some((slot, _))) => {
                let kind = RemoveKind::Delete { previous: false };
                self.perform_remove(key, slot, kind, at_ms.min(self.now_ms), events);
                MergeResult::Done
            }
            (MergeChange::Bury { at_ms }, None) => {
                if let Some(slot) = found.slot() {
                    self.expire(slot, events);
                }
                let (revision, at_ms) = (self.index, at_ms.min(self.now_ms));
                self.forks.note_buried(&key, revision, at_ms);
                self.tombstones.remove(&key);
                self.tombstones.add(Tombstone { scope: Scope::Key(key), revision, at_ms });
                MergeResult::Done
            }
            // Nothing is there to be changed, or something is there to be buried: the guard should have asked.
            (MergeChange::SetTimes(_) | MergeChange::Add { .. } | MergeChange::Remove { .. }, None)
            | (MergeChange::Bury { .. }, Some(_)) => MergeResult::Changed,
        }
    }

    fn add_merged(
        &mut self,
        key: Key,
        slot: u32,
        by: i64,
        room: &mut Budget,
        events: &mut Vec<Event>,
    ) -> MergeResult {
        let Some(entry) = self.store.slab().entry(slot) else { return MergeResult::Changed };
        let sum = entry.record.counter().and_then(|number| number.checked_add(by));
        let Some(value) = sum else { return MergeResult::Invalid };
        let record = Record::new(
            &key,
            value.to_string().as_bytes(),
            entry.record.content_type(),
            entry.record.origin(),
        );
        let (lifetime, kind) = (entry.lifetime(), StoreKind::Counter(value));
        self.store_merged(CheckedOp::Store { key, slot: Some(slot), record, lifetime, kind }, room, events)
    }

    fn store_merged(&mut self, op: CheckedOp, room: &mut Budget, events: &mut Vec<Event>) -> MergeResult {
        if let CheckedOp::Store { record, .. } = &op
            && Check::of_single(self, None).fits_alone(record).is_err()
        {
            return MergeResult::Full;
        }
        let mut capacity = CapacityCheck::default();
        capacity.add(self, &op, None);
        if capacity.verdict(self, room).is_err() {
            return MergeResult::Full;
        }
        self.perform(op, events);
        MergeResult::Done
    }

    /// Watchers are told the times that the entry has.
    fn tell_times(&self, key: &Key, events: &mut [Event]) {
        if let Some(Event::Put { version, created_at_ms, modified_at_ms, .. }) = events.last_mut()
            && let Some((_, entry)) = self.store.find(key.as_str())
        {
            *version = entry.version;
            *created_at_ms = entry.created_at_ms.get();
            *modified_at_ms = entry.modified_at_ms.get();
        }
    }

    /// The entry keeps the times of the other side: dated now, it would beat every third side.
    fn set_times(&mut self, key: &Key, times: MergeTimes) {
        let at_ms = times.at_ms.min(self.now_ms);
        if let Some((slot, _)) = self.store.find(key.as_str()) {
            self.store.set_times(slot, at_ms, times.version.max(1));
        }
    }
}

/// `None` if there is no such lifetime.
fn lifetime(times: MergeTimes) -> Option<Lifetime> {
    let Some(expires_at_ms) = times.expires_at_ms else {
        return (times.sliding_ms == 0).then_some(Lifetime::FOREVER);
    };
    let deadline = Some(NonZeroU64::new(expires_at_ms.min(DEADLINE_MAX_MS))?);
    Some(Lifetime { deadline, sliding_ms: times.sliding_ms })
}

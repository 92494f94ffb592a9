//! Clears in the naive model: what they removed, and what of it still takes room.

use crate::model::Model;
use lockstep::cache::{Cause, CommandError, Event, Key, Op, Outcome, RemovalCause};

impl Model {
    pub fn clear(
        &mut self,
        prefix: Option<String>,
        unless: Option<String>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if let Some(unless) = unless {
            let count = self.held.keys().filter(|key| key.as_str().starts_with(&unless)).count() as u64;
            if count > 0 {
                return Outcome::NotCleared { count };
            }
        }
        let start = prefix.clone().unwrap_or_default();
        let covered = self.held.keys().filter(|key| key.as_str().starts_with(&start));
        let covered: Vec<Key> = covered.cloned().collect();
        let removed = covered.len() as u64;
        let is_few = covered.len() <= self.free_per_apply_max;
        for key in covered {
            // (There are too few entries here for a backlog of expired ones.)
            if is_few {
                // (One that has expired is removed as such.)
                self.removed_now(&key, RemovalCause::Clear);
                self.remove(&key, Cause::Delete, &mut Vec::new());
            } else if let Some(held) = self.held.remove(&key) {
                self.removed_now(&key, RemovalCause::Clear);
                self.cleared.push_back((key, held));
            }
        }
        if removed > 0 {
            self.graves.push((Err(start), self.index, self.now_ms));
            events.push(Event::Cleared { prefix, removed });
        }
        Outcome::Cleared { revision: self.index, removed }
    }

    /// What was cleared makes room for what does not fit otherwise.
    pub fn fitting_ops(
        &mut self,
        ops: Vec<Op>,
        batch: bool,
        events: &mut Vec<Event>,
    ) -> Result<Vec<Outcome>, CommandError> {
        loop {
            let (before, events_before) = (self.clone(), events.len());
            match self.ops(ops.clone(), batch, events) {
                Err(CommandError::CacheFull { .. }) if !self.cleared.is_empty() => {
                    *self = before;
                    events.truncate(events_before);
                    self.free_cleared(0);
                }
                result => return result,
            }
        }
    }

    pub fn free_cleared(&mut self, at: usize) {
        let (_, held) = self.cleared.remove(at).expect("it was cleared");
        self.free_slot(held.slot);
    }
}

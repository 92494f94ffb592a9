//! What a checked operation does. Steps cannot fail.

use crate::cache::payload::Payload;
use crate::cache::slab::entry_cost;
use crate::cache::store::Write;
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{Cache, Cause, Event, Key, Outcome};
use std::num::NonZeroU64;

/// An operation that passed its checks.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing: there was nothing to change.
    Nothing(Outcome),
    Read {
        key: Key,
    },
    Store {
        key: Key,
        payload: Payload,
        deadline: Option<NonZeroU64>,
        kind: Stored,
    },
    Remove {
        key: Key,
    },
    SetDeadline {
        key: Key,
        deadline: Option<NonZeroU64>,
    },
}

/// What a stored value is, for the answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored {
    Value,
    Counter(i64),
}

impl Step {
    /// The key written.
    pub fn writes(&self) -> Option<&Key> {
        match self {
            Self::Store { key, .. } | Self::Remove { key } | Self::SetDeadline { key, .. } => Some(key),
            Self::Nothing(_) | Self::Read { .. } => None,
        }
    }

    /// What the key's entry will count; `None` if there will be none, or if that does not change.
    pub fn cost(&self) -> Option<u64> {
        match self {
            Self::Store { key, payload, .. } => Some(entry_cost(key, payload)),
            _ => None,
        }
    }
}

impl Cache {
    pub(super) fn perform(&mut self, step: Step, events: &mut Vec<Event>) -> Outcome {
        match step {
            Step::Nothing(outcome) => outcome,
            Step::Read { key } => Outcome::Got(self.get(key.as_str())),
            Step::Store { key, payload, deadline, kind } => {
                self.perform_store(key, payload, deadline, kind, events)
            }
            Step::Remove { key } => self.perform_remove(key, events),
            Step::SetDeadline { key, deadline } => self.perform_set_deadline(key, deadline, events),
        }
    }

    fn perform_store(
        &mut self,
        key: Key,
        payload: Payload,
        deadline: Option<NonZeroU64>,
        kind: Stored,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let revision = self.index;
        let value = payload.value();
        let write = Write { revision, now_ms: self.now_ms, payload, deadline };
        let mut there =
            self.store.find(key.as_str()).map(|(slot, entry)| (slot, entry.is_expired(self.now_ms)));
        if let Some((slot, true)) = there {
            self.expire(slot, events);
            there = None;
        }
        match there {
            Some((slot, _)) => self.store.overwrite(slot, write),
            None => self.store.insert(key.clone(), write),
        }
        self.tombstones.remove(&key);
        let created = there.is_none();
        let expires_at_ms = deadline.map(NonZeroU64::get);
        events.push(Event::Put { key, value, expires_at_ms, created });
        match kind {
            Stored::Value => {
                self.stats.puts += 1;
                Outcome::Put { revision, created }
            }
            Stored::Counter(value) => {
                self.stats.incrs += 1;
                Outcome::Counter { revision, value, created }
            }
        }
    }

    fn perform_remove(&mut self, key: Key, events: &mut Vec<Event>) -> Outcome {
        let Some((slot, _)) = self.store.find(key.as_str()) else { return Outcome::NotFound };
        self.store.remove(slot);
        self.stats.deletes += 1;
        let (revision, at_ms) = (self.index, self.now_ms);
        self.tombstones.add(Tombstone { scope: Scope::Key(key.clone()), revision, at_ms });
        events.push(Event::Removed { key, cause: Cause::Delete });
        Outcome::Deleted { revision }
    }

    fn perform_set_deadline(
        &mut self,
        key: Key,
        deadline: Option<NonZeroU64>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let Some((slot, _)) = self.store.find(key.as_str()) else { return Outcome::NotFound };
        let revision = self.index;
        self.store.set_deadline(slot, deadline, revision, self.now_ms);
        self.stats.deadlines += 1;
        let expires_at_ms = deadline.map(NonZeroU64::get);
        events.push(Event::Deadline { key, expires_at_ms });
        Outcome::Deadline { revision, expires_at_ms }
    }
}

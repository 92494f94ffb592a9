//! What a checked operation does. Steps cannot fail.

use crate::cache::record::Record;
use crate::cache::slab::entry_cost;
use crate::cache::store::{Lifetime, Write};
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{Cache, Cause, Event, Key, Outcome};

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
        record: Record,
        lifetime: Lifetime,
        kind: Stored,
    },
    Remove {
        key: Key,
        previous: bool,
    },
    SetLifetime {
        key: Key,
        lifetime: Lifetime,
    },
}

/// What a stored value is, for the answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored {
    /// `previous` asks for the value it replaces.
    Value {
        previous: bool,
    },
    Counter(i64),
}

impl Step {
    /// The key written.
    pub fn writes(&self) -> Option<&Key> {
        match self {
            Self::Store { key, .. } | Self::Remove { key, .. } | Self::SetLifetime { key, .. } => Some(key),
            Self::Nothing(_) | Self::Read { .. } => None,
        }
    }

    /// The key whose value, as it is before the step, is part of the answer.
    pub fn reads(&self) -> Option<&Key> {
        match self {
            Self::Read { key }
            | Self::Remove { key, previous: true }
            | Self::Store { key, kind: Stored::Value { previous: true }, .. } => Some(key),
            _ => None,
        }
    }

    /// What the key's entry will count; `None` if there will be none, or if that does not change.
    pub fn cost(&self) -> Option<u64> {
        match self {
            Self::Store { record, .. } => Some(entry_cost(record)),
            _ => None,
        }
    }
}

impl Cache {
    pub(super) fn perform(&mut self, step: Step, events: &mut Vec<Event>) -> Outcome {
        match step {
            Step::Nothing(outcome) => outcome,
            Step::Read { key } => {
                let found = self.get(key.as_str());
                if found.is_some() {
                    self.store.count_read(key.as_str(), self.now_ms);
                }
                Outcome::Got(found)
            }
            Step::Store { key, record, lifetime, kind } => {
                self.perform_store(key, record, lifetime, kind, events)
            }
            Step::Remove { key, previous } => self.perform_remove(key, previous, events),
            Step::SetLifetime { key, lifetime } => self.perform_set_lifetime(key, lifetime, events),
        }
    }

    fn perform_store(
        &mut self,
        key: Key,
        record: Record,
        lifetime: Lifetime,
        kind: Stored,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let revision = self.index;
        let told = record.clone();
        let write = Write { revision, now_ms: self.now_ms, record, lifetime };
        let previous = match kind {
            Stored::Value { previous: true } => self.get(key.as_str()),
            _ => None,
        };
        let mut there =
            self.store.find(key.as_str()).map(|(slot, entry)| (slot, entry.is_expired(self.now_ms)));
        if let Some((slot, true)) = there {
            self.expire(slot, events);
            there = None;
        }
        match there {
            Some((slot, _)) => self.store.overwrite(slot, write),
            None => self.store.insert(write),
        }
        self.tombstones.remove(&key);
        let created = there.is_none();
        let expires_at_ms = lifetime.expires_at_ms();
        events.push(Event::Put { record: told, expires_at_ms, created });
        match kind {
            Stored::Value { .. } => {
                self.stats.puts += 1;
                Outcome::Put { revision, created, previous }
            }
            Stored::Counter(value) => {
                self.stats.incrs += 1;
                Outcome::Counter { revision, value, created }
            }
        }
    }

    fn perform_remove(&mut self, key: Key, previous: bool, events: &mut Vec<Event>) -> Outcome {
        let Some((slot, entry)) = self.store.find(key.as_str()) else { return Outcome::NotFound };
        let previous = previous.then(|| entry.found());
        self.store.remove(slot);
        self.stats.deletes += 1;
        let (revision, at_ms) = (self.index, self.now_ms);
        self.tombstones.add(Tombstone { scope: Scope::Key(key.clone()), revision, at_ms });
        events.push(Event::Removed { key, cause: Cause::Delete });
        Outcome::Deleted { revision, previous }
    }

    fn perform_set_lifetime(&mut self, key: Key, lifetime: Lifetime, events: &mut Vec<Event>) -> Outcome {
        let Some((slot, _)) = self.store.find(key.as_str()) else { return Outcome::NotFound };
        let revision = self.index;
        self.store.change_lifetime(slot, lifetime, revision, self.now_ms);
        self.stats.deadlines += 1;
        let expires_at_ms = lifetime.expires_at_ms();
        events.push(Event::Deadline { key, expires_at_ms });
        Outcome::Deadline { revision, expires_at_ms }
    }
}

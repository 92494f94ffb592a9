//! What a checked operation does. Steps cannot fail.

use crate::cache::entry::{Lifetime, entry_cost};
use crate::cache::record::Record;
use crate::cache::store::Write;
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
        /// Where the key is, if it is there, expired or not. It stays there until the step is performed: of a batch's steps,
        /// one writes a key.
        slot: Option<u32>,
        record: Record,
        lifetime: Lifetime,
        kind: Stored,
    },
    Remove {
        key: Key,
        slot: u32,
        previous: bool,
    },
    SetLifetime {
        key: Key,
        slot: u32,
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
    /// Whether it writes, and the slot that the key has before it does.
    pub fn writes(&self) -> Option<Option<u32>> {
        match self {
            Self::Store { slot, .. } => Some(*slot),
            Self::Remove { slot, .. } | Self::SetLifetime { slot, .. } => Some(Some(*slot)),
            Self::Nothing(_) | Self::Read { .. } => None,
        }
    }

    /// The key whose value, as it is before the step, is part of the answer.
    pub fn reads(&self) -> Option<&Key> {
        match self {
            Self::Read { key }
            | Self::Remove { key, previous: true, .. }
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
            Step::Store { key, slot, record, lifetime, kind } => {
                self.perform_store(&key, slot, record, lifetime, kind, events)
            }
            Step::Remove { key, slot, previous } => self.perform_remove(key, slot, previous, events),
            Step::SetLifetime { key, slot, lifetime } => {
                self.perform_set_lifetime(key, slot, lifetime, events)
            }
        }
    }

    fn perform_store(
        &mut self,
        key: &Key,
        slot: Option<u32>,
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
        let entry = slot.and_then(|slot| Some((slot, self.store.slab().entry(slot)?)));
        let live = match entry.map(|(slot, entry)| (slot, entry.is_expired(self.now_ms))) {
            Some((slot, true)) => {
                self.expire(slot, events);
                None
            }
            Some((slot, false)) => Some(slot),
            None => None,
        };
        match live {
            Some(slot) => self.store.overwrite(slot, write),
            None => self.store.insert(write),
        }
        self.tombstones.remove(key);
        let created = live.is_none();
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

    fn perform_remove(&mut self, key: Key, slot: u32, previous: bool, events: &mut Vec<Event>) -> Outcome {
        let Some(entry) = self.store.remove(slot) else { return Outcome::NotFound };
        let previous = previous.then(|| entry.found());
        self.stats.deletes += 1;
        let (revision, at_ms) = (self.index, self.now_ms);
        self.tombstones.add(Tombstone { scope: Scope::Key(key.clone()), revision, at_ms });
        events.push(Event::Removed { key, cause: Cause::Delete });
        Outcome::Deleted { revision, previous }
    }

    fn perform_set_lifetime(
        &mut self,
        key: Key,
        slot: u32,
        lifetime: Lifetime,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let revision = self.index;
        self.store.change_lifetime(slot, lifetime, revision, self.now_ms);
        self.stats.deadlines += 1;
        let expires_at_ms = lifetime.expires_at_ms();
        events.push(Event::Deadline { key, expires_at_ms });
        Outcome::Deadline { revision, expires_at_ms }
    }
}

//! Operations that passed their checks, and performing them, which cannot fail.

use crate::cache::entry::{Lifetime, entry_cost};
use crate::cache::record::Record;
use crate::cache::store::EntryWrite;
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{Cache, Cause, Event, Key, Outcome};

/// What an operation that passed its checks does.
#[derive(Debug)]
pub(super) enum CheckedOp {
    /// It changes nothing.
    Nothing(Outcome),
    Read {
        key: Key,
    },
    Store {
        key: Key,
        /// The slot of the key's entry, expired or not, if there is one. It stays there until this is performed, because
        /// no other operation of a batch writes the same key.
        slot: Option<u32>,
        record: Record,
        lifetime: Lifetime,
        kind: StoreKind,
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

/// What a stored value is, for the outcome.
#[derive(Debug, Clone, Copy)]
pub(super) enum StoreKind {
    /// `previous` asks for the value it replaces.
    Value {
        previous: bool,
    },
    Counter(i64),
}

impl CheckedOp {
    /// Whether it writes, and the slot that the key has before it does.
    pub fn writes(&self) -> Option<Option<u32>> {
        match self {
            Self::Store { slot, .. } => Some(*slot),
            Self::Remove { slot, .. } | Self::SetLifetime { slot, .. } => Some(Some(*slot)),
            Self::Nothing(_) | Self::Read { .. } => None,
        }
    }

    /// The key whose value, as it is before this is performed, is part of the outcome.
    pub fn reads(&self) -> Option<&Key> {
        match self {
            Self::Read { key }
            | Self::Remove { key, previous: true, .. }
            | Self::Store { key, kind: StoreKind::Value { previous: true }, .. } => Some(key),
            _ => None,
        }
    }

    /// What the entry that it stores counts against the capacity; `None` if it stores none.
    pub fn cost(&self) -> Option<u64> {
        match self {
            Self::Store { record, .. } => Some(entry_cost(record)),
            _ => None,
        }
    }
}

impl Cache {
    pub(super) fn perform(&mut self, op: CheckedOp, events: &mut Vec<Event>) -> Outcome {
        match op {
            CheckedOp::Nothing(outcome) => outcome,
            CheckedOp::Read { key } => {
                let found = self.get(key.as_str());
                if found.is_some() {
                    self.store.count_read(key.as_str(), self.now_ms);
                }
                Outcome::Got(found)
            }
            CheckedOp::Store { key, slot, record, lifetime, kind } => {
                self.perform_store(&key, slot, record, lifetime, kind, events)
            }
            CheckedOp::Remove { key, slot, previous } => {
                self.perform_remove(key, slot, previous, self.now_ms, events)
            }
            CheckedOp::SetLifetime { key, slot, lifetime } => {
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
        kind: StoreKind,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let revision = self.index;
        let stored = record.clone();
        let write = EntryWrite { revision, now_ms: self.now_ms, record, lifetime };
        let previous = match kind {
            StoreKind::Value { previous: true } => self.get(key.as_str()),
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
        let slot = match live {
            Some(slot) => {
                self.store.overwrite(slot, write);
                slot
            }
            None => self.store.insert(write),
        };
        self.tombstones.remove(key);
        let created = live.is_none();
        let history = self.store.slab().entry(slot);
        events.push(Event::Put {
            record: stored,
            expires_at_ms: lifetime.expires_at_ms(),
            sliding_ms: lifetime.sliding_ms,
            created,
            version: history.map_or(1, |entry| entry.version),
            created_at_ms: history.map_or(self.now_ms, |entry| entry.created_at_ms.get()),
            modified_at_ms: self.now_ms,
        });
        match kind {
            StoreKind::Value { .. } => {
                self.stats.puts += 1;
                Outcome::Put { revision, created, previous }
            }
            StoreKind::Counter(value) => {
                self.stats.incrs += 1;
                Outcome::Counter { revision, value, created }
            }
        }
    }

    /// Removes an entry; its tombstone gets the log time `at_ms`.
    pub(super) fn perform_remove(
        &mut self,
        key: Key,
        slot: u32,
        previous: bool,
        at_ms: u64,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let Some(entry) = self.store.remove(slot) else {
            return Outcome::NotFound(self.absence(key.as_str()));
        };
        let previous = previous.then(|| entry.found());
        self.stats.deletes += 1;
        let revision = self.index;
        let is_cleared = self.may_be_cleared(&entry);
        self.forks.note_removed(&entry, is_cleared, revision, at_ms);
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
        events.push(Event::Deadline { key, expires_at_ms, sliding_ms: lifetime.sliding_ms });
        Outcome::Deadline { revision, expires_at_ms }
    }
}

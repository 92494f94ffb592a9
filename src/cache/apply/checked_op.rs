//! Operations that passed their checks, and performing them, which cannot fail.

use super::incr_within::Sum;
use crate::cache::decimal::Decimal;
use crate::cache::entry::{Entry, Lifetime, entry_cost};
use crate::cache::record::Record;
use crate::cache::store::EntryWrite;
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{Cache, Cause, Event, Key, Outcome};
use bytes::Bytes;

/// What an operation that passed its checks does.
#[derive(Debug)]
pub(super) enum CheckedOp {
    /// It changes nothing.
    Nothing(Outcome),
    Read {
        key: Key,
    },
    Look {
        key: Key,
    },
    Publish {
        channel: Key,
        message: Bytes,
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
        kind: RemoveKind,
    },
    SetLifetime {
        key: Key,
        slot: u32,
        lifetime: Lifetime,
        /// Whether the entry is the outcome; else its deadline is.
        read: bool,
    },
}

/// What removes an entry, for the outcome.
#[derive(Debug, Clone, Copy)]
pub(super) enum RemoveKind {
    /// `previous` asks for what is removed.
    Delete { previous: bool },
    /// A put whose deadline has passed.
    Put { previous: bool },
    /// A read that sets a deadline that has passed.
    Read,
    /// The removal of all fields of a hash: how many.
    Fields(u64),
    /// A sum whose deadline has passed.
    Sum(Sum),
}

/// What a stored value is, for the outcome.
#[derive(Debug, Clone, Copy)]
pub(super) enum StoreKind {
    /// `previous` asks for the value it replaces.
    Value {
        previous: bool,
    },
    Counter(i64),
    Decimal(Decimal),
    Sum(Sum),
    /// Its length is asked for.
    Length,
    /// A hash: how many of its fields are new, or are gone.
    Fields(u64),
}

impl CheckedOp {
    /// Whether it writes, and the slot that the key has before it does.
    pub fn writes(&self) -> Option<Option<u32>> {
        match self {
            Self::Store { slot, .. } => Some(*slot),
            Self::Remove { slot, .. } | Self::SetLifetime { slot, .. } => Some(Some(*slot)),
            Self::Nothing(_) | Self::Read { .. } | Self::Look { .. } | Self::Publish { .. } => None,
        }
    }

    /// The key whose value, as it is before this is performed, is part of the outcome.
    pub fn reads(&self) -> Option<&Key> {
        match self {
            Self::Read { key }
            | Self::SetLifetime { key, read: true, .. }
            | Self::Remove {
                key,
                kind:
                    RemoveKind::Delete { previous: true } | RemoveKind::Put { previous: true } | RemoveKind::Read,
                ..
            }
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
            CheckedOp::Look { key } => {
                let live = |entry: &&Entry| !entry.is_expired(self.now_ms);
                let found = self.store.find(key.as_str()).map(|(_, entry)| entry).filter(live);
                Outcome::Looked(found.map(Entry::key_info))
            }
            CheckedOp::Publish { channel, message } => {
                // A copy: watchers keep it, and it is a part of what came in.
                let message = Bytes::copy_from_slice(&message);
                events.push(Event::Message { channel, message });
                Outcome::Published { revision: self.index }
            }
            CheckedOp::Remove { key, slot, kind } => {
                self.perform_remove(key, slot, kind, self.now_ms, events)
            }
            CheckedOp::SetLifetime { key, slot, lifetime, read } => {
                let named = key.clone();
                let outcome = self.perform_set_lifetime(key, slot, lifetime, events);
                if read { Outcome::Got(self.get(named.as_str())) } else { outcome }
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
        let bytes = record.bytes().len() as u64;
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
            StoreKind::Decimal(value) => {
                self.stats.incrs += 1;
                Outcome::Decimal { revision, text: value.to_string() }
            }
            StoreKind::Sum(sum) => {
                self.stats.incrs += 1;
                sum.outcome(revision)
            }
            StoreKind::Length => {
                self.stats.puts += 1;
                Outcome::Length { revision, bytes }
            }
            StoreKind::Fields(count) => {
                self.stats.puts += 1;
                Outcome::Fields { revision, count }
            }
        }
    }

    /// Removes an entry; its tombstone gets the log time `at_ms`.
    pub(super) fn perform_remove(
        &mut self,
        key: Key,
        slot: u32,
        kind: RemoveKind,
        at_ms: u64,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let Some(entry) = self.store.remove(slot) else {
            return Outcome::NotFound(self.absence(key.as_str()));
        };
        let found = Some(entry.found());
        self.stats.deletes += 1;
        let revision = self.index;
        let is_cleared = self.may_be_cleared(&entry);
        self.forks.note_removed(&entry, is_cleared, revision, at_ms);
        self.tombstones.add(Tombstone { scope: Scope::Key(key.clone()), revision, at_ms });
        events.push(Event::Removed { key, cause: Cause::Delete });
        match kind {
            RemoveKind::Delete { previous } => {
                Outcome::Deleted { revision, previous: found.filter(|_| previous) }
            }
            RemoveKind::Put { previous } => {
                Outcome::Put { revision, created: false, previous: found.filter(|_| previous) }
            }
            RemoveKind::Read => Outcome::Got(found),
            RemoveKind::Fields(count) => Outcome::Fields { revision, count },
            RemoveKind::Sum(sum) => sum.outcome(revision),
        }
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

//! What a cache tells of one key: what it has, or why it is not there. And its client sessions and locks.

use super::lost_keys::{Loss, LostKey, LostKeys};
use super::tombstones::{Scope, Tombstone};
use super::{Absence, Cache, ClientSession, EntryId, Found, Lock, Removal, RemovalCause};

/// An entry as a read sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub found: Found,
    pub entry: EntryId,
    /// How often it was used, as far as the log knows; up to 65,535.
    pub uses: u64,
    /// Whether the read would change the order of eviction or a deadline, once it is in the log.
    pub matters: bool,
}

impl Cache {
    /// The entry of a key, unless its deadline has passed in log time.
    pub fn get(&self, key: &str) -> Option<Found> {
        let (_, entry) = self.store.find(key)?;
        (!entry.is_expired(self.now_ms)).then(|| entry.found())
    }

    /// How often it was used, up to 65,535, as far as reads have reached the log.
    pub fn frequency(&self, key: &str) -> Option<u16> {
        let (_, entry) = self.store.find(key)?;
        (!entry.is_expired(self.now_ms)).then_some(entry.frequency)
    }

    /// What a key holds, with what it takes to count the read.
    pub fn read(&self, key: &str) -> Option<Seen> {
        let (slot, entry) = self.store.find(key)?;
        if entry.is_expired(self.now_ms) {
            return None;
        }
        let generation = self.store.slab().slot(slot)?.generation;
        let uses = u64::from(entry.frequency);
        let matters = entry.sliding_ms > 0 || self.store.wants_touch(slot);
        Some(Seen { found: entry.found(), entry: EntryId { slot, generation }, uses, matters })
    }

    /// Length of a key's value; 0 where there is none.
    pub fn value_bytes(&self, key: &str) -> u64 {
        self.store.find(key).map_or(0, |(_, entry)| entry.record.bytes().len() as u64)
    }

    /// The entry of a key, with what it takes to count the read; or what is known of a key that is absent.
    pub fn look_up(&self, key: &str) -> Result<Seen, Absence> {
        self.read(key).ok_or_else(|| self.absence(key))
    }

    /// A client session, if it has not ended.
    pub fn client_session(&self, id: u64) -> Option<&ClientSession> {
        self.client_sessions.get(id)
    }

    /// The client sessions, in the order in which they were opened.
    pub fn client_sessions(&self) -> impl ExactSizeIterator<Item = &ClientSession> {
        self.client_sessions.all()
    }

    /// A lock, if it is held.
    pub fn lock(&self, name: &str) -> Option<&Lock> {
        self.client_sessions.lock(name)
    }

    /// The locks that are held, in the order of their names.
    pub fn locks(&self) -> impl ExactSizeIterator<Item = &Lock> {
        self.client_sessions.locks()
    }

    /// What is known about a key that no reader finds.
    pub fn absence(&self, key: &str) -> Absence {
        if let Some((_, entry)) = self.store.find(key) {
            // It has expired, and waits for a log entry with room to remove it.
            let at_ms = entry.expires_at_ms().unwrap_or(self.now_ms);
            let removal = Removal { cause: RemovalCause::Expire, revision: self.index, at_ms };
            return Absence { removal: Some(removal), known_after: 0 };
        }
        let asked_for = self.tombstones.find(key);
        if let Some(deleted) = asked_for.filter(|tombstone| matches!(tombstone.scope, Scope::Key(_))) {
            // It was not written since, else its tombstone were gone. So nothing can have removed it later.
            return Absence { removal: Some(removal_of(deleted)), known_after: 0 };
        }
        let (lost, displaced) = match self.lost_keys.find(key) {
            Loss::Known(lost) => (Some(loss_of(lost)), 0),
            Loss::NotAfter(index) => (None, index),
        };
        let known_after = displaced.max(self.tombstones.forgotten().revision);
        let cleared = asked_for.map(removal_of);
        let newest = cleared.into_iter().chain(lost).max_by_key(|removal| removal.revision);
        // An older one may have been followed by one that is forgotten.
        Absence { removal: newest.filter(|removal| removal.revision > known_after), known_after }
    }

    /// Remembers that a key went without anybody asking for it.
    pub(super) fn note_lost_key(&mut self, key: &[u8], expired: bool) {
        let (revision, at_ms) = (self.index, self.now_ms);
        self.lost_keys.add(LostKey { key_hash: LostKeys::hash_of(key), revision, at_ms, expired });
    }
}

fn removal_of(tombstone: &Tombstone) -> Removal {
    let cause = match tombstone.scope {
        Scope::Key(_) => RemovalCause::Delete,
        Scope::Prefix(_) => RemovalCause::Clear,
    };
    Removal { cause, revision: tombstone.revision, at_ms: tombstone.at_ms }
}

fn loss_of(lost: LostKey) -> Removal {
    let cause = if lost.expired { RemovalCause::Expire } else { RemovalCause::Evict };
    Removal { cause, revision: lost.revision, at_ms: lost.at_ms }
}

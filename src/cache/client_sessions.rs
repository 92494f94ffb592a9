//! Client sessions, and the locks that they hold. A session says that a client is there: it ends when it is not renewed in time,
//! and releases its locks. Both are outside the capacity of the cache, and have limits of their own.
//!
//! The token of a lock is the index of the log entry that acquired it, so it rises with each holder. Whatever the lock protects
//! can refuse a holder with a lower token than it has seen, who believes to hold the lock still (a fencing token).

use super::Key;
use super::digest::{Sum, hash_text, hash_words};
use super::limits::{LOCKS_PER_SESSION_MAX, SESSION_TTL_MS_MAX};
use super::memory::in_tree;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A client that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSession {
    /// Index of the log entry that opened it.
    pub id: u64,
    pub name: Key,
    /// How long it lasts after it was opened, or renewed last, in milliseconds.
    pub ttl_ms: u64,
    /// Log times in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub expires_at_ms: u64,
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub name: Key,
    /// The session that holds it.
    pub session: u64,
    /// Index of the log entry that acquired it.
    pub token: u64,
    /// Log time of that entry, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// All sessions and locks.
#[derive(Debug, Default)]
pub(super) struct ClientSessions {
    sessions: BTreeMap<u64, ClientSession>,
    deadlines: BTreeSet<(u64, u64)>,
    locks: BTreeMap<Key, Lock>,
    /// Each lock behind its session.
    held: BTreeSet<(u64, Key)>,
    sum: Sum,
}

impl ClientSessions {
    /// Rebuilds them from what a snapshot has; `None` if it does not fit together.
    pub fn restore(sessions: Vec<ClientSession>, locks: Vec<Lock>) -> Option<Self> {
        let mut all = Self::default();
        for session in sessions {
            if session.ttl_ms > SESSION_TTL_MS_MAX || all.sessions.contains_key(&session.id) {
                return None;
            }
            all.insert(session);
        }
        for lock in locks {
            if all.locks.contains_key(&lock.name)
                || !all.sessions.contains_key(&lock.session)
                || all.locks_of(lock.session).count() >= LOCKS_PER_SESSION_MAX
            {
                return None;
            }
            all.hold(lock);
        }
        Some(all)
    }

    /// Each name is there once for its session, and once or twice for a lock.
    pub fn memory(&self) -> u64 {
        const NAME_BYTES: u64 = 48;
        let (sessions, locks) = (self.sessions.len() as u64, self.locks.len() as u64);
        let of_sessions = in_tree::<(u64, ClientSession)>(sessions) + in_tree::<(u64, u64)>(sessions);
        let of_locks = in_tree::<(Key, Lock)>(locks) + in_tree::<(u64, Key)>(locks);
        of_sessions + of_locks + (sessions + locks) * NAME_BYTES
    }

    pub fn get(&self, id: u64) -> Option<&ClientSession> {
        self.sessions.get(&id)
    }

    /// In the order in which they were opened.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &ClientSession> {
        self.sessions.values()
    }

    pub fn lock(&self, name: &str) -> Option<&Lock> {
        self.locks.get(name)
    }

    /// In the order of their names.
    pub fn locks(&self) -> impl ExactSizeIterator<Item = &Lock> {
        self.locks.values()
    }

    /// The locks of a session, in the order of their names.
    pub fn locks_of(&self, id: u64) -> impl Iterator<Item = &Key> {
        self.held
            .range((id, Key::trusted(""))..)
            .take_while(move |(session, _)| *session == id)
            .map(|(_, name)| name)
    }

    /// The earliest deadline, and its session.
    pub fn first_deadline(&self) -> Option<(u64, u64)> {
        self.deadlines.first().copied()
    }

    /// Adds a session, or renews one.
    pub fn insert(&mut self, session: ClientSession) {
        self.sum.add(hash_session(&session));
        self.deadlines.insert((session.expires_at_ms, session.id));
        if let Some(before) = self.sessions.insert(session.id, session) {
            self.sum.subtract(hash_session(&before));
            let after = self.sessions.get(&before.id).map(|session| session.expires_at_ms);
            if after != Some(before.expires_at_ms) {
                self.deadlines.remove(&(before.expires_at_ms, before.id));
            }
        }
        assert!(self.deadlines.len() == self.sessions.len(), "a session has one deadline");
    }

    /// Takes out a session that holds no lock.
    pub fn remove(&mut self, id: u64) -> Option<ClientSession> {
        let session = self.sessions.remove(&id)?;
        self.sum.subtract(hash_session(&session));
        self.deadlines.remove(&(session.expires_at_ms, id));
        Some(session)
    }

    /// Adds a lock that nobody holds.
    pub fn hold(&mut self, lock: Lock) {
        self.sum.add(hash_lock(&lock));
        self.held.insert((lock.session, lock.name.clone()));
        self.locks.insert(lock.name.clone(), lock);
        assert!(self.held.len() == self.locks.len(), "a lock has one holder");
    }

    pub fn release(&mut self, name: &str) -> Option<Lock> {
        let lock = self.locks.remove(name)?;
        self.sum.subtract(hash_lock(&lock));
        self.held.remove(&(lock.session, lock.name.clone()));
        Some(lock)
    }

    /// For the digest.
    pub fn words(&self) -> [u64; 2] {
        self.sum.words()
    }

    /// The same, computed from scratch.
    pub fn recompute_words(&self) -> [u64; 2] {
        let mut sum = Sum::default();
        self.sessions.values().for_each(|session| sum.add(hash_session(session)));
        self.locks.values().for_each(|lock| sum.add(hash_lock(lock)));
        sum.words()
    }
}

fn hash_session(session: &ClientSession) -> u128 {
    let [low, high] = hash_text(session.name.as_str());
    hash_words([0, session.id, low, high, session.ttl_ms, session.created_at_ms, session.expires_at_ms])
}

fn hash_lock(lock: &Lock) -> u128 {
    let [low, high] = hash_text(lock.name.as_str());
    hash_words([1, lock.session, low, high, lock.token, lock.since_ms])
}

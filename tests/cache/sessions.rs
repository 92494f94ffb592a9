//! Client sessions and locks against a naive model: a list of each, searched from the beginning.

use crate::{check_accounts, restored};
use lockstep::cache::{
    Cache, CacheConfig, ClientSession, Command, CommandError, Event, Key, Lock, Outcome, SessionChange,
    Stamp, limits,
};
use proptest::collection::vec;
use proptest::prelude::*;

const NAMES: [&str; 4] = ["a", "b", "app/1", "app/2"];

/// What is asked for. Sessions are named by their position among those that were ever opened.
#[derive(Debug, Clone)]
enum Asked {
    Open { name: usize, ttl_ms: u64 },
    Renew { session: usize, name: usize },
    End { session: usize, name: usize },
    Lock { lock: usize, session: usize },
    Unlock { lock: usize, session: usize },
    Tick,
}

fn asked() -> impl Strategy<Value = Asked> {
    let (session, name, lock) = (0..6usize, 0..NAMES.len(), 0..3usize);
    let ttl_ms =
        prop_oneof![8 => 1_000..4_000u64, 1 => Just(999u64), 1 => Just(limits::SESSION_TTL_MS_MAX + 1)];
    prop_oneof![
        3 => (name.clone(), ttl_ms).prop_map(|(name, ttl_ms)| Asked::Open { name, ttl_ms }),
        2 => (session.clone(), name.clone()).prop_map(|(session, name)| Asked::Renew { session, name }),
        1 => (session.clone(), name).prop_map(|(session, name)| Asked::End { session, name }),
        6 => (lock.clone(), session.clone()).prop_map(|(lock, session)| Asked::Lock { lock, session }),
        2 => (lock, session).prop_map(|(lock, session)| Asked::Unlock { lock, session }),
        1 => Just(Asked::Tick),
    ]
}

#[derive(Default)]
struct Naive {
    now_ms: u64,
    opened: Vec<(u64, Key)>,
    sessions: Vec<ClientSession>,
    locks: Vec<Lock>,
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

impl Naive {
    fn session(&self, position: usize) -> Option<&ClientSession> {
        let (id, _) = self.opened.get(position)?;
        self.sessions.iter().find(|session| session.id == *id)
    }

    fn end(&mut self, id: u64, expired: bool, events: &mut Vec<Event>) -> Vec<Key> {
        let mut released: Vec<Lock> = self.locks.iter().filter(|lock| lock.session == id).cloned().collect();
        released.sort_by(|one, other| one.name.cmp(&other.name));
        self.locks.retain(|lock| lock.session != id);
        events.extend(released.iter().map(|lock| Event::Unlocked { lock: Box::new(lock.clone()) }));
        let session = self.sessions.iter().position(|session| session.id == id).expect("it is there");
        events.push(Event::SessionEnded { session: Box::new(self.sessions.remove(session)), expired });
        released.into_iter().map(|lock| lock.name).collect()
    }

    fn expire(&mut self, events: &mut Vec<Event>) {
        loop {
            let due = self.sessions.iter().filter(|session| session.expires_at_ms <= self.now_ms);
            let Some(next) = due.min_by_key(|session| (session.expires_at_ms, session.id)) else { return };
            self.end(next.id, true, events);
        }
    }

    /// The command, and what comes of it at this index.
    fn carry_out(
        &mut self,
        index: u64,
        asked: &Asked,
        events: &mut Vec<Event>,
    ) -> (Command, Result<Outcome, CommandError>) {
        let id = |position: &usize, naive: &Self| naive.opened.get(*position).map_or(999_999, |(id, _)| *id);
        let own_name = |position: &usize, naive: &Self| {
            naive.opened.get(*position).map_or_else(|| key("none"), |(_, name)| name.clone())
        };
        let (change, outcome) = match asked {
            Asked::Tick => return (Command::Tick, Ok(Outcome::Ticked)),
            Asked::Open { name, ttl_ms } => {
                let name = key(NAMES[*name]);
                let change = SessionChange::Open { name: name.clone(), ttl_ms: *ttl_ms };
                let session = ClientSession {
                    id: index,
                    name: name.clone(),
                    ttl_ms: *ttl_ms,
                    created_at_ms: self.now_ms,
                    expires_at_ms: self.now_ms + ttl_ms,
                };
                if !(limits::SESSION_TTL_MS_MIN..=limits::SESSION_TTL_MS_MAX).contains(ttl_ms) {
                    let field = lockstep::cache::InvalidField::SessionTtl;
                    (change, Err(CommandError::Invalid { op: None, field }))
                } else {
                    self.opened.push((index, name));
                    self.sessions.push(session.clone());
                    events.push(Event::SessionOpened { session: Box::new(session.clone()) });
                    (change, Ok(Outcome::Session(session)))
                }
            }
            Asked::Renew { session, name } => {
                let name = key(NAMES[*name]);
                let change = SessionChange::Renew { id: id(session, self), name: name.clone() };
                let (now_ms, found) = (self.now_ms, self.session(*session).cloned());
                let outcome = match found.filter(|found| found.name == name) {
                    None => Err(CommandError::NoSuchSession),
                    Some(mut found) => {
                        found.expires_at_ms = now_ms + found.ttl_ms;
                        self.sessions.retain(|session| session.id != found.id);
                        self.sessions.push(found.clone());
                        self.sessions.sort_by_key(|session| session.id);
                        Ok(Outcome::Session(found))
                    }
                };
                (change, outcome)
            }
            Asked::End { session, name } => {
                let name = key(NAMES[*name]);
                let change = SessionChange::End { id: id(session, self), name: name.clone() };
                let outcome =
                    match self.session(*session).filter(|found| found.name == name).map(|found| found.id) {
                        None => Err(CommandError::NoSuchSession),
                        Some(id) => Ok(Outcome::SessionEnded { released: self.end(id, false, events) }),
                    };
                (change, outcome)
            }
            Asked::Lock { lock, session } => {
                let (name, session_name) = (key(NAMES[*lock]), own_name(session, self));
                let session_id = id(session, self);
                let change = SessionChange::Lock {
                    name: name.clone(),
                    session: session_id,
                    session_name: session_name.clone(),
                };
                let held = self.locks.iter().find(|lock| lock.name == name).cloned();
                let outcome = match (self.session(*session), held) {
                    (None, _) => Err(CommandError::NoSuchSession),
                    (Some(_), Some(lock)) if lock.session == session_id => {
                        Ok(Outcome::Locked { lock, session_name, acquired: false })
                    }
                    (Some(_), Some(lock)) => {
                        let holder = self.sessions.iter().find(|session| session.id == lock.session);
                        let session_name = holder.expect("a lock has a holder").name.clone();
                        Err(CommandError::LockHeld { lock: Box::new(lock), session_name })
                    }
                    (Some(_), None) => {
                        let lock = Lock { name, session: session_id, token: index, since_ms: self.now_ms };
                        self.locks.push(lock.clone());
                        events.push(Event::Locked { lock: Box::new(lock.clone()) });
                        Ok(Outcome::Locked { lock, session_name, acquired: true })
                    }
                };
                (change, outcome)
            }
            Asked::Unlock { lock, session } => {
                let (name, session) = (key(NAMES[*lock]), id(session, self));
                let held = self.locks.iter().position(|lock| lock.name == name && lock.session == session);
                let outcome = match held {
                    None => Err(CommandError::LockNotHeld),
                    Some(held) => {
                        events.push(Event::Unlocked { lock: Box::new(self.locks.remove(held)) });
                        Ok(Outcome::Unlocked)
                    }
                };
                (SessionChange::Unlock { name, session }, outcome)
            }
        };
        (Command::Sessions(Box::new(change)), outcome)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// C14: at every step.
    #[test]
    fn sessions_and_locks_are_as_in_the_model(steps in vec((0..1_500u64, asked()), 1..60)) {
        let (mut cache, mut naive) = (Cache::new(CacheConfig::default()), Naive { now_ms: 1_000, ..Naive::default() });
        for (later_ms, asked) in steps {
            naive.now_ms += later_ms;
            let index = cache.index() + 1;
            let mut events = Vec::new();
            naive.expire(&mut events);
            let (command, expected) = naive.carry_out(index, &asked, &mut events);
            let due = naive.sessions.iter().map(|session| session.expires_at_ms).min();
            let stamp = Stamp { index, at_ms: naive.now_ms, idempotency_key: None, origin: None, touches: Vec::new() };
            let applied = cache.apply(stamp, command);
            prop_assert_eq!(applied.outcome, expected, "{:?}", asked);
            prop_assert_eq!(applied.events, events, "{:?}", asked);
            prop_assert_eq!(cache.client_sessions().cloned().collect::<Vec<_>>(), naive.sessions.clone());
            let mut locks = naive.locks.clone();
            locks.sort_by(|one, other| one.name.cmp(&other.name));
            prop_assert_eq!(cache.locks().cloned().collect::<Vec<_>>(), locks);
            prop_assert_eq!(cache.next_due_ms(), due);
            check_accounts(&cache);
            cache = restored(&cache);
        }
    }
}

#[test]
fn there_is_a_most_of_sessions_and_of_locks() {
    let mut cache = Cache::new(CacheConfig::default());
    let mut commit = |change: SessionChange| {
        let stamp = Stamp {
            index: cache.index() + 1,
            at_ms: 1,
            idempotency_key: None,
            origin: None,
            touches: Vec::new(),
        };
        cache.apply(stamp, Command::Sessions(Box::new(change))).outcome
    };
    for _ in 0..limits::CLIENT_SESSIONS_MAX {
        assert!(commit(SessionChange::Open { name: key("a"), ttl_ms: 5_000 }).is_ok());
    }
    let one_more = commit(SessionChange::Open { name: key("a"), ttl_ms: 5_000 });
    assert_eq!(one_more, Err(CommandError::TooManySessions));
    let mut lock = |number: usize, session: u64| {
        let name = key(&format!("lock-{number}"));
        commit(SessionChange::Lock { name, session, session_name: key("a") })
    };
    for number in 0..limits::LOCKS_PER_SESSION_MAX {
        assert!(lock(number, 1).is_ok());
    }
    assert_eq!(lock(limits::LOCKS_PER_SESSION_MAX, 1), Err(CommandError::TooManyLocks));
    for number in limits::LOCKS_PER_SESSION_MAX..limits::LOCKS_MAX {
        let session = number / limits::LOCKS_PER_SESSION_MAX + 1;
        assert!(lock(number, session as u64).is_ok());
    }
    assert_eq!(lock(limits::LOCKS_MAX, 100), Err(CommandError::TooManyLocks));
}

//! Opens, renews and ends client sessions, and acquires and releases locks.

use crate::cache::client_sessions::{ClientSession, Lock};
use crate::cache::entry::DEADLINE_MAX_MS;
use crate::cache::limits::{
    CLIENT_SESSIONS_MAX, LOCKS_MAX, LOCKS_PER_SESSION_MAX, NAME_BYTES_MAX, SESSION_TTL_MS_MAX,
    SESSION_TTL_MS_MIN,
};
use crate::cache::{Cache, CommandError, Event, InvalidField, Key, Outcome, SessionChange};

impl Cache {
    /// Ends the sessions that were not renewed in time. There are not so many that a log entry could not end all.
    pub(super) fn end_due_sessions(&mut self, events: &mut Vec<Event>) {
        while let Some((deadline, id)) = self.client_sessions.first_deadline()
            && deadline <= self.now_ms
        {
            self.end_session(id, true, events);
        }
    }

    pub(super) fn change_sessions(
        &mut self,
        change: SessionChange,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        match change {
            SessionChange::Open { name, ttl_ms } => self.open_session(name, ttl_ms, events),
            SessionChange::Renew { id, name } => {
                let session = self.session_named(id, &name)?.clone();
                let renewed = ClientSession { expires_at_ms: self.deadline_of(session.ttl_ms), ..session };
                self.client_sessions.insert(renewed.clone());
                Ok(Outcome::Session(renewed))
            }
            SessionChange::End { id, name } => {
                self.session_named(id, &name)?;
                Ok(Outcome::SessionEnded { released: self.end_session(id, false, events) })
            }
            SessionChange::Lock { name, session, session_name } => {
                self.session_named(session, &session_name)?;
                self.acquire(name, session, session_name, events)
            }
            SessionChange::Unlock { name, session } => match self.client_sessions.lock(name.as_str()) {
                Some(lock) if lock.session == session => {
                    self.release(&name, events);
                    Ok(Outcome::Unlocked)
                }
                _ => Err(CommandError::LockNotHeld),
            },
        }
    }

    fn open_session(
        &mut self,
        name: Key,
        ttl_ms: u64,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        if !(SESSION_TTL_MS_MIN..=SESSION_TTL_MS_MAX).contains(&ttl_ms) {
            return Err(CommandError::Invalid { op: None, field: InvalidField::SessionTtl });
        }
        check_name(&name)?;
        if self.client_sessions.all().len() >= CLIENT_SESSIONS_MAX {
            return Err(CommandError::TooManySessions);
        }
        let (id, created_at_ms, expires_at_ms) = (self.index, self.now_ms, self.deadline_of(ttl_ms));
        let session = ClientSession { id, name, ttl_ms, created_at_ms, expires_at_ms };
        self.client_sessions.insert(session.clone());
        events.push(Event::SessionOpened { session: Box::new(session.clone()) });
        Ok(Outcome::Session(session))
    }

    /// A session, if it has this name: what a request may do was judged by it.
    fn session_named(&self, id: u64, name: &Key) -> Result<&ClientSession, CommandError> {
        let session = self.client_sessions.get(id).filter(|session| session.name == *name);
        session.ok_or(CommandError::NoSuchSession)
    }

    fn deadline_of(&self, ttl_ms: u64) -> u64 {
        self.now_ms.saturating_add(ttl_ms).min(DEADLINE_MAX_MS)
    }

    fn acquire(
        &mut self,
        name: Key,
        session: u64,
        session_name: Key,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        match self.client_sessions.lock(name.as_str()).cloned() {
            Some(lock) if lock.session == session => {
                return Ok(Outcome::Locked { lock, session_name, acquired: false });
            }
            Some(lock) => {
                let holder = self.client_sessions.get(lock.session).map(|session| session.name.clone());
                let session_name = holder.unwrap_or_else(|| lock.name.clone());
                return Err(CommandError::LockHeld { lock: Box::new(lock), session_name });
            }
            None => {}
        }
        check_name(&name)?;
        if self.client_sessions.locks().len() >= LOCKS_MAX
            || self.client_sessions.locks_of(session).count() >= LOCKS_PER_SESSION_MAX
        {
            return Err(CommandError::TooManyLocks);
        }
        let lock = Lock { name, session, token: self.index, since_ms: self.now_ms };
        self.client_sessions.hold(lock.clone());
        events.push(Event::Locked { lock: Box::new(lock.clone()) });
        Ok(Outcome::Locked { lock, session_name, acquired: true })
    }

    fn release(&mut self, name: &Key, events: &mut Vec<Event>) {
        if let Some(lock) = self.client_sessions.release(name.as_str()) {
            events.push(Event::Unlocked { lock: Box::new(lock) });
        }
    }

    /// Releases the locks of a session, and ends it. Returns their names.
    fn end_session(&mut self, id: u64, expired: bool, events: &mut Vec<Event>) -> Vec<Key> {
        let released: Vec<Key> = self.client_sessions.locks_of(id).cloned().collect();
        released.iter().for_each(|name| self.release(name, events));
        if let Some(session) = self.client_sessions.remove(id) {
            events.push(Event::SessionEnded { session: Box::new(session), expired });
        }
        released
    }
}

fn check_name(name: &Key) -> Result<(), CommandError> {
    match name.as_str().len() <= NAME_BYTES_MAX {
        true => Ok(()),
        false => Err(CommandError::Invalid { op: None, field: InvalidField::Name }),
    }
}

//! Bodies of the routes of client sessions and locks.

use crate::cache::{ClientSession, Lock};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    /// Who is there. Several sessions can have the same name.
    pub name: String,
    /// How long the session lasts without being renewed, in milliseconds.
    pub ttl_ms: u64,
}

/// A client that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The log index at which it was opened.
    pub id: u64,
    pub name: String,
    pub ttl_ms: u64,
    /// Log times, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub expires_at_ms: u64,
}

/// Answer of `GET /v1/sessions`, in the order in which they were opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    pub sessions: Vec<SessionInfo>,
    /// Log index of the answer.
    pub index: u64,
}

/// Answer of `DELETE /v1/sessions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnd {
    /// The names of the locks that it held.
    pub released: Vec<String>,
}

/// Body of `POST /v1/locks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcquireLock {
    /// The session that is to hold it.
    pub session: u64,
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    pub name: String,
    /// The session that holds it.
    pub session: u64,
    /// Its name; empty, and left out, if whoever asks may not read it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session_name: String,
    /// The log index at which it was acquired: it rises with each holder.
    pub token: u64,
    /// Log time of that, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// Answer of `POST /v1/locks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcquiredLock {
    #[serde(flatten)]
    pub lock: LockInfo,
    /// False if the session held it already.
    pub acquired: bool,
}

/// Answer of `GET /v1/locks`, in the byte order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockList {
    pub locks: Vec<LockInfo>,
    /// Log index of the answer.
    pub index: u64,
}

impl From<ClientSession> for SessionInfo {
    fn from(session: ClientSession) -> Self {
        let ClientSession { id, name, ttl_ms, created_at_ms, expires_at_ms } = session;
        Self { id, name: name.as_str().to_owned(), ttl_ms, created_at_ms, expires_at_ms }
    }
}

impl LockInfo {
    /// A lock whose session has this name.
    pub fn new(lock: &Lock, session_name: &str) -> Self {
        let Lock { name, session, token, since_ms } = lock;
        Self {
            name: name.as_str().to_owned(),
            session: *session,
            session_name: session_name.to_owned(),
            token: *token,
            since_ms: *since_ms,
        }
    }

    /// The same for whoever may not read that name.
    pub fn without_session_name(self) -> Self {
        Self { session_name: String::new(), ..self }
    }
}

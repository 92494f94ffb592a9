//! Client sessions and locks, for whoever may write what their names name: as keys, in a space of their own.

use super::error::NodeError;
use super::read::ReadAt;
use super::session::{Session, SessionError};
use super::write::{WriteRequest, Written};
use crate::cache::{Cache, ClientSession, Key, Lock, Need, Role, SessionChange};

impl Session {
    /// Opens a client session.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn open_session(
        &self,
        name: Key,
        ttl_ms: u64,
        idempotency_key: Option<String>,
    ) -> Result<Written, SessionError> {
        self.change_session(SessionChange::Open { name, ttl_ms }, idempotency_key).await
    }

    /// Renews a client session.
    ///
    /// # Errors
    /// [`SessionError`]: not found, if it has ended.
    pub async fn renew_session(&self, id: u64) -> Result<Written, SessionError> {
        let name = self.name_of_session(id).await?;
        self.change_session(SessionChange::Renew { id, name }, None).await
    }

    /// Ends a client session, and releases its locks.
    ///
    /// # Errors
    /// [`SessionError`]: not found, if it has ended before.
    pub async fn end_session(
        &self,
        id: u64,
        idempotency_key: Option<String>,
    ) -> Result<Written, SessionError> {
        let name = self.name_of_session(id).await?;
        self.change_session(SessionChange::End { id, name }, idempotency_key).await
    }

    /// Acquires a lock for a client session.
    ///
    /// # Errors
    /// [`SessionError`]: another session holds it, or this one has ended.
    pub async fn acquire_lock(
        &self,
        name: Key,
        session: u64,
        idempotency_key: Option<String>,
    ) -> Result<Written, SessionError> {
        let session_name = self.name_of_session(session).await?;
        self.change_session(SessionChange::Lock { name, session, session_name }, idempotency_key).await
    }

    /// Releases a lock that the client session holds.
    ///
    /// # Errors
    /// [`SessionError`]: not found, if it does not hold it.
    pub async fn release_lock(
        &self,
        name: Key,
        session: u64,
        idempotency_key: Option<String>,
    ) -> Result<Written, SessionError> {
        self.change_session(SessionChange::Unlock { name, session }, idempotency_key).await
    }

    /// The client sessions whose names start with a prefix.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn client_sessions(&self, prefix: String) -> Result<ReadAt<Vec<ClientSession>>, SessionError> {
        let need = Need::Prefix(Role::Read, prefix.clone());
        let named = |cache: &Cache| {
            let sessions = cache.client_sessions();
            sessions.filter(|session| session.name.as_str().starts_with(&prefix)).cloned().collect()
        };
        self.read(&need, named).await
    }

    /// The locks whose names start with a prefix, with the names of their sessions.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn locks(&self, prefix: String) -> Result<ReadAt<Vec<(Lock, Key)>>, SessionError> {
        let need = Need::Prefix(Role::Read, prefix.clone());
        let named = |cache: &Cache| {
            let locks = cache.locks().filter(|lock| lock.name.as_str().starts_with(&prefix));
            locks.map(|lock| with_holder(cache, lock)).collect()
        };
        self.read(&need, named).await
    }

    /// A lock, if it is held, with the name of its session.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn lock(&self, name: &Key) -> Result<ReadAt<Option<(Lock, Key)>>, SessionError> {
        let need = Need::Key(Role::Read, name.clone());
        self.read(&need, |cache| cache.lock(name.as_str()).map(|lock| with_holder(cache, lock))).await
    }

    async fn change_session(
        &self,
        change: SessionChange,
        idempotency_key: Option<String>,
    ) -> Result<Written, SessionError> {
        self.write(WriteRequest {
            idempotency_key,
            ..crate::cache::Command::Sessions(Box::new(change)).into()
        })
        .await
    }

    /// A session keeps its name, so what this node knows is enough. Only one that it does not know may be newer.
    async fn name_of_session(&self, id: u64) -> Result<Key, SessionError> {
        let name = |cache: &Cache| cache.client_session(id).map(|session| session.name.clone());
        let known = self.node.inner.consensus.replica().with_cache(name);
        let name = match known {
            Some(name) => Some(name),
            None => self.read(&Need::Role(Role::Observe), name).await?.value,
        };
        name.ok_or_else(|| {
            let reason = format!("there is no session {id}: it has ended, or was not renewed in time");
            self.fail(NodeError::NotFound(reason))
        })
    }
}

fn with_holder(cache: &Cache, lock: &Lock) -> (Lock, Key) {
    let holder = cache.client_session(lock.session).map(|session| session.name.clone());
    // A lock is released when its session ends.
    (lock.clone(), holder.unwrap_or_else(|| lock.name.clone()))
}

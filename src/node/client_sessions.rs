//! Client sessions and locks, for whoever may write what their names name: as keys, in a space of their own.

use super::error::NodeError;
use super::read::ReadAt;
use super::session::{Session, SessionError};
use super::write::{WriteRequest, Written};
use crate::cache::{Cache, ClientSession, IdempotencyKey, Key, Lock, Need, Role, SessionChange};

impl Session {
    /// Opens a client session.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn open_session(
        &self,
        name: Key,
        ttl_ms: u64,
        idempotency_key: Option<IdempotencyKey>,
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

    /// Ends a client session, and releases its locks. It takes no idempotency key: once the session is gone, nothing is left by
    /// which a repetition could be judged. It ends once anyway.
    ///
    /// # Errors
    /// [`SessionError`]: not found, if it has ended before.
    pub async fn end_session(&self, id: u64) -> Result<Written, SessionError> {
        let name = self.name_of_session(id).await?;
        self.change_session(SessionChange::End { id, name }, None).await
    }

    /// Acquires a lock for a client session.
    ///
    /// # Errors
    /// [`SessionError`]: another session holds it, or this one has ended.
    pub async fn acquire_lock(
        &self,
        name: Key,
        session: u64,
        idempotency_key: Option<IdempotencyKey>,
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
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<Written, SessionError> {
        // As for the lock's acquisition, the session's name has to be writable. Whether it is there is not told otherwise: then it
        // is as a session that never was.
        let session = match self.find_session(session).await? {
            Some(named) if !self.may_use(&named).await? => 0,
            _ => session,
        };
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
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<Written, SessionError> {
        self.write(WriteRequest {
            idempotency_key,
            ..crate::cache::Command::Sessions(Box::new(change)).into()
        })
        .await
    }

    /// The name of a session that may be used; what may not be used is as what is not there.
    async fn name_of_session(&self, id: u64) -> Result<Key, SessionError> {
        match self.find_session(id).await? {
            Some(name) if self.may_use(&name).await? => Ok(name),
            _ => {
                let reason = format!("there is no session {id}: it has ended, or was not renewed in time");
                Err(self.fail(NodeError::NotFound(reason)))
            }
        }
    }

    /// A session keeps its name, so what this node knows is enough. Only one that it does not know may be newer.
    async fn find_session(&self, id: u64) -> Result<Option<Key>, SessionError> {
        let name = |cache: &Cache| cache.client_session(id).map(|session| session.name.clone());
        match self.node.inner.consensus.replica().with_cache(name) {
            Some(name) => Ok(Some(name)),
            None => Ok(self.read(&Need::Role(Role::Observe), name).await?.value),
        }
    }

    async fn may_use(&self, name: &Key) -> Result<bool, SessionError> {
        let need = Need::Key(Role::Write, name.clone());
        if self.may_now(&need) {
            return Ok(true);
        }
        // This node may not know the newest grants.
        match self.authorize(&need).await {
            Ok(()) => Ok(true),
            Err(SessionError { error: NodeError::Forbidden(_), .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn with_holder(cache: &Cache, lock: &Lock) -> (Lock, Key) {
    let holder = cache.client_session(lock.session).map(|session| session.name.clone());
    // A lock is released when its session ends.
    (lock.clone(), holder.unwrap_or_else(|| lock.name.clone()))
}

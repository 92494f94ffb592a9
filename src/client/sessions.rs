//! Requests about client sessions and locks, log time, and what changed.

use super::error::ClientError;
use super::http::{Client, Retry};
use super::kv::{PLAIN, found, path_of};
use super::position::{Cursor, Positioned, positioned};
use crate::api::{
    AcquireLock, AcquiredLock, Changes, LockInfo, LockList, LogTime, OpenSession, SessionEnd, SessionInfo,
    SessionList,
};
use percent_encoding::utf8_percent_encode;
use reqwest::Method;
use std::time::Duration;

impl Client {
    /// Opens a session, which ends unless it is renewed within `ttl` (1 s to 1 h).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_session(&self, name: &str, ttl: Duration) -> Result<SessionInfo, ClientError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let request = OpenSession { name: name.to_owned(), ttl_ms };
        self.json(Method::POST, "/v1/sessions", Retry::WithKey, |builder| builder.json(&request)).await
    }

    /// Renews a session; `None` if it has ended.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn renew_session(&self, id: u64) -> Result<Option<SessionInfo>, ClientError> {
        // To renew it twice does no harm.
        let path = format!("/v1/sessions/{id}/renew");
        found(self.json(Method::POST, &path, Retry::Idempotent, |builder| builder).await)
    }

    /// Ends a session, and releases its locks; `None` if it had ended before.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_session(&self, id: u64) -> Result<Option<SessionEnd>, ClientError> {
        let path = format!("/v1/sessions/{id}");
        found(self.json(Method::DELETE, &path, Retry::WithKey, |builder| builder).await)
    }

    /// The sessions whose names start with a prefix.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self, prefix: &str) -> Result<SessionList, ClientError> {
        let path = format!("/v1/sessions?prefix={}", utf8_percent_encode(prefix, PLAIN));
        self.json(Method::GET, &path, Retry::Always, |builder| builder).await
    }

    /// Acquires a lock for a session.
    ///
    /// # Errors
    /// [`ClientError`]: with the code `locked`, another session holds it, and the problem's `holder` says which; with
    /// `not_found`, the session has ended.
    pub async fn acquire_lock(&self, name: &str, session: u64) -> Result<AcquiredLock, ClientError> {
        let (path, request) = (lock_path(name)?, AcquireLock { session });
        // To acquire it twice is to hold it once.
        self.json(Method::POST, &path, Retry::Idempotent, |builder| builder.json(&request)).await
    }

    /// Releases a lock; false if the session did not hold it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release_lock(&self, name: &str, session: u64) -> Result<bool, ClientError> {
        let path = format!("{}?session={session}", lock_path(name)?);
        let released = self.send(Method::DELETE, &path, Retry::WithKey, |builder| builder).await;
        Ok(found(released)?.is_some())
    }

    /// Who holds a lock; `None` if nobody does.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lock(&self, name: &str) -> Result<Option<LockInfo>, ClientError> {
        found(self.json(Method::GET, &lock_path(name)?, Retry::Always, |builder| builder).await)
    }

    /// The locks whose names start with a prefix.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn locks(&self, prefix: &str) -> Result<LockList, ClientError> {
        let path = format!("/v1/locks?prefix={}", utf8_percent_encode(prefix, PLAIN));
        self.json(Method::GET, &path, Retry::Always, |builder| builder).await
    }

    /// What changed after `since` among the keys with a prefix, at most `limit` of them, with their values if they are asked for.
    ///
    /// # Errors
    /// [`ClientError`]: with the code `other_history`, the cluster is in another history than `since`.
    pub async fn changes(
        &self,
        since: &Cursor,
        prefix: &str,
        limit: usize,
        values: bool,
    ) -> Result<Positioned<Changes>, ClientError> {
        let prefix = utf8_percent_encode(prefix, PLAIN);
        let path = format!("/v1/changes?since={since}&prefix={prefix}&limit={limit}&values={values}");
        positioned(&self.ask(Method::GET, &path, Retry::Always, &[], |builder| builder).await?)
    }

    /// Log time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log_time(&self) -> Result<Positioned<LogTime>, ClientError> {
        positioned(&self.ask(Method::GET, "/v1/time", Retry::Always, &[], |builder| builder).await?)
    }
}

fn lock_path(name: &str) -> Result<String, ClientError> {
    path_of("/v1/locks", name)
}

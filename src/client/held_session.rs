//! A client session that is renewed as long as somebody holds it.

use super::error::ClientError;
use super::http::Client;
use crate::api::Effect;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Pause after a renewal that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// A client session that a task of its own renews. When it is dropped, the session ends, and its locks are released.
pub struct HeldSession {
    id: u64,
    /// Until when it lasts for certain; `None` once it has ended.
    ends_at: watch::Receiver<Option<Instant>>,
    client: Client,
    renewing: AbortHandle,
}

impl Client {
    /// Opens a session and renews it.
    ///
    /// # Errors
    /// [`ClientError`]. If its effect is unknown, there may be a session, which ends by itself after `ttl`.
    pub async fn hold_session(&self, name: &str, ttl: Duration) -> Result<HeldSession, ClientError> {
        let asked_at = Instant::now();
        let id = self.open_session(name, ttl).await?.id;
        let (told, ends_at) = watch::channel(Some(asked_at + ttl));
        let renewing = tokio::spawn(renew(self.clone(), id, ttl, asked_at, told)).abort_handle();
        Ok(HeldSession { id, ends_at, client: self.clone(), renewing })
    }
}

impl HeldSession {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// False as soon as the session may have ended: by this machine's clock, counted from when the last renewal was asked for that
    /// succeeded.
    pub fn is_alive(&self) -> bool {
        self.ends_at.borrow().is_some_and(|at| Instant::now() < at)
    }

    /// Returns as soon as the session may have ended.
    pub async fn ended(&self) {
        let mut ends_at = self.ends_at.clone();
        // The task that tells it says so before it ends.
        let _ = ends_at.wait_for(Option::is_none).await;
    }
}

impl std::fmt::Debug for HeldSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldSession").field("id", &self.id).field("is_alive", &self.is_alive()).finish()
    }
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        self.renewing.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, id) = (self.client.clone(), self.id);
            // Where that fails the session ends by its TTL.
            runtime.spawn(async move { client.end_session(id).await });
        }
    }
}

/// Renews a session until it has ended.
async fn renew(
    client: Client,
    id: u64,
    ttl: Duration,
    asked_at: Instant,
    told: watch::Sender<Option<Instant>>,
) {
    let mut ends_at = asked_at + ttl;
    let mut next_at = asked_at + ttl / 3;
    loop {
        sleep_until(next_at.min(ends_at)).await;
        let asked_at = Instant::now();
        match timeout_at(ends_at, client.renew_session(id)).await {
            Ok(Ok(Some(_))) => {
                (ends_at, next_at) = (asked_at + ttl, asked_at + ttl / 3);
                told.send_replace(Some(ends_at));
            }
            // It has ended, or by this clock it may have.
            Ok(Ok(None)) | Err(_) => break,
            Ok(Err(error)) => {
                tracing::debug!(%error, session = id, unknown = error.effect() == Effect::Unknown, "it was not renewed");
                sleep(PAUSE).await;
                next_at = Instant::now();
            }
        }
        if Instant::now() >= ends_at {
            break;
        }
    }
    told.send_replace(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_has_ended_also_if_its_task_did_not_run() {
        let client =
            Client::new(&["http://127.0.0.1:1".into()], Duration::from_millis(10)).expect("a client");
        let (_told, ends_at) = watch::channel(Some(Instant::now() + Duration::from_secs(10)));
        let renewing = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let session = HeldSession { id: 1, ends_at, client, renewing };
        assert!(session.is_alive());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!session.is_alive());
    }
}

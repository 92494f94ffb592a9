//! A watch of a session, which ends when the session may no longer read what it watches.

use super::ChangeSet;
use super::session::Session;
use super::watch::{Watch, WatchItem};
use crate::cache::{Cache, Event, Need};
use std::borrow::Cow;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A watch of a session.
pub struct SessionWatch {
    watch: Watch,
    session: Session,
    needs: Vec<Need>,
    /// Tells when a token was changed.
    tokens: watch::Receiver<u64>,
}

impl SessionWatch {
    /// `tokens` was made before the needs were judged, so that no change after that is missed.
    pub(super) fn new(
        watch: Watch,
        session: Session,
        needs: Vec<Need>,
        tokens: watch::Receiver<u64>,
    ) -> Self {
        Self { watch, session, needs, tokens }
    }

    /// The index up to which the watcher has everything.
    pub fn cursor(&self) -> u64 {
        self.watch.cursor()
    }

    /// Log time by this node's clock, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.session.now_ms()
    }

    /// The events of a change that are about watched keys, as the client knows them.
    pub fn events<'a>(&'a self, change: &'a ChangeSet) -> impl Iterator<Item = Cow<'a, Event>> {
        let watched = change.events().iter().filter(|event| self.watch.concerns(event));
        watched.map(|event| self.session.scope.client_event(event))
    }

    /// Waits for what comes next; [`SessionWatch::events`] says what the client sees of a change. Nothing is lost if the future is dropped before it is ready.
    /// Ends when the session may no longer read what it watches, or this node does not know any more whether it may.
    pub async fn next(&mut self) -> WatchItem {
        let inner = self.session.node.inner.clone();
        let principal = self.session.principal();
        let judge =
            |cache: &Cache| self.needs.iter().try_for_each(|need| inner.judge(cache, principal, need));
        loop {
            let resume = self.watch.cursor();
            let until = inner.is_judged_until(self.session.principal());
            let item = tokio::select! {
                biased;
                Ok(()) = self.tokens.changed() => None,
                item = self.watch.next() => Some(item),
                // By then something newer may be known: it is looked at again.
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => None,
            };
            let judged = || inner.consensus.replica().with_cache(judge);
            if inner.needs_token()
                && let Err(error) =
                    inner.refuse_when_out_of_touch(self.session.principal()).and_then(|()| judged())
            {
                return WatchItem::Closed { resume, reason: error.to_string(), code: Some(error.code()) };
            }
            if let Some(item) = item {
                return item;
            }
        }
    }
}

//! How a session learns what changed: by asking, or by watching.

use super::error::NodeError;
use super::read::ReadAt;
use super::session::{Session, SessionError};
use super::{ChangeSet, ChangedKeys, ChangesLimit, SessionWatch, WatchFilter};
use crate::api::Consistency;
use crate::cache::{Event, Need, Role};

impl Session {
    /// What changed after the index `since` among the keys with a prefix.
    ///
    /// # Errors
    /// [`SessionError`]: a conflict if the cluster has not reached `since`.
    pub async fn changed_since(
        &self,
        since: u64,
        prefix: String,
        limit: ChangesLimit,
    ) -> Result<ReadAt<ChangedKeys>, SessionError> {
        let prefix = self.scope.stored_prefix(prefix).map_err(|error| self.fail(error))?;
        let need = Need::Prefix(Role::Read, prefix.clone());
        let read = self.clone().not_before(Some(since)).read(&need, |_| ()).await?;
        let changed = self.node.inner.changed_since(since, &prefix, limit).await;
        let changed = changed.map_err(|error| self.fail(error))?;
        Ok(ReadAt { value: changed, index: read.index, term: read.term, now_ms: self.now_ms() })
    }

    /// What became of the keys with a prefix after the index `since`, up to the index `until`, in the order of the log: each log entry's
    /// index, and what it did. `None` if that is too much, or not known any more.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn events_between(
        &self,
        since: u64,
        until: u64,
        prefix: String,
    ) -> Result<Option<Vec<(u64, Vec<Event>)>>, SessionError> {
        let prefix = self.scope.stored_prefix(prefix).map_err(|error| self.fail(error))?;
        let need = Need::Prefix(Role::Read, prefix.clone());
        let session = self.clone().with_consistency(Consistency::Stale).not_before(Some(until));
        session.read(&need, |_| ()).await?;
        let changes = self.node.inner.changes_between(since, until).await;
        let is_meant = |event: &&Event| match event {
            Event::Put { record, .. } => record.key().starts_with(&prefix),
            Event::Removed { key, .. } | Event::Deadline { key, .. } => key.as_str().starts_with(&prefix),
            Event::Cleared { .. } => true,
            _ => false,
        };
        let told = |change: ChangeSet| {
            let events = change.events().iter().filter(is_meant);
            (change.index(), events.map(|event| self.scope.client_event(event).into_owned()).collect())
        };
        Ok(changes.map(|changes| changes.into_iter().map(told).collect()))
    }

    /// Log time, once this node has everything that was acknowledged before.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn log_time(&self) -> Result<ReadAt<()>, SessionError> {
        self.read(&Need::Role(Role::Observe), |_| ()).await
    }

    /// Whether it may watch this, before anything is done for it.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn may_watch(&self, filter: &WatchFilter) -> Result<(), SessionError> {
        for prefix in self.stored_prefixes(filter)? {
            let need = Need::Prefix(Role::Read, prefix);
            // What this node knows is enough to go on: the watch is judged anew.
            if !self.may_now(&need) {
                self.authorize(&need).await?;
            }
        }
        Ok(())
    }

    /// The prefixes of a watch as they are stored.
    fn stored_prefixes(&self, filter: &WatchFilter) -> Result<Vec<String>, SessionError> {
        let stored = filter.prefixes.iter().cloned().map(|prefix| self.scope.stored_prefix(prefix));
        stored.collect::<Result<_, NodeError>>().map_err(|error| self.fail(error))
    }

    /// Watches keys, from behind the index `from`, or from now.
    ///
    /// # Errors
    /// [`SessionError`]: this node is out of service or stopping, or the cluster has not reached `from`.
    pub async fn watch(&self, filter: WatchFilter, from: Option<u64>) -> Result<SessionWatch, SessionError> {
        let prefixes = self.stored_prefixes(&filter)?;
        let needs: Vec<Need> =
            prefixes.iter().map(|prefix| Need::Prefix(Role::Read, prefix.clone())).collect();
        // Before it is judged, so that no change after that is missed.
        let tokens = self.node.inner.consensus.replica().watch_tokens();
        for need in &needs {
            self.authorize(need).await?;
        }
        let filter = WatchFilter { prefixes, ..filter };
        let watch = self.node.inner.watch(filter, from).await.map_err(|error| self.fail(error))?;
        Ok(SessionWatch::new(watch, self.clone(), needs, tokens))
    }
}

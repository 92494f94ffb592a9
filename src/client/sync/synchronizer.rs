//! The synchronizer, as an application has it.

use super::cluster::SyncCluster;
use super::decide::ChangeKind;
use super::hash::hash_of;
use super::local::{How, NewChange};
use super::options::SyncOptions;
use super::running::Runner;
use super::state::Shared;
use super::storage::locked;
use super::subscribers::SyncChanges;
use super::types::{
    ChangeCause, ChangeOrigin, LocalCache, SyncChange, SyncDetails, SyncError, SyncEvent, SyncStatus,
    SyncValue,
};
use std::sync::Arc;
use std::time::Duration;

/// Keeps local caches and a cluster in step: takes over what others change, and sends what is changed here, also later.
///
/// Its functions need a Tokio runtime. What they have begun goes on if their futures are dropped.
pub struct CacheSynchronizer {
    runner: Arc<Runner>,
}

impl CacheSynchronizer {
    /// A synchronizer that is not connected yet.
    ///
    /// # Errors
    /// A sentence: options that make no sense.
    pub fn new(cluster: impl SyncCluster + 'static, options: SyncOptions) -> Result<Self, String> {
        Ok(Self { runner: Arc::new(Runner::new(Shared::new(Arc::new(cluster), options)?)) })
    }

    /// Joins the cluster under this name. Ends when the stream of changes has begun; with `offline` at once, and goes on trying.
    ///
    /// # Errors
    /// [`SyncError`]: another cluster, an older history, a node that has left its cluster, or no node could be reached. It can be
    /// called again.
    pub async fn connect(&self, node_id: &str) -> Result<(), SyncError> {
        let known = locked(&self.runner.name).get_or_insert_with(|| node_id.to_owned()).clone();
        if known != node_id {
            return Err(SyncError::OtherName(known));
        }
        let runner = self.runner.clone();
        spawned(async move { runner.open().await }).await
    }

    /// Registers a local cache. Its changes are found at the next sync.
    pub fn register_cache(&self, cache: Arc<dyn LocalCache>) {
        if self.runner.shared.caches.add(cache) {
            // What the cluster has is news to this cache.
            self.runner.shared.want_walk();
        }
    }

    /// Changes a key in all local caches, and in the cluster with the next sync. Ends when that survives a crash.
    ///
    /// # Errors
    /// [`SyncError`]; the change was accepted only if a cache failed.
    pub async fn set(&self, key: &str, value: SyncValue) -> Result<(), SyncError> {
        self.change(key, Some(value), None).await
    }

    /// The same, with a TTL, which counts from now.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn set_for(&self, key: &str, value: SyncValue, ttl: Duration) -> Result<(), SyncError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.change(key, Some(value), Some(ttl_ms)).await
    }

    /// Removes a key from all local caches, and from the cluster with the next sync.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn delete(&self, key: &str) -> Result<(), SyncError> {
        self.change(key, None, None).await
    }

    async fn change(
        &self,
        key: &str,
        value: Option<SyncValue>,
        ttl_ms: Option<u64>,
    ) -> Result<(), SyncError> {
        let (runner, key) = (self.runner.clone(), key.to_owned());
        spawned(async move {
            runner.begin().await?;
            let shared = &runner.shared;
            let mut core = shared.core.lock().await;
            shared.check_room(&core, &key)?;
            let is_set = value.is_some();
            let kind = if is_set { ChangeKind::Set } else { ChangeKind::Delete };
            let at_ms = Some(shared.wall_ms());
            let change = NewChange { value: value.clone(), at_ms, ttl_ms, ..NewChange::default() };
            shared.note(&mut core, &key, kind, change).await?;
            let how = How { everywhere: is_set, force: true, ..How::default() };
            shared.put(&mut core, &key, value.as_ref(), how).await?;
            let cause = if is_set { ChangeCause::Set } else { ChangeCause::Delete };
            shared.tell(SyncChange::Key { key, cause, origin: ChangeOrigin::Local, revision: None, value });
            Ok(())
        })
        .await
    }

    /// Adds to a counter. Additions of all sides are summed up, whatever their order.
    ///
    /// # Errors
    /// [`SyncError`]; the addition was accepted only if a cache failed.
    pub async fn add(&self, key: &str, by: i64) -> Result<(), SyncError> {
        let (runner, key) = (self.runner.clone(), key.to_owned());
        spawned(async move {
            runner.begin().await?;
            let shared = &runner.shared;
            let mut core = shared.core.lock().await;
            shared.check_room(&core, &key)?;
            let current = shared.caches.current(&key).await?;
            let number = current.as_ref().map_or(Some(0), SyncValue::number);
            let sum = number.and_then(|number| number.checked_add(by));
            let sum = sum.ok_or_else(|| SyncError::NotANumber(key.clone()))?;
            if let Some(current) = &current {
                // Otherwise the sum would be put over a change that nobody has sent.
                shared.note_found(&mut core, &key, current).await?;
            }
            let met = current.as_ref().map(hash_of);
            let value = SyncValue::of_number(sum, current.and_then(|value| value.content_type));
            let made = met.into_iter().chain([hash_of(&value)]).collect();
            let change = NewChange { by, at_ms: Some(shared.wall_ms()), made, ..NewChange::default() };
            shared.note(&mut core, &key, ChangeKind::Add, change).await?;
            let how = How { everywhere: true, force: true, ..How::default() };
            shared.put(&mut core, &key, Some(&value), how).await.map(drop)
        })
        .await
    }

    /// Takes an update that came by another way. It is a hint: shown at once where nothing speaks against it, and checked against the
    /// cluster by the next sync. What is not newer than what is known is ignored, so updates may come twice and in any order.
    ///
    /// # Errors
    /// [`SyncError`]: the hint may have been shown or not.
    pub async fn handle_update(&self, event: SyncEvent) -> Result<(), SyncError> {
        let runner = self.runner.clone();
        spawned(async move {
            runner.begin().await?;
            let mut core = runner.shared.core.lock().await;
            runner.shared.take_hint(&mut core, event).await
        })
        .await
    }

    /// Sends all local changes, and takes over what others have changed. One sync runs at a time; who calls while one runs gets the
    /// next. Ends when all that was found is confirmed, deferred or stuck.
    ///
    /// # Errors
    /// [`SyncError`]: no node could be reached, or an outcome is unknown. The changes are kept, and the next sync goes on.
    pub async fn sync(&self) -> Result<(), SyncError> {
        let runner = self.runner.clone();
        spawned(async move { runner.sync(true).await }).await
    }

    /// How it is doing.
    pub async fn status(&self) -> SyncStatus {
        let core = self.runner.shared.core.lock().await;
        SyncStatus {
            connected: self.runner.is_connected(),
            last_sync_ms: core.last_sync_ms,
            peers: core.peers.clone(),
            pending: core.pending(),
            conflicts: core.conflicts,
        }
    }

    /// The status, and what else there is to know.
    pub async fn details(&self) -> SyncDetails {
        let status = self.status().await;
        let core = self.runner.shared.core.lock().await;
        let mut details = SyncDetails {
            status,
            unknown: core.unknown.clone(),
            history: core.journal.meta.histories.last().cloned(),
            place: core.journal.meta.place.as_ref().map(|place| place.index),
            staleness_ms: self.runner.staleness().and_then(|age| u64::try_from(age.as_millis()).ok()),
            damaged: core.damaged,
            clock: core.offset.map(|offset| (offset.offset_ms, offset.error_ms)),
            last_error: core.last_error.clone(),
            ..SyncDetails::default()
        };
        for (key, notes) in &core.notes {
            details.stuck.extend(notes.stuck.clone().map(|why| (key.clone(), why)));
            details.unresolved.extend(notes.unresolved.clone().map(|why| (key.clone(), why)));
        }
        details
    }

    /// Changes of all origins from now on, as they come.
    pub fn changes(&self) -> SyncChanges {
        self.runner.shared.subscribers.subscribe()
    }

    /// Has keys tried again that are stuck or deferred: one, or all of them.
    pub async fn retry(&self, key: Option<&str>) {
        let mut core = self.runner.shared.core.lock().await;
        let keys: Vec<String> = match key {
            Some(key) => vec![key.to_owned()],
            None => core.notes.keys().cloned().collect(),
        };
        for key in keys {
            core.stir(&key);
        }
    }

    /// Stops. Local changes that were not sent stay in the storage.
    ///
    /// # Errors
    /// [`SyncError`]: the storage could not be closed.
    pub async fn close(&self) -> Result<(), SyncError> {
        let runner = self.runner.clone();
        spawned(async move { runner.close().await }).await
    }
}

impl Drop for CacheSynchronizer {
    fn drop(&mut self) {
        self.runner.shared.stop.send_replace(true);
    }
}

/// Carries out work to its end, also if nobody waits for it any more: half of it would be worse than all or nothing.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, SyncError>> + Send + 'static,
) -> Result<T, SyncError> {
    tokio::spawn(work).await.unwrap_or_else(|ended| Err(SyncError::Broken(ended.to_string())))
}

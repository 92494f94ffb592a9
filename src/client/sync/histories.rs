//! Which cluster it is, in which history, and what time it has.

use super::cluster::ClusterLineage;
use super::journal::Step;
use super::local::How;
use super::options::Direction;
use super::record::Meta;
use super::state::{Core, Offset, Shared};
use super::types::{ChangeCause, ChangeOrigin, SyncChange, SyncError};
use crate::api::ErrorCode;
use std::time::Duration;
use tokio::time::Instant;

/// How old a comparison of the clocks may be.
const COMPARED_MAX: Duration = Duration::from_secs(60);

impl Shared {
    /// Compares the cluster's lineage with what is known from before, and goes over to its newest history: what was agreed upon up to
    /// the fork stays so. Other values that nobody has changed here never were, and are dropped; local changes lose their base, and
    /// become conflicts if the cluster has something else.
    ///
    /// # Errors
    /// [`SyncError`]: another cluster, a history that the cluster has left, or a node that has left its cluster.
    pub(super) async fn adopt(&self) -> Result<(), SyncError> {
        let ClusterLineage { cluster_id, histories } = self.ask(self.cluster.lineage()).await?;
        let newest = histories.last().ok_or(SyncError::OtherHistory)?;
        let mut core = self.core.lock().await;
        let core = &mut *core;
        let meta = &core.journal.meta;
        if let Some(ours) = meta.cluster_id.as_ref().filter(|ours| **ours != cluster_id) {
            return Err(SyncError::OtherCluster { ours: ours.clone(), theirs: cluster_id });
        }
        if newest.detached && !self.options.allow_detached {
            return Err(SyncError::Detached);
        }
        let known = meta.histories.last();
        if known == Some(&newest.id) {
            return Ok(());
        }
        if let Some(known) = known {
            let Some(at) = histories.iter().position(|history| history.id == *known) else {
                let is_older = meta.histories.contains(&newest.id);
                return Err(if is_older { SyncError::OlderHistory } else { SyncError::OtherHistory });
            };
            // It is not the last one. Of several forks since, the lowest counts.
            let forks = histories[at + 1..].iter().map(|history| history.fork_index);
            self.leave_history(core, forks.min().unwrap_or(0)).await?;
        }
        let histories = histories.into_iter().map(|history| history.id).collect();
        core.journal.meta = Meta { cluster_id: Some(cluster_id), histories, place: None };
        self.want_walk();
        core.heard_of = 0;
        core.notes.clear();
        let keys = core.journal.keys.keys().cloned().collect();
        Ok(core.journal.write(&keys, Step { meta: true, ..Step::default() }).await?)
    }

    async fn leave_history(&self, core: &mut Core, fork_index: u64) -> Result<(), SyncError> {
        let records = core.journal.keys.iter().filter_map(|(key, record)| {
            let base = record.base.as_ref()?;
            let is_later = base.revision.unwrap_or(base.at) > fork_index;
            is_later.then(|| (key.clone(), !record.is_dirty() && base.hash.is_some()))
        });
        for (key, is_clean) in records.collect::<Vec<_>>() {
            let is_up = self.groups.of(&key).is_none_or(|rules| rules.direction == Direction::Up);
            if is_clean && !is_up && self.put(core, &key, None, How::default()).await? {
                let (key, cause, origin) = (key.clone(), ChangeCause::Delete, ChangeOrigin::Remote);
                self.tell(SyncChange::Key { key, cause, origin, revision: None, value: None });
            }
            core.journal.record(&key).base = None;
        }
        Ok(())
    }

    /// Learns the difference between log time and this machine's clock, if it is not known, is old, or one of the clocks was set.
    pub(super) async fn compare_clocks(&self, anyway: bool) -> Result<(), SyncError> {
        let core = self.core.lock().await;
        let is_recent = core.offset.is_some_and(|last| last.at.elapsed() < COMPARED_MAX);
        if !anyway && is_recent && self.offset_ms(&core).is_some() {
            return Ok(());
        }
        drop(core);
        let (asked_ms, asked_at) = (self.wall_ms(), Instant::now());
        let time_ms = self.ask(self.cluster.time_ms()).await?;
        // By the clock that nobody sets.
        let half_ms = i64::try_from(asked_at.elapsed().as_millis()).unwrap_or(i64::MAX) / 2;
        self.core.lock().await.offset = Some(Offset {
            offset_ms: time_ms - (asked_ms + half_ms),
            error_ms: half_ms + 1,
            wall_ms: self.wall_ms(),
            at: Instant::now(),
        });
        Ok(())
    }
}

/// Whether the cluster is in another history than what was known.
pub(super) fn is_other_history(error: &SyncError) -> bool {
    match error {
        SyncError::OtherHistory => true,
        SyncError::Cluster(error) => error.code() == ErrorCode::OtherHistory,
        _ => false,
    }
}

//! Snapshots on request. A snapshot is also a backup.

use super::error::NodeError;
use super::start::Node;
use crate::raft::RaftStatus;
use crate::storage::SnapshotFile;
use std::time::Duration;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);

impl Node {
    /// Writes a snapshot of the state at the applied index, and returns it.
    ///
    /// # Errors
    /// [`NodeError::Unavailable`] when it takes longer than a minute, or the node was removed.
    pub async fn snapshot(&self) -> Result<SnapshotFile, NodeError> {
        self.inner.refuse_when_removed()?;
        let applied = self.inner.consensus.replica().applied_index();
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(file) = self.inner.snapshots.current().filter(|file| file.index >= applied) {
                return Ok(file);
            }
            if Instant::now() >= deadline {
                return Err(NodeError::Unavailable("the snapshot was not ready in time".into()));
            }
            self.inner.consensus.snapshot().await.map_err(NodeError::Fatal)?;
            let done = |status: &RaftStatus| status.snapshot_index >= applied;
            self.inner.consensus.wait_for(Duration::from_secs(1), done).await;
        }
    }
}

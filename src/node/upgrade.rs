//! Raising the feature level, after every member was updated. From that log entry on, all nodes keep the rules of the
//! new level, and an earlier release cannot follow the log any more.

use super::admin::{AdminDone, AdminFailure, AdminRequest};
use super::error::NodeError;
use super::own_reads::Before;
use super::start::{Inner, Node};
use super::write::Times;
use crate::api::{Consistency, FeatureLevel, NodeState};
use crate::cache::limits::FEATURE_LEVEL_FIRST;
use crate::cache::{Cache, Command};
use crate::peer::NodeId;
use crate::raft::ReadIndexError;
use crate::replica::Envelope;
use tokio::time::Instant;

impl Node {
    /// Raises the cluster's feature level to the newest one that all members know, and says which it is now.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] when a member does not answer: nothing was done. Otherwise as any write.
    pub async fn finish_upgrade(&self) -> Result<FeatureLevel, NodeError> {
        match self.inner.admin(AdminRequest::RaiseFeatureLevel).await? {
            AdminDone::FeatureLevel(level) => Ok(level),
            AdminDone::Joined(_) | AdminDone::Changed | AdminDone::Members(_) => {
                Err(NodeError::OutcomeUnknown("the leader answered another question".into()))
            }
        }
    }
}

impl Inner {
    /// Refuses a command of a later level than the cluster keeps, before it is proposed: there may be nodes that could
    /// not read it.
    pub(super) async fn check_level(&self, command: &Command, deadline: Instant) -> Result<(), NodeError> {
        let needed = command.level();
        if needed == FEATURE_LEVEL_FIRST || needed <= self.feature_level() {
            return Ok(());
        }
        // This node may be behind: the level it has applied says too little, never too much.
        let limit = Some(deadline.saturating_duration_since(Instant::now()));
        let kept = self.read(Consistency::Linearizable, None, limit, Cache::feature_level).await?.value;
        if needed > kept { Err(NodeError::FeatureLevel { needed, kept }) } else { Ok(()) }
    }

    /// The level that the cluster keeps, as far as this node has applied the log.
    pub(super) fn feature_level(&self) -> u32 {
        self.consensus.replica().with_cache(Cache::feature_level)
    }

    fn term_and_members(&self) -> (u64, Vec<NodeId>) {
        let status = self.consensus.status();
        (status.term, status.members.into_iter().map(|member| member.id).collect())
    }

    /// Carries out [`AdminRequest::RaiseFeatureLevel`], as the leader.
    pub(super) async fn raise_feature_level(&self, deadline: Instant) -> Result<FeatureLevel, AdminFailure> {
        // A node that this leader takes in meanwhile would not be asked.
        let _turn = self.turn(deadline).await?;
        let asked = self.term_and_members();
        let level = newest_known_by_all(&self.states().await)?;
        // What this node has applied may be the state of a leader that was replaced, or older than the last raise.
        let index = self.consensus.read_index(false).await.map_err(|error| match error {
            ReadIndexError::Stopped(reason) => AdminFailure::Stopped(reason),
            ReadIndexError::NotLeader { .. } | ReadIndexError::NoQuorum => AdminFailure::NotLeader,
        })?;
        self.consensus.replica().applied(index).await;
        if self.term_and_members() != asked {
            // Another leader may have taken a node in that was not asked.
            return Err(AdminFailure::NotLeader);
        }
        let kept = self.feature_level();
        if level <= kept {
            return Ok(FeatureLevel { feature_level: kept, raised: false });
        }
        let command = Command::RaiseFeatureLevel { level };
        let envelope = Envelope { idempotency_key: None, command }.encode();
        let times = Times::at_once(deadline);
        match self.propose_here(0, envelope, &Before::default(), times).await {
            Ok(done) => match done.response.result {
                Ok(_) => {
                    tracing::info!(level, "the feature level was raised");
                    Ok(FeatureLevel { feature_level: level, raised: true })
                }
                Err(error) => Err(AdminFailure::Conflict(error.to_string())),
            },
            Err(failure) => Err(failure.into()),
        }
    }
}

/// # Errors
/// A member has not said what it knows.
fn newest_known_by_all(nodes: &[NodeState]) -> Result<u32, AdminFailure> {
    let mut newest = u32::MAX;
    for node in nodes {
        let Some(report) = &node.report else {
            let reason = node.error.as_deref().unwrap_or("no answer");
            let name = &node.name;
            return Err(AdminFailure::Conflict(format!(
                "{name} does not say which feature level it knows ({reason}): all members must answer"
            )));
        };
        newest = newest.min(report.feature_level_known);
    }
    Ok(newest)
}

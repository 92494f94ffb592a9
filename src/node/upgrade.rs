//! Raises the feature level after every member was upgraded. From that log entry on, all nodes follow the rules of the
//! new level, and an earlier release can no longer apply the log.

use super::admin::AdminFailure;
use super::error::NodeError;
use super::inner::Inner;
use super::leadership::AskedVoters;
use super::own_reads::ReadsBefore;
use crate::api::{Consistency, FeatureLevel, NodeState};
use crate::cache::limits::FEATURE_LEVEL_FIRST;
use crate::cache::{Cache, Command};
use crate::peer::NodeId;
use crate::raft::Deadlines;
use crate::replica::Envelope;
use tokio::time::Instant;

impl Inner {
    /// Refuses a command of a later level than the cluster's before it is proposed, because some nodes may be unable to
    /// apply it.
    pub(super) async fn check_level(&self, command: &Command, deadline: Instant) -> Result<(), NodeError> {
        let needed = command.level();
        if needed == FEATURE_LEVEL_FIRST || needed <= self.feature_level() {
            return Ok(());
        }
        // This node may be behind: the level that it has applied can be too low, never too high.
        let limit = Some(deadline.saturating_duration_since(Instant::now()));
        let kept = self.read(Consistency::Linearizable, None, limit, Cache::feature_level).await?.value;
        if needed > kept { Err(NodeError::FeatureLevel { needed, kept }) } else { Ok(()) }
    }

    /// The cluster's feature level, as far as this node has applied the log.
    pub(super) fn feature_level(&self) -> u32 {
        self.consensus.replica().with_cache(Cache::feature_level)
    }

    fn term_and_members(&self) -> (u64, Vec<NodeId>) {
        let status = self.consensus.status();
        (status.term, status.members.into_iter().map(|member| member.id).collect())
    }

    /// Carries out [`super::admin::AdminRequest::RaiseFeatureLevel`], as the leader.
    pub(super) async fn raise_feature_level(&self, deadline: Instant) -> Result<FeatureLevel, AdminFailure> {
        // Held so that this leader adds no node meanwhile, which would not be asked.
        let _guard = self.lock_membership(deadline).await?;
        let asked = self.term_and_members();
        let level = newest_known_by_all(&self.states().await)?;
        // This node may have been replaced as the leader, or may not have applied the last raise yet.
        let index = self.confirmed_index(AskedVoters::All).await.map_err(|_| AdminFailure::NotLeader)?;
        self.consensus.replica().applied(index).await;
        if self.term_and_members() != asked {
            // Another leader may have added a node that was not asked.
            return Err(AdminFailure::NotLeader);
        }
        let kept = self.feature_level();
        if level <= kept {
            return Ok(FeatureLevel { feature_level: kept, raised: false });
        }
        let command = Command::RaiseFeatureLevel { level };
        let envelope = Envelope::from(command).encode();
        let deadlines = Deadlines::at_once(deadline);
        match self.propose_here(0, envelope, &ReadsBefore::default(), deadlines).await {
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
/// The error if a member does not report the level that it knows.
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

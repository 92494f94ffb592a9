//! Replaces a member whose data folder is lost by a node with an empty folder that has its name.
//!
//! This is safe although nobody can prove that a folder is lost:
//!
//! - The member is removed through the log, by a majority of the voters without it. From then on its votes and its
//!   acknowledgements count for nothing. If its folder comes back after all, it learns that it was removed.
//! - The node gets a new id from the log, and no vote until it has the log. It never answers for what the member promised.
//! - The leader adds a node under the membership lock, and refuses a name that is taken. So of two nodes with an empty folder
//!   and the same name one gets in, and the other finds a member that answers.
//! - Where no majority answers, nothing is committed, so nothing is replaced: that takes `lockstep recover`.

use super::admin::{AdminFailure, SILENT_MS_MAX, find};
use super::inner::Inner;
use super::newcomer::AddMemberMessage;
use crate::api::{Joined, REPLACE_SILENT_MS_MIN};
use crate::peer::NodeId;
use crate::raft::{MemberState, RaftStatus};
use std::time::Duration;
use tokio::time::Instant;

impl Inner {
    /// Removes a member whose data folder is lost, on an operator's word.
    pub(super) async fn replace(&self, id: NodeId) -> Result<(), AdminFailure> {
        let status = self.consensus.status();
        let member = find(&status, id)?;
        let wanted = Duration::from_millis(SILENT_MS_MAX);
        if let Err(silent) = self.is_silent(&status, member, wanted) {
            return Err(AdminFailure::Conflict(not_lost(&member.member.name, id, silent, wanted)));
        }
        self.remove_lost(&status, member).await
    }

    /// Removes the member that has the node's name, once it has been silent for so long, and adds the node. Without such a
    /// member, it only adds the node.
    pub(super) async fn add_in_place(
        &self,
        node: AddMemberMessage,
        silent_ms: u64,
        deadline: Instant,
    ) -> Result<Joined, AdminFailure> {
        node.check().map_err(AdminFailure::Invalid)?;
        if silent_ms < REPLACE_SILENT_MS_MIN {
            let reason = format!("replace_silent_ms: expected at least {REPLACE_SILENT_MS_MIN}");
            return Err(AdminFailure::Invalid(reason));
        }
        if node.name.is_none() {
            return Err(AdminFailure::Invalid("replace_silent_ms: expected a name, too".into()));
        }
        if self.is_detached() {
            return self.add(node, deadline).await;
        }
        let guard = self.lock_membership(deadline).await?;
        let status = self.consensus.status();
        let is_known = status.members.iter().any(|member| member.member.store_uuid == node.store_uuid);
        let holder = status.members.iter().find(|member| Some(&member.member.name) == node.name.as_ref());
        if let Some(holder) = holder.filter(|_| !is_known) {
            // What would keep the node out afterwards keeps the member in now.
            let others = status.members.iter().filter(|other| other.id != holder.id);
            node.refuse_taken(others).map_err(AdminFailure::Conflict)?;
            if node.feature_level >= self.feature_level() {
                let wanted = Duration::from_millis(silent_ms);
                if self.is_silent(&status, holder, wanted).is_err() {
                    let reason = waits_for(&holder.member.name, wanted);
                    return Err(AdminFailure::Conflict(reason));
                }
                self.remove_lost(&status, holder).await?;
            }
        }
        drop(guard);
        self.add(node, deadline).await
    }

    /// Whether this leader has not heard from a member for so long. If not: for how long.
    fn is_silent(
        &self,
        status: &RaftStatus,
        member: &MemberState,
        wanted: Duration,
    ) -> Result<(), Option<Duration>> {
        if member.id == self.identity.node_id {
            return Err(None);
        }
        let silent = self.silence.of_member(status.term, Instant::now(), member.silent_ms);
        if silent > wanted.max(self.silence.break_max()) { Ok(()) } else { Err(Some(silent)) }
    }

    async fn remove_lost(&self, status: &RaftStatus, member: &MemberState) -> Result<(), AdminFailure> {
        self.refuse_quorum_loss(status, member.id).map_err(|failure| match failure {
            AdminFailure::Conflict(reason) => AdminFailure::Conflict(format!(
                "{reason}; if the others are lost for good, use `lockstep recover`"
            )),
            other => other,
        })?;
        self.consensus.remove(member.id, member.voter).await?;
        let name = &member.member.name;
        tracing::warn!(
            id = member.id,
            name,
            "removed a member, so that a node with an empty folder takes its place"
        );
        Ok(())
    }
}

/// Why a member is not removed as lost. `None`: it leads.
fn not_lost(name: &str, id: NodeId, silent: Option<Duration>, wanted: Duration) -> String {
    let wanted = wanted.as_secs();
    match silent {
        None => format!(
            "{name} leads the cluster, so its data folder is not lost; `lockstep member remove {id}` removes a member that runs"
        ),
        Some(silent) => format!(
            "the leader has missed {name} for {:.1} s only: it takes a member for lost after {wanted} s. If its data folder is lost, \
             stop what runs on it and ask again; `lockstep member remove {id}` removes a member that runs",
            silent.as_secs_f64()
        ),
    }
}

/// What a node waits for. It is the same sentence each time, so that the node logs it once.
fn waits_for(name: &str, wanted: Duration) -> String {
    format!(
        "there is a member named {name} already, with another data folder; the leader replaces it once it has not heard from \
         it for {} s; if that folder is lost, `lockstep member replace {name}` does it now",
        wanted.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_not_lost_is_named_with_what_to_do() {
        let (second, wanted) = (Duration::from_millis(1_240), Duration::from_secs(3));
        let of_follower = not_lost("n2", 17, Some(second), wanted);
        assert!(
            of_follower.contains("n2 for 1.2 s only") && of_follower.contains("after 3 s"),
            "{of_follower}"
        );
        let of_leader = not_lost("n2", 17, None, wanted);
        for sentence in [of_follower, of_leader] {
            assert!(sentence.contains("`lockstep member remove 17`"), "{sentence}");
        }
    }
}

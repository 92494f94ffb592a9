//! Leadership transfers: which voter leads next, and until when this node tries.

use super::admin::{ANSWER_MARGIN, AdminFailure, find};
use super::inner::Inner;
use crate::peer::NodeId;
use crate::raft::{Attempted, MemberState, RaftStatus};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Leadership is not transferred to a member that has been silent for longer, on loopback: it may be dead.
const SUCCESSOR_SILENT_MAX: Duration = Duration::from_millis(500);

/// The pause of a node that stops before it asks a voter again: one that stops, too, refuses at once.
const TRIED_AGAIN_PAUSE: Duration = Duration::from_millis(200);

impl Inner {
    /// Transfers leadership to a voter. Returns once another node leads: the one that was named, if one was.
    pub(super) async fn transfer(&self, to: Option<NodeId>, deadline: Instant) -> Result<(), AdminFailure> {
        if to == Some(self.identity.node_id) {
            return Ok(());
        }
        let mut tried = BTreeSet::new();
        let mut successor = self.successor(&self.consensus.status(), to, &tried)?.clone();
        // Early enough to answer that nothing was done.
        let latest = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
        let mut was_asked = false;
        while Instant::now() < latest {
            let MemberState { id, member, .. } = &successor;
            // A node that stops takes no writes that would have to go on.
            let is_urgent = self.draining.load(Ordering::Acquire);
            let attempted = self.consensus.transfer_leader(*id, member, is_urgent, latest).await;
            let attempted = attempted.map_err(AdminFailure::Stopped)?;
            tried.insert(*id);
            was_asked |= attempted != Attempted::NotAsked;
            // The member may also have been elected late.
            if attempted == Attempted::Over || !self.consensus.is_leader() {
                return self.until_another_leads(to, &successor.member.name, deadline).await;
            }
            match self.successor(&self.consensus.status(), to, &tried) {
                Ok(next) => {
                    if is_urgent && tried.contains(&next.id) {
                        tokio::time::sleep(TRIED_AGAIN_PAUSE).await;
                    }
                    successor = next.clone();
                }
                Err(_) if was_asked => break,
                Err(failure) => return Err(failure),
            }
        }
        let name = &successor.member.name;
        match was_asked {
            true => Err(not_taken(name)),
            false => Err(AdminFailure::Conflict(format!(
                "{name} was not asked to lead: it is too far behind, or another attempt was under way"
            ))),
        }
    }

    /// Waits until a node leads after this one.
    async fn until_another_leads(
        &self,
        named: Option<NodeId>,
        successor: &str,
        deadline: Instant,
    ) -> Result<(), AdminFailure> {
        let me = self.identity.node_id;
        let limit = deadline.saturating_duration_since(Instant::now());
        let another_leads = |status: &RaftStatus| status.leader.is_some_and(|leader| leader != me);
        if !self.consensus.wait_for(limit, another_leads).await {
            return Err(not_taken(successor));
        }
        match named {
            // The one that was elected instead is asked next.
            Some(named) if self.consensus.leader() != Some(named) => Err(AdminFailure::OtherLeader),
            _ => Ok(()),
        }
    }

    /// The voter that is to lead: the one that was named, or the most up-to-date one of those that answer, first of those that were
    /// not tried yet. A leader that was just elected does not know yet who answers, and after an attempt it should.
    fn successor<'a>(
        &self,
        status: &'a RaftStatus,
        named: Option<NodeId>,
        tried: &BTreeSet<NodeId>,
    ) -> Result<&'a MemberState, AdminFailure> {
        let is_silent = |member: &MemberState, unknown| {
            let heartbeats = 3 * self.consensus.timing().heartbeat();
            let silent_max =
                SUCCESSOR_SILENT_MAX.max(heartbeats) + 3 * self.consensus.round_trip_to(member.id);
            member.silent_ms.map_or(unknown, |ms| Duration::from_millis(ms) > silent_max)
        };
        let Some(id) = named else {
            let others = status.members.iter().filter(|m| m.voter && m.id != self.identity.node_id);
            let best = others
                .filter(|member| !is_silent(member, true))
                .max_by_key(|m| (!tried.contains(&m.id), m.matched));
            return best.ok_or_else(|| AdminFailure::Conflict("no other voter can take leadership".into()));
        };
        let member = find(status, id)?;
        let name = &member.member.name;
        if !member.voter {
            return Err(AdminFailure::Conflict(format!("{name} has no vote, so it cannot lead")));
        }
        if is_silent(member, !tried.is_empty()) {
            return Err(AdminFailure::Conflict(format!("{name} does not answer, so it cannot lead now")));
        }
        Ok(member)
    }
}

/// It may still be elected.
fn not_taken(successor: &str) -> AdminFailure {
    AdminFailure::Unknown(format!("{successor} has not taken leadership yet"))
}

//! The health of the cluster as this node sees it: which members answer, whether they are a majority, and whether they
//! say that this node was removed. Changes are logged for operators.

use super::audit::Round;
use super::error::NodeError;
use super::inner::Inner;
use crate::peer::NodeId;
use crate::raft::RaftStatus;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// So many rounds in a row without an answer, without a majority, or with a majority that disowns this node, count as a
/// change.
const ROUNDS: u32 = 2;

/// The result of the last rounds.
pub(super) struct ClusterHealth {
    majority: AtomicBool,
    removed: AtomicBool,
}

impl Default for ClusterHealth {
    fn default() -> Self {
        Self { majority: AtomicBool::new(true), removed: AtomicBool::new(false) }
    }
}

impl ClusterHealth {
    /// Whether a majority of the voters has answered recently. This node counts, if it is a voter.
    pub fn has_majority(&self) -> bool {
        self.majority.load(Relaxed)
    }

    /// Whether the other members say that this node is no longer one.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Relaxed)
    }
}

impl Inner {
    /// A removed node accepts no requests for the cluster and answers none from its state.
    pub(super) fn refuse_when_removed(&self) -> Result<(), NodeError> {
        if self.audit.health.is_removed() {
            return Err(NodeError::Unavailable("this node was removed from the cluster".into()));
        }
        Ok(())
    }
}

/// Updates [`ClusterHealth`] after each round, and logs each change once.
#[derive(Default)]
pub(super) struct HealthTracker {
    /// For each other member, how many rounds in a row it has not answered.
    silent: BTreeMap<NodeId, u32>,
    without_majority: u32,
    disowned: u32,
    leader: Option<(NodeId, u64)>,
}

impl HealthTracker {
    /// Evaluates a round.
    pub fn record(&mut self, node: &Inner, status: &RaftStatus, round: &Round) {
        let me = node.identity.node_id;
        self.log_leader(me, status);
        self.log_silence(round);
        let health = &node.audit.health;

        let answers = |id| id == me || round.iter().any(|(other, answer)| other.id == id && answer.is_ok());
        let voters: Vec<NodeId> = status.members.iter().filter(|m| m.voter).map(|m| m.id).collect();
        let majority = is_majority(voters.iter().filter(|id| answers(**id)).count(), voters.len());
        self.without_majority = if majority { 0 } else { self.without_majority.saturating_add(1) };
        let lost = self.without_majority >= ROUNDS;
        if health.majority.swap(!lost, Relaxed) == lost {
            match lost {
                true => tracing::error!(
                    "no majority of the voters answers: writes and current reads are refused until one does (if it is lost for \
                     good: lockstep recover)"
                ),
                false => tracing::info!("a majority of the voters answers again"),
            }
        }

        // Only voters count: a learner is easily added, and must not be able to put other nodes out of service.
        let voters = round.iter().filter(|(other, _)| other.voter);
        let replies: Vec<bool> = voters.flat_map(|(_, answer)| answer.as_ref().ok()?.is_member).collect();
        let against = replies.iter().filter(|is_member| !**is_member).count();
        let disowned = against > 0 && is_majority(against, replies.len());
        self.disowned = match (disowned, replies.is_empty()) {
            (true, _) => self.disowned.saturating_add(1),
            // No answers at all do not mean that the node was added again.
            (false, true) => self.disowned,
            (false, false) => 0,
        };
        let removed = self.disowned >= ROUNDS;
        if health.removed.swap(removed, Relaxed) != removed && removed {
            tracing::error!(
                "this node was removed from the cluster: it is out of service, and can be stopped"
            );
        }
    }

    fn log_leader(&mut self, me: NodeId, status: &RaftStatus) {
        let Some(leader) = status.leader else { return };
        if self.leader.replace((leader, status.term)) == Some((leader, status.term)) {
            return;
        }
        let name =
            status.members.iter().find(|member| member.id == leader).map(|member| &*member.member.name);
        let (leader, term) = (name.unwrap_or("a node"), status.term);
        match status.leader == Some(me) {
            true => tracing::info!(term, "this node leads"),
            false => tracing::info!(leader, term, "another node leads"),
        }
    }

    fn log_silence(&mut self, round: &Round) {
        self.silent.retain(|id, _| round.iter().any(|(other, _)| other.id == *id));
        for (other, answer) in round {
            let node = &*other.member.name;
            let rounds = self.silent.entry(other.id).or_default();
            if answer.is_ok() {
                if std::mem::take(rounds) >= ROUNDS {
                    tracing::info!(node, "a member answers again");
                }
                continue;
            }
            *rounds = rounds.saturating_add(1);
            if *rounds == ROUNDS {
                tracing::warn!(node, "a member does not answer");
            }
        }
    }
}

fn is_majority(count: usize, of: usize) -> bool {
    of == 0 || count > of / 2
}

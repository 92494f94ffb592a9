//! How this node stands with the others: who answers it, whether those are a majority, whether they still count it among
//! them. What changes is written to the log that operators read.

use super::audit::Round;
use super::error::NodeError;
use super::start::Inner;
use crate::peer::NodeId;
use crate::raft::RaftStatus;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// One that has not answered so many rounds does not answer; so many rounds make a majority's loss, or a removal, certain.
const ROUNDS: u32 = 2;

/// What the last rounds showed.
pub(super) struct Standing {
    majority: AtomicBool,
    removed: AtomicBool,
}

impl Default for Standing {
    fn default() -> Self {
        Self { majority: AtomicBool::new(true), removed: AtomicBool::new(false) }
    }
}

impl Standing {
    /// Whether a majority of the voters has answered lately, this node among them if it is one.
    pub fn has_majority(&self) -> bool {
        self.majority.load(Relaxed)
    }

    /// Whether the others say that this node is no member any more.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Relaxed)
    }
}

impl Inner {
    /// A node that was removed takes nothing more for the cluster, nor tells what it knew of it.
    pub(super) fn refuse_when_removed(&self) -> Result<(), NodeError> {
        if self.audit.standing.is_removed() {
            return Err(NodeError::Unavailable("this node was removed from the cluster".into()));
        }
        Ok(())
    }
}

/// Follows the rounds, and remembers from one to the next what it takes to tell of a change once.
#[derive(Default)]
pub(super) struct Observer {
    /// Rounds that each of the others has not answered.
    silent: BTreeMap<NodeId, u32>,
    without_majority: u32,
    disowned: u32,
    lead: Option<(NodeId, u64)>,
}

impl Observer {
    /// Takes in who answered in a round, and what.
    pub fn note(&mut self, node: &Inner, status: &RaftStatus, round: &Round) {
        let me = node.identity.node_id;
        self.note_lead(me, status);
        self.note_silence(round);
        let standing = &node.audit.standing;

        let answers = |id| id == me || round.iter().any(|(other, answer)| other.id == id && answer.is_ok());
        let voters: Vec<NodeId> = status.members.iter().filter(|m| m.voter).map(|m| m.id).collect();
        let majority = is_majority(voters.iter().filter(|id| answers(**id)).count(), voters.len());
        self.without_majority = if majority { 0 } else { self.without_majority.saturating_add(1) };
        let lost = self.without_majority >= ROUNDS;
        if standing.majority.swap(!lost, Relaxed) == lost {
            match lost {
                true => tracing::error!(
                    "no majority of the voters answers: writes and current reads are refused until one does"
                ),
                false => tracing::info!("a majority of the voters answers again"),
            }
        }

        // Whoever can be added without a vote must not be able to put others out of service.
        let voters = round.iter().filter(|(other, _)| other.voter);
        let words: Vec<bool> = voters.flat_map(|(_, answer)| answer.as_ref().ok()?.is_member).collect();
        let against = words.iter().filter(|is_member| !**is_member).count();
        let disowned = against > 0 && is_majority(against, words.len());
        self.disowned = match (disowned, words.is_empty()) {
            (true, _) => self.disowned.saturating_add(1),
            // Silence is no word of being let in again.
            (false, true) => self.disowned,
            (false, false) => 0,
        };
        let removed = self.disowned >= ROUNDS;
        if standing.removed.swap(removed, Relaxed) != removed && removed {
            tracing::error!(
                "this node was removed from the cluster: it is out of service, and can be stopped"
            );
        }
    }

    fn note_lead(&mut self, me: NodeId, status: &RaftStatus) {
        let Some(leader) = status.leader else { return };
        if self.lead.replace((leader, status.term)) == Some((leader, status.term)) {
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

    fn note_silence(&mut self, round: &Round) {
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

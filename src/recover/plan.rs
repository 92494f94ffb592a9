//! Decides how survivors go on, or why they must not.

use super::loss::Loss;
use super::survivor::{FolderState, MembershipAt, NamedMember, Survivor};
use crate::lineage::{History, HistoryKind, Lineage, Relation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The version of the format of [`Plan`].
pub const PLAN_VERSION: u32 = 1;

/// How survivors go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this format.
    pub recovery: u32,
    /// The histories, the new one included.
    pub lineage: Lineage,
    /// Whose log the new history begins with.
    pub seed: Survives,
    /// The survivors that join anew.
    pub others: Vec<Survives>,
    /// The members that are given up.
    pub lost: Vec<NamedMember>,
    pub loss: Loss,
}

/// A survivor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survives {
    pub node: NamedMember,
    /// Whether it has a vote, and gets one again.
    pub voter: bool,
    /// How far its folder was when the plan was made.
    pub state: FolderState,
}

impl Plan {
    /// The survivor with a data folder.
    pub fn survivor(&self, store_uuid: &str) -> Option<&Survives> {
        let mut all = std::iter::once(&self.seed).chain(&self.others);
        all.find(|survivor| survivor.node.store_uuid == store_uuid)
    }

    /// How many survivors had a vote; at least one.
    pub fn voters(&self) -> usize {
        1.max(usize::from(self.seed.voter) + self.others.iter().filter(|other| other.voter).count())
    }

    /// The history that the new one goes on from.
    ///
    /// # Errors
    /// The plan was not made by [`plan`]: there is none.
    pub fn ended_history(&self) -> Result<&History, &'static str> {
        match self.lineage.histories() {
            [.., ended, _] => Ok(ended),
            _ => Err("the plan's lineage has no history before the new one"),
        }
    }
}

/// Why survivors must not go on like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "nobody has survived: name the folders of the survivors, or what `recover collect` printed of them"
    )]
    NoSurvivor,
    #[error("{0} and {1} belong to different clusters")]
    Foreign(String, String),
    #[error("the log of {0} belongs to history {1}, that of {2} to history {3}: both must be of one history")]
    OtherHistory(String, u64, String, u64),
    #[error(
        "{0} has heard that its cluster goes on in history {1}: it is no survivor; its changes can be brought in with \
         `lockstep reconcile`"
    )]
    Superseded(String, u64),
    #[error("there are two reports about {0}")]
    Twice(String),
    #[error(
        "{0} was removed from the cluster, or had another data folder: its log may have missed what was acknowledged later"
    )]
    NotAMember(String),
    #[error("no member is named {0}; the members are {1}")]
    NoSuchMember(String, String),
    #[error("{0} is named as lost, and there is a report about it")]
    NotLost(String),
    #[error("what has become of {0}? Collect it, or name it with --lost")]
    Unaccounted(String),
    #[error("the survivors are a majority: start them, and Raft elects a leader without losing anything")]
    MajorityIsLeft,
    #[error("the cluster has had as many histories as there can be")]
    Full,
}

/// Decides for the survivor with the best log: of those that have everything which any of them knows to be committed, the one
/// with the greatest term of the last entry, then the greatest index, as Raft elects. Neither half of it would do alone. The
/// greatest committed index may leave out entries that were acknowledged before their commit was heard of. The greatest term
/// may be that of a leader that nobody followed, while others committed without it; no majority has to be left that knows.
///
/// `lost` names members by name or number. The new history gets the given `id`, and begins at `at_ms` milliseconds since the
/// Unix epoch.
///
/// # Errors
/// [`Refusal`].
pub fn plan(survivors: &[Survivor], lost: &[String], id: String, at_ms: u64) -> Result<Plan, Refusal> {
    refuse_strangers(survivors)?;
    let knows_most = survivors.iter().max_by_key(|survivor| survivor.committed_index);
    let knows_most = knows_most.ok_or(Refusal::NoSurvivor)?;
    let candidates = survivors.iter().filter(|survivor| survivor.has_committed_of(knows_most));
    // Which of two equal logs is taken does not matter, but it must not depend on the order in which they were named.
    let best = candidates
        .max_by(|left, right| (left.last, &right.node.store_uuid).cmp(&(right.last, &left.node.store_uuid)));
    let seed = best.unwrap_or(knows_most);
    let membership = seed.memberships.last().ok_or_else(|| Refusal::NotAMember(seed.node.name.clone()))?;
    for survivor in survivors {
        let known = membership.member(survivor.node.id);
        if known.is_none_or(|known| known.store_uuid != survivor.node.store_uuid) {
            return Err(Refusal::NotAMember(survivor.node.name.clone()));
        }
    }
    let present: BTreeSet<u64> = survivors.iter().map(|survivor| survivor.node.id).collect();
    let lost = lost_members(membership, lost, &present)?;
    if membership.is_quorum(&present) {
        return Err(Refusal::MajorityIsLeft);
    }
    let heard_of =
        survivors.iter().map(|survivor| survivor.last.index.max(survivor.heard_of)).max().unwrap_or(0);
    let names: Vec<&str> = lost.iter().map(|member| member.name.as_str()).collect();
    let reason = format!("recovered from {} without {}", seed.node.name, names.join(", "));
    let (kind, fork_index) = (HistoryKind::Recovered, seed.last.index);
    let lineage =
        seed.lineage.fork(id, kind, fork_index, heard_of, at_ms, &reason).map_err(|_| Refusal::Full)?;
    let survives = |survivor: &Survivor| Survives {
        node: survivor.node.clone(),
        voter: membership.is_voter(survivor.node.id),
        state: survivor.state(),
    };
    let others = survivors.iter().filter(|survivor| survivor.node.id != seed.node.id);
    Ok(Plan {
        recovery: PLAN_VERSION,
        lineage,
        seed: survives(seed),
        others: others.map(survives).collect(),
        loss: Loss::of(seed, survivors),
        lost,
    })
}

/// All must have logs of one history, and each log is counted once.
fn refuse_strangers(survivors: &[Survivor]) -> Result<(), Refusal> {
    let first = survivors.first().ok_or(Refusal::NoSurvivor)?;
    let mut seen = BTreeSet::new();
    for survivor in survivors {
        let name = survivor.node.name.clone();
        if let Some(lineage) = &survivor.superseded_by {
            return Err(Refusal::Superseded(name, lineage.current().number));
        }
        match first.lineage.relation(&survivor.lineage) {
            Relation::Same => {}
            Relation::Foreign => return Err(Refusal::Foreign(name, first.node.name.clone())),
            Relation::Earlier | Relation::Later | Relation::Forked { .. } => {
                let number = |lineage: &Lineage| lineage.current().number;
                let (theirs, mine) = (number(&survivor.lineage), number(&first.lineage));
                return Err(Refusal::OtherHistory(name, theirs, first.node.name.clone(), mine));
            }
        }
        if !seen.insert(survivor.node.id) {
            return Err(Refusal::Twice(name));
        }
    }
    Ok(())
}

/// The members that were named as lost. Every voter must be one of them or a survivor.
fn lost_members(
    membership: &MembershipAt,
    named: &[String],
    present: &BTreeSet<u64>,
) -> Result<Vec<NamedMember>, Refusal> {
    let mut lost: Vec<NamedMember> = Vec::new();
    for name in named {
        let number = name.parse::<u64>().ok();
        let known = membership.members.iter().find(|known| known.name == *name || Some(known.id) == number);
        let known = known.ok_or_else(|| {
            let names: Vec<&str> = membership.members.iter().map(|member| member.name.as_str()).collect();
            Refusal::NoSuchMember(name.clone(), names.join(", "))
        })?;
        if present.contains(&known.id) {
            return Err(Refusal::NotLost(known.name.clone()));
        }
        if !lost.contains(known) {
            lost.push(known.clone());
        }
    }
    let accounted = |member: &&NamedMember| present.contains(&member.id) || lost.contains(member);
    let missing: Vec<&str> =
        membership.members.iter().filter(|member| !accounted(member)).map(|member| &*member.name).collect();
    match missing.is_empty() {
        true => Ok(lost),
        false => Err(Refusal::Unaccounted(missing.join(", "))),
    }
}

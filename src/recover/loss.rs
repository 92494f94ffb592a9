//! What a recovery keeps, and what may be lost by it.

use super::survivor::{MembershipAt, Survivor, TailChange};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is kept and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// All entries up to this index are known to be committed, and kept.
    pub committed_index: u64,
    /// The last entry that is kept. Those after the committed ones may never have been acknowledged to anybody: keeping them
    /// is right all the same, because whoever wrote them was told nothing, or that the outcome is unknown.
    pub last_index: u64,
    /// Log time at the last entry, in milliseconds since the Unix epoch; `null` if it is not known.
    pub last_entry_at_ms: Option<u64>,
    /// Whether it is proven that no acknowledged write is lost.
    pub nothing_acknowledged: bool,
    /// What the first of the entries that may not be committed change.
    pub tail: Vec<TailChange>,
}

impl Loss {
    /// What the survivors' best log keeps, if the other voters are lost.
    ///
    /// An acknowledged write is on a majority of each set of voters of the membership it was committed under. So if no such
    /// majority can be among the lost nodes alone, a survivor has the write and the entry by which its leader committed it, and
    /// then the best log has both: it is the one Raft would elect (Ongaro and Ousterhout, "In Search of an Understandable
    /// Consensus Algorithm", section 5.4). Which membership that was is not known for certain. It is the newest one that is
    /// known to be committed, a later one in the best log, or, where that is a joint one, the second half of it, which decides
    /// alone once the joint one is committed. Any other needs a majority of one of these first.
    pub fn of(seed: &Survivor, survivors: &[Survivor]) -> Self {
        let committed_index = survivors.iter().map(|survivor| survivor.committed_index).max().unwrap_or(0);
        let present: BTreeSet<u64> = survivors.iter().map(|survivor| survivor.node.id).collect();
        let majority_is_lost = |set: &BTreeSet<u64>| 2 * set.difference(&present).count() > set.len();
        // A joint membership needs both its halves, so the second one says whether either can decide.
        let lost_can_decide =
            |membership: &MembershipAt| membership.voters.last().is_none_or(majority_is_lost);
        let replaced = seed.memberships.iter().filter(|known| known.index <= committed_index).count();
        let possible = &seed.memberships[replaced.saturating_sub(1)..];
        Self {
            committed_index,
            last_index: seed.last.index,
            last_entry_at_ms: seed.last_entry_at_ms,
            nothing_acknowledged: !possible.is_empty() && !possible.iter().any(lost_can_decide),
            tail: seed.tail.iter().filter(|change| change.index > committed_index).cloned().collect(),
        }
    }
}

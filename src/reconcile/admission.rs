//! Whether two logs can be reconciled, and where they part.

use crate::lineage::{ForkError, Position, Relation, fork_index};

/// Where two logs part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parting {
    /// The last index that both have.
    pub fork_index: u64,
    /// How many histories both have, from the first one on.
    pub shared: usize,
}

/// Why there is nothing to reconcile, or no way to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("they belong to different clusters")]
    Foreign,
    #[error("{0}")]
    NoFork(ForkError),
    /// One history: Raft decides.
    #[error(
        "both have the same history. Entries that one of them lacks reach it through Raft; those that were never \
         committed are dropped by Raft. There is nothing to reconcile"
    )]
    SameHistory,
    #[error(
        "the incoming side's history {number} is an earlier one of the cluster, and its log ends at index {last_index}, \
         before the cluster left that history. It is behind: there is nothing to reconcile"
    )]
    Behind { number: u64, last_index: u64 },
    /// The sides were given the wrong way round, or the cluster is an older part of the other one.
    #[error(
        "the incoming side's history comes from that of the cluster, which has changed nothing since. The incoming side \
         is what the cluster would become: there is nothing to reconcile"
    )]
    Ahead,
}

/// Decides whether what `incoming` did is to be reconciled with `live`.
///
/// # Errors
/// [`Refusal`].
pub fn admit(incoming: Position<'_>, live: Position<'_>) -> Result<Parting, Refusal> {
    let relation = live.lineage.relation(incoming.lineage);
    match relation {
        Relation::Foreign => return Err(Refusal::Foreign),
        Relation::Same => return Err(Refusal::SameHistory),
        Relation::Earlier | Relation::Later | Relation::Forked { .. } => {}
    }
    let fork_index = fork_index(incoming, live).map_err(Refusal::NoFork)?;
    let shared = live.lineage.shared(incoming.lineage);
    if relation == Relation::Earlier && incoming.last_index <= fork_index {
        let number = incoming.lineage.current().number;
        return Err(Refusal::Behind { number, last_index: incoming.last_index });
    }
    if relation == Relation::Later && live.last_index <= fork_index {
        return Err(Refusal::Ahead);
    }
    Ok(Parting { fork_index, shared })
}

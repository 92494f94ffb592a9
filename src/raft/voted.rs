//! The newest vote that this node has given. A node votes once in a term, and never for a lower term than before. So if a
//! majority has not voted against a leader yet, no other leader can have been elected yet.

use super::wire::WireVote;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The newest vote, given to a candidate or to a leader. Clones share it.
///
/// It is set before the vote is stored, and a vote is stored before the candidate learns of it. So whoever reads an older
/// vote here does so before the candidate can count the newer one.
#[derive(Debug, Clone, Default)]
pub(super) struct Voted(Arc<Mutex<Option<WireVote>>>);

impl Voted {
    pub fn new(vote: Option<WireVote>) -> Self {
        Self(Arc::new(Mutex::new(vote)))
    }

    /// Records a vote that is about to be stored.
    pub fn set(&self, vote: WireVote) {
        *self.lock() = Some(vote);
    }

    /// The newest vote; `None` if this node has never voted.
    pub fn get(&self) -> Option<WireVote> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<WireVote>> {
        // A vote is copied in one step, so it is whole even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a node whose newest vote is `vote` has voted for no other leader in the term of `leader`, nor in a later one.
pub(super) fn supports(vote: Option<WireVote>, leader: WireVote) -> bool {
    vote.is_none_or(|vote| vote.term < leader.term || (vote.term == leader.term && vote.node == leader.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_for_another_in_the_same_or_a_later_term_is_no_support() {
        let vote = |term, node| WireVote { term, node, committed: false };
        let leader = WireVote { term: 5, node: 1, committed: true };
        for (newest, supported) in [
            (None, true),
            (Some(vote(4, 2)), true),
            (Some(vote(5, 1)), true),
            (Some(leader), true),
            (Some(vote(5, 2)), false),
            (Some(vote(6, 1)), false),
            (Some(vote(6, 2)), false),
        ] {
            assert_eq!(supports(newest, leader), supported, "{newest:?}");
        }
    }
}

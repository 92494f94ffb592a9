//! What a leader knows of the support that it has.
//!
//! Its lease is the time for which a majority has promised to help to elect no other leader. Until it ends this node is the
//! only leader, and may read without asking anybody. It assumes that the clocks of two nodes differ in speed by less than a
//! quarter. As in Ongaro's dissertation on Raft (section 6.4.1), but the followers say how long it lasts.

use super::leadership::{Leadership, is_majority};
use crate::peer::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The answers of the other voters to this leader's requests for support.
#[derive(Debug, Default)]
pub struct Lease(Mutex<Support>);

#[derive(Debug, Default)]
struct Support {
    /// The term of the answers.
    term: u64,
    nodes: BTreeMap<NodeId, Answer>,
    /// The leadership is being handed over, so no promise counts any more.
    revoked: bool,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    /// When the newest request was sent that the node has answered.
    asked_at: Instant,
    /// When the longest promise ends, by this node's clock.
    until: Instant,
}

impl Lease {
    /// A node supports this leader. It has promised to help to elect no other for as long as `promise`, when it answered
    /// a request that was sent at `asked_at`.
    pub fn supported(&self, term: u64, node: NodeId, asked_at: Instant, promise: Duration) {
        let mut support = self.support();
        if term < support.term {
            return;
        }
        if term > support.term {
            *support = Support { term, ..Support::default() };
        }
        // The node counts from when it answered, which is later. A quarter is for clocks that run at different speeds.
        let until = asked_at + promise * 3 / 4;
        let answer = support.nodes.entry(node).or_insert(Answer { asked_at, until });
        // Answers may come in any order.
        answer.asked_at = answer.asked_at.max(asked_at);
        answer.until = answer.until.max(until);
    }

    /// Whether no other leader can have been elected yet, as long as this node has not voted for one.
    pub fn is_valid(&self, leadership: &Leadership) -> bool {
        let now = Instant::now();
        let support = self.support();
        !support.revoked && support.is_majority(leadership, |answer| now < answer.until)
    }

    /// Whether a majority has answered requests that were sent within this time.
    pub fn is_supported_within(&self, leadership: &Leadership, time: Duration) -> bool {
        let now = Instant::now();
        self.support().is_majority(leadership, |answer| now.duration_since(answer.asked_at) <= time)
    }

    /// Whether anybody has answered in this term.
    pub fn has_answers(&self, term: u64) -> bool {
        let support = self.support();
        support.term == term && !support.nodes.is_empty()
    }

    /// Ends the lease for the rest of a term: followers vote for the node that takes over, whatever they promised.
    pub fn revoke(&self, term: u64) {
        let mut support = self.support();
        if term > support.term {
            *support = Support { term, ..Support::default() };
        }
        // Who has answered stays: it says whether a majority is still there.
        support.revoked |= term == support.term;
    }

    fn support(&self) -> MutexGuard<'_, Support> {
        self.0.lock().expect("no panic while held")
    }
}

impl Support {
    /// Whether the leader and the nodes whose answer satisfies a condition are a majority.
    fn is_majority(&self, leadership: &Leadership, condition: impl Fn(&Answer) -> bool) -> bool {
        let answered = self.nodes.iter().filter(|(_, answer)| condition(answer)).map(|(node, _)| *node);
        let nodes: BTreeSet<NodeId> = answered.chain([leadership.vote.node]).collect();
        (self.term == leadership.vote.term || nodes.len() == 1) && is_majority(&leadership.voters, &nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::WireVote;
    use super::*;

    fn leadership(term: u64, voters: &[&[NodeId]]) -> Leadership {
        Leadership {
            vote: WireVote { term, node: 1, committed: true },
            voters: voters.iter().map(|voters| voters.iter().copied().collect()).collect(),
            last_log_index: 0,
        }
    }

    const PROMISE: Duration = Duration::from_millis(200);

    #[tokio::test(start_paused = true)]
    async fn a_majority_of_promises_is_a_lease() {
        let lease = Lease::default();
        let three = leadership(5, &[&[1, 2, 3]]);
        assert!(!lease.is_valid(&three), "nobody has answered");
        lease.supported(5, 2, Instant::now(), PROMISE);
        assert!(lease.is_valid(&three));
        assert!(!lease.is_valid(&leadership(6, &[&[1, 2, 3]])), "promises of an earlier term");
        assert!(!lease.is_valid(&leadership(5, &[&[1, 2, 3], &[1, 4, 5]])), "a majority of each set");
        tokio::time::advance(Duration::from_millis(149)).await;
        lease.supported(5, 2, Instant::now().checked_sub(PROMISE).expect("a time"), PROMISE);
        assert!(lease.is_valid(&three), "an answer that came late takes nothing back");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lease.is_valid(&three), "three quarters of the promise");
        assert!(lease.is_supported_within(&three, PROMISE), "it need not be a promise");
        assert!(!lease.is_supported_within(&three, PROMISE / 2));
        assert!(lease.is_valid(&leadership(5, &[&[1]])), "a leader alone needs no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_hands_over_has_no_lease_in_this_term() {
        let (lease, three) = (Lease::default(), leadership(5, &[&[1, 2, 3]]));
        lease.supported(5, 2, Instant::now(), PROMISE);
        lease.revoke(5);
        lease.supported(5, 2, Instant::now(), PROMISE);
        lease.supported(4, 3, Instant::now(), PROMISE);
        assert!(!lease.is_valid(&three), "whatever is answered later, or comes late");
        lease.supported(7, 3, Instant::now(), PROMISE);
        assert!(lease.is_valid(&leadership(7, &[&[1, 2, 3]])), "it leads again");
        lease.revoke(6);
        assert!(lease.is_valid(&leadership(7, &[&[1, 2, 3]])), "that term is over");
        lease.revoke(7);
        assert!(lease.has_answers(7) && lease.is_supported_within(&leadership(7, &[&[1, 2, 3]]), PROMISE));
        assert!(!lease.is_valid(&leadership(7, &[&[1, 2, 3]])));
    }
}

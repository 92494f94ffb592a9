//! When this node last heard from the leader that it supports, and what it promised to it: not to help to elect another
//! leader for a while. The leader's lease stands on these promises.

use super::timing::Timing;
use super::voted::{Voted, supports};
use super::wire::WireVote;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// This node's contact with its leader. Cheap to clone.
#[derive(Clone)]
pub struct Contact {
    timing: Timing,
    voted: Voted,
    /// Locked while this node decides about a vote, so that it cannot make a promise in between.
    promised_until: Arc<tokio::sync::Mutex<Instant>>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// When a leader asked for support, and got it.
    from_leader_at: Option<Instant>,
    /// Since when this node waits for somebody else to lead: since it started, heard from a leader, or voted.
    waits_since: Instant,
}

impl Contact {
    /// The contact of a node that starts now.
    pub(super) fn new(timing: Timing, voted: Voted) -> Self {
        let now = Instant::now();
        // It may have promised something before it was started.
        let promised_until = if voted.get().is_some() { now + timing.promise() } else { now };
        Self {
            timing,
            voted,
            promised_until: Arc::new(tokio::sync::Mutex::new(promised_until)),
            heard: Arc::new(Mutex::new(Heard { from_leader_at: None, waits_since: now })),
        }
    }

    /// A leader asks for this node's support. Returns for how long this node promises to help to elect no other leader,
    /// or `None` if it does not support this one: it has voted in a later term.
    pub async fn support(&self, leader: WireVote) -> Option<Duration> {
        let mut promised_until = self.promised_until.lock().await;
        if !supports(self.voted.get(), leader) {
            return None;
        }
        let now = Instant::now();
        *promised_until = (*promised_until).max(now + self.timing.promise());
        self.heard_from_leader();
        Some(self.timing.promise())
    }

    /// This node leads, and a majority supports it.
    pub fn heard_from_leader(&self) {
        let now = Instant::now();
        *self.heard() = Heard { from_leader_at: Some(now), waits_since: now };
    }

    /// Decides about a vote for another leader, with `decide`, unless this node has heard from its leader within the
    /// election timeout, or has promised not to. A leader that hands over its leadership takes no notice of either.
    ///
    /// Once it has begun, the decision is not given up, even if nobody waits for it any more.
    pub async fn vote<T: Send + 'static>(
        &self,
        is_transfer: bool,
        decide: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let promised_until = self.promised_until.clone().lock_owned().await;
        if !is_transfer && (Instant::now() < *promised_until || self.hears_leader()) {
            return None;
        }
        let this = self.clone();
        let deciding = tokio::spawn(async move {
            let decided = decide.await;
            this.heard().waits_since = Instant::now();
            drop(promised_until);
            decided
        });
        deciding.await.ok()
    }

    /// Whether this node has heard from its leader within the election timeout.
    pub fn hears_leader(&self) -> bool {
        let heard = self.heard().from_leader_at;
        heard.is_some_and(|at| at.elapsed() < self.timing.election_timeout())
    }

    /// Since when this node waits for somebody else to lead.
    pub fn waits_since(&self) -> Instant {
        self.heard().waits_since
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().expect("no panic while held")
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::RaftOptions;
    use super::*;
    use crate::peer::RoundTrips;
    use std::future::ready;

    fn contact(voted: Option<WireVote>) -> (Contact, Timing) {
        let timing = Timing::new(&RaftOptions::default(), RoundTrips::default());
        (Contact::new(timing.clone(), Voted::new(voted)), timing)
    }

    const LEADER: WireVote = WireVote { term: 3, node: 1, committed: true };

    #[tokio::test(start_paused = true)]
    async fn a_node_that_hears_a_leader_elects_no_other() {
        let (contact, timing) = contact(None);
        assert_eq!(contact.vote(false, ready(1)).await, Some(1), "it has not heard from any yet");
        assert_eq!(contact.support(LEADER).await, Some(timing.promise()));
        tokio::time::advance(timing.election_timeout() - Duration::from_millis(1)).await;
        assert_eq!(contact.vote(false, ready(1)).await, None);
        assert_eq!(contact.vote(true, ready(1)).await, Some(1), "the leader itself wants it");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(contact.vote(false, ready(1)).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarted_node_keeps_the_promise_that_it_may_have_made() {
        let (contact, timing) = contact(Some(LEADER));
        assert_eq!(contact.vote(false, ready(1)).await, None);
        tokio::time::advance(timing.promise()).await;
        assert_eq!(contact.vote(false, ready(1)).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_promise_is_made_while_a_vote_is_being_decided() {
        let (contact, timing) = contact(None);
        let voted = contact.voted.clone();
        let deciding = contact.vote(false, async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            voted.set(WireVote { term: 4, node: 2, committed: false });
        });
        // Whoever asked for the vote has gone.
        let deciding = tokio::time::timeout(Duration::from_millis(5), deciding);
        let asking = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            contact.support(LEADER).await
        };
        let (decided, supported) = tokio::join!(deciding, asking);
        assert!(decided.is_err());
        assert_eq!(supported, None, "it would have promised, and then voted");
        let newer = WireVote { term: 4, node: 2, committed: true };
        assert_eq!(contact.support(newer).await, Some(timing.promise()));
    }
}

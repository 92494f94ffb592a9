//! When this node last heard from the leader that it supports, and what it promised to it: not to help to elect another
//! leader for a while. The leader's lease stands on these promises. And which of several candidates goes first.

use super::timing::Timing;
use super::voted::{Voted, supports};
use super::wire::{WireVote, WireVoteRequest};
use crate::peer::NodeId;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A node gives way to another candidate at most once in so many election timeouts, so that one that asks again and again
/// and is never elected does not keep it from leading.
const GIVE_WAY_TIMEOUTS: u32 = 4;

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
    /// Since when this node waits for somebody else to lead: since it started, heard from a leader, gave way, or voted.
    waits_since: Instant,
    voted_at: Option<Instant>,
    gave_way_at: Option<Instant>,
    /// This node as a candidate, and since when it asks the others for pre-votes; until one of them refuses.
    candidate: Option<(Instant, Rank)>,
}

/// Which of two candidates is elected if both ask at the same time: the one with the longer log, or the higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    last_log: Option<(u64, u64)>,
    node: NodeId,
}

impl From<&WireVoteRequest> for Rank {
    fn from(request: &WireVoteRequest) -> Self {
        let last_log = request.last_log_id.map(|last| (last.term, last.index));
        Self { last_log, node: request.vote.node }
    }
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
            heard: Arc::new(Mutex::new(Heard {
                from_leader_at: None,
                waits_since: now,
                voted_at: None,
                gave_way_at: None,
                candidate: None,
            })),
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
        let (now, mut heard) = (Instant::now(), self.heard());
        (heard.from_leader_at, heard.waits_since, heard.voted_at) = (Some(now), now, None);
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
        // Before it is decided, too: meanwhile it tells no other candidate that it would vote for it.
        this.note_vote();
        let deciding = tokio::spawn(async move {
            let decided = decide.await;
            this.note_vote();
            drop(promised_until);
            decided
        });
        deciding.await.ok()
    }

    fn note_vote(&self) {
        let (now, mut heard) = (Instant::now(), self.heard());
        (heard.waits_since, heard.voted_at) = (now, Some(now));
    }

    /// This node asks the others whether they would vote for it. Until one of them refuses, and no longer than an election
    /// takes, it says no to a lower candidate, so that at most one of those that ask at the same time raises the term.
    pub fn ask(&self, request: &WireVoteRequest) {
        self.heard().candidate = Some((Instant::now(), Rank::from(request)));
    }

    /// This node no longer asks, or one of the others has refused, and may itself be what can be elected.
    pub fn stop_asking(&self) {
        self.heard().candidate = None;
    }

    /// Whether this node would vote for a candidate with a log at least as long as its own. It then gives way: it waits as
    /// if it had heard from a leader, because the candidate is about to be elected.
    pub(super) fn would_vote_for(&self, request: &WireVoteRequest) -> bool {
        if self.hears_leader() {
            return false;
        }
        let (now, mut heard) = (Instant::now(), self.heard());
        let is_within = |at: Option<Instant>, time| at.is_some_and(|at| now.duration_since(at) < time);
        // The node that it voted for, itself or another one, is about to be elected.
        if is_within(heard.voted_at, self.timing.election_time())
            || heard.candidate.is_some_and(|(since, mine)| {
                is_within(Some(since), self.timing.election_time()) && mine > Rank::from(request)
            })
        {
            return false;
        }
        if !is_within(heard.gave_way_at, GIVE_WAY_TIMEOUTS * self.timing.election_timeout()) {
            (heard.gave_way_at, heard.waits_since) = (Some(now), now);
        }
        true
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
    use crate::replica::LogPosition;
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

    fn request(node: NodeId, last_index: u64) -> WireVoteRequest {
        WireVoteRequest {
            vote: WireVote { term: 4, node, committed: false },
            last_log_id: Some(LogPosition { term: 3, index: last_index }),
            leadership_transfer: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_ask_at_the_same_time_the_lower_one_gives_way() {
        let (contact, timing) = contact(None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let asked_at = Instant::now();
        contact.ask(&request(2, 7));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!contact.would_vote_for(&request(1, 7)));
        assert!(contact.waits_since() < asked_at, "it goes on");
        assert!(contact.would_vote_for(&request(3, 7)));
        assert!(contact.waits_since() > asked_at, "it has given way");
        contact.stop_asking();
        assert!(contact.would_vote_for(&request(1, 7)), "once somebody has refused");
        contact.ask(&request(2, 7));
        assert!(!contact.would_vote_for(&request(1, 7)));
        tokio::time::advance(timing.election_time()).await;
        assert!(
            contact.would_vote_for(&request(1, 7)),
            "the others are silent, and the lower one may reach more"
        );
        contact.ask(&request(2, 7));
        assert!(contact.would_vote_for(&request(1, 8)), "a longer log");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_gives_way_only_so_often() {
        let (contact, timing) = contact(None);
        assert!(contact.would_vote_for(&request(1, 7)));
        let gave_way_at = Instant::now();
        tokio::time::advance(GIVE_WAY_TIMEOUTS * timing.election_timeout() - Duration::from_millis(1)).await;
        assert!(contact.would_vote_for(&request(1, 7)));
        assert_eq!(contact.waits_since(), gave_way_at);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(contact.would_vote_for(&request(1, 7)));
        assert!(contact.waits_since() > gave_way_at);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_has_voted_waits_for_the_result() {
        let (contact, timing) = contact(None);
        assert_eq!(contact.vote(false, ready(1)).await, Some(1));
        assert!(!contact.would_vote_for(&request(1, 7)));
        tokio::time::advance(timing.election_time()).await;
        assert!(contact.would_vote_for(&request(1, 7)));
    }
}

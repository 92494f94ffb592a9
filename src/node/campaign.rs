//! Elections: a voter that has not heard from a leader for an election timeout asks to be elected.

use super::inner::Inner;
use super::leadership::majority;
use crate::peer::{Lane, Method, NodeId};
use crate::raft::{Candidacy, WireVoteResponse, is_majority};
use crate::replica::{from_postcard, to_bytes};
use std::collections::BTreeSet;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How often a node that leads, or has no vote, looks whether that has changed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Starts an election whenever this node should.
pub(super) async fn campaign(inner: Weak<Inner>) {
    // When it was not elected, and for how long it waits after that.
    let mut lost: Option<(Instant, Duration)> = None;
    let mut timeout = None;
    if let Some(node) = inner.upgrade() {
        let _ = node.supersession.allows_part().await;
    }
    loop {
        let Some(node) = inner.upgrade().filter(|node| !node.supersession.is_superseded()) else { return };
        let consensus = &node.consensus;
        let draining = node.draining.load(Ordering::Acquire);
        let Some(candidacy) = consensus.candidacy().filter(|_| !draining) else {
            drop(node);
            sleep_until(Instant::now() + POLL_INTERVAL).await;
            continue;
        };
        let is_alone = is_majority(&candidacy.voters, &BTreeSet::from([node.identity.node_id]));
        let timeout_now = *timeout.get_or_insert_with(|| consensus.timing().random_election_timeout());
        let due_at = consensus.contact().waits_since() + timeout_now;
        let due_at = lost.map_or(due_at, |(at, pause)| due_at.max(at + pause));
        if !is_alone && Instant::now() < due_at {
            drop(node);
            sleep_until(due_at).await;
            continue;
        }
        let asked_at = Instant::now();
        let would_be_elected = is_alone || node.would_be_elected(&candidacy).await;
        // It may have given way meanwhile, or have heard from a leader.
        let may_take_part = !node.supersession.is_superseded();
        if may_take_part && would_be_elected && consensus.contact().waits_since() <= asked_at {
            consensus.elect().await;
            consensus.wait_for(consensus.timing().vote_timeout(), |status| status.leader.is_some()).await;
        }
        lost = Some((Instant::now(), consensus.timing().random_retry_pause()));
        timeout = None;
    }
}

impl Inner {
    /// Whether a majority would vote for this node. Asked first, so that a node that cannot win raises no term.
    async fn would_be_elected(&self, candidacy: &Candidacy) -> bool {
        let contact = self.consensus.contact();
        contact.ask(&candidacy.request);
        let answers = self.other_voters(&candidacy.voters).map(|id| self.ask_for_pre_vote(id, candidacy));
        let would_be = majority(&candidacy.voters, [self.identity.node_id].into(), answers).await.is_some();
        contact.stop_asking();
        would_be
    }

    /// Asks a voter whether it would vote for this node. Returns its number if it would.
    async fn ask_for_pre_vote(&self, id: NodeId, candidacy: &Candidacy) -> Option<NodeId> {
        let client = self.consensus.peer(id, Lane::Control)?;
        // Long enough for a round trip that nobody has measured yet.
        let limit = self.consensus.timing().vote_timeout().max(Duration::from_secs(1));
        let answer = client.call(Method::PreVote, to_bytes(&candidacy.request), limit).await.ok()?;
        let answer: WireVoteResponse = from_postcard("an answer about a vote", &answer).ok()?;
        if !answer.granted {
            self.consensus.contact().stop_asking();
        }
        answer.granted.then_some(id)
    }

    /// The voters of these sets without this node.
    pub(super) fn other_voters(&self, voters: &[BTreeSet<NodeId>]) -> impl Iterator<Item = NodeId> + use<> {
        let mut others: BTreeSet<NodeId> = voters.iter().flatten().copied().collect();
        others.remove(&self.identity.node_id);
        others.into_iter()
    }
}

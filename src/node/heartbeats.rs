//! A leader's heartbeats: requests for the support of the other voters. They keep the others from electing another leader,
//! renew the lease, and measure the round trips.

use super::inner::Inner;
use crate::raft::Leadership;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often a node that does not lead looks whether it is still there.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Sends heartbeats while this node leads.
pub(super) async fn send_heartbeats(inner: Weak<Inner>) {
    let mut majority = Majority::default();
    loop {
        let Some(node) = inner.upgrade() else { return };
        let consensus = node.consensus.clone();
        let leadership = consensus.leadership();
        consensus.check_majority();
        if let Some(leadership) = &leadership {
            if majority.is_silent(&node, leadership) {
                tracing::debug!("no heartbeats: no majority answers");
            } else {
                ask_everybody(&node, leadership);
                node.consensus.send_heartbeat().await;
            }
        }
        drop(node);
        match leadership {
            Some(_) => sleep(consensus.timing().heartbeat()).await,
            // The first heartbeat of a new leader is due at once.
            None => drop(timeout(POLL_INTERVAL, consensus.until_leading()).await),
        }
    }
}

/// Asks each of the other voters, without waiting for the answers.
fn ask_everybody(node: &Arc<Inner>, leadership: &Leadership) {
    for id in node.other_voters(&leadership.voters) {
        let (node, vote) = (node.clone(), leadership.vote);
        tokio::spawn(async move { node.ask_for_support(id, vote).await });
    }
}

/// Whether the majority of a leader answers.
#[derive(Default)]
struct Majority {
    term: u64,
    lost_at: Option<Instant>,
}

impl Majority {
    /// Whether this leader should send nothing. One that has lost its majority is silent every other time, so that nodes
    /// that still hear it help to elect one that reaches a majority.
    fn is_silent(&mut self, node: &Inner, leadership: &Leadership) -> bool {
        let (timing, lease) = (node.consensus.timing(), node.consensus.lease());
        if lease.is_supported_within(leadership, timing.election_timeout() + timing.round_trip()) {
            node.consensus.contact().heard_from_leader();
            node.silence.heard_majority(leadership.vote.term, Instant::now());
            self.lost_at = None;
            return false;
        }
        if self.term != leadership.vote.term {
            *self = Self { term: leadership.vote.term, lost_at: None };
        }
        let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
        is_silent_after(lost_at.elapsed(), 2 * timing.election_timeout())
    }
}

/// Whether a leader is silent so long after it lost its majority. It speaks first: it may just have been elected.
fn is_silent_after(lost_for: Duration, period: Duration) -> bool {
    (lost_for.as_nanos() / period.as_nanos().max(1)) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_majority_is_silent_every_other_time() {
        let silent = |ms| is_silent_after(Duration::from_millis(ms), Duration::from_millis(600));
        assert_eq!([0, 599, 600, 1_199, 1_200].map(silent), [false, false, true, true, false]);
    }
}

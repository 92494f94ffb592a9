//! Confirms that this node still leads, for linearizable reads.
//!
//! A leader asks the other voters whether they still support it: whether they have not voted in a later term. If a
//! majority, this node included, says so after the read started, then no other leader can have been elected before the
//! read started, and no other leader can have acknowledged a write that the read must see. What this node has applied
//! by then contains all acknowledged writes. It is the read index of Ongaro's dissertation on Raft (section 6.4), with
//! two differences: any number of rounds are in flight at a time, and a follower that asks for a read says at the same
//! time whether it supports the leader, so that among three nodes the leader need ask nobody else.

use super::inner::Inner;
use super::read_index::ReadIndexFailure;
use crate::peer::{Lane, Method, NodeId};
use crate::raft::{Leadership, WireVote, is_majority};
use crate::replica::{from_postcard, to_bytes};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long a voter may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Another node's newest vote when it asked for a read.
pub(super) type Supporter = (NodeId, Option<WireVote>);

impl Inner {
    /// The index that a linearizable read must wait for. Asks nobody: `None` if this node does not lead, or if `supporter`
    /// and this node are no majority.
    pub(super) fn index_confirmed_by(&self, supporter: Supporter) -> Option<u64> {
        let leadership = self.consensus.leadership()?;
        let index = self.read_index_now(&leadership);
        let supporters = self.supporters(&leadership, Some(supporter));
        is_majority(&leadership.voters, &supporters).then_some(index)
    }

    /// The index that a linearizable read must wait for, once a majority has confirmed that this node leads.
    ///
    /// # Errors
    /// This node does not lead, or no majority confirms it in time.
    pub(super) async fn confirmed_index(&self) -> Result<u64, ReadIndexFailure> {
        let not_leading = || ReadIndexFailure::NotLeader("this node does not lead the cluster".into());
        let leadership = self.consensus.leadership().ok_or_else(not_leading)?;
        let index = self.read_index_now(&leadership);
        let supporters = self.supporters(&leadership, None);
        let answers =
            self.other_voters(&leadership.voters).map(|id| self.ask_for_support(id, leadership.vote));
        if majority_agrees(&leadership.voters, supporters, answers).await {
            Ok(index)
        } else {
            let reason = "no majority of the nodes confirms that this node leads";
            Err(ReadIndexFailure::Unavailable(reason.into()))
        }
    }

    /// An index that no acknowledged write is above, if this node leads.
    fn read_index_now(&self, leadership: &Leadership) -> u64 {
        // A write is acknowledged after it is applied here. Those of earlier leaders come before the first entry of this
        // leader's term.
        match self.consensus.replica().last_applied() {
            Some(applied) if applied.term == leadership.vote.term => applied.index,
            _ => leadership.last_log_index,
        }
    }

    /// This node and the other one, as far as they support the leader.
    fn supporters(&self, leadership: &Leadership, other: Option<Supporter>) -> BTreeSet<NodeId> {
        let me = (self.identity.node_id, self.consensus.vote());
        let supports = |(id, vote): Supporter| leadership.is_supported_by(vote).then_some(id);
        std::iter::once(me).chain(other).filter_map(supports).collect()
    }

    /// Asks a voter for its support, as the leader with this vote. Returns its number if it gives it.
    pub(super) async fn ask_for_support(&self, id: NodeId, vote: WireVote) -> Option<NodeId> {
        let client = self.consensus.peer(id, Lane::Control)?;
        let asked_at = Instant::now();
        let limit = self.consensus.timing().limit(ANSWER_TIMEOUT);
        let answer = client.call(Method::Support, to_bytes(&vote), limit).await.ok()?;
        let promise_ms: Option<u64> = from_postcard("an answer about support", &answer).ok()?;
        let promise = Duration::from_millis(promise_ms?);
        self.consensus.lease().supported(vote.term, id, asked_at, promise);
        self.consensus.check_majority();
        Some(id)
    }

    /// An index for a read, if this node leads and its lease is valid.
    pub(super) fn lease_index(&self) -> Option<u64> {
        let leadership = self.consensus.leadership()?;
        let index = self.read_index_now(&leadership);
        let is_valid =
            self.consensus.lease().is_valid(&leadership) && leadership.is_supported_by(self.consensus.vote());
        is_valid.then_some(index)
    }
}

/// Waits until a majority of the voters has agreed; some have already. An answer is the number of a node that agrees.
/// Returns false when all have answered and it is no majority.
pub(super) async fn majority_agrees(
    voters: &[BTreeSet<NodeId>],
    mut agreed: BTreeSet<NodeId>,
    answers: impl Iterator<Item = impl Future<Output = Option<NodeId>>>,
) -> bool {
    let mut answers: FuturesUnordered<_> = answers.collect();
    while !is_majority(voters, &agreed) {
        match answers.next().await {
            Some(answer) => agreed.extend(answer),
            None => return false,
        }
    }
    true
}

/// Answers a leader that asks for this node's support: with for how many milliseconds this node promises to help to elect
/// no other leader, or nothing.
pub(super) async fn answer_support(inner: &Inner, body: &[u8]) -> Result<Bytes, String> {
    let vote: WireVote = from_postcard("a request for support", body).map_err(|error| error.to_string())?;
    let promise = inner.consensus.contact().support(vote).await;
    Ok(to_bytes(&promise.map(|promise| u64::try_from(promise.as_millis()).unwrap_or(0))))
}

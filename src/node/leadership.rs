//! Confirms that this node still leads, for linearizable reads.
//!
//! A leader asks the other voters whether they still support it: whether they have not voted in a later term. If a
//! majority, this node included, says so after the read started, then no other leader can have been elected before the
//! read started, and no other leader can have acknowledged a write that the read must see. What this node has applied
//! by then contains all acknowledged writes. It is the read index of Ongaro's dissertation on Raft (section 6.4), with
//! three differences: any number of rounds are in flight at a time; a follower that asks for a read says at the same
//! time whether it supports the leader, so that among three nodes the leader need ask nobody else; and where many reads
//! share a round, those that were enough the last time are asked first, and the others a few milliseconds later.

use super::inner::Inner;
use super::read_index::ReadIndexFailure;
use crate::peer::{Lane, Method, NodeId};
use crate::raft::{Leadership, WireVote, is_majority};
use crate::replica::{from_postcard, to_bytes};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a voter may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long those that are asked first have for their answers, at least; and so many round trips.
const FIRST_TIMEOUT_MIN: Duration = Duration::from_millis(5);
const FIRST_ROUND_TRIPS: u32 = 2;
/// How often they are asked first before all are asked again, to find out whose answers are the soonest now.
const FIRST_IN_A_ROW: u32 = 16;

/// Another node's newest vote when it asked for a read.
pub(super) type Supporter = (NodeId, Option<WireVote>);

/// Which voters a leader asks for their support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskedVoters {
    /// All at once: the first answers of a majority are the soonest.
    All,
    /// Those of the last majority, and soon after the others if it takes too long: fewer messages.
    FewFirst,
}

/// The voters that confirmed the last time that this node leads, itself included; and how often in a row only they were asked.
#[derive(Default)]
pub(super) struct LastSupporters(Mutex<(BTreeSet<NodeId>, u32)>);

impl LastSupporters {
    /// Whom to ask first. `None` asks all: these would be no majority, or it is time to find out who answers soonest.
    fn first(&self, voters: &[BTreeSet<NodeId>]) -> Option<BTreeSet<NodeId>> {
        let (last, in_a_row) = &mut *self.0.lock().expect("no panic while held");
        *in_a_row = (*in_a_row + 1) % (FIRST_IN_A_ROW + 1);
        (*in_a_row > 0 && is_majority(voters, last)).then(|| last.clone())
    }

    fn set(&self, supporters: BTreeSet<NodeId>) {
        self.0.lock().expect("no panic while held").0 = supporters;
    }
}

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
    pub(super) async fn confirmed_index(&self, asked: AskedVoters) -> Result<u64, ReadIndexFailure> {
        let not_leading = || ReadIndexFailure::NotLeader("this node does not lead the cluster".into());
        let leadership = self.consensus.leadership().ok_or_else(not_leading)?;
        let index = self.read_index_now(&leadership);
        let supporters = self.supporters(&leadership, None);
        let first = match asked {
            AskedVoters::All => None,
            AskedVoters::FewFirst => self.last_supporters.first(&leadership.voters),
        };
        let first_timeout = FIRST_TIMEOUT_MIN.max(self.consensus.timing().round_trip() * FIRST_ROUND_TRIPS);
        let answers = self.other_voters(&leadership.voters).map(|id| {
            let waits = first.as_ref().is_some_and(|first| !first.contains(&id));
            async move {
                if waits {
                    sleep(first_timeout).await;
                }
                self.ask_for_support(id, leadership.vote).await
            }
        });
        match majority(&leadership.voters, supporters, answers).await {
            Some(supporters) => {
                self.last_supporters.set(supporters);
                Ok(index)
            }
            None => {
                let reason = "no majority of the nodes confirms that this node leads";
                Err(ReadIndexFailure::Unavailable(reason.into()))
            }
        }
    }

    /// An index that no acknowledged write is above, nor anything that somebody has read, if this node leads.
    fn read_index_now(&self, leadership: &Leadership) -> u64 {
        // A write is acknowledged after it is applied here, but a follower that was told of its commit may have applied it
        // before, and shown it. What comes from earlier leaders is before the first entry of this leader's term.
        let index = match self.consensus.replica().last_applied() {
            Some(applied) if applied.term == leadership.vote.term => applied.index,
            _ => leadership.last_log_index,
        };
        index.max(self.consensus.told_commit())
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
/// Returns who has; `None` when all have answered and it is no majority.
pub(super) async fn majority(
    voters: &[BTreeSet<NodeId>],
    mut agreed: BTreeSet<NodeId>,
    answers: impl Iterator<Item = impl Future<Output = Option<NodeId>>>,
) -> Option<BTreeSet<NodeId>> {
    let mut answers: FuturesUnordered<_> = answers.collect();
    while !is_majority(voters, &agreed) {
        match answers.next().await {
            Some(answer) => agreed.extend(answer),
            None => return None,
        }
    }
    Some(agreed)
}

/// Answers a leader that asks for this node's support: with for how many milliseconds this node promises to help to elect
/// no other leader, or nothing.
pub(super) async fn answer_support(inner: &Inner, body: &[u8]) -> Result<Bytes, String> {
    let vote: WireVote = from_postcard("a request for support", body).map_err(|error| error.to_string())?;
    let promise = inner.consensus.contact().support(vote).await;
    Ok(to_bytes(&promise.map(|promise| u64::try_from(promise.as_millis()).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_the_last_majority_are_asked_first() {
        let last = LastSupporters::default();
        let voters = |ids: &[NodeId]| vec![ids.iter().copied().collect::<BTreeSet<_>>()];
        assert_eq!(last.first(&voters(&[1, 2, 3])), None, "nobody is known yet");
        last.set([1, 3].into());
        assert_eq!(last.first(&voters(&[1, 2, 3])), Some([1, 3].into()));
        assert_eq!(last.first(&voters(&[1, 2, 3, 4])), None, "there are more voters now");
        assert_eq!(last.first(&voters(&[1, 4, 5])), None, "there are others now");
        let joint = [voters(&[1, 2, 3]), voters(&[1, 4, 5])].concat();
        assert_eq!(last.first(&joint), None, "a majority of each is needed");
        let asks_all = (0..100).filter(|_| last.first(&voters(&[1, 2, 3])).is_none()).count();
        assert!((4..=6).contains(&asks_all), "{asks_all} of 100");
    }
}

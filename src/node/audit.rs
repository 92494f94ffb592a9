//! The audit: nodes compare their digests in the background. At equal index the digests must be equal. A node takes
//! itself out of service if it differs from more voters than it agrees with. The same rounds show which members answer
//! ([`super::cluster_health`]).

use super::cluster_health::{ClusterHealth, HealthTracker};
use super::error::NodeError;
use super::inner::Inner;
use crate::cache::Digest;
use crate::lineage::Lineage;
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::{MemberState, RaftStatus};
use crate::replica::{from_postcard, to_bytes};
use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const INTERVAL: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);

/// The result of comparing another node's digests with this node's, at the indexes that both have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Comparison {
    /// The highest index at which they are equal.
    pub equal_at: Option<u64>,
    /// The lowest index at which they are not.
    pub differs_at: Option<u64>,
}

/// The answer of another member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DigestReply {
    pub comparison: Comparison,
    /// Whether the asking node is a member; `None` if the answering node is behind and does not know.
    pub is_member: Option<bool>,
    /// Whether the answering node leads a majority, or has heard lately from a leader.
    pub is_led: bool,
}

impl DigestReply {
    /// Whether the answer names only indexes that were sent.
    fn is_about(&self, asked: &[(u64, Digest)]) -> bool {
        let Comparison { equal_at, differs_at } = &self.comparison;
        let mut named = equal_at.iter().chain(differs_at);
        named.all(|index| asked.iter().any(|(known, _)| known == index))
    }
}

/// Why there is no valid answer of another member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// A node of another cluster listens at its address.
    OtherCluster,
    /// A node whose log belongs to another history of the cluster listens at its address: the last one of this lineage.
    OtherHistory(Arc<Lineage>),
    /// It was not reached, or its answer is not valid.
    Silent,
}

/// All other members, each with its answer.
pub(super) type Round = Vec<(MemberState, Result<DigestReply, NoAnswer>)>;

/// What this node has learned from the other members about itself.
#[derive(Default)]
pub(super) struct Audit {
    pub health: ClusterHealth,
    /// The index of the first difference that was found; 0 for none.
    differs_at: AtomicU64,
}

impl Audit {
    /// The index at which this node was found to differ from the others, if it was.
    pub fn differs_at(&self) -> Option<u64> {
        Some(self.differs_at.load(Ordering::Acquire)).filter(|index| *index > 0)
    }
}

impl Inner {
    /// A node that differs from the others, or was removed, answers nothing from its own state.
    pub(super) fn refuse_when_out_of_service(&self) -> Result<(), NodeError> {
        self.refuse_when_removed()?;
        match self.audit.differs_at() {
            None => Ok(()),
            Some(index) => Err(NodeError::Unavailable(format!(
                "this node is out of service: its state differs from the others' at index {index}"
            ))),
        }
    }
}

/// Compares digests with every other member once per interval, and takes this node out of service if it differs.
pub(super) async fn audit_loop(inner: Weak<Inner>) {
    let mut health_tracker = HealthTracker::default();
    let mut was_slow = false;
    loop {
        sleep(INTERVAL).await;
        // A node that has given way has nobody to ask any more.
        let Some(node) = inner.upgrade().filter(|node| !node.supersession.is_superseded()) else { return };
        let status = node.consensus.status();
        let round = ask_all(&node, &status).await;
        node.consensus.forget_removed_nodes();
        keep_connected(&node, &status);
        health_tracker.record(&node, &status, &round);
        node.other_clusters.record_round(&round);
        node.learn_of_successor(&round).await;
        let slow = node.slow_links();
        if let Some(sentence) = slow.as_ref().filter(|_| !was_slow) {
            tracing::warn!("{sentence}");
        }
        was_slow = slow.is_some();
        // Only voters count: a learner may be new, and knows nothing that the voters do not.
        let voters: Vec<NodeId> = status.members.iter().filter(|m| m.voter).map(|m| m.id).collect();
        let answers = round.into_iter().filter(|(member, _)| member.voter);
        let comparisons: Vec<Comparison> =
            answers.flat_map(|(_, answer)| Some(answer.ok()?.comparison)).collect();
        match node.audit.differs_at() {
            None => {
                if let Some(index) = judge(&comparisons) {
                    node.audit.differs_at.store(index, Ordering::Release);
                    tracing::error!(
                        index,
                        "this node's state differs from the others': it is out of service"
                    );
                }
            }
            // While others were away, it and one that is wrong could not know which of them is right.
            Some(index) if is_right_after_all(&comparisons, index, &voters, node.identity.node_id) => {
                node.audit.differs_at.store(0, Ordering::Release);
                tracing::warn!(index, "a majority agrees with this node's state: it is in service again");
            }
            Some(_) => {}
        }
        if node.audit.differs_at().is_some() && node.consensus.is_leader() {
            // The outcomes that this node computes may be wrong, too, so another node has to lead.
            let deadline = Instant::now() + TRANSFER_TIMEOUT;
            let _ = tokio::time::timeout_at(deadline, node.transfer(None, deadline)).await;
        }
    }
}

/// The index of the first difference, unless this node and those that agree with it outnumber those that differ.
fn judge(comparisons: &[Comparison]) -> Option<u64> {
    let differing: Vec<u64> = comparisons.iter().filter_map(|comparison| comparison.differs_at).collect();
    let agreeing = comparisons.iter().filter(|c| c.differs_at.is_none() && c.equal_at.is_some()).count();
    differing.iter().min().copied().filter(|_| differing.len() > agreeing)
}

/// Whether a majority of the voters has the same state as this node after the index at which others differ from it.
fn is_right_after_all(comparisons: &[Comparison], index: u64, voters: &[NodeId], me: NodeId) -> bool {
    let agrees = |found: &&Comparison| found.differs_at.is_none() && found.equal_at >= Some(index);
    let agreeing = comparisons.iter().filter(agrees).count() + usize::from(voters.contains(&me));
    2 * agreeing > voters.len()
}

/// Keeps the connections for writes and for log entries open that this node does not use now. If it or another node takes
/// over from the leader, dialling first would take several round trips.
fn keep_connected(node: &Arc<Inner>, status: &RaftStatus) {
    let me = node.identity.node_id;
    for member in status.members.iter().filter(|member| member.id != me) {
        for lane in [Lane::Forward, Lane::Append] {
            if let Some(client) = node.consensus.peer(member.id, lane) {
                tokio::spawn(async move { client.connect().await });
            }
        }
    }
}

/// Compares digests with every other member.
pub(super) async fn ask_all(node: &Inner, status: &RaftStatus) -> Round {
    let me = node.identity.node_id;
    let asked = node.consensus.replica().comparable();
    let question = encode(&asked);
    let others = status.members.iter().filter(|member| member.id != me).cloned();
    let answers = others.map(|member| {
        let (question, asked) = (question.clone(), &asked);
        async move {
            let answer = ask(node, member.id, question, asked).await;
            (member, answer)
        }
    });
    join_all(answers).await
}

async fn ask(
    node: &Inner,
    id: NodeId,
    question: Bytes,
    asked: &[(u64, Digest)],
) -> Result<DigestReply, NoAnswer> {
    let client = node.consensus.peer(id, Lane::Control).ok_or(NoAnswer::Silent)?;
    let limit = node.consensus.timing().limit(ANSWER_TIMEOUT);
    let answer = client.call(Method::Digests, question, limit).await.map_err(|error| match error {
        PeerError::OtherCluster(_) => NoAnswer::OtherCluster,
        PeerError::OtherHistory(lineage) => NoAnswer::OtherHistory(lineage),
        _ => NoAnswer::Silent,
    })?;
    let answer = from_postcard::<DigestReply>("a comparison of digests", &answer).ok();
    answer.filter(|answer| answer.is_about(asked)).ok_or(NoAnswer::Silent)
}

/// This node's digests, to be compared by another node.
pub(super) fn comparable(node: &Inner) -> Bytes {
    encode(&node.consensus.replica().comparable())
}

fn encode(digests: &[(u64, Digest)]) -> Bytes {
    let digests: Vec<(u64, u128)> = digests.iter().map(|(index, Digest(bits))| (*index, *bits)).collect();
    to_bytes(&digests)
}

/// Compares another node's digests with this node's.
pub(super) fn compare_with(inner: &Inner, theirs: &Bytes) -> Result<Comparison, String> {
    Ok(compare(&inner.consensus.replica().comparable(), &decode(theirs)?))
}

fn decode(digests: &Bytes) -> Result<Vec<(u64, u128)>, String> {
    from_postcard("digests", digests).map_err(|error| error.to_string())
}

/// Answers another node: how its digests compare, and whether it is a member.
pub(super) fn answer_digests(inner: &Inner, from: NodeId, body: &Bytes) -> Result<Bytes, String> {
    let (theirs, replica) = (decode(body)?, inner.consensus.replica());
    // A node that is behind does not know the newest members. A node's number is the index of a log entry from before
    // it became one.
    let theirs_applied = theirs.last().map_or(0, |(index, _)| *index);
    let knows = replica.applied_index() >= theirs_applied.max(from);
    let is_member = knows.then(|| replica.has_member(from));
    let (comparison, is_led) = (compare(&replica.comparable(), &theirs), inner.is_led());
    Ok(to_bytes(&DigestReply { comparison, is_member, is_led }))
}

fn compare(mine: &[(u64, Digest)], theirs: &[(u64, u128)]) -> Comparison {
    let mine: BTreeMap<u64, u128> = mine.iter().map(|(index, Digest(bits))| (*index, *bits)).collect();
    let mut comparison = Comparison { equal_at: None, differs_at: None };
    for (index, bits) in theirs {
        match mine.get(index) {
            Some(ours) if ours == bits => comparison.equal_at = comparison.equal_at.max(Some(*index)),
            Some(_) => {
                let first = comparison.differs_at.map_or(*index, |first| first.min(*index));
                comparison.differs_at = Some(first);
            }
            None => {}
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(equal_at: Option<u64>, differs_at: Option<u64>) -> Comparison {
        Comparison { equal_at, differs_at }
    }

    #[test]
    fn digests_are_compared_where_both_have_an_index() {
        let mine = [(1, Digest(10)), (2, Digest(20)), (3, Digest(30))];
        assert_eq!(compare(&mine, &[(3, 30), (4, 40)]), found(Some(3), None));
        assert_eq!(compare(&mine, &[(1, 10), (2, 21), (3, 31)]), found(Some(1), Some(2)));
        assert_eq!(compare(&mine, &[(9, 90)]), found(None, None));
    }

    #[test]
    fn an_answer_about_other_indexes_is_not_valid() {
        let asked = [(2, Digest(20)), (4, Digest(40))];
        let judgement = |comparison| DigestReply { comparison, is_member: Some(true), is_led: true };
        assert!(judgement(found(Some(4), Some(2))).is_about(&asked));
        assert!(judgement(found(None, None)).is_about(&asked));
        assert!(!judgement(found(None, Some(1))).is_about(&asked));
        assert!(!judgement(found(Some(3), None)).is_about(&asked));
    }

    #[test]
    fn the_node_that_differs_is_taken_out_of_service() {
        let (same, other, unknown) = (found(Some(5), None), found(None, Some(7)), found(None, None));
        assert_eq!(judge(&[]), None);
        assert_eq!(judge(&[unknown.clone(), unknown.clone()]), None);
        // Of three, one agrees with this node and one does not: the latter is wrong.
        assert_eq!(judge(&[same.clone(), other.clone()]), None);
        // Of three, both others differ from this node.
        assert_eq!(judge(&[other.clone(), other.clone()]), Some(7));
        // Of two, it is unknown which is right: both are taken out of service.
        assert_eq!(judge(std::slice::from_ref(&other)), Some(7));
        assert_eq!(judge(&[same.clone(), same, other.clone(), other]), None);
    }

    #[test]
    fn a_node_is_right_if_a_majority_agrees_with_it_after_the_difference() {
        let is_right = |found: &[Comparison]| is_right_after_all(found, 100, &[1, 2, 3], 2);
        let wrong = || found(Some(90), Some(100));
        assert!(!is_right(&[wrong()]));
        assert!(!is_right(&[]));
        assert!(is_right(&[wrong(), found(Some(100), None)]));
        // What was equal before the difference says nothing.
        assert!(!is_right(&[wrong(), found(Some(99), None)]));
        assert!(!is_right(&[wrong(), found(None, None)]));
    }
}

//! How every member is, each asked by this node, and what this one says of itself when another asks.

use super::audit::{Comparison, comparable, compare_with};
use super::start::{Inner, Node};
use super::status::role;
use crate::api::{IndexedDigest, NodeReport, NodeState, Nodes, ProtocolRange};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::MemberState;
use crate::replica::wall_ms;
use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a member may take. All are asked at once.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// For so long those who only look are told the same.
const FRESH: Duration = Duration::from_millis(500);

/// What was found out last, and when.
#[derive(Default)]
pub(super) struct Gathered(Mutex<Option<(Instant, Arc<Nodes>)>>);

/// What a member answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    report: NodeReport,
    /// How the asking node's digests compare with its own.
    comparison: Comparison,
}

impl Node {
    /// How every member is: each says so itself, or why it could not be asked.
    pub async fn nodes(&self) -> Nodes {
        self.inner.nodes().await
    }

    /// The same, as it was within the last half second; `at_ms` tells. However many ask, the members are asked once.
    pub async fn nodes_lately(&self) -> Arc<Nodes> {
        // Held while the members are asked: who comes meanwhile waits for that answer.
        let mut gathered = self.inner.gathered.0.lock().await;
        match &*gathered {
            Some((at, nodes)) if at.elapsed() < FRESH => nodes.clone(),
            _ => {
                let nodes = Arc::new(self.inner.nodes().await);
                *gathered = Some((Instant::now(), nodes.clone()));
                nodes
            }
        }
    }

    /// Where the members tell clients to find them.
    pub fn http_addresses(&self) -> Vec<String> {
        self.inner.consensus.status().members.into_iter().map(|member| member.member.http).collect()
    }
}

impl Inner {
    async fn nodes(&self) -> Nodes {
        let (members, mut nodes) = tokio::join!(self.members(), self.states());
        tell_lags(&mut nodes);
        Nodes { asked_by: self.identity.node_id, at_ms: wall_ms(), nodes, members }
    }

    /// Every member's own report, all asked at once.
    pub(super) async fn states(&self) -> Vec<NodeState> {
        let digests = comparable(self);
        let asked = self.consensus.status().members;
        join_all(asked.into_iter().map(|member| self.state_of(member, digests.clone()))).await
    }

    async fn state_of(&self, member: MemberState, digests: Bytes) -> NodeState {
        let mut state = NodeState {
            id: member.id,
            name: member.member.name,
            http: member.member.http,
            voter: member.voter,
            round_trip_us: None,
            error: None,
            report: None,
            lag_entries: None,
            lag_ms: None,
            equal_at: None,
            differs_at: None,
        };
        if member.id == self.identity.node_id {
            state.report = Some(self.report().await);
            return state;
        }
        let asked = Instant::now();
        match self.ask_report(member.id, digests).await {
            Ok(Answer { report, comparison }) => {
                let took = asked.elapsed().as_micros();
                state.round_trip_us = Some(u64::try_from(took).unwrap_or(u64::MAX));
                state.report = Some(report);
                state.equal_at = comparison.equal_at;
                state.differs_at = comparison.differs_at;
            }
            Err(reason) => state.error = Some(reason),
        }
        state
    }

    async fn ask_report(&self, id: NodeId, digests: Bytes) -> Result<Answer, String> {
        // Bulk travels on other lanes.
        let client = self.peers.client(&self.consensus, id, Lane::Control);
        let client = client.ok_or("it is no member any more")?;
        let answer =
            client.call(Method::Report, digests, ANSWER_LIMIT).await.map_err(|error| match error {
                PeerError::TimedOut => format!("did not answer in {} ms", ANSWER_LIMIT.as_millis()),
                other => other.to_string(),
            })?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }

    async fn report(&self) -> NodeReport {
        self.at_one_moment(|status, cache| NodeReport {
            role: role(status.role).into(),
            term: status.term,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: cache.index(),
            snapshot_index: status.snapshot_index,
            purged_index: status.purged_index,
            digest: IndexedDigest { index: cache.index(), digest: cache.digest().to_string() },
            differs_at: self.audit.differs_at(),
            entries: cache.len(),
            bytes: cache.bytes(),
            log_time_ms: cache.now_ms(),
            log_time_ahead_ms: self.consensus.clock().ahead_of_wall_ms(),
            uptime_ms: self.uptime_ms(),
            version: self.options.release.version.into(),
            protocol: ProtocolRange {
                min: self.options.release.protocols.min,
                max: self.options.release.protocols.max,
            },
            feature_level: cache.feature_level(),
            feature_level_known: self.options.release.feature_level,
        })
        .await
    }
}

/// How far each is behind the leader, if that answered. Of two that take themselves for the leader, the one of
/// the later term is.
fn tell_lags(nodes: &mut [NodeState]) {
    let leaders =
        nodes.iter().filter_map(|node| node.report.as_ref()).filter(|report| report.role == "leader");
    let Some(leader) = leaders.max_by_key(|report| report.term) else { return };
    let (last_log_index, log_time_ms) = (leader.last_log_index, leader.log_time_ms);
    for node in nodes {
        let Some(report) = &node.report else { continue };
        node.lag_entries = Some(last_log_index.saturating_sub(report.applied_index));
        node.lag_ms = Some(log_time_ms.saturating_sub(report.log_time_ms));
    }
}

/// Tells another node how this one is, and how their digests compare.
pub(super) async fn answer_report(inner: &Inner, digests: &Bytes) -> Result<Bytes, String> {
    let comparison = compare_with(inner, digests)?;
    // JSON, because its fields have names: a release may add some, and an earlier one skips them.
    let answer = Answer { report: inner.report().await, comparison };
    serde_json::to_vec(&answer).map(Bytes::from).map_err(|error| error.to_string())
}

//! The status of every member: this node asks each of them, and answers when another node asks.

use super::audit::{Comparison, comparable, compare_with};
use super::process_memory::ProcessMemory;
use super::status::role;
use super::{inner::Inner, start::Node};
use crate::api::{IndexedDigest, NodeReport, NodeState, Nodes, ProtocolRange, RedisAddresses};
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

/// Timeout of a member's answer. All are asked concurrently.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the answers are cached.
const CACHED_FOR: Duration = Duration::from_millis(500);

/// The last answers, and when they were received.
#[derive(Default)]
pub(super) struct NodeStatusCache(Mutex<Option<(Instant, Arc<Nodes>)>>);

/// A member's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    report: NodeReport,
    /// How the asking node's digests compare with its own.
    comparison: Comparison,
}

impl Node {
    /// The status of every member: its own report, or why there is none.
    pub async fn nodes(&self) -> Nodes {
        self.inner.nodes().await
    }

    /// The same, at most half a second old (see its `at_ms`). However many callers there are, the members are asked
    /// once.
    pub async fn nodes_cached(&self) -> Arc<Nodes> {
        // Held while the members are asked, so that other callers wait for the same answers.
        let mut node_status_cache = self.inner.node_status_cache.0.lock().await;
        match &*node_status_cache {
            Some((at, nodes)) if at.elapsed() < CACHED_FOR => nodes.clone(),
            _ => {
                let nodes = Arc::new(self.inner.nodes().await);
                *node_status_cache = Some((Instant::now(), nodes.clone()));
                nodes
            }
        }
    }

    /// Where clients of the Redis protocol reach the other members that answer now.
    pub async fn other_redis_addresses(&self) -> Vec<RedisAddresses> {
        let states = self.inner.states().await.into_iter().filter(|state| state.id != self.id());
        let reports = states.filter_map(|state| state.report);
        reports
            .map(|NodeReport { redis, redis_tls, .. }| RedisAddresses { plain: redis, tls: redis_tls })
            .filter(|addresses| *addresses != RedisAddresses::default())
            .collect()
    }

    /// The URLs of the members, for clients.
    pub fn http_addresses(&self) -> Vec<String> {
        self.inner.consensus.status().members.into_iter().map(|member| member.member.http).collect()
    }
}

impl Inner {
    async fn nodes(&self) -> Nodes {
        let (members, mut nodes) = tokio::join!(self.members(), self.states());
        fill_lag(&mut nodes);
        Nodes { asked_by: self.identity.node_id, at_ms: wall_ms(), nodes, members }
    }

    /// Every member's own report; all are asked concurrently.
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
        // The control lane has no bulk data that could delay the answer.
        let client = self.consensus.peer(id, Lane::Control);
        let client = client.ok_or("it is no member any more")?;
        let limit = self.consensus.timing().limit(ANSWER_TIMEOUT);
        let answer = client.call(Method::Report, digests, limit).await.map_err(|error| match error {
            PeerError::TimedOut => format!("did not answer in {} ms", limit.as_millis()),
            other => other.to_string(),
        })?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }

    async fn report(&self) -> NodeReport {
        let memory_resident_bytes = ProcessMemory::now().map(ProcessMemory::total);
        self.at_one_moment(|status, cache| NodeReport {
            memory_resident_bytes,
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
            redis: self.options.redis_advertise.plain.clone(),
            redis_tls: self.options.redis_advertise.tls.clone(),
        })
        .await
    }
}

/// Fills in how far each member is behind the leader, if the leader has answered. If two nodes consider themselves the
/// leader, the one of the later term is.
fn fill_lag(nodes: &mut [NodeState]) {
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

/// Answers another node: this node's report, and how their digests compare.
pub(super) async fn answer_report(inner: &Inner, digests: &Bytes) -> Result<Bytes, String> {
    let comparison = compare_with(inner, digests)?;
    // JSON, because a later release can add fields that an earlier one ignores.
    let answer = Answer { report: inner.report().await, comparison };
    serde_json::to_vec(&answer).map(Bytes::from).map_err(|error| error.to_string())
}

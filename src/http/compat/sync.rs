//! `/api/sync/…`: how the nodes keep in sync. The replicated log does that all the time, so there is nothing to force and
//! nothing to switch off, but a status to show.

use super::super::state::AppState;
use super::answer::{Context, Refusal};
use crate::api::{NodeReport, NodeState, Nodes};
use crate::node::Session;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

/// The status of this node and of the others.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sync {
    node_id: String,
    /// Other members that have just answered.
    connected_nodes: usize,
    sync_enabled: bool,
    /// Entries changed since the cluster began.
    total_sync_operations: u64,
    /// Log time of the newest log entry applied here, in milliseconds; null before the first.
    last_sync_time: Option<u64>,
    node_list: Vec<Peer>,
    index: u64,
    term: u64,
    role: String,
    leader: Option<String>,
    #[serde(skip)]
    uptime_ms: u64,
}

/// Another member.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    node_id: String,
    url: String,
    port: Option<u16>,
    role: Option<String>,
    connected: bool,
    /// Up to when it has everything, in milliseconds by the asking node's clock; null when it did not answer.
    last_sync: Option<u64>,
    lag_entries: Option<u64>,
    round_trip_us: Option<u64>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Payload of `node-list-update`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeList {
    /// The other members.
    nodes: Vec<Peer>,
    total_nodes: usize,
    current_node: String,
    leader: Option<String>,
    index: u64,
}

impl NodeList {
    /// The part whose changes are broadcast. Lag is not: it changes all the time.
    pub fn essence(&self) -> String {
        let nodes = self.nodes.iter();
        let nodes: Vec<_> = nodes.map(|peer| (&peer.node_id, &peer.role, peer.connected)).collect();
        format!("{nodes:?} {:?}", self.leader)
    }
}

/// How another member's state compares with this node's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    node_id: String,
    connected: bool,
    /// Null when there was nothing to compare.
    equal: Option<bool>,
    equal_at: Option<u64>,
    differs_at: Option<u64>,
    lag_entries: Option<u64>,
}

/// Answer of `POST /api/sync/force`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Forced {
    success: bool,
    message: &'static str,
    node_id: String,
    /// The index up to which this node has applied the log.
    index: u64,
    peers: Vec<Compared>,
}

/// Answer of `POST /api/sync/toggle`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NotToggled {
    success: bool,
    message: &'static str,
    sync_enabled: bool,
}

impl Sync {
    /// Asks all members for their status, for 500 ms at most.
    pub async fn of(session: &Session) -> Self {
        let Nodes { asked_by, at_ms, nodes, .. } = Arc::unwrap_or_clone(session.admin().nodes_cached().await);
        let (mine, others): (Vec<NodeState>, Vec<NodeState>) =
            nodes.into_iter().partition(|state| state.id == asked_by);
        let own: Option<NodeReport> = mine.into_iter().find_map(|state| state.report);
        let of_report = |number: fn(&NodeReport) -> u64| own.as_ref().map_or(0, number);
        let counts = session.totals().counts;
        Self {
            node_id: session.node_name().to_owned(),
            connected_nodes: others.iter().filter(|other| other.report.is_some()).count(),
            sync_enabled: true,
            total_sync_operations: counts.changes(),
            last_sync_time: Some(of_report(|report| report.log_time_ms)).filter(|at_ms| *at_ms > 0),
            index: of_report(|report| report.applied_index),
            term: of_report(|report| report.term),
            uptime_ms: of_report(|report| report.uptime_ms),
            role: own.as_ref().map(|report| report.role.clone()).unwrap_or_default(),
            leader: session.leader().map(|leader| leader.name),
            node_list: others.into_iter().map(|other| Peer::of(other, at_ms)).collect(),
        }
    }

    /// The nodes, and nothing else.
    pub fn node_list(self) -> NodeList {
        let (nodes, leader, index) = (self.node_list, self.leader, self.index);
        NodeList { total_nodes: nodes.len() + 1, nodes, current_node: self.node_id, leader, index }
    }

    /// How long this node has run, in seconds.
    pub fn uptime_s(&self) -> f64 {
        self.uptime_ms as f64 / 1_000.0
    }
}

impl Peer {
    fn of(state: NodeState, at_ms: u64) -> Self {
        Self {
            port: state.http.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok()),
            node_id: state.name,
            url: state.http,
            connected: state.report.is_some(),
            role: state.report.map(|report| report.role),
            last_sync: state.lag_ms.map(|lag_ms| at_ms.saturating_sub(lag_ms)),
            lag_entries: state.lag_entries,
            round_trip_us: state.round_trip_us,
            error: state.error,
        }
    }
}

impl Compared {
    fn of(state: NodeState) -> Self {
        let differs = state.differs_at.is_some();
        Self {
            node_id: state.name,
            connected: state.report.is_some(),
            equal: (differs || state.equal_at.is_some()).then_some(!differs),
            equal_at: state.equal_at,
            differs_at: state.differs_at,
            lag_entries: state.lag_entries,
        }
    }
}

/// `GET /api/sync/status`.
pub(super) async fn status(context: Context) -> Json<Sync> {
    Json(Sync::of(&context.session).await)
}

/// `POST /api/sync/force`: catches up with the leader, which needs a majority, and compares with all others.
pub(super) async fn force(State(state): State<AppState>, context: Context) -> Result<Response, Refusal> {
    let index = context.session.catch_up().await.map_err(|error| context.refuse(error))?;
    let Nodes { asked_by, nodes, .. } = context.session.admin().nodes().await;
    let peers = nodes.into_iter().filter(|state| state.id != asked_by).map(Compared::of).collect();
    state.syncs.send_modify(|syncs| *syncs += 1);
    let (message, node_id) = ("Force sync initiated", context.session.node_name().to_owned());
    Ok(Json(Forced { success: true, message, node_id, index, peers }).into_response())
}

/// `POST /api/sync/toggle`: a node cannot be detached from its cluster.
pub(super) async fn toggle() -> Response {
    let message = "Sync cannot be switched off: a node cannot be detached from its cluster yet";
    (StatusCode::NOT_IMPLEMENTED, Json(NotToggled { success: false, message, sync_enabled: true }))
        .into_response()
}

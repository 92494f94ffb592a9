//! `/api/sync/…`: how the nodes keep in sync. The replicated log does that all the time, so there is nothing to force, but a
//! status to show. Switching it off has a node leave its cluster on purpose; switching it on brings its changes in and the node
//! back.

use super::super::detach;
use super::super::state::AppState;
use super::answer::{Context, Refusal};
use super::old_nodes::{OldNodeReport, OldNodes};
use crate::api::{Consistency, Detachment, NodeReport, NodeState, Nodes};
use crate::merging::{AttachRequest, Attached};
use crate::node::Session;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

/// The role of a node of the original server, which is no member.
const OLD_NODE: &str = "old-node";

/// The status of this node and of the others.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sync {
    node_id: String,
    /// Other members that have just answered, and attached old nodes.
    connected_nodes: usize,
    /// False on a node that has left its cluster on purpose.
    sync_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detached: Option<DetachedPart>,
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

/// How a node is detached from its cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DetachedPart {
    history: String,
    fork_index: u64,
    /// In milliseconds since the Unix epoch.
    since: u64,
    /// Log entries since.
    changes: u64,
}

impl DetachedPart {
    pub fn of(session: &Session) -> Option<Self> {
        let Detachment { history, fork_index, since_ms, entries, .. } =
            session.admin().detach_status().detached?;
        Some(Self { history, fork_index, since: since_ms, changes: entries })
    }
}

/// Another member, or an old node that is attached to this one.
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
    /// Of an old node: its Socket.IO connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Payload of `node-list-update`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeList {
    /// The other members, and the old nodes that are attached to this one.
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
struct Toggled {
    success: bool,
    message: &'static str,
    sync_enabled: bool,
}

/// Answer of `POST /api/sync/force` on a node that is detached.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    success: bool,
    message: &'static str,
    node_id: String,
    /// What would become of its changes.
    would_merge: Option<Attached>,
}

impl Sync {
    /// Asks all members for their status, for 500 ms at most.
    pub async fn of(session: &Session, old_nodes: &OldNodes) -> Self {
        let Nodes { asked_by, at_ms, nodes, .. } = Arc::unwrap_or_clone(session.admin().nodes_cached().await);
        let (mine, others): (Vec<NodeState>, Vec<NodeState>) =
            nodes.into_iter().partition(|state| state.id == asked_by);
        let own: Option<NodeReport> = mine.into_iter().find_map(|state| state.report);
        let of_report = |number: fn(&NodeReport) -> u64| own.as_ref().map_or(0, number);
        let counts = session.totals().counts;
        // Those that a detached node has left stay listed.
        let left = session.admin().detach_status().detached.into_iter().flat_map(|detached| detached.urls);
        let left = left.map(Peer::that_was_left);
        let attached = old_nodes.reports();
        Self {
            node_id: session.node_name().to_owned(),
            connected_nodes: others.iter().filter(|other| other.report.is_some()).count() + attached.len(),
            sync_enabled: session.consistency() != Consistency::Detached,
            detached: DetachedPart::of(session),
            total_sync_operations: counts.changes(),
            last_sync_time: Some(of_report(|report| report.log_time_ms)).filter(|at_ms| *at_ms > 0),
            index: of_report(|report| report.applied_index),
            term: of_report(|report| report.term),
            uptime_ms: of_report(|report| report.uptime_ms),
            role: own.as_ref().map(|report| report.role.clone()).unwrap_or_default(),
            leader: session.leader().map(|leader| leader.name),
            node_list: others
                .into_iter()
                .map(|other| Peer::of(other, at_ms))
                .chain(left)
                .chain(attached.into_iter().map(Peer::attached))
                .collect(),
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
    fn that_was_left(url: String) -> Self {
        Self {
            port: port_of(&url),
            node_id: url.clone(),
            url,
            role: None,
            connected: false,
            last_sync: None,
            lag_entries: None,
            round_trip_us: None,
            socket_id: None,
            error: Some("this node has left its cluster".into()),
        }
    }

    fn attached(node: OldNodeReport) -> Self {
        let url = match node.port {
            Some(port) if node.address.contains(':') => format!("http://[{}]:{port}", node.address),
            Some(port) => format!("http://{}:{port}", node.address),
            None => String::new(),
        };
        Self {
            node_id: node.node_id,
            url,
            port: node.port,
            role: Some(OLD_NODE.into()),
            connected: true,
            last_sync: node.last_sync_ms,
            lag_entries: None,
            round_trip_us: None,
            socket_id: Some(node.socket_id),
            error: None,
        }
    }

    fn of(state: NodeState, at_ms: u64) -> Self {
        Self {
            port: port_of(&state.http),
            node_id: state.name,
            url: state.http,
            connected: state.report.is_some(),
            role: state.report.map(|report| report.role),
            last_sync: state.lag_ms.map(|lag_ms| at_ms.saturating_sub(lag_ms)),
            lag_entries: state.lag_entries,
            round_trip_us: state.round_trip_us,
            socket_id: None,
            error: state.error,
        }
    }
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok())
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
    Json(Sync::of(&context.session, &context.state.old_nodes).await)
}

/// `POST /api/sync/force`: catches up with the leader, which needs a majority, and compares with all others. A node that is
/// detached says what toggling would do.
pub(super) async fn force(State(state): State<AppState>, context: Context) -> Result<Response, Refusal> {
    if context.session.consistency() == Consistency::Detached {
        let would_merge = detach::preview(&state, context.session.admin()).await;
        let would_merge = would_merge.map_err(|error| context.refuse(error))?;
        let (message, node_id) = ("Nothing was changed: sync is off", context.session.node_name().to_owned());
        return Ok(Json(Preview { success: true, message, node_id, would_merge }).into_response());
    }
    let index = context.session.catch_up().await.map_err(|error| context.refuse(error))?;
    let Nodes { asked_by, nodes, .. } = context.session.admin().nodes().await;
    let peers = nodes.into_iter().filter(|state| state.id != asked_by).map(Compared::of).collect();
    state.syncs.send_modify(|syncs| *syncs += 1);
    let (message, node_id) = ("Force sync initiated", context.session.node_name().to_owned());
    Ok(Json(Forced { success: true, message, node_id, index, peers }).into_response())
}

/// `POST /api/sync/toggle`: this node leaves its cluster and goes on alone, or brings its changes in and comes back.
pub(super) async fn toggle(State(state): State<AppState>, context: Context) -> Result<Response, Refusal> {
    let (admin, leaves) = (context.session.admin(), context.session.consistency() != Consistency::Detached);
    // As long as a session is held the node cannot be opened again.
    drop(context);
    let is_done = if leaves {
        detach::leave(&state, admin, false).await.map(|status| status.detached.is_some())
    } else {
        let attached = detach::come_back(&state, admin, AttachRequest::default()).await;
        attached.map(|attached| attached.is_some())
    };
    let is_done = is_done.map_err(|error| Refusal::of(state.development, &error))?;
    let (code, message) = match (leaves, is_done) {
        (true, true) => (StatusCode::OK, "Sync disabled: this node goes on alone"),
        (true, false) => (StatusCode::ACCEPTED, "Sync is being disabled"),
        (false, true) => (StatusCode::OK, "Sync enabled: what this node changed was merged"),
        (false, false) => (StatusCode::ACCEPTED, "Sync is being enabled"),
    };
    let sync_enabled = leaves != is_done;
    Ok((code, Json(Toggled { success: true, message, sync_enabled })).into_response())
}

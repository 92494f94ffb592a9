//! `/v1/old-nodes`: the nodes of the original Node.js cache server that are attached to this node.

use super::compat::OldNodeReport;
use super::response_headers::no_store;
use super::state::AppState;
use crate::node::Session;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

/// The answer.
#[derive(Serialize)]
pub(super) struct Attached {
    /// The name of the node that was asked.
    node: String,
    /// The oldest first.
    old_nodes: Vec<OldNodeReport>,
}

/// `GET /v1/old-nodes`.
pub(super) async fn get(State(state): State<AppState>, session: Session) -> (HeaderMap, Json<Attached>) {
    let (node, old_nodes) = (session.node_name().to_owned(), state.old_nodes.reports());
    (no_store(), Json(Attached { node, old_nodes }))
}

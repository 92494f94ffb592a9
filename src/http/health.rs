//! Probes. Liveness needs no quorum: restarting a node does not bring a lost majority back.

use super::door::{Door, Ready};
use super::respond::ApiError;
use axum::Json;
use axum::extract::State;
use serde::Serialize;

/// Answer of `/health`.
#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    node: Option<String>,
    reason: Option<String>,
}

/// The process runs and answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn ping() -> &'static str {
    "pong\n"
}

/// Clients should be sent here: a member that reads linearizably.
pub(super) async fn readyz(Ready(node): Ready) -> Result<&'static str, ApiError> {
    node.ready().await.map_err(|error| ApiError::from_node(&node, error))?;
    Ok("ok\n")
}

/// The same in words, always 200.
pub(super) async fn health(State(door): State<Door>) -> Json<Health> {
    let Some(node) = door.node() else {
        return Json(Health { status: "starting", node: None, reason: Some("no cluster yet".into()) });
    };
    let name = Some(node.name().to_owned());
    Json(match node.ready().await {
        Ok(()) => Health { status: "healthy", node: name, reason: None },
        Err(error) => Health { status: "unready", node: name, reason: Some(error.to_string()) },
    })
}

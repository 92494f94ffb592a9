//! Probes. Liveness needs no majority: restarting a node does not bring a lost majority back.

use super::api_error::ApiError;
use super::time::iso;
use crate::api::Consistency;
use crate::node::Session;
use crate::replica::wall_ms;
use axum::Json;
use serde::Serialize;

/// Answer of `/health`.
#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    node: Option<String>,
    /// The same under the name that other cache servers give it.
    #[serde(rename = "nodeId")]
    node_id: Option<String>,
    timestamp: String,
    reason: Option<String>,
}

/// The process runs and answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// A liveness probe that answers with this node's wall clock.
pub(super) async fn ping() -> String {
    format!("pong - {}", iso(wall_ms()))
}

/// Whether clients should be sent to this node: it is a member that can serve linearizable reads.
pub(super) async fn readyz(session: Session) -> Result<&'static str, ApiError> {
    session.ready().await?;
    Ok(if session.consistency() == Consistency::Detached { "detached\n" } else { "ok\n" })
}

/// The same as JSON, always with status 200. Who shows no token where one is needed learns no more than that.
pub(super) async fn health(session: Result<Session, ApiError>) -> Json<Health> {
    let answer = |status, name: Option<&str>, reason| {
        let name = name.map(str::to_owned);
        Json(Health { status, node: name.clone(), node_id: name, timestamp: iso(wall_ms()), reason })
    };
    let Ok(session) = session else {
        return answer("starting", None, Some("no cluster yet".into()));
    };
    if session.is_stranger() {
        return answer(if session.ready().await.is_ok() { "healthy" } else { "unready" }, None, None);
    }
    match session.ready().await {
        Ok(()) => answer("healthy", Some(session.node_name()), None),
        Err(error) => answer("unready", Some(session.node_name()), Some(error.to_string())),
    }
}

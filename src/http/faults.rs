//! `/v1/debug/links` cuts this node off from its peers, or reconnects it; `/v1/debug/corrupt` makes its state differ from
//! theirs. Both exist only on a node that was started with `--fault-injection`.

use super::api_error::ApiError;
use super::body::{NoBody, json_body};
use super::state::AppState;
use crate::api::ErrorCode;
use crate::node::Admin;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

/// Whether this node is cut off from its peers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkState {
    cut: bool,
}

fn allowed(state: &AppState) -> Result<(), ApiError> {
    let refused = || {
        ApiError::new(
            ErrorCode::NoRoute,
            "this node was not started with --fault-injection (cluster-scripts/up does so)",
        )
    };
    state.fault_injection.then_some(()).ok_or_else(refused)
}

pub(super) async fn get(State(state): State<AppState>, admin: Admin) -> Result<Json<LinkState>, ApiError> {
    allowed(&state)?;
    Ok(Json(LinkState { cut: admin.links().is_cut() }))
}

pub(super) async fn put(
    State(state): State<AppState>,
    admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LinkState>, ApiError> {
    allowed(&state)?;
    let state: LinkState = json_body(&state, &headers, body, 1_024).await?;
    if state.cut {
        admin.links().cut();
    } else {
        admin.links().heal();
    }
    Ok(Json(state))
}

/// `POST /v1/debug/corrupt`.
pub(super) async fn corrupt(
    State(state): State<AppState>,
    admin: Admin,
    _: NoBody,
) -> Result<StatusCode, ApiError> {
    allowed(&state)?;
    admin.corrupt();
    Ok(StatusCode::NO_CONTENT)
}

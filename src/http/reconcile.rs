//! `/v1/reconcile`: a step of a merge, and how far the merges are.

use super::api_error::ApiError;
use super::batch::{parse_key, parse_value};
use super::body::json_body;
use super::client_address::PeerAddress;
use super::extract::idempotency_key;
use super::response_headers::{no_store, written_at};
use super::state::AppState;
use crate::api::{
    MergeChangeRequest, MergeEndRequest, MergeGuardRequest, MergeOpRequest, MergeStepAnswer,
    MergeStepRequest, MergeTimesRequest, Reconciliations,
};
use crate::cache::limits::VALUE_BYTES_MAX;
use crate::cache::{Command, MergeChange, MergeEnd, MergeGuard, MergeOp, MergeStep, MergeTimes, Outcome};
use crate::node::{Session, WriteRequest};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

/// `GET /v1/reconcile`.
pub(super) async fn get(session: Session) -> Result<(HeaderMap, Json<Reconciliations>), ApiError> {
    let read = session.reconciliations().await?;
    Ok((no_store(), Json(read.value)))
}

/// `POST /v1/reconcile`.
pub(super) async fn step(
    State(state): State<AppState>,
    session: Session,
    address: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: MergeStepRequest = json_body(&state, &headers, body, state.limits.batch_bytes).await?;
    let MergeStepRequest { merge, history, step: number, after, planned_at, ops, end } = request;
    let parse = |(position, op)| parse(op).map_err(|error| error.op(position));
    let ops = ops.into_iter().enumerate().map(parse).collect::<Result<Vec<MergeOp>, ApiError>>()?;
    let end = end.map(|end| match end {
        MergeEndRequest::UpTo(index) => MergeEnd::UpTo(index),
        MergeEndRequest::Aborted => MergeEnd::Aborted,
        MergeEndRequest::Forgotten => MergeEnd::Forgotten,
    });
    if number == 0 || end.is_some() {
        let step = if end.is_some() { "ends" } else { "begins" };
        let address = address.map_or_else(String::new, |Extension(address)| address.0.to_string());
        session.note_admin_action(address, &format!("POST /v1/reconcile: {step} {merge}")).await?;
    }
    let command = Command::Merge(Box::new(MergeStep { merge, history, number, after, planned_at, ops, end }));
    let idempotency_key = idempotency_key(&headers, session.lineage())?;
    let written = session.write(WriteRequest { idempotency_key, ..command.into() }).await?;
    let at = written_at(&written);
    let Outcome::Merged { revision, results } = written.outcome else {
        return Err(ApiError::unexpected_outcome());
    };
    Ok((at, Json(MergeStepAnswer { revision, results })).into_response())
}

fn parse(op: MergeOpRequest) -> Result<MergeOp, ApiError> {
    let key = parse_key(&op.key)?;
    let guard = match op.guard {
        MergeGuardRequest::Absent => MergeGuard::Absent,
        MergeGuardRequest::Revision(revision) => MergeGuard::Revision(revision),
        MergeGuardRequest::Present => MergeGuard::Present,
    };
    let change = match op.change {
        MergeChangeRequest::Put { value, value_base64, content_type, times } => {
            let value = parse_value(value, value_base64, content_type.as_deref(), VALUE_BYTES_MAX)?;
            MergeChange::Put { value, times: times_of(times) }
        }
        MergeChangeRequest::Remove { at_ms } => MergeChange::Remove { at_ms },
        MergeChangeRequest::Bury { at_ms } => MergeChange::Bury { at_ms },
        MergeChangeRequest::SetTimes(times) => MergeChange::SetTimes(times_of(times)),
        MergeChangeRequest::Add { by } => MergeChange::Add { by },
    };
    Ok(MergeOp { key, guard, change })
}

fn times_of(times: MergeTimesRequest) -> MergeTimes {
    let MergeTimesRequest { at_ms, version, expires_at_ms, sliding_ms } = times;
    MergeTimes { at_ms, version, expires_at_ms, sliding_ms }
}

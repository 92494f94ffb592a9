//! Tokens: who may do what.

use super::api_error::ApiError;
use super::body::{NoBody, json_body};
use super::response_headers::{keep_to_own_pages, no_store};
use super::state::AppState;
use crate::api::{CreateToken, ErrorCode, RotateToken};
use crate::cache::TokenLimits;
use crate::cache::limits::TOKEN_ID_BYTES;
use crate::node::Session;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

const BODY_BYTES_MAX: usize = 64 * 1024;

/// `GET /v1/tokens`.
pub(super) async fn list(session: Session) -> Result<Response, ApiError> {
    Ok(private(StatusCode::OK, session.tokens().await?))
}

/// `GET /v1/token`.
pub(super) async fn own(session: Session) -> Result<Response, ApiError> {
    let token = session.own_token().await?;
    let token = token
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, "this request has no token, and needs none"))?;
    Ok(private(StatusCode::OK, token))
}

/// `POST /v1/tokens`.
pub(super) async fn create(
    State(state): State<AppState>,
    session: Session,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: CreateToken = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    Ok(private(StatusCode::CREATED, session.create_token(request).await?))
}

/// `POST /v1/tokens/{id}/rotate`.
pub(super) async fn rotate(
    State(state): State<AppState>,
    session: Session,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: RotateToken = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    Ok(private(StatusCode::OK, session.rotate_token(known_id(&id)?, request).await?))
}

/// `PUT /v1/tokens/{id}/limits`.
pub(super) async fn limit(
    State(state): State<AppState>,
    session: Session,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let limits: TokenLimits = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    Ok(private(StatusCode::OK, session.limit_token(known_id(&id)?, limits).await?))
}

/// `DELETE /v1/tokens/{id}`.
pub(super) async fn revoke(
    session: Session,
    Path(id): Path<String>,
    _: NoBody,
) -> Result<Response, ApiError> {
    Ok(private(StatusCode::OK, session.revoke_token(known_id(&id)?).await?))
}

/// What can be an id. Nothing is written to the log for what cannot.
fn known_id(id: &str) -> Result<&str, ApiError> {
    match id.len() == TOKEN_ID_BYTES {
        true => Ok(id),
        false => Err(ApiError::new(ErrorCode::NotFound, "no token has this id").field("id")),
    }
}

fn private(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, no_store(), Json(body)).into_response();
    keep_to_own_pages(response.headers_mut());
    response
}

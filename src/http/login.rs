//! Sessions of the dashboard: a page sends a token once, and its browser gets a cookie that no script can read.

use super::access::cookie_name;
use super::api_error::ApiError;
use super::body::{NoBody, json_body};
use super::origin;
use super::response_headers::no_store;
use super::state::AppState;
use crate::api::ErrorCode;
use crate::node::{Principal, SESSION_MS, Session};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

const BODY_BYTES_MAX: usize = 4 * 1024;

/// Body of `POST /v1/login`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// `POST /v1/login`.
pub(super) async fn begin(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    origin::refuse_foreign(&headers, &state.sites)?;
    let Login { token } = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    let principal = Principal::of_token(token.trim());
    let wrong = || ApiError::new(ErrorCode::Unauthorized, "this is no token: expected lsk_…").field("token");
    let session = state.session(principal.ok_or_else(wrong)?).ok_or_else(ApiError::waiting)?;
    let secret = session.log_in().await?;
    cookie(&state, &secret, SESSION_MS / 1_000)
}

/// `DELETE /v1/login`.
pub(super) async fn end(
    State(state): State<AppState>,
    session: Session,
    _: NoBody,
) -> Result<Response, ApiError> {
    if let Err(error) = session.log_out().await
        && !matches!(error.error.code(), ErrorCode::NotFound | ErrorCode::Unauthorized | ErrorCode::Forbidden)
    {
        return Err(error.into());
    }
    cookie(&state, "", 0)
}

fn cookie(state: &AppState, secret: &str, max_age: u64) -> Result<Response, ApiError> {
    let name = cookie_name(state).ok_or_else(ApiError::waiting)?;
    let secure = if state.tls.is_some() { "; Secure" } else { "" };
    let text = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}; Max-Age={max_age}");
    let value = HeaderValue::from_str(&text).map_err(|_| ApiError::waiting())?;
    let mut response = (StatusCode::NO_CONTENT, no_store()).into_response();
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}

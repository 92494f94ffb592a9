//! The session of a request, as a handler's argument, for whoever asks: see [`super::access`].

use super::access::CameTooEarly;
use super::api_error::ApiError;
use super::extract::origin;
use super::state::AppState;
use crate::node::{Admin, Principal, Session};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

impl FromRequestParts<AppState> for Session {
    type Rejection = ApiError;

    /// # Errors
    /// `unavailable` until the node has its cluster; `invalid_header`.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        if parts.extensions.get::<CameTooEarly>().is_some() {
            return Err(ApiError::waiting());
        }
        let principal = parts.extensions.get::<Principal>().cloned().unwrap_or(Principal::Anyone);
        let session = state.session(principal).ok_or_else(ApiError::waiting)?;
        Ok(session.with_origin(origin(&parts.headers)?))
    }
}

/// The operator's side of that session.
impl FromRequestParts<AppState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        Ok(Session::from_request_parts(parts, state).await?.admin())
    }
}

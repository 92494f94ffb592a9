//! Where a browser's request comes from. A page of another site must not use what its reader's machine can reach:
//! browsers let any page open a WebSocket, and say only in `Origin` whose page it is.

use super::respond::ApiError;
use crate::api::ErrorCode;
use axum::http::{HeaderMap, header};

/// Refuses a request that a page of another site makes. Programs send no `Origin`.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    if site.is_some() && site == host {
        return Ok(());
    }
    let reason = "a page of another site may not do this";
    Err(ApiError::new(ErrorCode::Forbidden, reason).field("origin"))
}

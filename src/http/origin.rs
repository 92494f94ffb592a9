//! Where a browser's request comes from. A page of another site must not use what its reader's machine can reach:
//! browsers let any page open a WebSocket and post plain text anywhere, and say only in `Origin` whose page it is.

use super::respond::ApiError;
use crate::api::ErrorCode;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};

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

/// Refuses what a page of another site would change under `/v1`. What it would read, its browser keeps from it.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign_change(request: &Request) -> Result<(), ApiError> {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if reads || !request.uri().path().starts_with("/v1/") {
        return Ok(());
    }
    refuse_foreign(request.headers())
}

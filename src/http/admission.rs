//! Checks of every request, whatever its route. A request that this server would not handle as HTTP defines it is refused
//! here, rather than handled in another way.

use super::api_error::ApiError;
use super::cursor;
use super::origin;
use super::state::AppState;
use crate::api::{CONSISTENCY, EXPECT_HISTORY, ErrorCode};
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The checks, as a layer for routes that have no other.
pub(super) async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match check(&request, &state) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// # Errors
/// `invalid_header`, `misdirected`, `forbidden`, `unsupported_encoding`, `expectation_failed`, `not_implemented`,
/// `other_history`, `detached`, `unavailable`.
pub(super) fn check(request: &Request, state: &AppState) -> Result<(), ApiError> {
    let sites = &state.sites;
    let (mut hosts, mut codings) = (0, 0);
    for (name, value) in request.headers() {
        // One pass, because each look-up would cost every request something.
        if *name == header::HOST {
            hosts += 1;
            origin::refuse_foreign_host(value.to_str().unwrap_or_default(), sites)?;
        } else if *name == header::TRANSFER_ENCODING {
            codings += 1;
            refuse_coding(value, codings)?;
        } else if *name == header::CONTENT_ENCODING {
            refuse_encoding(value)?;
        } else if *name == header::UPGRADE
            && value.as_bytes().eq_ignore_ascii_case(b"websocket")
            && !request.body().is_end_stream()
        {
            // The switch would come in the middle of the request, and the body's bytes would be taken for frames.
            return Err(invalid(&header::UPGRADE, "a request for a WebSocket has no body"));
        } else if *name == header::CONTENT_RANGE {
            let reason = "a part of a value is not taken for the whole";
            return Err(invalid(&header::CONTENT_RANGE, reason));
        } else if *name == EXPECT_HISTORY {
            cursor::expect(value, state.front.lineage().ok_or_else(ApiError::waiting)?)?;
        } else if *name == CONSISTENCY
            && ["linearizable", "lease"].iter().any(|it| value == it)
            && state.is_detached()
        {
            detached(request.uri().path())?;
        } else if *name == header::EXPECT && !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            let reason = "expect: this server knows 100-continue only";
            return Err(ApiError::new(ErrorCode::ExpectationFailed, reason).field("expect"));
        }
    }
    if hosts > 1 {
        return Err(invalid(&header::HOST, "stands more than once"));
    }
    if hosts == 0 && request.version() == Version::HTTP_11 {
        return Err(invalid(&header::HOST, "is missing, and HTTP/1.1 asks for it"));
    }
    // A whole URL as the target counts more than `Host`.
    if let Some(authority) = request.uri().authority() {
        origin::refuse_foreign_host(authority.as_str(), sites)?;
    }
    origin::refuse_foreign_page(request, sites)
}

/// A client that insists on the cluster's own values does not get those of a node that goes on alone.
fn detached(path: &str) -> Result<(), ApiError> {
    let about_data = [
        "/v1/kv",
        "/v1/keys",
        "/v1/changes",
        "/v1/sessions",
        "/v1/locks",
        "/v1/batch",
        "/v1/get",
        "/v1/watch",
        "/v1/live",
        "/v1/config",
        "/v1/snapshot",
        "/v1/reconcile",
        "/api/cache",
        "/api/strategy",
    ];
    match about_data.iter().any(|start| path.starts_with(start)) {
        true => Err(ApiError::detached()),
        false => Ok(()),
    }
}

fn invalid(name: &HeaderName, reason: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidHeader, format!("{name}: {reason}")).field(name.as_str())
}

/// Several lines mean what one with a list means (RFC 9110, 5.3), and a body is in chunks once.
fn refuse_coding(value: &HeaderValue, codings: u32) -> Result<(), ApiError> {
    if codings == 1 && value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let reason = "transfer-encoding: this server knows chunked only, and once";
    Err(ApiError::new(ErrorCode::NotImplemented, reason).field("transfer-encoding"))
}

/// A value is kept with its content type and nothing else, so its readers would not know how it is encoded.
fn refuse_encoding(value: &HeaderValue) -> Result<(), ApiError> {
    if value.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let reason = "content-encoding: bodies are taken as they are; send it without, or keep the encoding in the content type";
    let known = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    Err(ApiError::new(ErrorCode::UnsupportedEncoding, reason).field("content-encoding").with_headers(known))
}

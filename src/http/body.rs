//! Bodies of requests. A body is received piece by piece, within limits in bytes and in time; JSON bodies are parsed here.

use super::api_error::ApiError;
use super::parse_error::in_words;
use super::state::AppState;
use crate::api::ErrorCode;
use crate::front::{BodyBuffer, MemoryPermit};
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Instant;

/// No body, or an object without fields.
pub(super) struct NoBody;

/// More than an empty object needs.
const NO_BODY_BYTES_MAX: usize = 64;

impl FromRequest<AppState> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let refused = || bad_body("this request takes none".into());
        let received = body_bytes(state, &parts.headers, body, NO_BODY_BYTES_MAX).await;
        let received = received.map_err(|error| match error.problem().code {
            ErrorCode::TooLarge => refused(),
            _ => error,
        })?;
        if matches!(received.bytes.trim_ascii(), b"" | b"{}") { Ok(Self) } else { Err(refused()) }
    }
}

/// A whole body, and its part of the memory of all bodies, which is free again when the permit is dropped.
pub(super) struct ReceivedBody {
    pub bytes: Bytes,
    pub permit: MemoryPermit,
}

impl ReceivedBody {
    /// The bytes and the permit.
    pub fn into_parts(self) -> (Bytes, MemoryPermit) {
        (self.bytes, self.permit)
    }
}

/// Receives a whole body of at most `limit` bytes. Memory is taken as bytes arrive, so a client that announces many bytes
/// and sends few holds few.
///
/// # Errors
/// `too_large`, `busy` if other bodies take all the memory, `invalid_body` if the connection broke or the body was late.
pub(super) async fn body_bytes(
    state: &AppState,
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<ReceivedBody, ApiError> {
    let too_large =
        || ApiError::new(ErrorCode::TooLarge, format!("the body has more than {limit} bytes")).field("body");
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large());
    }
    let mut buffer = BodyBuffer::default();
    let begun = Instant::now();
    while let Some(frame) = next_frame(&mut body, state, begun, &mut buffer).await? {
        let frame = frame.map_err(|error| bad_body(format!("it ended early: {error}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if buffer.len() + piece.len() > limit {
            return Err(too_large());
        }
        buffer.push(&state.front.body_memory, piece)?;
    }
    let (bytes, permit) = buffer.finish();
    Ok(ReceivedBody { bytes, permit })
}

/// The next frame of a body. Most bodies arrive whole with the head of their request, and need no timer.
async fn next_frame(
    body: &mut Body,
    state: &AppState,
    begun: Instant,
    buffer: &mut BodyBuffer,
) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, ApiError> {
    if let Some(next) = body.frame().now_or_never() {
        return Ok(next);
    }
    buffer.wait(&state.front.body_memory)?;
    let (pause, whole) = (state.limits.body_pause_timeout, state.limits.transfer_timeout(buffer.len()));
    let left = whole.saturating_sub(begun.elapsed());
    let late = |_| match pause < left {
        true => bad_body(format!("it ended early: nothing came for {pause:?}")),
        false => bad_body(format!("it ended early: it takes longer than {whole:?}")),
    };
    tokio::time::timeout(pause.min(left), body.frame()).await.map_err(late)
}

/// A JSON body; an empty body counts as `{}`.
///
/// # Errors
/// `invalid_body`, `too_large`, `busy`.
pub(super) async fn json_body<T: DeserializeOwned>(
    state: &AppState,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, ApiError> {
    json_body_or(state, headers, body, limit, |_, reason| bad_body(reason)).await
}

/// The same; `refuse` makes the error of a body that is not the JSON expected, from the body and the reason.
pub(super) async fn json_body_or<T: DeserializeOwned>(
    state: &AppState,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    refuse: impl FnOnce(&[u8], String) -> ApiError,
) -> Result<T, ApiError> {
    let received = body_bytes(state, headers, body, limit).await?;
    let is_empty = received.bytes.is_empty();
    let text: &[u8] = if is_empty { b"{}" } else { &received.bytes };
    from_object(text).map_err(|reason| match is_empty {
        true => bad_body(format!("it is empty; {}", without_position(&reason))),
        false => refuse(text, reason),
    })
}

/// The reason without the position in the text, for a text that is not the client's.
fn without_position(reason: &str) -> &str {
    reason.split_once(" at line ").map_or(reason, |(reason, _)| reason)
}

/// Reads a JSON object. An array is refused: serde would read it as the fields by position.
pub(super) fn from_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err("expected a JSON object".into());
    }
    serde_json::from_slice(text).map_err(|error| {
        let said = in_words(&error.to_string());
        // The parser names fields that are missing or unknown.
        match field_of::<T>(text).filter(|_| said.starts_with("invalid ")) {
            Some(field) => format!("{field}: {said}"),
            None => said,
        }
    })
}

/// The field that cannot be parsed, if it is one: `ttl_ms`, `touch.interval_ms`, `ops[1]`. The text is parsed a second time,
/// so that texts without errors are not slowed down.
fn field_of<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<String> {
    let read = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(text));
    let path = read.err()?.path().to_string();
    (path != ".").then_some(path)
}

pub(super) fn bad_body(reason: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, format!("body: {reason}")).field("body")
}

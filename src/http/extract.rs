//! What requests carry, parsed once: keys, times to live, guarantees, bodies. Each failure
//! names the field and what was expected.

use super::body_memory::Pieces;
pub(super) use super::body_memory::Share;
use super::door::Door;
use super::line_rate::cut;
use super::respond::ApiError;
use crate::api::{Consistency, ErrorCode, IDEMPOTENCY_KEY};
use crate::cache::limits::{IDEMPOTENCY_KEY_BYTES_MAX, SLIDING_TTL_MS_MAX, TTL_MS_MAX, TTL_MS_MIN};
use crate::cache::{Key, Ttl};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Frame;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Instant;

/// The key of a path like `/v1/kv/{key}`, percent-decoded once.
pub(super) struct PathKey(pub Key);

impl<S: Sync> FromRequestParts<S> for PathKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Two words, and then the key.
        let raw = parts.uri.path().split('/').nth(3).unwrap_or_default();
        let invalid = |reason: String| ApiError::new(ErrorCode::InvalidKey, reason).field("key");
        if !is_encoded(raw) {
            return Err(invalid(
                "a percent sign in the key is not followed by two hexadecimal digits".into(),
            ));
        }
        let text = percent_decode_str(raw).decode_utf8();
        let text = text.map_err(|_| invalid("the key is not UTF-8 once percent-decoded".into()))?;
        Key::new(&text).map(Self).map_err(|error| invalid(error.to_string()))
    }
}

/// The member of a path like `/v1/members/{id}`.
pub(super) struct PathId(pub u64);

impl<S: Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = parts.uri.path().split('/').nth(3).unwrap_or_default();
        let invalid = || bad_query("id", format!("`{}` is no member's number", cut(text, 128)));
        whole(text).map(Self).ok_or_else(invalid)
    }
}

/// Whether each percent sign is followed by two hexadecimal digits.
fn is_encoded(text: &str) -> bool {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    text.split('%').skip(1).all(|part| is_hex(part.as_bytes().first()) && is_hex(part.as_bytes().get(1)))
}

/// A whole number of decimal digits and nothing else.
pub(super) fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Reads query parameters.
///
/// # Errors
/// A sentence.
pub(super) fn parse_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, String> {
    let text = uri.query().unwrap_or_default();
    if !is_encoded(text) {
        return Err("a percent sign is not followed by two hexadecimal digits".into());
    }
    if percent_decode_str(text).decode_utf8().is_err() {
        return Err("it is not UTF-8 once percent-decoded".into());
    }
    serde_urlencoded::from_str(text).map_err(|error| error.to_string())
}

/// Query parameters; an unknown one is an error.
pub(super) struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let invalid =
            |reason| ApiError::new(ErrorCode::InvalidQuery, format!("query: {reason}")).field("query");
        parse_query(&parts.uri).map(Self).map_err(invalid)
    }
}

/// Query of a put.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutQuery {
    pub ttl_ms: Option<String>,
    pub sliding: Option<String>,
    pub previous: Option<String>,
}

/// Query of a delete.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    pub previous: Option<String>,
}

/// Query of a read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadQuery {
    pub consistency: Option<String>,
    pub min_index: Option<String>,
}

/// No query parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// Puts around routes that take none.
pub(super) async fn refuse_query(
    Query(NoQuery {}): Query<NoQuery>,
    request: Request,
    next: Next,
) -> Response {
    next.run(request).await
}

/// No body, or an object without fields.
pub(super) struct NoBody;

/// More than an empty object needs.
const NO_BODY_BYTES_MAX: usize = 64;

impl FromRequest<Door> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, door: &Door) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let refused = || bad_body("this request takes none".into());
        let held = body_bytes(door, &parts.headers, body, NO_BODY_BYTES_MAX).await;
        let held = held.map_err(|error| match error.problem().code {
            ErrorCode::TooLarge => refused(),
            _ => error,
        })?;
        if matches!(held.bytes.trim_ascii(), b"" | b"{}") { Ok(Self) } else { Err(refused()) }
    }
}

impl PutQuery {
    /// # Errors
    /// `invalid_ttl`, `invalid_query`.
    pub fn ttl(&self) -> Result<Ttl, ApiError> {
        let sliding = flag("sliding", self.sliding.as_deref())?;
        match self.ttl_ms.as_deref() {
            None => ttl(None, sliding),
            Some("never") if sliding => Err(slides_without_ttl()),
            Some("never") => Ok(Ttl::Never),
            Some(text) => match whole(text) {
                Some(ttl_ms) => ttl(Some(ttl_ms), sliding),
                None => Err(bad_ttl(format!("`{text}` is neither a number of milliseconds nor `never`"))),
            },
        }
    }
}

/// A parameter that is `true` or `false`; absent, it is false.
///
/// # Errors
/// `invalid_query`.
pub(super) fn flag(field: &str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        Some("true") => Ok(true),
        None | Some("false") => Ok(false),
        Some(other) => Err(bad_query(field, format!("`{other}` is neither true nor false"))),
    }
}

/// A time to live, if one is given; `sliding` if uses renew it.
///
/// # Errors
/// `invalid_ttl`.
pub(super) fn ttl(ttl_ms: Option<u64>, sliding: bool) -> Result<Ttl, ApiError> {
    let (ttl, ttl_ms, most) = match (ttl_ms, sliding) {
        (None, false) => return Ok(Ttl::Default),
        (None, true) => return Err(slides_without_ttl()),
        (Some(ttl_ms), false) => (Ttl::Ms(ttl_ms), ttl_ms, TTL_MS_MAX),
        (Some(ttl_ms), true) => (Ttl::Sliding(ttl_ms), ttl_ms, SLIDING_TTL_MS_MAX),
    };
    if (TTL_MS_MIN..=most).contains(&ttl_ms) {
        return Ok(ttl);
    }
    let kind = if sliding { "; one that slides has no more" } else { "" };
    Err(bad_ttl(format!("{ttl_ms} is not between {TTL_MS_MIN} and {most} milliseconds{kind}")))
}

fn slides_without_ttl() -> ApiError {
    let reason = "sliding: it needs a ttl_ms in milliseconds, which uses renew";
    ApiError::new(ErrorCode::InvalidTtl, reason).field("sliding")
}

fn bad_ttl(reason: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidTtl, format!("ttl_ms: {reason}")).field("ttl_ms")
}

impl ReadQuery {
    /// # Errors
    /// `invalid_query`.
    pub fn consistency(&self) -> Result<Consistency, ApiError> {
        match self.consistency.as_deref() {
            None | Some("linearizable") => Ok(Consistency::Linearizable),
            Some("lease") => Ok(Consistency::Lease),
            Some("stale") => Ok(Consistency::Stale),
            Some(other) => {
                Err(bad_query("consistency", format!("`{other}` is not linearizable, lease or stale")))
            }
        }
    }

    /// # Errors
    /// `invalid_query`.
    pub fn min_index(&self) -> Result<Option<u64>, ApiError> {
        let parse = |text: &str| {
            whole(text).ok_or_else(|| bad_query("min_index", format!("`{text}` is no log index")))
        };
        self.min_index.as_deref().map(parse).transpose()
    }
}

pub(super) fn bad_query(field: &str, reason: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidQuery, format!("{field}: {reason}")).field(field)
}

pub(super) fn bad_header(name: &HeaderName, reason: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidHeader, format!("{name}: {reason}")).field(name.as_str())
}

/// A header that may stand once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad_header(name, "stands more than once"));
    }
    value.to_str().map(Some).map_err(|_| bad_header(name, "is not visible ASCII"))
}

/// The client's name for its request.
///
/// # Errors
/// `invalid_header`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let name = HeaderName::from_static(IDEMPOTENCY_KEY);
    let Some(text) = single(headers, &name)? else { return Ok(None) };
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(bad_header(&name, &format!("expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters")));
    }
    Ok(Some(text.to_owned()))
}

/// The content type to keep with a value.
///
/// # Errors
/// `invalid_header`.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    single(headers, &header::CONTENT_TYPE)
}

/// A whole body, and its share of the memory that all bodies may take; the share is given back on drop.
pub(super) struct Held {
    pub bytes: Bytes,
    pub share: Share,
}

impl Held {
    /// Both, apart.
    pub fn part(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }
}

/// A whole body of at most `limit` bytes. Memory is taken as bytes arrive, so a client that announces much
/// and sends little holds little. What does not come at once is copied together: each piece is a part of a buffer of several KiB,
/// which it would keep from being freed even if it is a single byte.
///
/// # Errors
/// `too_large`, `busy` when other bodies take all the memory there is, `invalid_body` when the connection broke.
pub(super) async fn body_bytes(
    door: &Door,
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<Held, ApiError> {
    let too_large =
        || ApiError::new(ErrorCode::TooLarge, format!("the body has more than {limit} bytes")).field("body");
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large());
    }
    let mut pieces = Pieces::default();
    let begun = Instant::now();
    while let Some(frame) = next_frame(&mut body, door, begun, &mut pieces).await? {
        let frame = frame.map_err(|error| bad_body(format!("it ended early: {error}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if pieces.len() + piece.len() > limit {
            return Err(too_large());
        }
        pieces.push(&door.body_memory, piece)?;
    }
    Ok(pieces.finish())
}

/// What comes next of a body, of which these pieces came so far. Most come whole with their request's head, and need no timer.
async fn next_frame(
    body: &mut Body,
    door: &Door,
    begun: Instant,
    pieces: &mut Pieces,
) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, ApiError> {
    if let Some(next) = body.frame().now_or_never() {
        return Ok(next);
    }
    pieces.wait(&door.body_memory)?;
    let (pause, whole) = (door.limits.body_pause, door.limits.time_for(pieces.len()));
    let left = whole.saturating_sub(begun.elapsed());
    let late = |_| match pause < left {
        true => bad_body(format!("it ended early: nothing came for {pause:?}")),
        false => bad_body(format!("it ended early: it takes longer than {whole:?}")),
    };
    tokio::time::timeout(pause.min(left), body.frame()).await.map_err(late)
}

/// A JSON body; an empty one stands for `{}`.
///
/// # Errors
/// `invalid_body`, `too_large`, `busy`.
pub(super) async fn json_body<T: DeserializeOwned>(
    door: &Door,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, ApiError> {
    json_body_or(door, headers, body, limit, |_, reason| bad_body(reason)).await
}

/// The same; `refuse` makes an error of a body that is not what it should be, and of the reason.
pub(super) async fn json_body_or<T: DeserializeOwned>(
    door: &Door,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    refuse: impl FnOnce(&[u8], String) -> ApiError,
) -> Result<T, ApiError> {
    let held = body_bytes(door, headers, body, limit).await?;
    let is_empty = held.bytes.is_empty();
    let text: &[u8] = if is_empty { b"{}" } else { &held.bytes };
    from_object(text).map_err(|reason| match is_empty {
        true => bad_body(format!("it is empty; {}", without_position(&reason))),
        false => refuse(text, reason),
    })
}

/// Where in a text the parser stopped says nothing when the text is not the client's.
fn without_position(reason: &str) -> &str {
    reason.split_once(" at line ").map_or(reason, |(reason, _)| reason)
}

/// Reads a JSON object. An array is refused: it would be taken for the fields by position.
pub(super) fn from_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err("expected a JSON object".into());
    }
    serde_json::from_slice(text).map_err(|error| {
        let said = in_words(&error);
        // What is missing or unknown is named by the parser itself.
        match field_of::<T>(text).filter(|_| said.starts_with("invalid ")) {
            Some(field) => format!("{field}: {said}"),
            None => said,
        }
    })
}

/// Which field it is that cannot be read, if it is one: `ttl_ms`, `touch.interval_ms`, `ops[1]`. The text is read a
/// second time, so that those without an error are not slowed down.
fn field_of<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<String> {
    let read = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(text));
    let path = read.err()?.path().to_string();
    (path != ".").then_some(path)
}

/// What the parser says, without the names of Rust's types.
fn in_words(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.replace("expected u64", "expected a whole number from 0")
        .replace("expected i64", "expected a whole number")
        .replace("unknown variant", "unknown name")
}

pub(super) fn bad_body(reason: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, format!("body: {reason}")).field("body")
}

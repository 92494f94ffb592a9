//! What paths, queries and headers of requests say, parsed once. Each error names the field and what was expected.

use super::api_error::ApiError;
use super::cursor::Cursor;
use super::header_names::{IDEMPOTENCY_KEY, IDEMPOTENCY_SENT_AFTER, ORIGIN};
use super::parse_error::in_words;
use crate::api::{Consistency, ErrorCode};
use crate::cache::limits::{
    IDEMPOTENCY_KEY_BYTES_MAX, KEY_BYTES_MAX, SLIDING_TTL_MS_MAX, TTL_MS_MAX, TTL_MS_MIN,
};
use crate::cache::{IdempotencyKey, Key, Ttl, is_origin};
use crate::front::truncate;
use crate::lineage::Lineage;
use crate::node::Session;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use memchr::{memchr, memchr_iter};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The key of a path like `/v1/kv/{key}`, percent-decoded once.
pub(super) struct PathKey(pub Key);

impl<S: Sync> FromRequestParts<S> for PathKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // `/v1/kv/{key}` or `/api/cache/{key}`.
        let raw = third_segment(parts.uri.path());
        let invalid = |reason: String| ApiError::new(ErrorCode::InvalidKey, reason).field("key");
        if memchr(b'%', raw.as_bytes()).is_none() {
            return Key::new(raw).map(Self).map_err(|error| invalid(error.to_string()));
        }
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

/// The number of a path like `/v1/members/{id}`.
pub(super) struct PathId(pub u64);

impl<S: Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = third_segment(parts.uri.path());
        let invalid = || bad_query("id", format!("expected a whole number, not `{}`", truncate(text, 128)));
        whole(text).map(Self).ok_or_else(invalid)
    }
}

/// What is between the third slash of a path and the next one; nothing if there is none.
fn third_segment(path: &str) -> &str {
    let mut slashes = memchr_iter(b'/', path.as_bytes());
    let start = slashes.nth(2).map_or(path.len(), |slash| slash + 1);
    &path[start..slashes.next().unwrap_or(path.len())]
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
    if memchr(b'%', text.as_bytes()).is_some() {
        if !is_encoded(text) {
            return Err("a percent sign is not followed by two hexadecimal digits".into());
        }
        if percent_decode_str(text).decode_utf8().is_err() {
            return Err("it is not UTF-8 once percent-decoded".into());
        }
    }
    serde_urlencoded::from_str(text).map_err(|error| in_words(&error.to_string()))
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
    pub if_absent_since: Option<String>,
}

/// Query of an increment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncrQuery {
    pub if_absent_since: Option<String>,
}

/// Query of a delete.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    pub previous: Option<String>,
}

/// Query of a listing that is not paged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrefixQuery {
    prefix: Option<String>,
}

impl PrefixQuery {
    /// # Errors
    /// `invalid_query`.
    pub fn prefix(self) -> Result<String, ApiError> {
        let prefix = self.prefix.unwrap_or_default();
        if prefix.len() > KEY_BYTES_MAX {
            return Err(bad_query("prefix", format!("expected at most {KEY_BYTES_MAX} bytes")));
        }
        Ok(prefix)
    }
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

/// A middleware for routes that take no query parameters.
pub(super) async fn refuse_query(
    Query(NoQuery {}): Query<NoQuery>,
    request: Request,
    next: Next,
) -> Response {
    next.run(request).await
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

/// The TTL, if one is given; `sliding` if uses restart it.
///
/// # Errors
/// `invalid_ttl`.
pub(super) fn ttl(ttl_ms: Option<u64>, sliding: bool) -> Result<Ttl, ApiError> {
    let (ttl, ttl_ms, max) = match (ttl_ms, sliding) {
        (None, false) => return Ok(Ttl::Default),
        (None, true) => return Err(slides_without_ttl()),
        (Some(ttl_ms), false) => (Ttl::Ms(ttl_ms), ttl_ms, TTL_MS_MAX),
        (Some(ttl_ms), true) => (Ttl::Sliding(ttl_ms), ttl_ms, SLIDING_TTL_MS_MAX),
    };
    if (TTL_MS_MIN..=max).contains(&ttl_ms) {
        return Ok(ttl);
    }
    let kind = if sliding { "; one that slides has no more" } else { "" };
    Err(bad_ttl(format!("{ttl_ms} is not between {TTL_MS_MIN} and {max} milliseconds{kind}")))
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
    /// `invalid_query`; `detached` if the client asks for more than such a node can promise.
    pub fn consistency(&self, session: &Session) -> Result<Consistency, ApiError> {
        match self.consistency.as_deref() {
            None => Ok(session.consistency()),
            Some("linearizable" | "lease") if session.consistency() == Consistency::Detached => {
                Err(ApiError::detached())
            }
            Some("linearizable") => Ok(Consistency::Linearizable),
            Some("lease") => Ok(Consistency::Lease),
            Some("stale") => Ok(Consistency::Stale),
            Some(other) => {
                Err(bad_query("consistency", format!("`{other}` is not linearizable, lease or stale")))
            }
        }
    }

    /// # Errors
    /// `invalid_query`; `other_history` if the client names another one than this.
    pub fn min_index(&self, lineage: &Lineage) -> Result<Option<u64>, ApiError> {
        let parse = |text: &str| {
            Cursor::parse(text).ok_or_else(|| bad_query("min_index", format!("`{text}` is no log index")))
        };
        self.min_index.as_deref().map(|text| parse(text)?.index_in(lineage)).transpose()
    }
}

pub(super) fn bad_query(field: &str, reason: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidQuery, format!("{field}: {reason}")).field(field)
}

pub(super) fn bad_header(name: &HeaderName, reason: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidHeader, format!("{name}: {reason}")).field(name.as_str())
}

/// The value of a header that a request has at most once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad_header(name, "stands more than once"));
    }
    value.to_str().map(Some).map_err(|_| bad_header(name, "is not visible ASCII"))
}

/// The client's name for the request.
///
/// # Errors
/// `invalid_header`; `other_history`: the index that it was sent after is none of this history.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    lineage: &Lineage,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let name = IDEMPOTENCY_SENT_AFTER;
    let wrong = || bad_header(&name, "expected a log index, as `42@1f0c9a3b`");
    let sent_after = single(headers, &name)?
        .map(|text| Cursor::parse(text).ok_or_else(wrong)?.index_in(lineage))
        .transpose()?;
    let name = IDEMPOTENCY_KEY;
    let Some(text) = single(headers, &name)? else {
        return match sent_after {
            None => Ok(None),
            Some(_) => Err(bad_header(&name, "`idempotency-sent-after` needs one")),
        };
    };
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(bad_header(&name, &format!("expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters")));
    }
    Ok(Some(IdempotencyKey { text: text.to_owned(), sent_after }))
}

/// The client's name for itself.
///
/// # Errors
/// `invalid_header`.
pub(super) fn origin(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(text) = single(headers, &ORIGIN)? else { return Ok(None) };
    if !is_origin(text.as_bytes()) {
        let expected = "expected 1 to 64 visible ASCII characters other than `\"`, `\\`, `,` and `;`";
        return Err(bad_header(&ORIGIN, expected));
    }
    Ok(Some(text))
}

/// The content type to keep with a value.
///
/// # Errors
/// `invalid_header`.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    single(headers, &header::CONTENT_TYPE)
}

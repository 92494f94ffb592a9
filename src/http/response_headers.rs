//! The headers of responses.

use super::header_names::{
    CONSISTENCY, CROSS_ORIGIN_RESOURCE_POLICY, IDEMPOTENCY_REPLAYED, INDEX, TERM, TIME_MS,
};
use crate::api::Consistency;
use crate::cache::EntryInfo;
use crate::node::{ReadAt, Written};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

/// The longest number: 18446744073709551615.
const DIGITS_MAX: usize = 20;
/// Room for the headers of an answer about a key: to grow the map costs as much as to fill it.
const HEADERS: usize = 16;
/// Room for the description of most entries.
const DESCRIPTION_BYTES: usize = 128;

/// A revision as an entity tag.
pub(super) fn etag(revision: u64) -> HeaderValue {
    let mut tag = [b'"'; DIGITS_MAX + 2];
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(revision).as_bytes();
    tag[1..=digits.len()].copy_from_slice(digits);
    tag[digits.len() + 1] = b'"';
    plain(&tag[..digits.len() + 2])
}

/// As the header crate's conversion of numbers, with one allocation less.
pub(super) fn number(number: u64) -> HeaderValue {
    plain(itoa::Buffer::new().format(number).as_bytes())
}

/// A header of visible ASCII.
fn plain(text: &[u8]) -> HeaderValue {
    // What is visible in ASCII is legal in any header.
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A response with these headers. A tuple of them would put each into another map once more.
pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Where in the log an answer is from: index and term.
pub(super) fn position(index: u64, term: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(INDEX, number(index));
    headers.insert(TERM, number(term));
    headers
}

/// What is known of an entry beside its value. See [`crate::api::ENTRY`].
pub(super) fn entry(info: &EntryInfo) -> HeaderValue {
    let EntryInfo { version, created_at_ms, modified_at_ms, sliding_ms, origin, .. } = info;
    let mut description = Vec::with_capacity(DESCRIPTION_BYTES);
    let mut member = |name: &str, number: u64| {
        description.extend_from_slice(name.as_bytes());
        description.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    };
    member("version=", *version);
    member(", created_at_ms=", *created_at_ms);
    member(", modified_at_ms=", *modified_at_ms);
    if *sliding_ms > 0 {
        member(", sliding_ms=", u64::from(*sliding_ms));
    }
    if let Some(origin) = origin {
        // It has no character that would need quoting.
        description.extend_from_slice(b", origin=\"");
        description.extend_from_slice(origin.as_bytes());
        description.push(b'"');
    }
    plain(&description)
}

/// For what may have changed a moment later.
pub(super) fn no_store() -> HeaderMap {
    HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))])
}

/// Pages of other sites cannot load the response, even as a script or an image, and browsers do not guess its type.
pub(super) fn keep_to_own_pages(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// Position and consistency of a read.
pub(super) fn read_at<T>(read: &ReadAt<T>, consistency: Consistency) -> HeaderMap {
    let mut headers = position(read.index, read.term);
    headers.insert(TIME_MS, number(read.now_ms));
    headers.insert(CONSISTENCY, HeaderValue::from_static(consistency.as_str()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    keep_to_own_pages(&mut headers);
    headers
}

/// Position of a write, and whether its outcome is that of an earlier request.
pub(super) fn written_at(written: &Written) -> HeaderMap {
    let mut headers = position(written.index, written.term);
    headers.insert(TIME_MS, number(written.now_ms));
    if written.replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}

//! The headers of responses.

use crate::api::{CONSISTENCY, Consistency, IDEMPOTENCY_REPLAYED, INDEX, TERM, TIME_MS};
use crate::cache::EntryInfo;
use crate::node::{ReadAt, Written};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::fmt::Write;

/// A revision as an entity tag.
pub(super) fn etag(revision: u64) -> HeaderValue {
    plain(format!("\"{revision}\""))
}

fn plain(text: String) -> HeaderValue {
    // What is visible in ASCII is legal in any header.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Where in the log an answer is from: index and term.
pub(super) fn position(index: u64, term: u64) -> HeaderMap {
    HeaderMap::from_iter([
        (HeaderName::from_static(INDEX), HeaderValue::from(index)),
        (HeaderName::from_static(TERM), HeaderValue::from(term)),
    ])
}

/// What is known of an entry beside its value. See [`crate::api::ENTRY`].
pub(super) fn entry(info: &EntryInfo) -> HeaderValue {
    let EntryInfo { version, created_at_ms, modified_at_ms, .. } = info;
    let mut text =
        format!("version={version}, created_at_ms={created_at_ms}, modified_at_ms={modified_at_ms}");
    if info.sliding_ms > 0 {
        let _ = write!(text, ", sliding_ms={}", info.sliding_ms);
    }
    if let Some(origin) = &info.origin {
        // It has no character that would need quoting.
        let _ = write!(text, ", origin=\"{origin}\"");
    }
    plain(text)
}

/// For what may have changed a moment later.
pub(super) fn no_store() -> HeaderMap {
    HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))])
}

/// Pages of other sites cannot load the response, even as a script or an image, and browsers do not guess its type.
pub(super) fn keep_to_own_pages(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
}

/// Position and consistency of a read.
pub(super) fn read_at<T>(read: &ReadAt<T>, consistency: Consistency) -> HeaderMap {
    let mut headers = position(read.index, read.term);
    headers.insert(HeaderName::from_static(TIME_MS), HeaderValue::from(read.now_ms));
    headers.insert(HeaderName::from_static(CONSISTENCY), HeaderValue::from_static(consistency.as_str()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    keep_to_own_pages(&mut headers);
    headers
}

/// Position of a write, and whether its outcome is that of an earlier request.
pub(super) fn written_at(written: &Written) -> HeaderMap {
    let mut headers = position(written.index, written.term);
    headers.insert(HeaderName::from_static(TIME_MS), HeaderValue::from(written.now_ms));
    if written.replayed {
        headers.insert(HeaderName::from_static(IDEMPOTENCY_REPLAYED), HeaderValue::from_static("true"));
    }
    headers
}

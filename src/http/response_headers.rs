//! The headers of responses.

use crate::api::{CONSISTENCY, Consistency, IDEMPOTENCY_REPLAYED, INDEX, TERM, TIME_MS};
use crate::cache::EntryInfo;
use crate::node::{ReadAt, Written};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::fmt::{self, Arguments, Display, Formatter};
use std::io::Write;

/// Longest text that a header here has: the description of an entry, with the longest origin.
const TEXT_BYTES_MAX: usize = 256;

/// A revision as an entity tag.
pub(super) fn etag(revision: u64) -> HeaderValue {
    text(format_args!("\"{revision}\""))
}

/// As the header crate's conversion of numbers, with one allocation less.
pub(super) fn number(number: u64) -> HeaderValue {
    text(format_args!("{number}"))
}

/// A header of visible ASCII. It is written on the stack, so that it takes one allocation.
fn text(arguments: Arguments<'_>) -> HeaderValue {
    let mut buffer = [0; TEXT_BYTES_MAX];
    let mut rest = &mut buffer[..];
    if rest.write_fmt(arguments).is_err() {
        return plain(arguments.to_string().as_bytes());
    }
    let length = TEXT_BYTES_MAX - rest.len();
    plain(&buffer[..length])
}

fn plain(text: &[u8]) -> HeaderValue {
    // What is visible in ASCII is legal in any header.
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Where in the log an answer is from: index and term.
pub(super) fn position(index: u64, term: u64) -> HeaderMap {
    HeaderMap::from_iter([
        (HeaderName::from_static(INDEX), number(index)),
        (HeaderName::from_static(TERM), number(term)),
    ])
}

/// What is known of an entry beside its value. See [`crate::api::ENTRY`].
pub(super) fn entry(info: &EntryInfo) -> HeaderValue {
    text(format_args!("{}", Description(info)))
}

struct Description<'a>(&'a EntryInfo);

impl Display for Description<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let EntryInfo { version, created_at_ms, modified_at_ms, .. } = self.0;
        write!(f, "version={version}, created_at_ms={created_at_ms}, modified_at_ms={modified_at_ms}")?;
        if self.0.sliding_ms > 0 {
            write!(f, ", sliding_ms={}", self.0.sliding_ms)?;
        }
        match &self.0.origin {
            // It has no character that would need quoting.
            Some(origin) => write!(f, ", origin=\"{origin}\""),
            None => Ok(()),
        }
    }
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
    headers.insert(HeaderName::from_static(TIME_MS), number(read.now_ms));
    headers.insert(HeaderName::from_static(CONSISTENCY), HeaderValue::from_static(consistency.as_str()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    keep_to_own_pages(&mut headers);
    headers
}

/// Position of a write, and whether its outcome is that of an earlier request.
pub(super) fn written_at(written: &Written) -> HeaderMap {
    let mut headers = position(written.index, written.term);
    headers.insert(HeaderName::from_static(TIME_MS), number(written.now_ms));
    if written.replayed {
        headers.insert(HeaderName::from_static(IDEMPOTENCY_REPLAYED), HeaderValue::from_static("true"));
    }
    headers
}

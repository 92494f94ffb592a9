//! The dashboard: one page under the URL of each view, and the files that it names.
//!
//! The views have explicit paths. A path for all the rest would answer a mistyped API path, or a script of an
//! older build, with a page.

use super::door::Door;
use super::nothing::nothing_at;
use crate::dashboard::{File, INDEX, file};
use axum::Router;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use std::borrow::Cow;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

/// The URL of each view, as in `ui/src/views.ts`.
const VIEWS: [&str; 9] =
    ["/", "/nodes", "/charts", "/keys", "/keys/{*key}", "/eviction", "/operations", "/hot", "/log"];

/// Values come from clients. Whatever one of them holds, nothing but the dashboard's own script runs: a value may be a
/// script too, so it is the assets that are named, of the host that the page was asked of.
fn policy(asked: &HeaderMap) -> String {
    let host = asked.get(header::HOST).and_then(|host| host.to_str().ok());
    // A policy has no way to write an IPv6 address.
    let scripts = match host.filter(|host| !host.starts_with('[')) {
        Some(host) => format!("{host}/assets/"),
        None => "'self'".into(),
    };
    format!(
        "default-src 'self'; script-src {scripts}; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// The routes of the dashboard.
pub(super) fn routes() -> Router<Door> {
    let views = VIEWS.iter().fold(Router::new(), |router, path| router.route(path, get(page)));
    views
        .route("/assets/{file}", get(asset))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    match file(INDEX) {
        Some(page) => answer(page, "no-cache", &headers),
        None => nothing_at(&method, &uri, &headers),
    }
}

async fn asset(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    // Names of assets have nothing that would be percent-encoded.
    match file(uri.path().trim_start_matches('/')) {
        // The name has a hash of the content.
        Some(asset) => answer(asset, "public, max-age=31536000, immutable", &headers),
        None => nothing_at(&method, &uri, &headers),
    }
}

fn answer(file: File, cache: &'static str, asked: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", file.hash);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged =
        known.flat_map(|list| list.split(',')).any(|one| one.trim().trim_start_matches("W/") == etag);
    let mut headers = HeaderMap::new();
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_TYPE, file.content_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Keys stand in URLs of the page; other sites need not see them.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    let policy = HeaderValue::try_from(policy(asked)).ok();
    headers.extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    // Weak, for the same content may be compressed or not.
    headers.extend(HeaderValue::try_from(format!("W/{etag}")).ok().map(|etag| (header::ETAG, etag)));
    if unchanged {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    (headers, bytes).into_response()
}

//! The dashboard: one page under the URL of each view, and the assets that it loads.
//!
//! Each view has its own path. A path for all others would answer a mistyped API path, or a script of an older build, with
//! a page.

use super::not_found::not_found;
use super::state::AppState;
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
const VIEWS: [&str; 10] = [
    "/",
    "/nodes",
    "/charts",
    "/keys",
    "/keys/{*key}",
    "/eviction",
    "/operations",
    "/hot",
    "/divergence",
    "/log",
];

/// Only the dashboard's own scripts run, whatever a stored value contains. A value can be a script too, so the policy names
/// the path of the assets, on the host of the request.
fn policy(asked: &HeaderMap) -> String {
    let host = asked.get(header::HOST).and_then(|host| host.to_str().ok());
    // A policy cannot contain an IPv6 address.
    let scripts = match host.filter(|host| !host.starts_with('[')) {
        Some(host) => format!("{host}/assets/"),
        None => "'self'".into(),
    };
    format!(
        "default-src 'self'; script-src {scripts}; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// Whether this is the route of a view.
pub(super) fn is_view(route: &str) -> bool {
    VIEWS.contains(&route)
}

/// The routes of the dashboard.
pub(super) fn routes() -> Router<AppState> {
    let views = VIEWS.iter().fold(Router::new(), |router, path| router.route(path, get(page)));
    views
        .route("/assets/{file}", get(asset))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    match file(INDEX) {
        Some(page) => answer(page, "no-cache", &headers),
        None => not_found(&method, &uri, &headers),
    }
}

async fn asset(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    // No asset has a name that needs percent-encoding.
    match file(uri.path().trim_start_matches('/')) {
        // The name contains a hash of the content.
        Some(asset) => answer(asset, "public, max-age=31536000, immutable", &headers),
        None => not_found(&method, &uri, &headers),
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
        // URLs of the page contain keys, which other sites must not see.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    let policy = HeaderValue::try_from(policy(asked)).ok();
    headers.extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    // Weak, because the same content can be compressed or not.
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

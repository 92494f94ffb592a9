//! Responses for paths that do not exist: a page for people with browsers, a problem for every other client.

use super::api_error::ApiError;
use crate::api::ErrorCode;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// The whole page: it loads no script and no style sheet.
const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Nothing here · Lockstep</title>\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head>\
    <body><main><h1>Nothing here</h1><p>This node has no page at <code>PATH</code>.</p>\
    <p><a href=\"/\">Go to the dashboard</a></p></main></body></html>\n";

/// Nothing can run on the page.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The handler of paths that no route has.
pub(super) async fn no_route(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if let Some(key) = path.strip_prefix("/v1/kv/").filter(|key| key.contains('/')) {
        let slash = key.replace('/', "%2F");
        let reason = format!("there is nothing at {path}; a slash in a key is written %2F: {slash}");
        return ApiError::new(ErrorCode::NoRoute, reason).into_response();
    }
    not_found(&method, &uri, &headers)
}

/// 404, as a page or as a problem.
pub(super) fn not_found(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let mut response = if [Method::GET, Method::HEAD].contains(method) && accepts_html(headers) {
        let fixed = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (StatusCode::NOT_FOUND, fixed, PAGE.replace("PATH", &escaped(uri.path()))).into_response()
    } else {
        ApiError::new(ErrorCode::NoRoute, format!("there is nothing at {}", uri.path())).into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Browsers accept HTML when somebody opens a page, and not when a page loads data or a script.
fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|list| list.split(',')).filter_map(|one| one.split(';').next());
    types.any(|media| media.trim().eq_ignore_ascii_case("text/html"))
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

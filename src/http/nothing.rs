//! What is answered where there is nothing: a page to who looks with a browser, a problem to everyone else.

use super::respond::ApiError;
use crate::api::ErrorCode;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// Small, and all of it: it names no script and no style sheet.
const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Nothing here · Lockstep</title>\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head>\
    <body><main><h1>Nothing here</h1><p>This node has no page at <code>PATH</code>.</p>\
    <p><a href=\"/\">Go to the dashboard</a></p></main></body></html>\n";

/// So nothing may run there.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// For every path that no route has.
pub(super) async fn no_route(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if let Some(key) = path.strip_prefix("/v1/kv/").filter(|key| key.contains('/')) {
        let slash = key.replace('/', "%2F");
        let reason = format!("there is nothing at {path}; a slash in a key is written %2F: {slash}");
        return ApiError::new(ErrorCode::NoRoute, reason).into_response();
    }
    nothing_at(&method, &uri, &headers)
}

/// 404, in the form that fits who asks.
pub(super) fn nothing_at(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let mut response = if [Method::GET, Method::HEAD].contains(method) && wants_a_page(headers) {
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

/// Browsers name HTML when somebody opens a page, and not when a page asks for data or a script.
fn wants_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|list| list.split(',')).filter_map(|one| one.split(';').next());
    types.any(|media| media.trim().eq_ignore_ascii_case("text/html"))
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

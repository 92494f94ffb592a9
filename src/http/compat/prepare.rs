//! What a request of these routes needs before it is routed.

use super::super::connection_guard::ConnectionGuard;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, Uri, header};

/// Bytes that a page can send over a WebSocket: the names of some thousand events. Then it has to reconnect.
const SOCKET_BYTES_MAX: u64 = 256 * 1024;

/// Prepares a request for routing.
pub(in crate::http) fn prepare<B>(request: &mut Request<B>, guard: &ConnectionGuard) {
    limit_socket(request, guard);
    remove_trailing_slash(request);
}

/// Limits the bytes of a connection, and how long it can be quiet, if this request makes it a page's WebSocket.
fn limit_socket<B>(request: &mut Request<B>, guard: &ConnectionGuard) {
    if request.uri().path().starts_with("/socket.io") && request.headers().contains_key(header::UPGRADE) {
        guard.limit(SOCKET_BYTES_MAX);
        request.extensions_mut().insert(guard.clone());
    }
}

/// Express ignores a slash at the end of a path. An empty key must not mean all keys, so the path that clears the cache keeps
/// its slash. Other APIs keep theirs, too: there a key can end with one.
fn remove_trailing_slash<B>(request: &mut Request<B>) {
    let uri = request.uri();
    if uri.path() == "/api/cache/" && request.method() == Method::DELETE {
        return;
    }
    let is_ours = ["/ping/", "/health/"].contains(&uri.path()) || uri.path().starts_with("/api/");
    let Some(path) = uri.path().strip_suffix('/').filter(|path| is_ours && path.len() > "/api".len()) else {
        return;
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(path) = PathAndQuery::try_from(format!("{path}{query}")) {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(path);
        // It was one before.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
}

//! The routes' table.

use super::super::door::Door;
use super::super::health;
use super::answer::Refusal;
use super::{bulk, item, items, layers, metrics, strategy, sync, sync_history};
use axum::Router;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, StatusCode, Uri};
use axum::routing::{any, delete, get, post};

/// The routes, with what stands around them.
pub(in crate::http) fn router(door: &Door) -> Router<Door> {
    let routes = Router::new()
        .merge(probes())
        .route("/api/cache", get(items::list).post(item::put).delete(items::clear))
        // What removes all is spelt without an empty key.
        .route("/api/cache/", delete(no_key))
        // A key may have this name too.
        .route("/api/cache/bulk", get(item::get).post(bulk::put).delete(item::delete))
        .route("/api/cache/{key}", get(item::get).delete(item::delete))
        .route("/api/strategy", post(strategy::change))
        .route("/api/metrics", get(metrics::metrics))
        .route("/api/sync/status", get(sync::status))
        .route("/api/sync/history", get(sync_history::history))
        .route("/api/sync/force", post(sync::force))
        .route("/api/sync/toggle", post(sync::toggle))
        .route("/api/{*rest}", any(no_route))
        .method_not_allowed_fallback(no_route);
    layers::around(routes, door)
}

/// Signs of life.
pub(in crate::http) fn probes() -> Router<Door> {
    Router::new().route("/ping", get(health::ping)).route("/health", get(health::health))
}

/// Express takes a slash at a path's end for nothing, but an empty key must not mean all. Other routes do not: there a key may end with one.
pub(in crate::http) fn take_slash_away<B>(request: &mut Request<B>) {
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

async fn no_key() -> Refusal {
    Refusal::bad("A key has at least 1 byte; DELETE /api/cache removes all items")
}

/// Express does not tell a wrong method from a wrong path.
async fn no_route(method: Method, uri: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("Cannot {method} {}", uri.path()))
}

//! The routes' table.

use super::super::health;
use super::super::state::AppState;
use super::answer::Refusal;
use super::{bulk, item, items, layers, metrics, strategy, sync, sync_history};
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{any, delete, get, post};

/// The routes with their middleware.
pub(in crate::http) fn router(state: &AppState) -> Router<AppState> {
    let routes = Router::new()
        .merge(probes())
        .route("/api/cache", get(items::list).post(item::put).delete(items::clear))
        // A path with an empty key must not mean all keys.
        .route("/api/cache/", delete(no_key))
        // A key can have this name, too.
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
    layers::around(routes, state)
}

/// Liveness and readiness.
pub(in crate::http) fn probes() -> Router<AppState> {
    Router::new().route("/ping", get(health::ping)).route("/health", get(health::health))
}

async fn no_key() -> Refusal {
    Refusal::bad("A key has at least 1 byte; DELETE /api/cache removes all items")
}

/// Express answers a wrong method as a wrong path.
async fn no_route(method: Method, uri: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("Cannot {method} {}", uri.path()))
}

//! Every route, in one table.

use super::api_error::ApiError;
use super::extract::refuse_query;
use super::state::AppState;
use super::{
    admin_log, admission, batch, blocks, changes, cluster, compat, config, cors, dashboard, detach, faults,
    fence, get_many, health, instrument, join, keys, kv, lineage, live, locks, log_time, login, metrics,
    not_found, old_nodes, openapi, range_digest, reconcile, redis, samples, sessions, tokens, watch,
};
use crate::api::ErrorCode;
use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};

/// The whole API.
pub(super) fn router(state: AppState, socket_io: Router<AppState>) -> Router {
    let instrument = instrument::Instrument(state.clone());
    // Before the layer, because it answers for other methods, too.
    let v1 = v1().method_not_allowed_fallback(wrong_method);
    let v1 = match cors::for_v1(&state.sites.frontends) {
        Some(cors) => v1.layer(cors),
        None => v1,
    };
    v1.merge(compat::router(&state))
        .merge(socket_io)
        .merge(dashboard::routes())
        .fallback(not_found::no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(instrument)
        .with_state(state)
}

/// What is not for clients of other cache servers.
fn v1() -> Router<AppState> {
    Router::new()
        .route("/v1/kv/{key}", get(kv::get).put(kv::put).delete(kv::delete))
        .route("/v1/kv/{key}/incr", post(kv::incr))
        .route("/v1/kv/{key}/expire", post(kv::expire))
        .route("/v1/kv/{key}/persist", post(kv::persist))
        .route("/v1/kv/", get(kv::no_key).put(kv::no_key).delete(kv::no_key))
        .route("/v1/kv", delete(keys::clear))
        .route("/v1/batch", post(batch::batch))
        .route("/v1/get", post(get_many::get_many))
        .route("/v1/keys", get(keys::list))
        .route("/v1/sessions", get(sessions::list).post(sessions::open))
        .route("/v1/sessions/{id}", delete(sessions::end))
        .route("/v1/sessions/{id}/renew", post(sessions::renew))
        .route("/v1/locks", get(locks::list))
        .route("/v1/locks/{name}", get(locks::get).post(locks::acquire).delete(locks::release))
        .route("/v1/changes", get(changes::changes))
        .route("/v1/time", get(log_time::log_time))
        .route("/v1/digest/range", get(range_digest::range_digests))
        .route("/v1/watch", get(watch::watch))
        .route("/v1/config", get(config::get).put(config::put))
        .route("/v1/audit", get(admin_log::get))
        .route("/v1/blocks", delete(blocks::lift))
        .route("/v1/samples", get(samples::samples))
        .merge(without_query())
        .merge(node_probes())
}

/// Routes without query parameters. The handlers of the others have arguments for theirs.
fn without_query() -> Router<AppState> {
    Router::new()
        .route("/v1/live", get(live::live))
        .route("/v1/cache", get(cluster::cache))
        .route("/v1/digest", get(cluster::digest))
        .route("/v1/lineage", get(lineage::lineage))
        .route("/v1/members", get(cluster::members).post(cluster::add_member))
        .route("/v1/members/{id}", delete(cluster::remove_member))
        .route("/v1/members/{id}/promote", post(cluster::promote_member))
        .route("/v1/members/{id}/replace", post(cluster::replace_member))
        .route("/v1/nodes", get(cluster::nodes))
        .route("/v1/old-nodes", get(old_nodes::get))
        .route("/v1/redis", get(redis::get))
        .route("/v1/leader", post(cluster::transfer_leader))
        .route("/v1/fence", post(fence::fence))
        .route("/v1/detached", get(detach::get))
        .route("/v1/detach", post(detach::detach))
        .route("/v1/attach", post(detach::attach))
        .route("/v1/losers", get(detach::losers))
        .route("/v1/reconcile", get(reconcile::get).post(reconcile::step))
        .route("/v1/upgrade", post(cluster::finish_upgrade))
        .route("/v1/blocks", get(blocks::list).post(blocks::add))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/tokens/{id}/rotate", post(tokens::rotate))
        .route("/v1/tokens/{id}/limits", put(tokens::limit))
        .route("/v1/token", get(tokens::own))
        .route("/v1/authorities", get(join::authorities))
        .route("/v1/join-tokens", post(join::create))
        .route("/v1/join/certificate", post(join::certificate))
        .route("/v1/join", post(join::join))
        .route("/v1/login", post(login::begin).delete(login::end))
        .route("/v1/snapshot", get(cluster::get_snapshot).post(cluster::take_snapshot))
        .route("/v1/introduction", get(cluster::node_info))
        .route("/v1/openapi.json", get(openapi::openapi))
        .route("/v1/debug/links", get(faults::get).put(faults::put))
        .route("/v1/debug/corrupt", post(faults::corrupt))
        .route_layer(from_fn(refuse_query))
}

/// How the node and its cluster are.
fn node_probes() -> Router<AppState> {
    Router::new()
        .route("/v1/status", get(cluster::status))
        .route_layer(from_fn(refuse_query))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
}

/// The routes of connections for which there is no slot.
pub(super) fn probes(state: AppState) -> Router {
    let instrument = instrument::Instrument(state.clone());
    node_probes().merge(compat::probes()).fallback(no_slot).layer(instrument).with_state(state)
}

/// The routes of the port for probes. Their hosts are checked; no token is asked for.
pub(super) fn probe_port(state: AppState, metrics: bool) -> Router {
    let routes = Router::new().route("/livez", get(health::livez)).route("/readyz", get(health::readyz));
    let routes = if metrics { routes.route("/metrics", get(metrics::metrics)) } else { routes };
    routes.fallback(only_probes).layer(from_fn_with_state(state.clone(), admission::admit)).with_state(state)
}

async fn only_probes() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "this port is for probes only: /livez and /readyz")
}

async fn no_slot() -> ApiError {
    ApiError::new(
        ErrorCode::Unavailable,
        "all of this node's connections are taken; this one is for probes only",
    )
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}

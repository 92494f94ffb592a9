//! Which pages of other sites get to see responses (CORS): those of the operator's frontends.
//!
//! A browser sends what it knows of a user (cookies, client certificates) with a page's request only if the response may be seen
//! with them. That is for sites that the operator has named, not for the default, at which anybody's program may listen.

use super::frontends::Frontends;
use crate::api::{
    CONSISTENCY, ENTRY, HISTORY, IDEMPOTENCY_REPLAYED, INDEX, PREVIOUS_REVISION, TERM, TIME_MS, TTL_MS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// For the `/api` routes, which the default frontend may use as well.
pub(super) fn for_compat(frontends: &Frontends) -> CorsLayer {
    let methods = [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::POST, Method::DELETE];
    layer(frontends, methods)
}

/// For the other routes. `None` if the operator has named no site: then their responses are for the node's own pages only.
pub(super) fn for_v1(frontends: &Frontends) -> Option<CorsLayer> {
    let methods = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
    let own =
        [CONSISTENCY, ENTRY, HISTORY, IDEMPOTENCY_REPLAYED, INDEX, PREVIOUS_REVISION, TERM, TIME_MS, TTL_MS];
    let exposed = own.map(HeaderName::from_static).into_iter().chain([header::ETAG, header::RETRY_AFTER]);
    let exposed: Vec<HeaderName> = exposed.collect();
    frontends.are_named().then(|| layer(frontends, methods).expose_headers(exposed))
}

/// Lets a page see a refusal that comes before its route's layer.
pub(super) fn show_refusal(response: &mut Response, asked: &HeaderMap, frontends: &Frontends) {
    let Some(origin) = asked.get(header::ORIGIN).filter(|origin| frontends.name(origin)) else { return };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

fn layer(frontends: &Frontends, methods: impl Into<AllowMethods>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(frontends.origins().iter().cloned()))
        .allow_credentials(frontends.are_named())
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
}

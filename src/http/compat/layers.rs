//! The middleware of the `/api` routes, like that of an Express server: a log line per request, security headers, CORS for the
//! frontends' pages, compression. The routes under `/v1` do not pay for it.

use super::super::body::body_bytes;
use super::super::cors;
use super::super::origin;
use super::super::state::AppState;
use super::super::time::iso;
use super::answer::Refusal;
use super::upgrades::{Upgrades, refuse_wrong, session};
use crate::front::{ClientAddress, LineRate, Shares, truncate};
use crate::replica::wall_ms;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Socket.IO connections that can begin within [`HANDSHAKES_INTERVAL`].
const HANDSHAKES_MAX: u32 = 512;
const HANDSHAKES_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of a page's post.
pub(super) const POLLED_BYTES_MAX: usize = 4 * 1024;
/// Separates the packets of a post.
const RECORD_SEPARATOR: u8 = 0x1e;
/// Log lines about requests in a second, and the bytes of a path and of a method in one.
const LINES_MAX: u32 = 1_000;
const PATH_BYTES_SHOWN: usize = 512;
const METHOD_BYTES_SHOWN: usize = 128;
static LINES: LineRate = LineRate::new(LINES_MAX);
/// Shorter responses are not compressed.
const COMPRESSED_FROM_BYTES: u16 = 1_024;

/// The default headers of helmet, but for `Strict-Transport-Security`: it would hold for every port of the host.
const SECURITY_HEADERS: [(&str, &str); 11] = [
    (
        "content-security-policy",
        "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';\
         img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';\
         style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("origin-agent-cluster", "?1"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-dns-prefetch-control", "off"),
    ("x-download-options", "noopen"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-permitted-cross-domain-policies", "none"),
    ("x-xss-protection", "0"),
];

/// Adds the middleware; the last layer is the outermost.
pub(super) fn around(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    let worth_it = SizeAbove::new(COMPRESSED_FROM_BYTES).and(NotForContentType::SSE);
    // Processor time of the nodes is worth more than a few bytes on the wire.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it);
    routes
        .layer(compression)
        .layer(from_fn_with_state(state.clone(), refuse_foreign_pages))
        .layer(cors::for_compat(&state.sites.frontends))
        .layer(map_response(add_security_headers))
        .layer(from_fn(log))
}

/// Adds the middleware of Socket.IO connections. A connection shows a page what is stored here, so pages of other sites get
/// none, whatever the method.
pub(super) fn around_sockets(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    let handshakes = Arc::new(Handshakes::default());
    routes
        .layer(from_fn_with_state(state.clone(), refuse_attachments))
        .layer(from_fn_with_state(Upgrades::default(), refuse_wrong))
        .layer(from_fn_with_state(handshakes, limit_handshakes))
        .layer(from_fn_with_state(state.clone(), refuse_all_foreign_pages))
        .layer(cors::for_compat(&state.sites.frontends))
}

/// Logs one line per request, with a target of its own: `LOCKSTEP_LOG=info,lockstep::requests=off` leaves them out. Probes
/// come every few seconds and are logged at `debug`.
async fn log(request: Request, next: Next) -> Response {
    if let Some(omitted) = LINES.admit() {
        let method = truncate(request.method().as_str(), METHOD_BYTES_SHOWN);
        let path = truncate(request.uri().path(), PATH_BYTES_SHOWN);
        if omitted > 0 {
            tracing::info!(target: "lockstep::requests", "{omitted} requests are not logged");
        }
        if path.starts_with("/api/") {
            tracing::info!(target: "lockstep::requests", "{} - {method} {path}", iso(wall_ms()));
        } else {
            tracing::debug!(target: "lockstep::requests", "{} - {method} {path}", iso(wall_ms()));
        }
    }
    next.run(request).await
}

async fn add_security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// A page of another site cannot write through the browsers of its visitors. Browsers say in `Origin` whose page it is;
/// programs send no `Origin`.
async fn refuse_foreign_pages(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if reads || is_welcome(&state, &request) { next.run(request).await } else { not_welcome() }
}

/// Limits the Socket.IO connections that begin in an interval: until a connection has said which namespace it wants, or has
/// timed out, it takes memory.
#[derive(Default)]
struct Handshakes(Mutex<Option<Interval>>);

struct Interval {
    since: Instant,
    count: u32,
    shares: Shares,
}

impl Handshakes {
    fn admit(&self, client: ClientAddress) -> bool {
        let mut interval = self.0.lock().expect("no panic while held");
        if interval.as_ref().is_none_or(|interval| interval.since.elapsed() >= HANDSHAKES_INTERVAL) {
            *interval = Some(Interval { since: Instant::now(), count: 0, shares: Shares::default() });
        }
        let Some(interval) = interval.as_mut().filter(|interval| interval.count < HANDSHAKES_MAX) else {
            return false;
        };
        let admitted = interval.shares.take(client, HANDSHAKES_MAX);
        interval.count += u32::from(admitted);
        admitted
    }
}

/// A request without `sid` begins a connection.
async fn limit_handshakes(
    State(handshakes): State<Arc<Handshakes>>,
    client: ClientAddress,
    request: Request,
    next: Next,
) -> Response {
    if session(&request).is_some() || handshakes.admit(client) {
        return next.run(request).await;
    }
    let message = "Too many connections were begun in the last seconds: try again";
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "5")], message).into_response()
}

/// Pages send names of events, and no binary attachments. The library would keep a message that announces attachments until
/// all have arrived, however many they are.
async fn refuse_attachments(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let reading = body_bytes(&state, &parts.headers, body, POLLED_BYTES_MAX);
    let Ok(Ok(received)) = timeout(state.limits.body_pause_timeout, reading).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "Too large, or not in time").into_response();
    };
    let (bytes, _permit) = received.into_parts();
    // One request can have several packets.
    let mut packets = bytes.split(|byte| *byte == RECORD_SEPARATOR);
    if packets.any(|packet| packet.starts_with(b"b")) {
        return (StatusCode::BAD_REQUEST, "Attachments are not taken").into_response();
    }
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

async fn refuse_all_foreign_pages(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if is_welcome(&state, &request) { next.run(request).await } else { not_welcome() }
}

fn is_welcome(state: &AppState, request: &Request) -> bool {
    let page = request.headers().get(header::ORIGIN);
    page.is_some_and(|page| state.sites.frontends.admit(page))
        || origin::refuse_foreign(request.headers(), &state.sites).is_ok()
}

fn not_welcome() -> Response {
    let message = "Origin not allowed: this page's site is not in FRONTEND_URL";
    Refusal::new(StatusCode::FORBIDDEN, message).into_response()
}

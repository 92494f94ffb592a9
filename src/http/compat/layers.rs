//! What stands around the `/api` routes, as Express' usual companions do: a log line a request, headers that make
//! browsers careful, leave for the frontend's pages to ask, compression. The hot routes under `/v1` pay for none of it.

use super::super::client_address::{ClientAddress, Shares};
use super::super::door::Door;
use super::super::extract::body_bytes;
use super::super::line_rate::{LineRate, cut};
use super::super::origin;
use super::super::time::iso;
use super::answer::Refusal;
use super::settings::CompatSettings;
use super::upgrades::{Upgrades, refuse_second, session};
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
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Socket.IO connections that may begin in so much time.
const NEWCOMERS_MAX: u32 = 512;
const NEWCOMERS_INTERVAL: Duration = Duration::from_secs(5);
/// What a page may post at a time.
pub(super) const POLLED_BYTES_MAX: usize = 4 * 1024;
/// Stands between the packets of a post.
const RECORD_SEPARATOR: u8 = 0x1e;
/// Lines about requests in a second, and what one tells of a path and of a method.
const LINES_MAX: u32 = 1_000;
const PATH_BYTES_TOLD: usize = 512;
const METHOD_BYTES_TOLD: usize = 128;
static LINES: LineRate = LineRate::new(LINES_MAX);
/// Shorter answers are not worth compressing.
const COMPRESSED_FROM_BYTES: u16 = 1_024;

/// The headers that helmet sets when it is told nothing.
const CAREFUL: [(&str, &str); 12] = [
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
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-dns-prefetch-control", "off"),
    ("x-download-options", "noopen"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-permitted-cross-domain-policies", "none"),
    ("x-xss-protection", "0"),
];

/// Puts them around the routes; the last one is the outermost.
pub(super) fn around(routes: Router<Door>, door: &Door) -> Router<Door> {
    let worth_it = SizeAbove::new(COMPRESSED_FROM_BYTES).and(NotForContentType::SSE);
    // The nodes' work goes before a few bytes on the wire.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it);
    routes
        .layer(compression)
        .layer(from_fn_with_state(door.clone(), refuse_foreign_pages))
        .layer(cors(&door.compat))
        .layer(map_response(be_careful))
        .layer(from_fn(log))
}

/// Puts around the pages' connections what belongs there. A connection brings what happens here to a page, so the pages of
/// other sites get none, whatever the method.
pub(super) fn around_sockets(routes: Router<Door>, door: &Door) -> Router<Door> {
    let newcomers = Arc::new(Newcomers::default());
    routes
        .layer(from_fn_with_state(door.clone(), refuse_attachments))
        .layer(from_fn_with_state(Upgrades::default(), refuse_second))
        .layer(from_fn_with_state(newcomers, refuse_a_flood))
        .layer(from_fn_with_state(door.clone(), refuse_all_foreign_pages))
        .layer(cors(&door.compat))
}

fn cors(settings: &CompatSettings) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(settings.frontends.iter().cloned()))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
}

/// One line a request, of a target of its own: `LOCKSTEP_LOG=info,lockstep::requests=off` leaves them out. Probes
/// come every few seconds and are logged at `debug`.
async fn log(request: Request, next: Next) -> Response {
    if let Some(left_out) = LINES.admit() {
        let method = cut(request.method().as_str(), METHOD_BYTES_TOLD);
        let path = cut(request.uri().path(), PATH_BYTES_TOLD);
        if left_out > 0 {
            tracing::info!(target: "lockstep::requests", "{left_out} requests are not told");
        }
        if path.starts_with("/api/") {
            tracing::info!(target: "lockstep::requests", "{} - {method} {path}", iso(wall_ms()));
        } else {
            tracing::debug!(target: "lockstep::requests", "{} - {method} {path}", iso(wall_ms()));
        }
    }
    next.run(request).await
}

async fn be_careful(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in CAREFUL {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// A page of another site may not write here with its visitors' browsers. Browsers say in `Origin` whose page it is;
/// programs say nothing.
async fn refuse_foreign_pages(State(door): State<Door>, request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if reads || is_welcome(&door, &request) { next.run(request).await } else { not_welcome() }
}

/// Connections that were begun since an instant. One that does not say what it wants is given up after a while; until then it takes
/// memory, so only so many may begin in that time.
#[derive(Default)]
struct Newcomers(Mutex<Option<Begun>>);

struct Begun {
    since: Instant,
    count: u32,
    shares: Shares,
}

impl Newcomers {
    fn admit(&self, client: ClientAddress) -> bool {
        let mut begun = self.0.lock().expect("no panic while held");
        if begun.as_ref().is_none_or(|begun| begun.since.elapsed() >= NEWCOMERS_INTERVAL) {
            *begun = Some(Begun { since: Instant::now(), count: 0, shares: Shares::default() });
        }
        let Some(begun) = begun.as_mut().filter(|begun| begun.count < NEWCOMERS_MAX) else { return false };
        let admitted = begun.shares.take(client, NEWCOMERS_MAX);
        begun.count += u32::from(admitted);
        admitted
    }
}

/// A request without `sid` begins a connection.
async fn refuse_a_flood(
    State(newcomers): State<Arc<Newcomers>>,
    client: ClientAddress,
    request: Request,
    next: Next,
) -> Response {
    if session(&request).is_some() || newcomers.admit(client) {
        return next.run(request).await;
    }
    let message = "Too many connections were begun in the last seconds: try again";
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "5")], message).into_response()
}

/// Pages send no bytes, only names of events. A message that says it has attachments would be kept until all have come, however
/// many those are.
async fn refuse_attachments(State(door): State<Door>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let reading = body_bytes(&door, &parts.headers, body, POLLED_BYTES_MAX);
    let Ok(Ok(held)) = timeout(door.limits.body_pause, reading).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "Too large, or not in time").into_response();
    };
    let (bytes, _share) = held.part();
    // One request may bring several packets.
    let mut packets = bytes.split(|byte| *byte == RECORD_SEPARATOR);
    if packets.any(|packet| packet.starts_with(b"b")) {
        return (StatusCode::BAD_REQUEST, "Attachments are not taken").into_response();
    }
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

async fn refuse_all_foreign_pages(State(door): State<Door>, request: Request, next: Next) -> Response {
    if is_welcome(&door, &request) { next.run(request).await } else { not_welcome() }
}

fn is_welcome(door: &Door, request: &Request) -> bool {
    let page = request.headers().get(header::ORIGIN);
    page.is_some_and(|page| door.compat.admits(page))
        || origin::refuse_foreign(request.headers(), door).is_ok()
}

fn not_welcome() -> Response {
    let message = "Origin not allowed: this page's site is not in FRONTEND_URL";
    Refusal::new(StatusCode::FORBIDDEN, message).into_response()
}

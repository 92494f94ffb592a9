//! Which sites a browser's request may come from. A page of another site must not use what its reader's machine can reach:
//! browsers let any page open a WebSocket and post plain text anywhere, and only `Origin` says whose page it is.
//!
//! A page of the node's own site has the node's name in `Origin` and in `Host`. That is not enough: another site's name can
//! be made to lead to this node once its page is loaded (DNS rebinding), and the reads of such a page have no `Origin`. So
//! the host of every request must be one that no other site can have.

use super::api_error::ApiError;
use super::frontends::Frontends;
use super::hosts::{OwnHosts, cannot_be_foreign, host_in};
use crate::api::ErrorCode;
use crate::front::{Front, truncate};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::sync::Arc;

/// The header in which a browser says whether the page that asks is of this site.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Bytes of a host that an error repeats.
const HOST_BYTES_SHOWN: usize = 128;

/// The sites whose pages may use this node: its own, and those of the operator's frontends.
pub(super) struct Sites {
    pub frontends: Frontends,
    hosts: OwnHosts,
}

impl Sites {
    pub fn new(front: Arc<Front>, frontends: Frontends, allowed_hosts: Vec<String>) -> Self {
        Self { frontends, hosts: OwnHosts::new(front, allowed_hosts) }
    }

    /// Whether this host is one of the cluster, or of a frontend that passes requests on.
    fn have_host(&self, host: &str) -> bool {
        cannot_be_foreign(host) || self.frontends.have_host(host) || self.hosts.contain(host)
    }
}

/// Refuses a request that a page of another site makes. Programs send no `Origin`.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign(headers: &HeaderMap, sites: &Sites) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    if sites.frontends.name(origin) {
        return Ok(());
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    let reason = match site.filter(|site| Some(*site) == host) {
        Some(site) if is_ours(site, sites) => return Ok(()),
        Some(_) => "a page may do this under a name that the members advertise, or that FRONTEND_URL lists",
        None => "a page of another site may not do this, unless FRONTEND_URL lists it",
    };
    Err(ApiError::new(ErrorCode::Forbidden, reason).field("origin"))
}

/// Whether a page of this node's own makes the request, as far as its browser tells. It tells with what changes something, and
/// with the handshake of a WebSocket; for the rest there is the strict cookie.
pub(super) fn is_own_page(request: &Request, sites: &Sites) -> bool {
    let (headers, is_safe) = (request.headers(), [Method::GET, Method::HEAD].contains(request.method()));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_own = |origin: &HeaderValue| {
        let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
        site == host && site.is_some_and(|site| is_ours(site, sites))
    };
    match (headers.get(header::ORIGIN), headers.get(SEC_FETCH_SITE)) {
        (Some(origin), _) => is_own(origin),
        (None, Some(site)) => site == "same-origin" || is_safe && site == "none",
        (None, None) => is_safe,
    }
}

/// Refuses what a page of another site would change under `/v1`. Also refuses what its browser requests for the page, even
/// an image: some reads are expensive, and a stored script would run in that page.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign_page(request: &Request, sites: &Sites) -> Result<(), ApiError> {
    let (path, headers) = (request.uri().path(), request.headers());
    let is_v1 = path.starts_with("/v1/");
    if is_v1 && ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        refuse_foreign(headers, sites)?;
    }
    let from_another =
        headers.get(SEC_FETCH_SITE).filter(|site| !["same-origin", "none"].iter().any(|own| site == own));
    if from_another.is_none() || !(is_v1 || path.starts_with("/api/") || path.starts_with("/socket.io")) {
        return Ok(());
    }
    let origin = headers.get(header::ORIGIN);
    if origin.is_some_and(
        |origin| if is_v1 { sites.frontends.name(origin) } else { sites.frontends.admit(origin) },
    ) {
        return Ok(());
    }
    let reason = "a page of another site may not do this, unless FRONTEND_URL lists it";
    Err(ApiError::new(ErrorCode::Forbidden, reason).field(SEC_FETCH_SITE.as_str()))
}

/// Refuses a request for a host that is not this node's: its page is another site's, whose name was made to lead here.
///
/// # Errors
/// `misdirected`, `invalid_header`.
pub(super) fn refuse_foreign_host(site: &str, sites: &Sites) -> Result<(), ApiError> {
    let refuse = |code, reason: String| Err(ApiError::new(code, reason).field("host"));
    let Some(host) = host_in(site) else {
        return refuse(ErrorCode::InvalidHeader, "host: expected host or host:port".into());
    };
    if sites.have_host(host) {
        return Ok(());
    }
    let reason = format!(
        "this node is not known as `{}`; it answers to addresses, localhost, what the members advertise \
         (--advertise-http), and --allowed-hosts",
        truncate(host, HOST_BYTES_SHOWN)
    );
    refuse(ErrorCode::Misdirected, reason)
}

/// Whether a site (`host:port`) is one of this cluster.
fn is_ours(site: &str, sites: &Sites) -> bool {
    host_in(site).is_some_and(|host| sites.have_host(host))
}

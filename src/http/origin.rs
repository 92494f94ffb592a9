//! Where a browser's request comes from. A page of another site must not use what its reader's machine can reach:
//! browsers let any page open a WebSocket and post plain text anywhere, and say only in `Origin` whose page it is.
//!
//! A page of the node's own site has the node's name in `Origin` and in `Host`. That is not enough: a stranger's name can
//! be made to lead here too, once the stranger's page is loaded (DNS rebinding). So the name must be one that
//! no stranger can have.

use super::door::Door;
use super::respond::ApiError;
use crate::api::ErrorCode;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, header};
use std::net::Ipv6Addr;

/// Refuses a request that a page of another site makes. Programs send no `Origin`.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign(headers: &HeaderMap, door: &Door) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    if door.guide.names(origin) {
        return Ok(());
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    let reason = match site.filter(|site| Some(*site) == host) {
        Some(site) if is_ours(site, door) => return Ok(()),
        Some(_) => "a page may do this under a name that the members advertise, or that FRONTEND_URL lists",
        None => "a page of another site may not do this, unless FRONTEND_URL lists it",
    };
    Err(ApiError::new(ErrorCode::Forbidden, reason).field("origin"))
}

/// Refuses what a page of another site would change under `/v1`. What it would read, its browser keeps from it.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign_change(request: &Request, door: &Door) -> Result<(), ApiError> {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if reads || !request.uri().path().starts_with("/v1/") {
        return Ok(());
    }
    refuse_foreign(request.headers(), door)
}

/// Whether a site is one of this cluster: an address, a name of the local network, or one that a member advertises.
fn is_ours(site: &str, door: &Door) -> bool {
    let Some(host) = host_of(site) else { return false };
    let advertised = || door.node().map(|node| node.http_addresses()).unwrap_or_default();
    is_nobodys(&host) || advertised().iter().any(|address| host_of(address).is_some_and(|ours| ours == host))
}

/// Whether no stranger can have this name.
fn is_nobodys(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address =
        bare.map_or_else(|| host.parse::<std::net::Ipv4Addr>().is_ok(), |ip| ip.parse::<Ipv6Addr>().is_ok());
    is_address || !host.contains('.') || host.ends_with(".localhost")
}

/// The host of `http://host:port` or `host:port`.
fn host_of(site: &str) -> Option<String> {
    let site = site.split_once("://").map_or(site, |(_, rest)| rest).trim_end_matches('/');
    Some(site.parse::<Authority>().ok()?.host().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_stranger_may_have_is_not_ours() {
        let nobodys = |site| is_nobodys(&host_of(site).unwrap());
        for ours in
            ["10.0.0.7:5001", "[::1]:5001", "localhost", "LOCALHOST:5001", "cache-1:80", "a.localhost"]
        {
            assert!(nobodys(ours), "{ours}");
        }
        for theirs in ["evil.example:5001", "127.0.0.1.evil.example", "localhost.evil.example", "evil."] {
            assert!(!nobodys(theirs), "{theirs}");
        }
    }

    #[test]
    fn a_host_is_found_in_a_url() {
        assert_eq!(host_of("http://Cache.example:5001/").as_deref(), Some("cache.example"));
        assert_eq!(host_of("cache.example").as_deref(), Some("cache.example"));
        assert_eq!(host_of("http://a/b"), None);
    }
}

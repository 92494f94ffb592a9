//! Where a browser's request comes from. A page of another site must not use what its reader's machine can reach:
//! browsers let any page open a WebSocket and post plain text anywhere, and say only in `Origin` whose page it is.
//!
//! A page of the node's own site has the node's name in `Origin` and in `Host`. That is not enough: a stranger's name can
//! be made to lead here too, once the stranger's page is loaded (DNS rebinding), and such a page's reads have no `Origin`. So the
//! name in every request must be one that no stranger can have.

use super::door::Door;
use super::line_rate::cut;
use super::respond::ApiError;
use crate::api::ErrorCode;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where a browser says whether the page that asks is of this site.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
/// Names that end with it lead nowhere but to this machine.
const LOCAL: &str = ".localhost";
/// What an error repeats of a host.
const HOST_BYTES_TOLD: usize = 128;

/// Refuses a request that a page of another site makes. Programs send no `Origin`.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign(headers: &HeaderMap, door: &Door) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    if door.compat.names(origin) {
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

/// Refuses what a page of another site would change under `/v1`, and whatever its browser says it asks for in the name of
/// its reader, be it only an image: some reads cost this node much, and a stored script would run in that page.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign_page(request: &Request, door: &Door) -> Result<(), ApiError> {
    let (path, headers) = (request.uri().path(), request.headers());
    let is_v1 = path.starts_with("/v1/");
    if is_v1 && ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        refuse_foreign(headers, door)?;
    }
    let by_a_page =
        headers.get(SEC_FETCH_SITE).filter(|site| !["same-origin", "none"].iter().any(|own| site == own));
    if by_a_page.is_none() || !(is_v1 || path.starts_with("/api/") || path.starts_with("/socket.io")) {
        return Ok(());
    }
    let origin = headers.get(header::ORIGIN);
    if origin.is_some_and(|origin| if is_v1 { door.compat.names(origin) } else { door.compat.admits(origin) })
    {
        return Ok(());
    }
    let reason = "a page of another site may not do this, unless FRONTEND_URL lists it";
    Err(ApiError::new(ErrorCode::Forbidden, reason).field(SEC_FETCH_SITE))
}

/// Refuses a request for a host that this node is not known as: its page is a stranger's, whose name was made to lead here.
///
/// # Errors
/// `misdirected`, `invalid_header`.
pub(super) fn refuse_foreign_host(site: &str, door: &Door) -> Result<(), ApiError> {
    let refuse = |code, reason: String| Err(ApiError::new(code, reason).field("host"));
    let Some(host) = host_in(site) else {
        return refuse(ErrorCode::InvalidHeader, "host: expected host or host:port".into());
    };
    if is_nobodys(host) || door.is_known_as(host) {
        return Ok(());
    }
    let reason = format!(
        "this node is not known as `{}`; it answers to addresses, localhost, what the members advertise \
         (--advertise-http), and --allowed-hosts",
        cut(host, HOST_BYTES_TOLD)
    );
    refuse(ErrorCode::Misdirected, reason)
}

/// Whether a site is one of this cluster: an address, this machine, or a name by which a node is known.
fn is_ours(site: &str, door: &Door) -> bool {
    host_in(site).is_some_and(|host| is_nobodys(host) || door.is_known_as(host))
}

/// Whether no stranger can have this name. One without a dot may be a top level domain, which some serve pages under.
fn is_nobodys(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address =
        bare.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |ip| ip.parse::<Ipv6Addr>().is_ok());
    let is_below =
        || host.len() > LOCAL.len() && host[host.len() - LOCAL.len()..].eq_ignore_ascii_case(LOCAL);
    is_address || host.eq_ignore_ascii_case(&LOCAL[1..]) || (host.is_ascii() && is_below())
}

/// The host of `host:port` or `host`.
fn host_in(site: &str) -> Option<&str> {
    let end = if site.starts_with('[') { site.find(']')? + 1 } else { site.find(':').unwrap_or(site.len()) };
    let (host, port) = site.split_at(end);
    let digits = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(digits);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = host.starts_with('[') || (!host.is_empty() && host.bytes().all(is_plain));
    (is_port && is_host).then_some(host)
}

/// The host of `http://host:port`.
pub(super) fn host_of(url: &str) -> Option<&str> {
    host_in(url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_stranger_may_have_is_not_ours() {
        let nobodys = |site| is_nobodys(host_in(site).unwrap());
        for ours in
            ["10.0.0.7:5001", "[::1]:5001", "localhost", "LOCALHOST:5001", "a.localhost", "a.LOCALHOST:1"]
        {
            assert!(nobodys(ours), "{ours}");
        }
        for theirs in [
            "evil.example:5001",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "ai",
            "cache-1:80",
            "localhost.",
        ] {
            assert!(!nobodys(theirs), "{theirs}");
        }
    }

    #[test]
    fn a_host_is_found_in_a_url() {
        assert_eq!(host_of("http://Cache.example:5001/"), Some("Cache.example"));
        assert_eq!(host_of("cache.example"), Some("cache.example"));
        assert_eq!(host_of("http://[::1]:80/x"), Some("[::1]"));
        for wrong in ["", ":80", "a b", "u@a", "a:b", "[::1", "a:80:80", "\u{e4}", "a:123456", "a/b:c"] {
            assert_eq!(host_in(wrong), None, "{wrong}");
        }
    }
}

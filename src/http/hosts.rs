//! Names of hosts: those in requests and URLs, and those under which this node is known.

use crate::front::Front;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// Names that end with it lead to this machine only.
const LOCAL: &str = ".localhost";
/// How long a name is known to be this node's without looking again. Members come and go.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// The names of this node.
pub(super) struct OwnHosts {
    front: Arc<Front>,
    /// Names besides those that members advertise.
    allowed: Vec<String>,
    /// The name that was found last, and when.
    last: RwLock<Option<(Instant, String)>>,
}

impl OwnHosts {
    pub fn new(front: Arc<Front>, allowed: Vec<String>) -> Self {
        Self { front, allowed, last: RwLock::default() }
    }

    /// Whether this node is known by this name.
    pub fn contain(&self, host: &str) -> bool {
        let is_it = |(at, known): &(Instant, String)| known == host && at.elapsed() < KNOWN_FOR;
        if self.last.read().expect("no panic while held").as_ref().is_some_and(is_it) {
            return true;
        }
        let found = self.find(host);
        if found {
            *self.last.write().expect("no panic while held") = Some((Instant::now(), host.to_owned()));
        }
        found
    }

    fn find(&self, host: &str) -> bool {
        let is_it = |known: &str| known.eq_ignore_ascii_case(host);
        self.allowed.iter().any(|allowed| is_it(allowed))
            || self.front.advertised_urls().any(|url| host_of(&url).is_some_and(is_it))
    }
}

/// Whether no other site can have this name: it is an address, or leads to this machine. A name without a dot can be a top
/// level domain, under which some serve pages.
pub(super) fn cannot_be_foreign(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address =
        bare.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |ip| ip.parse::<Ipv6Addr>().is_ok());
    let is_below =
        || host.len() > LOCAL.len() && host[host.len() - LOCAL.len()..].eq_ignore_ascii_case(LOCAL);
    is_address || host.eq_ignore_ascii_case(&LOCAL[1..]) || (host.is_ascii() && is_below())
}

/// The host of `host:port` or `host`.
pub(super) fn host_in(site: &str) -> Option<&str> {
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
    fn a_name_that_another_site_can_have_is_not_ours() {
        let ours = |site| cannot_be_foreign(host_in(site).unwrap());
        for own in
            ["10.0.0.7:5001", "[::1]:5001", "localhost", "LOCALHOST:5001", "a.localhost", "a.LOCALHOST:1"]
        {
            assert!(ours(own), "{own}");
        }
        for theirs in [
            "evil.example:5001",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "ai",
            "cache-1:80",
            "localhost.",
        ] {
            assert!(!ours(theirs), "{theirs}");
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

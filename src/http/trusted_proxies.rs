//! Proxies in front of this node, and the clients behind them.
//!
//! `X-Forwarded-For` has the addresses that a request has passed, each added at the right by whom it reached. So what counts is the
//! rightmost one that is no proxy of ours: what stands to its left, that client has written itself.

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of proxies whose `X-Forwarded-For` is believed. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether a proxy has this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of the client that sent a request to the proxy at `address`. If the proxy does not say it, its own.
    pub(super) fn client_behind(&self, address: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut known = address;
        let lines = headers.get_all(FORWARDED_FOR);
        let mut lines: Vec<&str> = lines.iter().map(|line| line.to_str().unwrap_or_default()).collect();
        lines.reverse();
        for hop in lines.into_iter().flat_map(|line| line.rsplit(',')) {
            // Who wrote what is no address cannot be told.
            let Some(hop) = address_of(hop.trim()) else { break };
            known = hop.to_canonical();
            if !self.contain(known) {
                break;
            }
        }
        known
    }
}

/// An address, as proxies write it: some add the port.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rightmost_address_that_is_no_proxy_counts() {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let proxies = TrustedProxies::new(networks);
        assert!(proxies.contain("::ffff:10.1.2.3".parse().unwrap()));
        for (lines, wanted) in [
            (&[][..], "10.0.0.1"),
            (&["203.0.113.7"], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
            (&["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7, 10.9.9.9,fd00::5"], "203.0.113.7"),
            (&["203.0.113.7", "10.9.9.9"], "203.0.113.7"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::1]:80"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
            (&["10.2.2.2"], "10.2.2.2"),
            (&["1.1.1.1, unknown"], "10.0.0.1"),
            (&["1.1.1.1, unknown, 10.2.2.2"], "10.2.2.2"),
            (&["1.1.1.1,"], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["_hidden"], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().expect("a header"));
            }
            let client = proxies.client_behind("10.0.0.1".parse().unwrap(), &headers);
            assert_eq!(client.to_string(), wanted, "{lines:?}");
        }
    }
}

//! Checks of a member's name and addresses. They are stored in the membership, shown in terminals and pages, and
//! dialled, so they are checked before they get there.

use crate::tls::names_somebody;

/// Longest name of a member, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest host name (RFC 1035).
const HOST_CHARS_MAX: usize = 253;

/// A member's name: letters, digits, dot, dash and underscore.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!(
            "the name of a member: expected 1 to {NAME_CHARS_MAX} letters, digits, dots, dashes or underscores"
        )),
    }
}

/// The URL for a member's clients: `http://host:port` without a path. A node that is embedded without an HTTP server
/// has none.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_url(url: &str) -> Result<(), String> {
    let wrong = || Err("the URL of a member: expected http://host or http://host:port".to_owned());
    if url.is_empty() {
        return Ok(());
    }
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return wrong();
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = split_port(rest);
    if is_host(host) && port.is_none_or(is_port) { Ok(()) } else { wrong() }
}

/// The address for a member's peers: `host:port`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_peer(address: &str) -> Result<(), String> {
    let (host, port) = split_port(address);
    match is_host(host) && port.is_some_and(is_port) {
        true => Ok(()),
        false => Err("the peer address of a member: expected host:port".to_owned()),
    }
}

/// A host name or an address for which a node's certificate is to be good. The names by which certificates say whose they are
/// are none.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_host(host: &str) -> Result<(), String> {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match (is_address || is_host(host)) && !names_somebody(host) {
        true => Ok(()),
        false => Err(format!("a host of a node: expected an address or a host name, not `{host}`")),
    }
}

/// Splits an address at its last colon into host and port. The colons of an IPv6 address are within brackets.
fn split_port(address: &str) -> (&str, Option<&str>) {
    match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=HOST_CHARS_MAX).contains(&host.len()) && host.bytes().all(fits)
}

/// Whether this is a port without a sign or leading zeros.
fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["n1", "cache-3.eu_west", &"x".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a\nb\u{1b}[31m", "<b>", "ä", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_of_a_certificate_is_no_pattern_and_says_not_whose_it_is() {
        for good in ["10.0.0.4", "::1", "[::1]", "cache-4.example", "n4"] {
            assert_eq!(check_host(good), Ok(()), "{good}");
        }
        let bad =
            ["", "*", "*.example", "a b", "n1.node.lockstep.internal", "N1.Client.Lockstep.Internal.", "a:1"];
        for bad in bad {
            assert!(check_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_name_a_host_and_nothing_more() {
        for good in
            ["", "http://127.0.0.1:5000", "http://[::1]:5000", "https://cache.example", "http://n1:80/"]
        {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        let bad = [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "not a url",
            "http://user:pass@host:1",
            "http://host:1/path",
            "http://host:1?x",
            "http://host:",
            "http://host:+5",
            "http://",
            "http://a b",
        ];
        for bad in bad {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn peers_are_hosts_with_a_port() {
        for good in ["127.0.0.1:6000", "[::1]:6000", "node-2.internal:1"] {
            assert_eq!(check_peer(good), Ok(()), "{good}");
        }
        for bad in [
            "file:///etc/passwd:1",
            "user:pass@host:1",
            "a b:80",
            "x:+5",
            "x:00080",
            "x:0",
            "x:65536",
            "x",
            ":1",
            "",
        ] {
            assert!(check_peer(bad).is_err(), "{bad}");
        }
    }
}

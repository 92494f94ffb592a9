//! Who can reach the nodes, and what they have to show.

use super::asked::{Cluster, NodeAnswers};
use super::finding::Finding;
use std::net::IpAddr;

/// Tokens and encryption, where other machines can reach a node.
pub(super) fn access(cluster: &Cluster) -> Finding {
    let check = "access";
    let (mut open, mut plain, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    let mut needs_token = true;
    for node in cluster.answers() {
        let urls = urls_of(node);
        match &node.needs_token {
            Ok(needs) => {
                needs_token &= needs;
                open.extend(
                    urls.iter().find(|url| !needs && !is_loopback(url)).map(|url| describe(node, url)),
                );
            }
            Err(reason) => silent.push(format!("{} ({reason})", node.name())),
        }
        let is_plain = |url: &&String| url.starts_with("http://") && !is_loopback(url);
        plain.extend(urls.iter().find(is_plain).map(|url| describe(node, url)));
    }
    if !open.is_empty() {
        return Finding::bad(
            check,
            format!("no token is needed at {}", open.join(", ")),
            "Whoever reaches that address can read and change everything",
            "restart its nodes with serve --tokens; see docs/security.md",
        );
    }
    if !plain.is_empty() {
        return Finding::warn(
            check,
            format!("not encrypted: {}", plain.join(", ")),
            "Tokens and values can be read on the way",
            "serve --tls-cert, --tls-key and --tls-ca; see docs/security.md",
        );
    }
    let seen = match needs_token {
        true => "every request needs a token",
        false => "tokens are off, and all addresses are of this machine alone",
    };
    Finding::ok(check, seen).without(&silent)
}

/// Where this node is reached: as it was asked, and as the members know it.
fn urls_of(node: &NodeAnswers) -> Vec<String> {
    let known = node.status.members.iter().filter(|member| member.id == node.status.node.id);
    std::iter::once(node.url.clone()).chain(known.map(|member| member.http.clone())).collect()
}

fn describe(node: &NodeAnswers, url: &str) -> String {
    format!("{} ({url})", node.name())
}

fn is_loopback(url: &str) -> bool {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn other_machines_do_not_reach_loopback() {
        for (url, wanted) in [
            ("http://127.0.0.1:5000", true),
            ("http://[::1]:5000", true),
            ("https://localhost", true),
            ("", true),
            ("http://10.0.0.1:5000", false),
            ("https://cache.example", false),
        ] {
            assert_eq!(is_loopback(url), wanted, "{url}");
        }
    }
}

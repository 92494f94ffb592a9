//! How a certificate names a node or a client.
//!
//! The names are DNS names below a domain that exists for private use only (`.internal`), so the checks of any TLS library fit
//! them, and no public authority signs one.

/// What the name of a node's certificate ends with.
const NODES: &str = ".node.lockstep.internal";
/// What the name of a client's certificate ends with.
const CLIENTS: &str = ".client.lockstep.internal";

/// The name in the certificate of the node with this name.
pub fn node_host(name: &str) -> String {
    format!("{name}{NODES}")
}

/// The name in the certificate of a client that has the rights of the token with this id.
pub fn client_host(token_id: &str) -> String {
    format!("{token_id}{CLIENTS}")
}

/// The node that a DNS name stands for.
pub(super) fn node_of(host: &str) -> Option<&str> {
    host.strip_suffix(NODES).filter(|name| is_one(name))
}

/// The token that a DNS name stands for.
pub(super) fn client_of(host: &str) -> Option<&str> {
    host.strip_suffix(CLIENTS).filter(|id| is_one(id))
}

/// Whether a host name is of those that say whose a certificate is, in any spelling.
pub fn names_somebody(host: &str) -> bool {
    const DOMAIN: &str = ".lockstep.internal";
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    debug_assert!(NODES.ends_with(DOMAIN) && CLIENTS.ends_with(DOMAIN));
    host.ends_with(DOMAIN)
}

/// Not a pattern for many names: each certificate is for somebody.
fn is_one(name: &str) -> bool {
    !name.is_empty() && !name.contains('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_a_node_or_of_a_client() {
        assert_eq!(node_of(&node_host("n1.eu")), Some("n1.eu"));
        assert_eq!(client_of(&client_host("abc")), Some("abc"));
        for other in
            [&client_host("n1"), &node_host("*"), &node_host(""), "n1", "n1.node.lockstep.internal.example"]
        {
            assert_eq!(node_of(other), None, "{other}");
        }
        assert_eq!(client_of(&node_host("n1")), None);
    }
}

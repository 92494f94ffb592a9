//! The Redis ports of `lockstep up`: those that Redis itself has by default, or the next ones that are free.

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// How much higher than the HTTP port the Redis port of a node is, if it is free: 6379 for 5000.
const REDIS_PORT_ABOVE: u16 = 1379;
/// Ports that are tried for a node.
const TRIES: u16 = 200;

/// A port for each of these nodes, by name: the one that it had before, or the first that is free from `first` on.
///
/// # Errors
/// No port is free.
pub(super) fn choose(folder: &Path, names: &[String], http: u16, given: Option<u16>) -> Result<Vec<u16>> {
    let earlier = earlier(folder);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut chosen: Vec<u16> = Vec::new();
    for (i, name) in (0..).zip(names) {
        let first = given.unwrap_or(http.saturating_add(REDIS_PORT_ABOVE)).saturating_add(i);
        let known = earlier.get(name).copied().filter(|_| given.is_none());
        let tries = known.into_iter().chain(first..first.saturating_add(TRIES));
        let others = (0..names.len() as u16).flat_map(|i| [http + i, http + super::up::PEER_PORT_ABOVE + i]);
        let others: Vec<u16> = others.collect();
        let mut tries = tries.filter(|port| !others.contains(port) && !chosen.contains(port));
        match tries.find(|port| is_free(*port)) {
            Some(port) => chosen.push(port),
            None => bail!(
                "no port is free for Redis clients from {first} on; choose others with --redis-port, or say --no-redis"
            ),
        }
    }
    Ok(chosen)
}

/// The ports of an earlier run, by the nodes' names.
fn earlier(folder: &Path) -> BTreeMap<String, u16> {
    let name_and_port = |node: &serde_json::Value| {
        let port = node["redis"].as_str()?.rsplit_once(':')?.1.parse().ok()?;
        Some((node["name"].as_str()?.to_owned(), port))
    };
    let text = fs::read_to_string(folder.join("up.json")).unwrap_or_default();
    let up: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    up["nodes"].as_array().into_iter().flatten().filter_map(name_and_port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_port_and_takes_none_that_another_has() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = taken.local_addr().unwrap().port();
        let names = ["n1".to_owned(), "n2".to_owned()];
        let chosen = choose(folder.path(), &names, 5_000, Some(first)).unwrap();
        assert!(chosen[0] > first && chosen[1] > first && chosen[0] != chosen[1], "{first} {chosen:?}");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let up =
            format!("{{\"nodes\": [\n{{\"name\": \"n2\", \"redis\": \"redis://127.0.0.1:{free}\"}}\n]}}\n");
        fs::write(folder.path().join("up.json"), up).unwrap();
        assert_eq!(choose(folder.path(), &names, 5_000, None).unwrap()[1], free);
    }
}

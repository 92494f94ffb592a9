//! `INFO`: what clients and tools look for before they go on.

use super::client::Client;
use super::errors::of_node;
use super::key::{DATABASES, database_prefix, other_databases};
use super::reply::Reply;
use crate::api::Consistency;
use crate::cache::{Need, Policy, Role};
use crate::node::{ProcessMemory, Session};
use bytes::Bytes;

/// The version whose commands and words this is meant to have; clients choose by it what they use.
pub(super) const REDIS_VERSION: &str = "7.4.0";

/// The sections that were asked for, or all.
pub(super) async fn reply(client: &Client, arguments: &[Bytes]) -> Reply {
    let mut sections = Sections::wanted(arguments);
    let (front, clients) = (&client.shared.front, &client.shared.front.redis_clients);
    let Some(session) = client.session() else {
        // Clients that ask for this wait, and ask again.
        sections
            .add("Server", &[("redis_version", REDIS_VERSION.into()), ("redis_mode", "standalone".into())]);
        sections.add("Persistence", &[("loading", "1".into())]);
        return Reply::Text(sections.text());
    };
    let session = session.with_consistency(Consistency::Stale);
    if let Err(error) = session.authorize(&Need::Role(Role::Observe)).await {
        return of_node(&error.error);
    }
    let (counters, requests) = (session.totals(), front.requests.totals());
    let is_loading = session.ready().await.is_err();
    let history = session.lineage().current();
    let uptime = session.uptime().as_secs();
    sections.add(
        "Server",
        &[
            ("redis_version", REDIS_VERSION.into()),
            ("lockstep_version", env!("CARGO_PKG_VERSION").into()),
            ("lockstep_node", session.node_name().to_owned()),
            ("redis_mode", "standalone".into()),
            ("os", std::env::consts::OS.into()),
            ("arch_bits", usize::BITS.to_string()),
            ("process_id", std::process::id().to_string()),
            ("run_id", history.id.replace('-', "")),
            ("tcp_port", client.registered.presence.port.to_string()),
            ("uptime_in_seconds", uptime.to_string()),
            ("uptime_in_days", (uptime / 86_400).to_string()),
        ],
    );
    sections.add(
        "Clients",
        &[
            ("connected_clients", clients.count().to_string()),
            ("maxclients", front.limits.connections.to_string()),
            ("blocked_clients", "0".into()),
        ],
    );
    let memory = ProcessMemory::now().map_or(0, |memory| memory.anonymous);
    let config = session.known_config();
    sections.add(
        "Memory",
        &[
            ("used_memory", counters.bytes.to_string()),
            ("used_memory_rss", memory.to_string()),
            ("maxmemory", config.capacity_bytes.to_string()),
            ("maxmemory_policy", policy_name(config.policy).into()),
            ("number_of_cached_scripts", client.shared.scripts.count().to_string()),
        ],
    );
    sections
        .add("Persistence", &[("loading", u8::from(is_loading).to_string()), ("aof_enabled", "1".into())]);
    sections.add(
        "Stats",
        &[
            ("total_connections_received", clients.total().to_string()),
            ("total_commands_processed", requests.requests.to_string()),
            ("keyspace_hits", counters.hits.to_string()),
            ("keyspace_misses", counters.misses.to_string()),
            ("evicted_keys", counters.counts.evicted().to_string()),
            ("expired_keys", counters.counts.expired.to_string()),
        ],
    );
    sections.add(
        "Replication",
        &[
            ("role", "master".into()),
            ("connected_slaves", "0".into()),
            ("lockstep_is_leader", u8::from(counters.is_leader).to_string()),
            ("lockstep_applied_index", counters.applied_index.to_string()),
            ("lockstep_history", history.id.clone()),
        ],
    );
    sections.add::<&str>("Modules", &[]);
    sections.add("Cluster", &[("cluster_enabled", "0".into())]);
    if sections.has("Keyspace") {
        sections.add("Keyspace", &keyspace(&session).await);
    }
    Reply::Text(sections.text())
}

/// The name that Redis has for a policy. It has none for S3-FIFO.
pub(super) fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Lru => "allkeys-lru",
        Policy::Lfu => "allkeys-lfu",
        Policy::S3Fifo => "allkeys-s3fifo",
        Policy::NoEviction => "noeviction",
    }
}

/// The sections that a client wants, as far as they are known.
struct Sections {
    wanted: Vec<String>,
    texts: Vec<String>,
}

impl Sections {
    fn wanted(arguments: &[Bytes]) -> Self {
        let wanted =
            arguments.iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
        Self { wanted, texts: Vec::new() }
    }

    fn has(&self, name: &str) -> bool {
        let is_meant = |wanted: &String| {
            ["all", "everything", "default"].contains(&wanted.as_str()) || wanted.eq_ignore_ascii_case(name)
        };
        self.wanted.is_empty() || self.wanted.iter().any(is_meant)
    }

    fn add<N: AsRef<str>>(&mut self, name: &str, facts: &[(N, String)]) {
        if self.has(name) {
            let facts = facts.iter().map(|(name, fact)| format!("{}:{fact}\r\n", name.as_ref()));
            self.texts.push(format!("# {name}\r\n{}", facts.collect::<String>()));
        }
    }

    fn text(&self) -> String {
        self.texts.join("\r\n")
    }
}

/// The databases that have keys, as far as this node knows.
async fn keyspace(session: &Session) -> Vec<(String, String)> {
    let prefixes: Vec<String> = (0..DATABASES).map(database_prefix).chain([other_databases()]).collect();
    // Whoever may not read everything sees none.
    let mut counts = session.count(&prefixes).await.map(|read| read.value).unwrap_or_default();
    let others = counts.pop().unwrap_or(0);
    if let Some(first) = counts.first_mut() {
        *first = first.saturating_sub(others);
    }
    let counts = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
    counts
        .map(|(database, count)| (format!("db{database}"), format!("keys={count},expires=0,avg_ttl=0")))
        .collect()
}

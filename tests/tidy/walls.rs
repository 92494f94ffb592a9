//! Imports point down: each room names only the rooms below it, and the packages that belong there.

use super::code::{below, words};
use super::{Source, assert_clean, sources};

/// The rooms, and which others each may import.
const ROOMS: [(&str, &[&str]); 21] = [
    (
        "cli",
        &[
            "check",
            "http",
            "resp",
            "front",
            "jwt",
            "backups",
            "merging",
            "node",
            "raft",
            "replica",
            "peer",
            "storage",
            "cache",
            "api",
            "client",
            "reconcile",
            "recover",
            "lineage",
            "tls",
        ],
    ),
    ("check", &["api"]),
    (
        "http",
        &[
            "front",
            "jwt",
            "dashboard",
            "backups",
            "merging",
            "node",
            "raft",
            "replica",
            "peer",
            "storage",
            "cache",
            "api",
            "lineage",
            "tls",
        ],
    ),
    ("resp", &["front", "jwt", "node", "replica", "cache", "api", "lineage", "tls"]),
    ("backups", &["node", "storage", "lineage"]),
    ("merging", &["node", "raft", "replica", "storage", "cache", "api", "client", "reconcile", "lineage"]),
    ("front", &["node", "replica", "storage", "cache", "api", "lineage"]),
    ("jwt", &["node", "replica", "cache"]),
    ("dashboard", &[]),
    ("node", &["raft", "replica", "peer", "storage", "cache", "api", "client", "recover", "lineage", "tls"]),
    ("raft", &["replica", "peer", "storage", "cache", "lineage"]),
    ("replica", &["cache", "lineage"]),
    ("peer", &["storage", "cache", "lineage", "tls"]),
    ("storage", &["cache"]),
    ("cache", &[]),
    ("api", &["cache", "lineage"]),
    ("client", &["api", "cache", "tls"]),
    ("reconcile", &["cache", "lineage"]),
    ("recover", &["lineage"]),
    ("lineage", &[]),
    ("tls", &[]),
];

/// Packages that belong into one room.
const HOMES: [(&str, &str); 6] = [
    ("axum", "http"),
    ("crossbeam_epoch", "storage"),
    ("openraft", "raft"),
    ("rust_embed", "dashboard"),
    ("sled", "storage"),
    ("socketioxide", "http"),
];

/// What would make two replicas differ, or tie the cache to a place.
const NOT_IN_CACHE: [&str; 7] = ["tokio", "tracing", "rand", "HashMap", "HashSet", "f32", "f64"];
const NOT_IN_CACHE_OF_STD: [&str; 5] = ["time", "fs", "net", "thread", "env"];

fn complaints(source: &Source) -> Vec<String> {
    let inside = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let Some((room, _)) = inside.split_once('/') else { return Vec::new() };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "{}: `{room}` is no room; add it to the list in tests/tidy/walls.rs",
            source.path
        )];
    };
    let words = words(&source.text);
    let has = |name: &str| words.iter().any(|word| word == name);
    let mut complaints = Vec::new();
    let mut complain = |what: String| complaints.push(format!("{}: {what}", source.path));

    // `super` once per module leads out of the room, to the root.
    let depth = inside.split('/').filter(|part| *part != "mod.rs").count();
    let supers = ["super", "::"].repeat(depth);
    let others = below(&words, &["crate", "::"]).into_iter().chain(below(&words, &supers));
    for other in others {
        let is_room = ROOMS.iter().any(|(name, _)| *name == other);
        if is_room && other != room && !allowed.contains(&other) {
            complain(format!("`{room}` must not import `{other}`"));
        }
    }
    if has("lockstep") {
        complain("names its own crate from outside".into());
    }
    for (package, home) in HOMES {
        if room != home && has(package) {
            complain(format!("`{package}` belongs into `{home}`"));
        }
    }
    if room == "storage" && has("tokio") {
        complain("`storage` does without `tokio`".into());
    }
    if room == "cache" {
        for name in NOT_IN_CACHE.into_iter().filter(|name| has(name)) {
            complain(format!("`{name}` must not be in `cache`"));
        }
        for root in ["std", "core"] {
            for name in below(&words, &[root, "::"]) {
                if NOT_IN_CACHE_OF_STD.contains(&name) {
                    complain(format!("`{root}::{name}` must not be in `cache`"));
                }
            }
        }
    }
    complaints
}

#[test]
fn imports_point_down() {
    let all: Vec<String> = sources("src").iter().flat_map(complaints).collect();
    assert_clean(&all);
}

fn about(path: &str, text: &str) -> Vec<String> {
    complaints(&Source { path: path.into(), text: text.into() })
}

#[test]
fn an_import_upwards_is_noticed() {
    assert_eq!(
        about("src/raft/log.rs", "use crate::node::Node;"),
        ["src/raft/log.rs: `raft` must not import `node`"]
    );
    for (path, text) in [
        ("src/peer/mod.rs", "use crate::{cache::Key, http};"),
        ("src/peer/mod.rs", "use super::raft::Log;"),
        ("src/cache/apply/put.rs", "use super::super::super::storage::LogStore;"),
        ("src/storage/log.rs", "fn f() { crate::raft::go() }"),
        ("src/http/kv.rs", "use crate::client::Client;"),
        ("src/api/kv.rs", "use crate::client::Client;"),
        ("src/raft/log.rs", "use crate::api::Status;"),
        ("src/node/read.rs", "use lockstep::http::AppState;"),
        ("src/dashboard/mod.rs", "use crate::http::AppState;"),
        ("src/front/state.rs", "use crate::http::AppState;"),
        ("src/attic/mod.rs", ""),
    ] {
        assert_eq!(about(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/node/read.rs", "use crate::{raft::Log, client::join, api};"),
        ("src/peer/mod.rs", "use super::storage::LogStore;"),
        ("src/cache/apply/put.rs", "use super::super::store::Store; use crate::cache::Key;"),
        ("src/raft/log.rs", "// use crate::node::Node;"),
        ("src/lib.rs", "pub mod http;"),
    ] {
        assert_eq!(about(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_package_away_from_home_is_noticed() {
    for (path, text) in [
        ("src/node/read.rs", "use axum::Json;"),
        ("src/front/state.rs", "use axum::Json;"),
        ("src/node/read.rs", "use openraft::Raft;"),
        ("src/raft/log.rs", "let db = sled::open(path);"),
        ("src/storage/log.rs", "tokio::spawn(async {});"),
        ("src/cache/key.rs", "use std::collections::{BTreeMap, HashMap};"),
        ("src/cache/key.rs", "let ratio = 1 as f64;"),
        ("src/cache/key.rs", "use std::time::Instant;"),
        ("src/cache/key.rs", "use std::{fmt, env::var};"),
        ("src/cache/key.rs", "use core::time::Duration;"),
        ("src/cache/key.rs", "fn f() { std::thread::yield_now() }"),
        ("src/cache/key.rs", "tracing::info!(key);"),
    ] {
        assert_eq!(about(path, text).len(), 1, "{path}: {text}");
    }
    assert_eq!(about("src/storage/mod.rs", "mod sled_engine; use sled::Db;"), Vec::<String>::new());
}

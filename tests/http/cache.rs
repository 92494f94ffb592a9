//! What a node tells about its cache, and what reads leave behind.

use crate::server::{Server, limits};
use lockstep::cache::{CacheConfig, TouchConfig};
use lockstep::http::OPENAPI;
use lockstep::node::Origin;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn report(server: &Server) -> Value {
    server.get("/v1/cache").await.json().await.unwrap()
}

/// Waits until the report is as wanted.
async fn reported(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let report = report(server).await;
        if holds(&report) {
            return report;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{what}: {report}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn hits_misses_and_reads_are_told() {
    let server = Server::start().await;
    let fresh = report(&server).await;
    assert_eq!(fresh["reads"], json!({"hits": 0, "misses": 0, "hit_percent": null}));
    server.configure(json!({"capacity_entries": 1_000})).await;
    reported(&server, "every key is looked at", |report| report["shadow"]["one_key_in"] == 1).await;
    for key in ["a", "b", "c"] {
        server.put(key, "x").await;
    }
    for _ in 0..30 {
        assert_eq!(server.get("/v1/kv/a").await.status().as_u16(), 200);
    }
    for _ in 0..10 {
        assert_eq!(server.get("/v1/kv/none").await.status().as_u16(), 404);
    }
    let seen = reported(&server, "the reads are counted", |report| {
        report["counts"]["touched"].as_u64() > Some(0) && report["shadow"]["reads"] == 40
    })
    .await;
    assert_eq!(seen["reads"], json!({"hits": 30, "misses": 10, "hit_percent": 75.0}));
    assert_eq!(seen["hot_keys"][0]["key"], "a");
    assert_eq!((&seen["entries"], &seen["entries_to_move"]), (&json!(3), &json!(0)));
    assert_eq!((&seen["policy"], &seen["feature_level"]), (&json!("lru"), &json!(1)));
    let victims: Vec<&str> =
        seen["next_victims"].as_array().unwrap().iter().map(|v| v["key"].as_str().unwrap()).collect();
    assert_eq!(victims, ["b", "c", "a"], "a was read last");
    let metrics = server.get("/metrics").await.text().await.unwrap();
    for line in [
        "lockstep_reads_total{outcome=\"hit\"} 30",
        "lockstep_reads_total{outcome=\"miss\"} 10",
        "lockstep_policy_info{policy=\"lru\"} 1",
        "lockstep_evictions_total{reason=\"entries\"} 0",
        "lockstep_changes_total{kind=\"put\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    server.stop().await;
}

/// The causes of evictions, by the limit that was exceeded.
#[tokio::test]
async fn evictions_are_counted_by_limit() {
    let server = Server::start().await;
    server.configure(json!({"capacity_entries": 2})).await;
    for key in ["a", "b", "c"] {
        server.put(key, "x").await;
    }
    server.configure(json!({"capacity_entries": 100, "capacity_bytes": 400})).await;
    server.put("d", &"x".repeat(200)).await;
    let counts = report(&server).await["counts"].clone();
    assert_eq!((&counts["evicted_by_entries"], &counts["evicted_by_bytes"]), (&json!(1), &json!(2)));
    server.stop().await;
}

/// A node that has just come to lead tells of reads with its first write, however long an interval is.
#[tokio::test]
async fn reads_count_before_a_write_from_the_first_interval_on() {
    let server = Server::start_with(limits(), |mut options| {
        let touch = TouchConfig { interval_ms: 60_000, ..TouchConfig::default() };
        let config = CacheConfig { capacity_entries: 2, touch, ..CacheConfig::default() };
        options.origin = Origin::Alone { config };
        options
    })
    .await;
    server.put("a", "x").await;
    server.put("b", "x").await;
    assert_eq!(server.get("/v1/kv/a").await.status().as_u16(), 200);
    server.put("c", "x").await;
    for (key, status) in [("a", 200), ("b", 404), ("c", 200)] {
        assert_eq!(server.get(&format!("/v1/kv/{key}")).await.status().as_u16(), status, "{key}");
    }
    server.stop().await;
}

/// The description names every field of the report, and no other.
#[tokio::test]
async fn the_report_is_as_described() {
    let server = Server::start().await;
    server.put("a", "x").await;
    server.get("/v1/kv/a").await;
    let described: Value = serde_json::from_str(OPENAPI).unwrap();
    let report = reported(&server, "the shadow has seen a read", |report| !report["shadow"].is_null()).await;
    let status: Value = server.get("/v1/status").await.json().await.unwrap();
    let lineage: Value = server.get("/v1/lineage").await.json().await.unwrap();
    let nodes: Value = server.get("/v1/nodes").await.json().await.unwrap();
    let samples: Value = server.get("/v1/samples").await.json().await.unwrap();
    let parts = [
        ("CacheReport", &report),
        ("CacheCounts", &report["counts"]),
        ("ReadCounts", &report["reads"]),
        ("TouchReport", &report["touches"]),
        ("NextVictim", &report["next_victims"][0]),
        ("HotKey", &report["hot_keys"][0]),
        ("ShadowHits", &report["shadow"]),
        ("Status", &status),
        ("HistoryName", &status["history"]),
        ("LineageReport", &lineage),
        ("History", &lineage["histories"][0]),
        ("Nodes", &nodes),
        ("NodeState", &nodes["nodes"][0]),
        ("NodeReport", &nodes["nodes"][0]["report"]),
        ("Samples", &samples),
        ("Columns", &samples["columns"]),
        ("Config", &status["config"]),
        ("TouchConfig", &status["config"]["touch"]),
    ];
    for (name, value) in parts {
        let schema = &described["components"]["schemas"][name];
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap_or_else(|| panic!("{name}: {value}")).keys().cloned().collect()
        };
        assert_eq!(names(value), names(&schema["properties"]), "{name}");
        let required = schema["required"].as_array().unwrap().iter();
        let required: BTreeSet<String> = required.map(|name| name.as_str().unwrap().to_owned()).collect();
        assert_eq!(names(value), required, "{name}");
    }
    server.stop().await;
}

/// What is left of a time to live runs down while nothing is written.
#[tokio::test]
async fn a_time_to_live_runs_down_on_an_idle_node() {
    let server = Server::start().await;
    server.configure(json!({"touch": {"enabled": false}})).await;
    server.send(reqwest::Method::PUT, "/v1/kv/k?ttl_ms=60000", &[], "x").await;
    let written = server.node.status().await.last_log_index;
    let begun = std::time::Instant::now();
    loop {
        let answer = server.get("/v1/kv/k").await;
        let left: u64 = answer.headers()["lockstep-ttl-ms"].to_str().unwrap().parse().unwrap();
        if left < 59_900 {
            break;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{left} ms are left");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(server.node.status().await.last_log_index, written, "nothing was written meanwhile");
    server.stop().await;
}

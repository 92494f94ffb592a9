//! Eviction that every node performs alike, reads on any node included.

use crate::support::{Cluster, Node, run, until};
use reqwest::Method;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

async fn configure(cluster: &Cluster, node: &Node, settings: Value) {
    let done = cluster.request(Method::PUT, node, "/v1/config", &settings.to_string()).await;
    assert_eq!(done.status().as_u16(), 200, "{settings}");
}

async fn count(cluster: &Cluster, node: &Node, name: &str) -> u64 {
    cluster.status(node).await["cache"]["counts"][name].as_u64().unwrap()
}

/// The reads that the log told of and that still met their entry: touches of entries that are gone do not count.
async fn reads_told(cluster: &Cluster, node: &Node) -> u64 {
    let counts = &cluster.status(node).await["cache"]["counts"];
    counts["touched"].as_u64().unwrap() - counts["touched_late"].as_u64().unwrap()
}

async fn last_log_index(cluster: &Cluster, node: &Node) -> u64 {
    cluster.status(node).await["last_log_index"].as_u64().unwrap()
}

/// A read on any node keeps a key everywhere, and costs at most one log entry an interval; nobody reading costs
/// none.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_on_any_node_counts_on_all() {
    let cluster = Cluster::start(3, &["--capacity-entries", "3"]).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    for (reader, key) in [(leader, "a"), (follower, "b")] {
        cluster.request(Method::DELETE, &cluster.nodes[0], "/v1/kv?all=true", "").await;
        for key in ["a", "b", "c"] {
            cluster.put_surely(&cluster.nodes[0], key, "v").await;
        }
        let before = reads_told(&cluster, &cluster.nodes[leader]).await;
        assert!(cluster.get(&cluster.nodes[reader], key).await.is_ok());
        until("the log tells of the read", || async {
            reads_told(&cluster, &cluster.nodes[leader]).await > before
        })
        .await;
        cluster.put_surely(&cluster.nodes[0], "d", "v").await;
        cluster.put_surely(&cluster.nodes[0], "e", "v").await;
        for node in &cluster.nodes {
            for (other, expected) in [("a", key == "a"), ("b", key == "b"), ("c", false), ("d", true)] {
                assert_eq!(cluster.get(node, other).await.is_ok(), expected, "{other} after reading {key}");
            }
        }
        cluster.digests_agree().await;
    }
    // What was just read is told of; after that nobody reads, and nothing is written.
    let last = AtomicU64::new(0);
    until("the log stands still", || async {
        // This long, because it is nothing that is waited for: ten intervals without a log entry.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let now = last_log_index(&cluster, &cluster.nodes[leader]).await;
        last.swap(now, Ordering::Relaxed) == now
    })
    .await;
}

/// Where reads do not count, they write nothing, and only writes keep a key.
#[tokio::test(flavor = "multi_thread")]
async fn reads_can_be_left_out() {
    let cluster = Cluster::start(3, &["--capacity-entries", "2"]).await;
    let node = &cluster.nodes[0];
    configure(&cluster, node, json!({"touch": {"enabled": false, "interval_ms": 10}})).await;
    cluster.put_surely(node, "a", "v").await;
    cluster.put_surely(node, "b", "v").await;
    let before = last_log_index(&cluster, node).await;
    for _ in 0..50 {
        assert!(cluster.get(&cluster.nodes[1], "a").await.is_ok());
    }
    // With reads counted the first of these would stand in the log by now.
    configure(&cluster, node, json!({"touch": {"enabled": false}})).await;
    assert_eq!(count(&cluster, node, "touched").await, 0);
    // The settings, and the note of who changed them.
    assert!(last_log_index(&cluster, node).await <= before + 2);
    cluster.put_surely(node, "c", "v").await;
    assert_eq!(cluster.get(node, "a").await, Err(404));
}

/// A time to live that reads renew: renewed by reads on a follower, and over once nobody reads any more.
#[tokio::test(flavor = "multi_thread")]
async fn reads_renew_a_time_to_live() {
    let cluster = Cluster::start(3, &[]).await;
    let follower = cluster.follower().await;
    let node = &cluster.nodes[follower];
    configure(&cluster, node, json!({"touch": {"interval_ms": 20}})).await;
    let put = cluster.request(Method::PUT, node, "/v1/kv/s?ttl_ms=2000&sliding=true", "v").await;
    assert_eq!(put.status().as_u16(), 201);
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(cluster.get(node, "s").await.is_ok(), "gone after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Looking at all keys is no use of them.
    let listed = || async {
        let answer = cluster.request(Method::GET, node, "/v1/keys", "").await;
        answer.json::<Value>().await.unwrap()["keys"].as_array().unwrap().len()
    };
    until("it is over", || async { listed().await == 0 }).await;
    cluster.digests_agree().await;
}

/// A trace over all nodes, with the policy switched, the leader killed, and a node that has to be rebuilt from a
/// snapshot: every node ends with the same digest, and so with the same order of eviction.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_through_switches_and_faults() {
    let small = ["--capacity-entries", "100", "--snapshot-entries", "300", "--entries-kept", "50"];
    let mut cluster = Cluster::start(3, &small).await;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.txt");
    std::fs::write(&trace, requests()).unwrap();
    let urls: Vec<String> = cluster.nodes.iter().map(|node| node.http.clone()).collect();
    let arguments = ["replay", trace.to_str().unwrap(), "--concurrency", "8", "--json", "--url"];
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).chain([urls.join(",")]).collect();
    let replay = tokio::task::spawn_blocking(move || {
        run(&arguments.iter().map(String::as_str).collect::<Vec<&str>>())
    });
    let reached = |index: u64, at: usize| {
        let cluster = &cluster;
        async move {
            until("the replay goes on", || async {
                last_log_index(cluster, &cluster.nodes[at]).await > index
            })
            .await;
        }
    };
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let stays = (leader + 2) % 3;
    reached(200, stays).await;
    cluster.nodes[away].kill();
    let left_at = last_log_index(&cluster, &cluster.nodes[stays]).await;
    configure(&cluster, &cluster.nodes[stays], json!({"policy": "s3fifo"})).await;
    // By both of the others: each of them may lead when it comes back.
    for up in (0..3).filter(|node| *node != away) {
        until("the log is purged past where it left", async || {
            cluster.status(&cluster.nodes[up]).await["purged_index"].as_u64().unwrap() > left_at
        })
        .await;
    }
    cluster.nodes[away].start();
    cluster.ready(&cluster.nodes[away]).await;
    configure(&cluster, &cluster.nodes[stays], json!({"policy": "lfu"})).await;
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let other = (leader + 1) % 3;
    let before = last_log_index(&cluster, &cluster.nodes[other]).await;
    until("writes go on", || async { last_log_index(&cluster, &cluster.nodes[other]).await > before + 100 })
        .await;
    cluster.nodes[leader].start();
    cluster.all_ready().await;
    let (_, report, errors) = replay.await.unwrap();
    let report: Value = serde_json::from_str(report.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {report} {errors}"));
    assert!(report["hits"].as_u64().unwrap() > 1_000, "{report}");
    let status = cluster.status(&cluster.nodes[away]).await;
    assert!(status["snapshot_index"].as_u64().unwrap() > left_at, "it was rebuilt from a snapshot");
    assert_eq!(status["config"]["policy"], "lfu");
    assert!(count(&cluster, &cluster.nodes[away], "touched").await > 0, "reads counted");
    until("the switch is done", || async {
        cluster.status(&cluster.nodes[away]).await["cache"]["entries_to_move"] == 0
    })
    .await;
    cluster.digests_agree().await;
    let victims = |status: Value| status["cache"]["next_victims"].clone();
    let expected = victims(cluster.status(&cluster.nodes[0]).await);
    assert_eq!(expected.as_array().unwrap().len(), 16);
    for node in &cluster.nodes[1..] {
        assert_eq!(victims(cluster.status(node).await), expected);
    }
}

/// Popular keys and rare ones, the same every time.
fn requests() -> String {
    let mut state = 7u64;
    let mut out = String::new();
    for _ in 0..12_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (a, b) = ((state >> 33) % 40, (state >> 20) % 40);
        let key = if a < 20 { b } else { a * b };
        writeln!(out, "key{key}").unwrap();
    }
    out
}

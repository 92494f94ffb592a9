//! What an open fork costs the puts of a cluster: the same cluster with the fork open, and with it forgotten.
//!
//! Two clusters of four, of which one node has left: three go on. In one of them the fork that this has opened is forgotten. Both
//! get the same load in turns. All keys are common ones, so that the first put of each is noted.

use super::until;
use crate::support::{Cluster, PROGRAM, run};
use reqwest::Method;
use serde_json::Value;
use std::process::Command;

const KEYS: u64 = 500_000;
const ROUNDS: usize = 5;
const SECONDS: &str = "6";

pub async fn fork() {
    let settings = ["--capacity-entries", "2000000", "--capacity-bytes", "4000000000"];
    println!(
        "fork: {KEYS} keys that both sides have (16 bytes, values of 128), {ROUNDS} rounds of {SECONDS} s, in turns"
    );
    let (mut noting, mut plain) = (Cluster::start(4, &settings).await, Cluster::start(4, &settings).await);
    for cluster in [&mut noting, &mut plain] {
        // It stores all keys first.
        load(cluster, "get", "1").await;
        let leaves = cluster.follower().await;
        let left = cluster.request(Method::POST, &cluster.nodes[leaves], "/v1/detach", "").await;
        assert!(left.status().is_success(), "{}", left.status());
        cluster.nodes[leaves].kill();
        until("three are left", || async { members(cluster).await == 3 }).await;
    }
    let forks = forks(&plain).await;
    let history = forks[0]["history"].as_str().expect("an id");
    assert_eq!(run(&["reconcile", "forget", history, "--url", &plain.nodes[plain.leader().await].http]).0, 0);
    for connections in ["1", "64"] {
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let (with, without) =
                (load(&noting, "put", connections).await, load(&plain, "put", connections).await);
            ratios.push(with / without);
        }
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[ROUNDS - 1]);
        println!(
            "  {connections} connections: {:.3} of the puts without it ({low:.3} to {high:.3})",
            ratios[ROUNDS / 2]
        );
    }
    println!("  noted: {} keys", self::forks(&noting).await[0]["noted"]);
}

async fn members(cluster: &Cluster) -> usize {
    let leader = &cluster.nodes[cluster.leader().await];
    cluster.status(leader).await["members"].as_array().map_or(0, Vec::len)
}

async fn forks(cluster: &Cluster) -> Value {
    let leader = &cluster.nodes[cluster.leader().await];
    let answer = cluster.request(Method::GET, leader, "/v1/reconcile", "").await;
    answer.json::<Value>().await.expect("JSON")["forks"].clone()
}

/// Operations a second at the leader.
async fn load(cluster: &Cluster, work: &'static str, connections: &str) -> f64 {
    let (url, keys) = (cluster.nodes[cluster.leader().await].http.clone(), KEYS.to_string());
    let connections = connections.to_owned();
    let running = tokio::task::spawn_blocking(move || {
        let arguments = ["bench", work, "--json", "--to", "server", "--warm-up", "1", "--seconds", SECONDS];
        let more = ["--keys", &keys, "--connections", &connections, "--url", &url];
        Command::new(PROGRAM).args(arguments).args(more).output().expect("it runs")
    });
    let done = running.await.expect("it ends");
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    report["operations_per_s"].as_f64().expect("a number")
}

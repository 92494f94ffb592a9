//! What an open fork costs the puts of a cluster: three nodes, with the fork open that a fourth one left behind, and with it
//! forgotten.
//!
//! Each round begins with a fork of its own. The puts replace values of common keys, which stay, so nothing is noted: what costs is
//! to look. The load without it comes twice: their ratio is what the order alone makes.

use super::until;
use crate::support::{Cluster, PROGRAM, run};
use reqwest::Method;
use serde_json::Value;
use std::process::Command;

const KEYS: u64 = 500_000;
const ROUNDS: usize = 5;
const SECONDS: &str = "5";

pub async fn fork() {
    let settings = ["--capacity-entries", "2000000", "--capacity-bytes", "4000000000"];
    println!(
        "fork: {KEYS} keys that both sides have (values of 128 bytes), {ROUNDS} rounds of {SECONDS} s each"
    );
    let cluster = Cluster::start(4, &settings).await;
    // It stores all keys first.
    load(&cluster, 4, "get", "1").await;
    for connections in ["1", "64"] {
        let (mut ratios, mut controls, mut noted) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            // The last one leaves, and leads neither before nor after.
            let leader = leader(&cluster).await;
            if leader == 3 {
                let moved = cluster.request(Method::POST, &cluster.nodes[3], "/v1/leader", "").await;
                assert!(moved.status().is_success(), "{}", moved.status());
            }
            post(&cluster, "/v1/detach").await;
            let with = load(&cluster, 3, "put", connections).await;
            let open = forks(&cluster).await;
            noted = open[0]["noted"].as_u64().expect("a number");
            let history = open[0]["history"].as_str().expect("an id");
            assert_eq!(run(&["reconcile", "forget", history, "--url", &cluster.nodes[0].http]).0, 0);
            let without = load(&cluster, 3, "put", connections).await;
            let again = load(&cluster, 3, "put", connections).await;
            ratios.push(with / without);
            controls.push(again / without);
            post(&cluster, "/v1/attach").await;
            until("all vote again", || async { voters(&cluster).await == 4 }).await;
        }
        let [(median, low, high), (control, ..)] = [&mut ratios, &mut controls].map(|all| {
            all.sort_by(f64::total_cmp);
            (all[ROUNDS / 2], all[0], all[ROUNDS - 1])
        });
        println!(
            "  {connections} connections: {median:.3} of the puts without it ({low:.3} to {high:.3}), {noted} keys noted; \
             without it twice {control:.3}"
        );
    }
}

async fn post(cluster: &Cluster, path: &str) {
    let done = cluster.request(Method::POST, &cluster.nodes[3], path, "").await;
    assert!(done.status().is_success(), "{path}: {}", done.status());
}

/// As the first node says.
async fn leader(cluster: &Cluster) -> usize {
    let status = cluster.status(&cluster.nodes[0]).await;
    let name = status["leader"]["name"].as_str().expect("a leader");
    cluster.nodes.iter().position(|node| node.name == name).expect("one of them")
}

async fn voters(cluster: &Cluster) -> usize {
    let status = cluster.status(&cluster.nodes[0]).await;
    let members = status["members"].as_array().expect("a list").iter();
    members.filter(|member| member["voter"] == true).count()
}

async fn forks(cluster: &Cluster) -> Value {
    let answer = cluster.request(Method::GET, &cluster.nodes[0], "/v1/reconcile", "").await;
    answer.json::<Value>().await.expect("JSON")["forks"].clone()
}

/// Operations a second at the first `nodes`.
async fn load(cluster: &Cluster, nodes: usize, work: &'static str, connections: &str) -> f64 {
    let urls: Vec<String> = cluster.nodes[..nodes].iter().map(|node| node.http.clone()).collect();
    let (urls, keys, connections) = (urls.join(","), KEYS.to_string(), connections.to_owned());
    let running = tokio::task::spawn_blocking(move || {
        let arguments = ["bench", work, "--json", "--to", "leader", "--warm-up", "1", "--seconds", SECONDS];
        let more = ["--keys", &keys, "--connections", &connections, "--url", &urls];
        Command::new(PROGRAM).args(arguments).args(more).output().expect("it runs")
    });
    let done = running.await.expect("it ends");
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    report["operations_per_s"].as_f64().expect("a number")
}

//! What tokens cost: the same cluster before it has its first one, and after.
//!
//! A cluster has no way back, so each round has a new one.

use super::until;
use crate::support::{Cluster, PROGRAM, run};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const ROUNDS: usize = 5;
const SECONDS: &str = "4";

pub async fn tokens() {
    println!("tokens: three nodes, keys of 16 bytes, values of 128, {ROUNDS} rounds of {SECONDS} s each");
    let mut ratios: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let cluster = Cluster::start(3, &[]).await;
        let folder = cluster.nodes[0].data_dir.to_str().expect("a path").to_owned();
        let file = cluster.nodes[0].data_dir.join("root-token").to_str().expect("a path").to_owned();
        let works = [("put", "1"), ("put", "64"), ("get", "1"), ("get", "64")];
        let mut without = BTreeMap::new();
        for work in works {
            without.insert(work, load(&cluster, work, None).await);
        }
        let (code, _, error) = run(&["token", "recover", "--data-dir", &folder]);
        assert_eq!(code, 0, "{error}");
        until("every node asks for a token", || async {
            let mut asks = true;
            for node in &cluster.nodes {
                asks &= cluster.request(Method::GET, node, "/v1/keys", "").await.status() == 401;
            }
            asks
        })
        .await;
        for work in works {
            let with = load(&cluster, work, Some(&file)).await;
            ratios.entry(work).or_default().push(with / without[&work]);
        }
    }
    for ((work, connections), mut all) in ratios {
        all.sort_by(f64::total_cmp);
        let (median, low, high) = (all[ROUNDS / 2], all[0], all[ROUNDS - 1]);
        println!(
            "  {work}, {connections} connections: {median:.3} of what it is without ({low:.3} to {high:.3})"
        );
    }
}

/// Operations a second at all nodes.
async fn load(
    cluster: &Cluster,
    (work, connections): (&'static str, &'static str),
    token: Option<&str>,
) -> f64 {
    let urls = cluster.nodes.iter().map(|node| node.http.clone()).collect::<Vec<_>>().join(",");
    let token: Vec<String> =
        token.into_iter().flat_map(|file| ["--token-file".into(), file.to_owned()]).collect();
    let running = tokio::task::spawn_blocking(move || {
        let arguments = ["bench", work, "--json", "--warm-up", "1", "--seconds", SECONDS];
        let more = ["--connections", connections, "--url", &urls];
        Command::new(PROGRAM).args(arguments).args(more).args(token).output().expect("it runs")
    });
    let done = running.await.expect("it ends");
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    report["operations_per_s"].as_f64().expect("a number")
}

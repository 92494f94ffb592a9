//! What a node says of its memory is what it has.

use crate::support::{Cluster, Node};
use reqwest::Method;
use serde_json::json;

async fn metrics(cluster: &Cluster, node: &Node) -> String {
    cluster.request(Method::GET, node, "/metrics", "").await.text().await.expect("text")
}

fn figure(line: &str) -> f64 {
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

/// The parts of the memory, and what the system says.
async fn parts_and_resident(cluster: &Cluster, node: &Node) -> (Vec<(String, f64)>, f64) {
    let text = metrics(cluster, node).await;
    let part = |line: &str| {
        let name = line.strip_prefix("lockstep_memory_bytes{part=\"")?.split('"').next()?;
        Some((name.to_owned(), figure(line)))
    };
    let resident = text.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
    (text.lines().filter_map(part).collect(), figure(resident.expect("the system says it")))
}

/// Fills a node, and adds up.
#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_memory_add_up() {
    const BATCH: usize = 1_000;
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let capacity = json!({"capacity_entries": 1_000_000, "capacity_bytes": 1_000_000_000}).to_string();
    assert!(cluster.request(Method::PUT, node, "/v1/config", &capacity).await.status().is_success());
    for filled in [0, 20_000, 300_000] {
        let before = cluster.status(node).await["entries"].as_u64().expect("a number") as usize;
        for first in (before..filled).step_by(BATCH) {
            let put =
                |number| json!({"op": "put", "key": format!("key:{number:011}"), "value": "v".repeat(128)});
            let ops: Vec<_> = (first..first + BATCH).map(put).collect();
            let answer =
                cluster.request(Method::POST, node, "/v1/batch", &json!({"ops": ops}).to_string()).await;
            assert!(answer.status().is_success(), "{}", answer.status());
        }
        let (parts, resident) = parts_and_resident(&cluster, node).await;
        let sum: f64 = parts.iter().map(|(_, bytes)| bytes).sum();
        println!("{filled} entries: {resident} bytes resident, {sum} in {parts:?}");
        assert!(
            (sum / resident - 1.0).abs() < 0.15,
            "{filled} entries: {resident} resident, {sum} in {parts:?}"
        );
        let told = cluster.status(node).await["memory_resident_bytes"].as_f64().expect("a number");
        assert!((told / resident - 1.0).abs() < 0.15, "{told} and {resident}");
    }
}

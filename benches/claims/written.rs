//! Memory after much was written.

use crate::support::{Cluster, Node, PROGRAM};
use std::process::Stdio;
use std::time::Duration;

/// What a node still holds when 2 GB of values were written over 10,000 keys, and what of it has a name.
pub async fn written(value_bytes: u32) {
    const BYTES: u64 = 2_000_000_000;
    const KEYS: u64 = 10_000;
    println!(
        "written: 2 GB of values of {value_bytes} bytes over 10,000 keys, three nodes, default settings"
    );
    let cluster = Cluster::start(3, &[]).await;
    let (urls, value) = (super::urls(&cluster).join(","), value_bytes.to_string());
    let mut most = 0.0_f64;
    let mut named = Vec::new();
    let mut puts = 0;
    while puts * u64::from(value_bytes) < BYTES {
        let mut load = tokio::process::Command::new(PROGRAM);
        load.args(["bench", "batch", "--to", "leader", "--seconds", "5", "--warm-up", "0"]);
        load.args(["--connections", "16", "--keys", &KEYS.to_string(), "--value-bytes", &value]);
        load.args(["--url", &urls]).stdout(Stdio::null());
        let mut load = load.spawn().expect("the load starts");
        while load.try_wait().expect("its state").is_none() {
            for node in &cluster.nodes {
                let memory = memory(&cluster, node).await;
                most = most.max(memory.resident);
                named.push(memory.named());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let status = cluster.status(&cluster.nodes[0]).await;
        puts = status["cache"]["counts"]["puts"].as_u64().expect("a number");
    }
    let entries = &cluster.status(&cluster.nodes[0]).await["entries"];
    named.sort_by(f64::total_cmp);
    let (least, largest) = (named[0], named[named.len() - 1]);
    println!(
        "  {puts} puts, {entries} entries; under load at most {:.0} MB resident, of which the parts name",
        most / 1e6
    );
    println!("  {least:.2} to {largest:.2}, median {:.2}", named[named.len() / 2]);
    // A snapshot under way ends, and what is freed late is freed.
    tokio::time::sleep(Duration::from_secs(15)).await;
    for node in &cluster.nodes {
        let memory = memory(&cluster, node).await;
        let parts: Vec<String> =
            memory.parts.iter().map(|(name, bytes)| format!("{name} {:.1}", bytes / 1e6)).collect();
        let (resident, named) = (memory.resident / 1e6, memory.named());
        println!("  {}: {resident:.0} MB resident, {named:.2} named: {}", node.name, parts.join(", "));
    }
}

/// What a node says of its memory, in bytes.
pub struct Memory {
    resident: f64,
    pub parts: Vec<(String, f64)>,
}

impl Memory {
    /// The share that the parts add up to.
    fn named(&self) -> f64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum::<f64>() / self.resident
    }
}

/// Asks a node.
pub async fn memory(cluster: &Cluster, node: &Node) -> Memory {
    let metrics = cluster.http.get(format!("{}/metrics", node.http)).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("a body");
    let part = |line: &str| {
        let (name, bytes) = line.strip_prefix("lockstep_memory_bytes{part=\"")?.split_once("\"} ")?;
        Some((name.to_owned(), bytes.parse().ok()?))
    };
    let resident = metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    let resident = resident.and_then(|bytes| bytes.parse().ok()).expect("the system says it");
    Memory { resident, parts: metrics.lines().filter_map(part).collect() }
}

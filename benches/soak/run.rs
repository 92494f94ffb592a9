//! Runs one row: its cluster, its load, its watchers, and a look at the nodes each second.

use crate::rows::Row;
use crate::support::gauges::{Gauges, gauges};
use crate::support::{Cluster, PROGRAM};
use futures::StreamExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The samples of each node.
pub async fn run(row: &Row, writes: u64, seconds: u64, folder: &Path) -> Vec<Vec<Gauges>> {
    let cluster = Cluster::start_in(folder, row.nodes, row.settings).await;
    let watchers: Vec<_> = (0..row.watchers)
        .map(|number| tokio::spawn(watch(format!("{}/v1/watch", cluster.nodes[number % row.nodes].http))))
        .collect();
    let mut load = start_load(row, seconds, &cluster);
    let mut samples = vec![Vec::new(); row.nodes];
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        every.tick().await;
        for (node, samples) in cluster.nodes.iter().zip(&mut samples) {
            samples.push(gauges(&cluster.http, node).await.expect("the node answers"));
        }
        if samples[0].last().is_some_and(|sample| sample.applied >= writes as f64) {
            break;
        }
        let ended = load.try_wait().expect("its state");
        assert!(ended.is_none_or(|status| status.success()), "the load failed: {ended:?}");
    }
    let _ = load.kill();
    let _ = load.wait();
    for watcher in watchers {
        assert!(!watcher.is_finished(), "a watcher was sent away");
        watcher.abort();
    }
    samples
}

fn start_load(row: &Row, seconds: u64, cluster: &Cluster) -> Child {
    let mut command = Command::new(PROGRAM);
    // A second more than is looked at.
    let seconds = (seconds + 1).to_string();
    command.args(["bench", "put", "--warm-up", "0", "--seconds", &seconds, "--url", &cluster.nodes[0].http]);
    command.args(["--connections", &row.connections.to_string(), "--keys", &row.keys.to_string()]);
    command.args(["--value-bytes", &row.value_bytes.to_string()]);
    if let Some(rate) = row.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    if let Some(ttl_ms) = row.ttl_ms {
        command.args(["--ttl-ms", &ttl_ms.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the load starts")
}

/// Reads changes to the end, which does not come.
async fn watch(url: String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let response = client.get(url).send().await.expect("an answer");
    assert!(response.status().is_success(), "refused: {}", response.status());
    let mut body = response.bytes_stream();
    while body.next().await.is_some_and(|part| part.is_ok()) {}
}

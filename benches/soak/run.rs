//! Runs one row: its cluster, its load, its watchers, and a look at the nodes each second.

use crate::rows::{Fault, Row};
use crate::support::gauges::{Gauges, gauges};
use crate::support::{Cluster, PROGRAM};
use futures::StreamExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The samples of each node.
pub async fn run(row: &Row, writes: u64, seconds: u64, folder: &Path) -> Vec<Vec<Gauges>> {
    let mut cluster = Cluster::start_in(folder, row.nodes, row.settings).await;
    let watchers: Vec<_> = (0..row.watchers)
        .map(|number| tokio::spawn(watch(format!("{}/v1/watch", cluster.nodes[number % row.nodes].http))))
        .collect();
    let mut load = start_load(row, seconds, &cluster);
    let mut samples = vec![Vec::new(); row.nodes];
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let begin = Instant::now();
    let mut faults = Faults::new(row.fault, &cluster).await;
    while begin.elapsed() < Duration::from_secs(seconds) {
        every.tick().await;
        let written = samples[0].last().map_or(0.0, |sample: &Gauges| sample.applied / writes as f64);
        faults.go_on(&mut cluster, written.max(begin.elapsed().as_secs_f64() / seconds as f64)).await;
        for (node, samples) in cluster.nodes.iter().zip(&mut samples).filter(|(node, _)| node.runs()) {
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

/// What a row does to its nodes, and how far that has come.
struct Faults {
    kind: Fault,
    /// Position of the node that it is done to.
    node: usize,
    done: usize,
}

impl Faults {
    async fn new(kind: Fault, cluster: &Cluster) -> Self {
        let node = match kind {
            // The load goes to the first node.
            Fault::DeadFollower if cluster.leader().await == 2 => 1,
            Fault::DeadFollower => 2,
            Fault::None | Fault::Restart => 0,
        };
        Self { kind, node, done: 0 }
    }

    /// `part` of the run is over, from 0 to 1.
    async fn go_on(&mut self, cluster: &mut Cluster, part: f64) {
        let due = match self.kind {
            Fault::None => 0,
            Fault::Restart => usize::from(part > 1.0 / 3.0),
            Fault::DeadFollower => usize::from(part > 1.0 / 3.0) + usize::from(part > 2.0 / 3.0),
        };
        while self.done < due {
            self.done += 1;
            let node = &mut cluster.nodes[self.node];
            match (self.kind, self.done) {
                (Fault::Restart, _) => {
                    node.signal(libc::SIGTERM);
                    node.ended().await;
                    node.start();
                }
                (_, 1) => node.kill(),
                _ => node.start(),
            }
            cluster.all_ready().await;
        }
    }
}

fn start_load(row: &Row, seconds: u64, cluster: &Cluster) -> Child {
    let mut command = Command::new(PROGRAM);
    let urls: Vec<&str> = cluster.nodes.iter().map(|node| node.http.as_str()).collect();
    // One connection goes to the first node, many to all.
    let urls = urls[..row.nodes.min(row.connections as usize)].join(",");
    // A second more than is looked at.
    let seconds = (seconds + 1).to_string();
    command.args(["bench", "put", "--warm-up", "0", "--seconds", &seconds, "--url", &urls]);
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
    let client = lockstep::client::plain_http().build().expect("a client");
    let response = client.get(url).send().await.expect("an answer");
    assert!(response.status().is_success(), "refused: {}", response.status());
    let mut body = response.bytes_stream();
    while body.next().await.is_some_and(|part| part.is_ok()) {}
}

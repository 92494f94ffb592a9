//! Runs one attack: its cluster, its attacker, its observers, and a look at the attacked node now and then.

use crate::attack::Attack;
use crate::attacker::{self, Target};
use crate::observer::{Observed, observe};
use crate::support::gauges::folder_bytes;
use crate::support::{Cluster, Node};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the node is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long it is looked at after the attack.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// What the attacked node takes of its machine at one moment. It is not asked for it.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Resident bytes.
    pub rss: u64,
    /// Bytes of the blocks of all files in its folder.
    pub disk: u64,
    /// Bytes of its log output.
    pub log: u64,
    /// Open file descriptors.
    pub fds: u64,
}

impl Look {
    fn at(node: &Node) -> Self {
        let memory = std::fs::read_to_string(format!("/proc/{}/statm", node.pid())).expect("it runs");
        let pages = memory.split(' ').nth(1).expect("resident pages").parse::<u64>().expect("a number");
        Self {
            rss: pages * 4_096,
            disk: folder_bytes(&node.data_dir),
            log: std::fs::metadata(node.log_path()).map_or(0, |log| log.len()),
            fds: std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("it runs").count() as u64,
        }
    }
}

/// How an attack went.
pub struct Course {
    pub before: Look,
    /// During the attack.
    pub looks: Vec<Look>,
    pub after: Look,
    /// The leader's term before and after.
    pub terms: (u64, u64),
    pub observed: Observed,
    /// Connections, requests or messages that the attacker came to.
    pub tried: u64,
}

pub async fn run(attack: &Attack, duration: Duration, folder: &Path) -> Course {
    let mut cluster = Cluster::stopped_in(folder, 3, &[]).await;
    for node in &mut cluster.nodes {
        node.files_max = attack.files_max;
        node.start();
    }
    cluster.all_ready().await;
    let leader = cluster.leader().await;
    let node = &cluster.nodes[leader];
    let status = cluster.status(node).await;
    let target = Target {
        http: http(node),
        peer: node.peer.parse().expect("an address"),
        cluster_id: status["cluster_id"].as_str().expect("an id").to_owned(),
        node_id: status["node"]["id"].as_u64().expect("a number"),
    };
    let addresses: Vec<SocketAddr> = cluster.nodes.iter().map(http).collect();
    let before = Look::at(node);
    let observing = tokio::task::spawn_blocking(move || observe(&addresses, leader, duration));
    let attacker = attacker::start(attack, &target, duration);
    let looks = looks(node, duration).await;
    let observed = observing.await.expect("it ends");
    let tried = tokio::task::spawn_blocking(|| attacker.wait_with_output()).await.expect("it ends");
    let tried = String::from_utf8(tried.expect("its end").stdout).expect("a number");
    let after = *self::looks(node, AFTERWARDS).await.last().expect("one at least");
    let term = |status: &Value| status["term"].as_u64().expect("a number");
    Course {
        before,
        looks,
        after,
        terms: (term(&status), term(&cluster.status(node).await)),
        observed,
        tried: tried.trim().parse().expect("a number"),
    }
}

async fn looks(node: &Node, duration: Duration) -> Vec<Look> {
    let mut every = tokio::time::interval(LOOK_INTERVAL);
    let begin = Instant::now();
    let mut looks = Vec::new();
    while begin.elapsed() < duration {
        every.tick().await;
        looks.push(Look::at(node));
    }
    looks
}

fn http(node: &Node) -> SocketAddr {
    node.http.trim_start_matches("http://").parse().expect("an address")
}

//! The harness's own faults do what they say.

use crate::harness::cluster::{Cluster, Shape};
use crate::harness::faults::Kind;
use crate::harness::network::{Network, Speed};
use std::time::Duration;
use tokio::task::JoinSet;

fn shape() -> Shape {
    Shape {
        nodes: 3,
        snapshot_entries: 100,
        entries_kept: 20,
        capacity_entries: None,
        extra: Vec::new(),
        first: Vec::new(),
    }
}

/// H1: a cut reaches connections that are older than the nodes' numbers: the first leader, cut off, acknowledges
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_leader_can_be_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start(folder.path(), shape(), Network::new(1)).await.expect("it starts");
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let mut random = fastrand::Rng::with_seed(1);
    Kind::LeaderAlone.inject(&mut cluster, &mut random).await.expect("it is done");
    let url = format!("{}/v1/kv/k", cluster.members[leader].node.http);
    for _ in 0..10 {
        let put = cluster.http.put(&url).body("v").timeout(Duration::from_millis(300)).send().await;
        assert!(!put.is_ok_and(|answer| answer.status().is_success()), "acknowledged by nobody but itself");
    }
    cluster.heal(true).await.expect("all serve again");
}

/// A run once ended red because a node that had come back behind such a link, while clients wrote, did not serve for a
/// minute: all that it could do in time took a round trip of microseconds for granted.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_behind_a_slow_link_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    // The log keeps what the node misses: this is about limits, not about snapshots.
    let shape = Shape { snapshot_entries: 10_000, entries_kept: 20_000, ..shape() };
    let mut cluster = Cluster::start(folder.path(), shape, Network::new(1)).await.expect("it starts");
    let leader = cluster.wait_for_leader().await.expect("a leader");
    let far = (leader + 1) % cluster.members.len();
    let id = cluster.members[far].id;
    let speed = Speed { delay_ms: 326, jitter_ms: 20, ..Speed::default() };
    for other in cluster.members.iter().map(|member| member.id).filter(|other| *other != id) {
        cluster.network.slow(id, other, speed);
        cluster.network.slow(other, id, speed);
    }
    let mut writers = JoinSet::new();
    for number in 0..8 {
        let (http, url) =
            (cluster.http.clone(), format!("{}/v1/kv/{number}", cluster.members[leader].node.http));
        writers.spawn(async move {
            loop {
                let _ = http.put(&url).body("v").send().await;
            }
        });
    }
    for _ in 0..3 {
        cluster.members[far].kill();
        cluster.members[far].start().await;
        let serves = tokio::time::timeout(Duration::from_secs(20), cluster.all_ready()).await;
        let log = || crate::harness::cluster::tail(&cluster.members[far].node.log());
        assert!(matches!(serves, Ok(Ok(()))), "{serves:?} within 20 s:\n{}", log());
    }
    writers.shutdown().await;
    let after = cluster.wait_for_leader().await.expect("a leader");
    assert_eq!(after, leader, "a slow follower costs nobody the leader");
}

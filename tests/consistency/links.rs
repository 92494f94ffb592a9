//! The harness's own faults do what they say.

use crate::harness::cluster::{Cluster, Shape};
use crate::harness::faults::Kind;
use crate::harness::network::Network;
use std::time::Duration;

/// H1: a cut reaches connections that are older than the nodes' numbers: the first leader, cut off, acknowledges
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_leader_can_be_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let shape = Shape {
        nodes: 3,
        snapshot_entries: 100,
        entries_kept: 20,
        capacity_entries: None,
        extra: Vec::new(),
        first: Vec::new(),
    };
    let mut cluster = Cluster::start(folder.path(), shape, Network::new(1)).await.expect("it starts");
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

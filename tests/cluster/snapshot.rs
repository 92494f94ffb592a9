//! Snapshots: a node that was away for long catches up by one, restarts begin from one, backups are one.

use crate::support::{Cluster, Node, run, until};
use reqwest::Method;
use serde_json::{Value, json};

const SMALL: &[&str] = &["--snapshot-entries", "50", "--entries-kept", "10"];

async fn fill(cluster: &Cluster, node: &Node, from: usize, to: usize) {
    for number in from..to {
        cluster.put_surely(node, &format!("k{number}"), &format!("v{number}")).await;
    }
}

/// A node that missed more than the log keeps is sent a snapshot while writes go on; a restart begins
/// from the snapshot and agrees with the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_by_snapshot() {
    let mut cluster = Cluster::start(3, SMALL).await;
    let away = cluster.follower().await;
    let other = (away + 1) % 3;
    cluster.nodes[away].kill();
    fill(&cluster, &cluster.nodes[other], 0, 200).await;
    // Writing goes on while a snapshot is made and the log behind it is purged, so that may come a little later. Each of
    // the two may be the one that leads.
    for up in (0..3).filter(|node| *node != away) {
        until("the log is purged", async || {
            cluster.status(&cluster.nodes[up]).await["purged_index"].as_u64().unwrap() > 100
        })
        .await;
    }
    cluster.nodes[away].start();
    fill(&cluster, &cluster.nodes[other], 200, 230).await;
    cluster.all_ready().await;
    assert_eq!(cluster.get(&cluster.nodes[away], "k0").await, Ok("v0".into()));
    assert_eq!(cluster.get(&cluster.nodes[away], "k229").await, Ok("v229".into()));
    cluster.digests_agree().await;
    assert!(cluster.status(&cluster.nodes[away]).await["snapshot_index"].as_u64().unwrap() > 0);
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    assert_eq!(cluster.get(&cluster.nodes[away], "k0").await, Ok("v0".into()));
    cluster.digests_agree().await;
    for node in &cluster.nodes {
        cluster.positions_are_ordered(node).await;
    }
}

/// A damaged snapshot is refused, never treated as empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_refused() {
    let mut cluster = Cluster::start(3, SMALL).await;
    fill(&cluster, &cluster.nodes[0], 0, 120).await;
    until("it has a snapshot", || async {
        cluster.status(&cluster.nodes[1]).await["snapshot_index"].as_u64().unwrap() > 0
    })
    .await;
    cluster.nodes[1].kill();
    let snapshot = cluster.nodes[1].data_dir.join("snapshots/current.snapshot");
    let mut bytes = std::fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    cluster.nodes[1].start();
    assert_eq!(cluster.nodes[1].ended().await.code(), Some(1));
    let log = cluster.nodes[1].log();
    assert!(log.contains("new node id"), "{log}");
}

/// A backup becomes a new cluster in a new incarnation; the old one's nodes are not let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_a_new_cluster() {
    let mut cluster = Cluster::start(3, &[]).await;
    fill(&cluster, &cluster.nodes[0], 0, 40).await;
    let backup = cluster.dir.path().join("backup.snapshot");
    let file = backup.to_str().unwrap();
    let (code, out, error) = run(&["snapshot", "save", file, "--url", &cluster.nodes[1].http, "--json"]);
    assert_eq!(code, 0, "{error}");
    let saved: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert!(saved["index"].as_u64().unwrap() >= 40);
    let (code, _, error) = run(&["snapshot", "save", file, "--url", &cluster.nodes[1].http]);
    assert!(code == 2 && error.contains("is there already"), "a backup is not lost for another: {error}");
    let (code, _, error) = run(&["snapshot", "save", file, "--force", "--url", &cluster.nodes[1].http]);
    assert_eq!(code, 0, "{error}");
    let before = cluster.status(&cluster.nodes[0]).await;
    fill(&cluster, &cluster.nodes[0], 40, 50).await;

    let mut restored = Node::new(cluster.dir.path(), "r1", &[]);
    let folder = restored.data_dir.to_str().unwrap().to_owned();
    let (http, peer) = (restored.http.clone(), restored.peer.clone());
    let arguments = [
        "snapshot",
        "restore",
        file,
        "--data-dir",
        &folder,
        "--name",
        "r1",
        "--http",
        &http,
        "--peer",
        &peer,
    ];
    let (code, _, error) = run(&arguments);
    assert_eq!(code, 0, "{error}");
    let (again, _, error) = run(&arguments);
    assert_eq!(again, 1);
    assert!(error.contains("is not empty"), "{error}");

    restored.start();
    cluster.ready(&restored).await;
    assert_eq!(cluster.get(&restored, "k39").await, Ok("v39".into()));
    assert_eq!(cluster.get(&restored, "k40").await, Err(404), "written after the backup");
    let after = cluster.status(&restored).await;
    assert_eq!(after["cluster_id"], before["cluster_id"]);
    assert_eq!(after["incarnation"], json!(before["incarnation"].as_u64().unwrap() + 1));

    let url = restored.http.clone();
    let mut joined = Node::new(cluster.dir.path(), "r2", &["--join", &url]);
    joined.start();
    cluster.ready(&joined).await;
    cluster.put_surely(&joined, "new", "life").await;
    assert_eq!(cluster.get(&restored, "new").await, Ok("life".into()));
    cluster.nodes = vec![restored, joined];
    cluster.digests_agree().await;

    let mut bytes = std::fs::read(&backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&backup, bytes).unwrap();
    let (code, _, error) = run(&["snapshot", "verify", file]);
    assert_eq!(code, 1);
    assert!(error.contains("damaged"), "{error}");
}

/// `POST /v1/snapshot` covers what is applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_on_request_covers_what_is_applied() {
    let cluster = Cluster::start(1, &[]).await;
    fill(&cluster, &cluster.nodes[0], 0, 10).await;
    let applied = cluster.status(&cluster.nodes[0]).await["applied_index"].as_u64().unwrap();
    let taken: Value =
        cluster.request(Method::POST, &cluster.nodes[0], "/v1/snapshot", "").await.json().await.unwrap();
    assert!(taken["index"].as_u64().unwrap() >= applied);
}

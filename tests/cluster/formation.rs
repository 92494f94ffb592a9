//! How clusters begin, and what a node refuses to start with.

use crate::support::{Cluster, Node, until};
use std::path::Path;

/// Nodes with lists of their own making, in the environment as `PEER_NODES`-like flags.
fn nodes(dir: &Path, count: usize) -> Vec<Node> {
    (1..=count).map(|i| Node::new(dir, &format!("n{i}"), &[])).collect()
}

/// Any order of start, the list with or without the node itself, spelt one way or another.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_in_any_order() {
    let mut cluster = Cluster::empty().await;
    let all = nodes(cluster.dir.path(), 3);
    let urls: Vec<String> = all.iter().map(|node| node.http.clone()).collect();
    for (i, node) in all.into_iter().enumerate() {
        let others = urls.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, url)| url.clone());
        let list: Vec<String> = match i {
            0 => urls.clone(),
            1 => others.map(|url| format!("{}/", url.replace("127.0.0.1", "localhost"))).collect(),
            _ => others.collect(),
        };
        cluster.nodes.push(node.with(&["--initial-cluster", &list.join(",")]));
    }
    cluster.nodes[2].start();
    until("the first one waits", || async { cluster.nodes[2].log().contains("waiting for") }).await;
    cluster.nodes[0].start();
    cluster.nodes[1].start();
    cluster.all_ready().await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;

    // A restart changes nothing.
    let before = cluster.status(&cluster.nodes[1]).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    let after = cluster.status(&cluster.nodes[1]).await;
    for same in ["cluster_id", "history", "node"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(cluster.get(&cluster.nodes[2], "k").await, Ok("v".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_disagree_are_refused_with_a_sentence() {
    let mut cluster = Cluster::empty().await;
    let all = nodes(cluster.dir.path(), 3);
    let urls: Vec<String> = all.iter().map(|node| node.http.clone()).collect();
    for (i, node) in all.into_iter().enumerate() {
        // The first one knows nothing of the third.
        let list = if i == 0 { urls[..2].join(",") } else { urls.join(",") };
        cluster.nodes.push(node.with(&["--initial-cluster", &list]));
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    until("somebody refuses", || async {
        cluster.nodes.iter().any(|node| node.log().contains("the lists of nodes disagree"))
    })
    .await;
    let refusing = cluster.nodes.iter().position(|node| node.log().contains("disagree")).unwrap();
    let status = cluster.nodes[refusing].ended().await;
    assert_eq!(status.code(), Some(1));
}

/// R6: a node that lost its data is not taken for the one it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_refused_and_told_to_join() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.nodes[2].kill();
    std::fs::remove_dir_all(&cluster.nodes[2].data_dir).unwrap();
    cluster.nodes[2].start();
    let status = cluster.nodes[2].ended().await;
    assert_eq!(status.code(), Some(1));
    let log = cluster.nodes[2].log();
    assert!(log.contains("join that cluster instead"), "{log}");
    assert!(log.contains("--replace-lost by-hand") && log.contains("lockstep member replace n3"), "{log}");
}

/// R6: a folder with somebody's log or snapshot but nobody's name is not taken for a new node's.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_lost_its_log_but_not_its_snapshot_is_refused() {
    let mut cluster = Cluster::start(3, &[]).await;
    let taken = cluster.request(reqwest::Method::POST, &cluster.nodes[2], "/v1/snapshot", "").await;
    assert!(taken.status().is_success());
    cluster.nodes[2].kill();
    let folder = cluster.nodes[2].data_dir.clone();
    for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name() == "snapshots" {
            continue;
        }
        let removed = std::fs::remove_dir_all(entry.path());
        removed.or_else(|_| std::fs::remove_file(entry.path())).unwrap();
    }
    cluster.nodes[2].start();
    assert_eq!(cluster.nodes[2].ended().await.code(), Some(1));
    let log = cluster.nodes[2].log();
    assert!(log.contains("does not say of which node"), "{log}");
}

/// A damaged log is refused and named, and the node does not vote with what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_damaged_log_refuses_to_start() {
    let mut cluster = Cluster::start(3, &[]).await;
    for number in 0..50 {
        cluster.put_surely(&cluster.nodes[0], &format!("k{number}"), "v").await;
    }
    cluster.nodes[1].kill();
    let db = cluster.nodes[1].data_dir.join("sled/db");
    let bytes = std::fs::read(&db).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    std::fs::write(&db, &bytes[..used / 2]).unwrap();
    cluster.nodes[1].start();
    let status = cluster.nodes[1].ended().await;
    assert_eq!(status.code(), Some(1));
    let log = cluster.nodes[1].log();
    assert!(log.contains("under a new node id"), "{log}");
    cluster.put_surely(&cluster.nodes[0], "still", "here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_or_port_in_use_is_refused_with_a_sentence() {
    let mut cluster = Cluster::empty().await;
    let mut first = Node::new(cluster.dir.path(), "n1", &[]);
    first.start();
    cluster.ready(&first).await;

    let mut same_folder = Node::new(cluster.dir.path(), "n1", &[]);
    same_folder.start();
    assert_eq!(same_folder.ended().await.code(), Some(1));
    assert!(same_folder.log().contains("another process"), "{}", same_folder.log());

    for flag in ["--http", "--peer"] {
        let address = if flag == "--http" { first.http.trim_start_matches("http://") } else { &first.peer };
        let name = format!("taken{flag}");
        let folder = cluster.dir.path().join(&name);
        let folder = folder.to_str().unwrap();
        let other = crate::support::free_port();
        let spare = format!("127.0.0.1:{other}");
        let (http, peer) =
            if flag == "--http" { (address, spare.as_str()) } else { (spare.as_str(), address) };
        let (code, _, error) =
            crate::support::run(&["serve", "--data-dir", folder, "--http", http, "--peer", peer]);
        assert_eq!(code, 1, "{error}");
        assert!(error.contains("cannot listen") && error.contains(address), "{error}");
    }
    cluster.nodes.push(first);
}

/// A node of another cluster at a member's address is not talked to.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_node_is_not_let_in() {
    let mut cluster = Cluster::start(3, &[]).await;
    // A cluster of its own on the addresses of a member that is down.
    cluster.nodes[2].kill();
    let foreign_dir = cluster.dir.path().join("foreign");
    let (http, peer) = (cluster.nodes[2].http.clone(), cluster.nodes[2].peer.clone());
    let mut foreign = Node::new(cluster.dir.path(), "foreign", &[]);
    foreign.http = http.clone();
    let arguments = ["serve", "--http", http.trim_start_matches("http://"), "--peer", &peer, "--data-dir"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.push(foreign_dir.display().to_string());
    foreign.replace_arguments(arguments);
    foreign.start();
    cluster.ready(&foreign).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    until("it refuses the members", || async { foreign.log().contains("refused a peer") }).await;
    assert_eq!(cluster.get(&foreign, "k").await, Err(404));
    foreign.kill();
    cluster.nodes[2].start();
    cluster.all_ready().await;
    assert_eq!(cluster.get(&cluster.nodes[2], "k").await, Ok("v".into()));
}

//! Backups that a node makes by itself: a folder of them, the newest of which becomes a new cluster.

use crate::support::{Cluster, Node, run, until};
use reqwest::Method;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The backups in a folder, the oldest first.
fn backups(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("lockstep-") && name.ends_with(".snapshot")
    });
    found.sort();
    found
}

/// The log index that a backup's name says.
fn index_of(backup: &Path) -> u64 {
    let name = backup.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    name.rsplit_once('-').and_then(|(_, index)| index.parse().ok()).expect("an index")
}

/// A figure of a node; `None` where it has none of this name.
async fn figure(cluster: &Cluster, node: &Node, name: &str) -> Option<f64> {
    let text = cluster.request(Method::GET, node, "/metrics", "").await.text().await.expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

async fn failures(cluster: &Cluster, node: &Node) -> f64 {
    figure(cluster, node, "lockstep_backup_failures_total").await.expect("it makes backups")
}

/// Three nodes, of which the first makes a backup each second and keeps three.
async fn with_backups(folder: &Path, cluster: Cluster) -> Cluster {
    let mut cluster = cluster;
    let dir = folder.display().to_string();
    let settings = ["--backup-dir", &dir, "--backup-every", "1s", "--backup-keep", "3"];
    cluster.nodes[0].add_arguments(&settings.map(str::to_owned));
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    cluster
}

/// Waits until the newest backup has what was written so far.
async fn is_saved(cluster: &Cluster, folder: &Path) {
    let written = cluster.status(&cluster.nodes[0]).await["committed_index"].as_u64().expect("an index");
    until("a backup has everything", async || {
        backups(folder).last().is_some_and(|newest| index_of(newest) >= written)
    })
    .await;
}

/// Only the newest are kept, others' files stay, and the newest has everything that was acknowledged before it.
#[tokio::test(flavor = "multi_thread")]
async fn backups_are_made_kept_and_restored() {
    let cluster = Cluster::stopped(3, &[]).await;
    let folder = cluster.dir.path().join("backups");
    fs::create_dir(&folder).expect("created");
    let monday = folder.join("monday.snapshot");
    fs::write(&monday, "mine").expect("written");
    // Of a process that was killed meanwhile.
    let part = folder.join("lockstep-20200101T000000Z-5.snapshot.part");
    fs::write(&part, "half").expect("written");
    let mut cluster = with_backups(&folder, cluster).await;
    assert!(!part.exists());
    assert_eq!(figure(&cluster, &cluster.nodes[1], "lockstep_backup_failures_total").await, None);
    until("there is one", async || !backups(&folder).is_empty()).await;
    let first = backups(&folder).remove(0);
    cluster.put_surely(&cluster.nodes[1], "k", "saved").await;
    is_saved(&cluster, &folder).await;
    until("the first one is removed, and three are left", async || {
        !first.exists() && backups(&folder).len() == 3
    })
    .await;
    assert_eq!(fs::read_to_string(&monday).expect("it stays"), "mine");
    assert_eq!(failures(&cluster, &cluster.nodes[0]).await, 0.0);
    cluster.put_surely(&cluster.nodes[1], "later", "lost").await;

    // A restart goes on from the newest file: in an hour.
    let node = &mut cluster.nodes[0];
    node.signal(libc::SIGTERM);
    node.wait();
    let kept = backups(&folder);
    let hourly = node.arguments().iter().map(|argument| argument.replace("1s", "1h")).collect();
    node.replace_arguments(hourly);
    node.start();
    cluster.all_ready().await;
    let node = &cluster.nodes[0];
    let at = figure(&cluster, node, "lockstep_backup_last_success_timestamp_seconds").await.expect("a time");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert!((0.0..600.0).contains(&(now.as_secs_f64() - at)), "{at}");
    let newest = kept.last().expect("there is one");
    let bytes = fs::metadata(newest).expect("there").len();
    assert_eq!(figure(&cluster, node, "lockstep_backup_bytes").await, Some(bytes as f64));
    assert_eq!(figure(&cluster, node, "lockstep_backup_interval_seconds").await, Some(3600.0));
    assert_eq!(backups(&folder), kept);

    let mut restored = Node::new(cluster.dir.path(), "r1", &[]);
    let [file, data] = [newest, &restored.data_dir].map(|path| path.display().to_string());
    let (http, peer) = (restored.http.clone(), restored.peer.clone());
    let arguments =
        ["snapshot", "restore", &file, "--data-dir", &data, "--name", "r1", "--http", &http, "--peer", &peer];
    let (code, _, error) = run(&arguments);
    assert_eq!(code, 0, "{error}");
    restored.start();
    cluster.ready(&restored).await;
    assert_eq!(cluster.get(&restored, "k").await, Ok("saved".into()));
}

/// A folder that is gone, and a majority that is gone, are failures that are counted and end by themselves; the node works on.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_made_hurts_nobody() {
    let cluster = Cluster::stopped(3, &[]).await;
    let folder = cluster.dir.path().join("backups");
    fs::create_dir(&folder).expect("created");
    let mut cluster = with_backups(&folder, cluster).await;
    is_saved(&cluster, &folder).await;

    let away = cluster.dir.path().join("away");
    fs::rename(&folder, &away).expect("moved");
    until("the failure is counted", async || failures(&cluster, &cluster.nodes[0]).await > 0.0).await;
    assert!(cluster.nodes[0].log().contains("a backup that is due cannot be made"));
    let url = &cluster.nodes[0].http;
    until("the doctor sees it", async || {
        let (_, text, _) = run(&["doctor", "--url", url]);
        text.lines().any(|line| line.starts_with("warn backups: that of n1"))
    })
    .await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    fs::rename(&away, &folder).expect("moved back");
    is_saved(&cluster, &folder).await;

    // What a node has that is cut off need not be what the cluster has.
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let before = failures(&cluster, &cluster.nodes[0]).await;
    until("the first failure", async || failures(&cluster, &cluster.nodes[0]).await > before).await;
    let made = backups(&folder);
    until("two more", async || failures(&cluster, &cluster.nodes[0]).await > before + 2.0).await;
    assert_eq!(backups(&folder), made);
    cluster.nodes[1].start();
    cluster.nodes[2].start();
    cluster.all_ready().await;
    cluster.put_surely(&cluster.nodes[0], "k2", "v").await;
    is_saved(&cluster, &folder).await;
}

/// The state of a node that has left is not the cluster's, and is never among the cluster's backups.
#[tokio::test(flavor = "multi_thread")]
async fn a_detached_node_makes_no_backups() {
    let cluster = Cluster::stopped(3, &[]).await;
    let folder = cluster.dir.path().join("backups");
    fs::create_dir(&folder).expect("created");
    let cluster = with_backups(&folder, cluster).await;
    is_saved(&cluster, &folder).await;
    let (node, all) = (&cluster.nodes[0], || cluster.nodes.iter().map(|node| node.http.clone()));
    let (code, _, error) = run(&["detach", &node.http]);
    assert_eq!(code, 0, "{error}");
    until("it says so", async || node.log().contains("no backups are made as long as this node is detached"))
        .await;
    cluster.put_surely(node, "k", "alone").await;
    // One would have been due since.
    let left = Instant::now();
    until("two intervals are over", async || left.elapsed() > Duration::from_secs(2)).await;
    let made = backups(&folder);
    let others = all().skip(1).collect::<Vec<_>>().join(",");
    let (code, _, error) = run(&["attach", &node.http, "--cluster", &others]);
    assert_eq!(code, 0, "{error}");
    until("it makes some again", async || backups(&folder).last() > made.last()).await;
    assert!(backups(&folder).iter().all(|backup| index_of(backup) < lockstep::lineage::INDEX_STEP));
    assert!(made.iter().all(|backup| index_of(backup) < lockstep::lineage::INDEX_STEP));
}

/// Nobody finds out weeks later that no backup was ever made.
#[test]
fn a_folder_that_cannot_be_used_is_refused_at_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data").display().to_string();
    let nowhere = dir.path().join("nowhere").display().to_string();
    let serve = |more: &[&str]| {
        let arguments = ["serve", "--data-dir", &data, "--http", "127.0.0.1:0", "--peer", "127.0.0.1:0"];
        run(&[&arguments, more].concat())
    };
    for more in [&["--backup-dir", &nowhere][..], &["--check-config", "--backup-dir", &nowhere]] {
        let (code, _, error) = serve(more);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("--backup-dir") && error.contains("nowhere"), "{error}");
    }
    assert_eq!(serve(&["--check-config", "--backup-every", "6"]).0, 2);
    let there = dir.path().display().to_string();
    let (code, text, error) = serve(&["--check-config", "--backup-dir", &there, "--backup-every", "1d"]);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("backup_every = 1d (the command line)"), "{text}");
    assert!(text.contains("backup_keep = 28 (the default)"), "{text}");
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0, "a check makes nothing");
}

//! Snapshots: a node that was away for long catches up by one, restarts begin from one, backups are one.

use crate::support::{Cluster, Node, run, until};
use lockstep::api::LineageReport;
use lockstep::lineage::{HistoryKind, INDEX_STEP};
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

/// A log that is too large is purged up to its snapshot. While a member hangs that purge waits for the requests to it, and
/// the next snapshot asks for less to be purged, because entries are to be kept: openraft takes no purge back.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_log_is_purged_while_a_member_hangs() {
    const ENTRIES: u64 = 1_500;
    let options = ["--snapshot-entries", "1000", "--entries-kept", "700"];
    let cluster = Cluster::start(3, &options).await;
    let (leader, hanging) = (cluster.leader().await, cluster.follower().await);
    cluster.nodes[hanging].signal(libc::SIGSTOP);
    let value = "v".repeat(100_000);
    for number in 0..ENTRIES {
        cluster.put_surely(&cluster.nodes[leader], &format!("k{}", number % 10), &value).await;
    }
    until("the log is purged", async || {
        cluster.status(&cluster.nodes[leader]).await["purged_index"].as_u64().unwrap() > ENTRIES / 4
    })
    .await;
    cluster.nodes[hanging].signal(libc::SIGCONT);
    cluster.all_ready().await;
    cluster.digests_agree().await;
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

/// The lineage of a cluster that was restored from a backup, and what answers and requests say about it.
async fn history_is_told(cluster: &Cluster, restored: &Node, saved: &Value) {
    let lineage: LineageReport =
        cluster.request(Method::GET, restored, "/v1/lineage", "").await.json().await.unwrap();
    let [first, second] = lineage.lineage.histories() else { panic!("{lineage:?}") };
    assert_eq!((first.kind, second.kind), (HistoryKind::Founded, HistoryKind::Restored));
    assert_eq!(second.fork_index, saved["index"].as_u64().unwrap());
    assert_eq!(second.start_index, INDEX_STEP);
    assert!(second.reason.contains("backup.snapshot"), "{}", second.reason);
    assert!(lineage.applied_index > INDEX_STEP, "{}", lineage.applied_index);
    let starts: Vec<u64> = lineage.term_starts.iter().map(|start| start.index).collect();
    assert_eq!(starts.iter().filter(|index| **index <= second.fork_index).count(), starts.len() - 1);
    assert!(*starts.last().unwrap() > INDEX_STEP, "its own first term begins in the new history: {starts:?}");

    let ask = async |name: &str, value: &str, path: &str| {
        let url = format!("{}{path}", restored.http);
        let answer = cluster.http.get(url).header(name, value).send().await.unwrap();
        let history = answer.headers()["lockstep-history"].to_str().unwrap().to_owned();
        let status = answer.status().as_u16();
        (history, status, answer.text().await.unwrap())
    };
    let (id, before) = (second.id.as_str(), first.id.as_str());
    for expected in [id, &id[..8]] {
        assert_eq!(
            ask("lockstep-expect-history", expected, "/v1/kv/k39").await,
            (id.into(), 200, "v39".into())
        );
    }
    let (history, status, body) = ask("lockstep-expect-history", before, "/v1/kv/k39").await;
    assert_eq!((history.as_str(), status), (id, 409));
    assert!(body.contains("other_history") && body.contains(id), "{body}");
    for (path, expected) in [
        (format!("/v1/kv/k39?min_index=3@{id}"), 200),
        (format!("/v1/kv/k39?min_index=3@{before}"), 409),
        (format!("/v1/keys?min_index=3@{before}"), 409),
        ("/v1/kv/k39?min_index=3@x".to_owned(), 400),
    ] {
        assert_eq!(ask("accept", "*/*", &path).await.1, expected, "{path}");
    }
}

/// A running node, a data folder and a backup in one picture.
fn histories_form_a_tree(url: &str, folder: &str, backup: &str) {
    let (code, text, error) = run(&["history", url, folder, backup]);
    assert_eq!(code, 0, "{error}");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is in\n{text}"));
    assert!(at("  founded") < at(url) && at(url) < at(backup) && at(backup) < at("restored"), "{text}");
    assert!(at("  restored") < at(&format!("r1 ({folder})")), "{text}");
    assert!(
        text.contains("begins at 10000000000000") && text.contains("restored from backup.snapshot"),
        "{text}"
    );
    assert!(text.contains("applied up to 10000000000000, log up to 10000000000000"), "{text}");

    let (code, json, error) = run(&["history", folder, "--json"]);
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&told[0]["node"]["name"], &told[0]["histories"][1]["kind"]),
        (&json!("r1"), &json!("restored"))
    );
    let nowhere = format!("{folder}/nothing");
    std::fs::create_dir(&nowhere).unwrap();
    let (code, _, error) = run(&["history", &nowhere]);
    assert!(code == 1 && error.contains("no data folder"), "{error}");
    assert_eq!(std::fs::read_dir(&nowhere).unwrap().count(), 0, "looking leaves nothing behind");
    std::fs::remove_dir(&nowhere).unwrap();
    let (code, _, error) = run(&["history", "Cargo.toml"]);
    assert_eq!(code, 1, "{error}");
}

/// A backup becomes a new cluster in a new history, whose indexes nobody has used; the old one's nodes are not let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_a_new_cluster() {
    let mut cluster = Cluster::start(3, &[]).await;
    fill(&cluster, &cluster.nodes[0], 0, 40).await;
    let backup = cluster.dir.path().join("backup.snapshot");
    let file = backup.to_str().unwrap();
    let (code, out, error) = run(&["snapshot", "save", file, "--url", &cluster.nodes[1].http, "--json"]);
    assert_eq!(code, 0, "{error}");
    let first: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert!(first["index"].as_u64().unwrap() >= 40);
    let (code, _, error) = run(&["snapshot", "save", file, "--url", &cluster.nodes[1].http]);
    assert!(code == 2 && error.contains("is there already"), "a backup is not lost for another: {error}");
    let again = ["snapshot", "save", file, "--force", "--url", &cluster.nodes[1].http, "--json"];
    let (code, out, error) = run(&again);
    assert_eq!(code, 0, "{error}");
    let saved: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    // A follower may not have the note of who saved the first one yet.
    assert!(saved["index"].as_u64() >= first["index"].as_u64());
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
    histories_form_a_tree(&cluster.nodes[0].http, &folder, file);
    let (again, _, error) = run(&arguments);
    assert_eq!(again, 1);
    assert!(error.contains("is not empty"), "{error}");

    restored.start();
    cluster.ready(&restored).await;
    assert_eq!(cluster.get(&restored, "k39").await, Ok("v39".into()));
    assert_eq!(cluster.get(&restored, "k40").await, Err(404), "written after the backup");
    let after = cluster.status(&restored).await;
    assert_eq!(after["cluster_id"], before["cluster_id"]);
    assert_eq!((&before["history"]["number"], &after["history"]["number"]), (&json!(1), &json!(2)));
    history_is_told(&cluster, &restored, &saved).await;

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

//! `lockstep doctor`: each trouble gets its line, and a healthy cluster none.

use crate::support::encrypted::{Encrypted, done, path};
use crate::support::{Cluster, Node, run, until};
use reqwest::Method;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// What the doctor says of these nodes: its exit code, and its findings.
fn doctor(arguments: &[&str]) -> (i32, Vec<Value>) {
    let (code, text, error) = run(&[&["doctor", "--json"], arguments].concat());
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{code}: {text}{error}"));
    (code, report["findings"].as_array().expect("a list").clone())
}

/// How bad a check is, and its whole finding as text.
fn found(findings: &[Value], check: &str) -> (String, String) {
    let finding = findings.iter().find(|finding| finding["check"] == check);
    let finding = finding.unwrap_or_else(|| panic!("{check}: {findings:?}"));
    (finding["level"].as_str().expect("a level").to_owned(), finding.to_string())
}

/// That the first certificate to expire was made for `days` days. Less than a second after that they are no
/// longer whole.
fn assert_made_for(findings: &[Value], level: &str, days: u32) {
    let (seen, text) = found(findings, "certificates");
    let whole = [days - 1, days].iter().any(|days| text.contains(&format!(" in {days} days ")));
    assert!(seen == level && whole, "certificates is {level} and was made for {days} days: {text}");
}

fn assert_found(findings: &[Value], check: &str, level: &str, part: &str) {
    let (seen, text) = found(findings, check);
    assert!(seen == level && text.contains(part), "{check} is {level} and has {part}: {text}");
}

/// Those that are neither good nor unknown.
fn troubles(findings: &[Value]) -> Vec<&str> {
    let bad = findings.iter().filter(|finding| finding["level"] == "warn" || finding["level"] == "bad");
    bad.map(|finding| finding["check"].as_str().expect("a name")).collect()
}

fn urls(nodes: &[Node]) -> String {
    nodes.iter().map(|node| node.http.clone()).collect::<Vec<_>>().join(",")
}

/// All is well; then a node dies, and then the majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_cluster_is_healthy_until_nodes_die() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    cluster.digests_agree().await;
    // One URL is enough: the members are known.
    let url = cluster.nodes[0].http.clone();
    until("all is well", async || doctor(&["--url", &url]).0 == 0).await;
    let (_, findings) = doctor(&["--url", &url]);
    for check in ["members", "ready", "leader", "quorum", "lag", "history", "digests", "clocks", "release"] {
        assert_eq!(found(&findings, check).0, "ok", "{findings:?}");
    }
    assert_found(&findings, "members", "ok", "all answer: n1, n2, n3");
    assert_found(&findings, "quorum", "ok", "1 more may fail");
    assert_found(&findings, "access", "ok", "tokens are off");
    let unknown = findings.iter().filter(|finding| finding["level"] == "unknown");
    let unknown: Vec<&str> = unknown.map(|finding| finding["check"].as_str().expect("a name")).collect();
    assert_eq!(unknown, ["backups", "machine"], "{findings:?}");
    let (code, text, _) = run(&["doctor", "--url", &url]);
    assert_eq!(code, 0);
    assert!(text.lines().all(|line| line.starts_with("ok   ") || line.starts_with("?    ")), "{text}");

    // A node that hangs costs its time limit, and no more.
    cluster.nodes[2].signal(libc::SIGSTOP);
    let began = Instant::now();
    let (code, findings) = doctor(&["--url", &url, "--timeout-ms", "1000"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(code, 13);
    assert_found(&findings, "members", "bad", "no answer from n3");
    cluster.nodes[2].signal(libc::SIGCONT);

    cluster.nodes[2].kill();
    let (code, findings) = doctor(&["--url", &url]);
    assert_eq!(code, 13);
    assert_found(&findings, "members", "bad", "lockstep member remove 3");
    assert_found(&findings, "quorum", "warn", "The next failure stops writes");
    assert_eq!(found(&findings, "history").0, "ok");

    cluster.nodes[1].kill();
    until("the majority is missed", async || {
        !cluster.status(&cluster.nodes[0]).await["majority"].as_bool().unwrap()
    })
    .await;
    let (code, findings) = doctor(&["--url", &url]);
    assert_eq!(code, 13);
    assert_found(&findings, "quorum", "bad", "1 of 3 voters answer, 2 are needed");
    assert_found(&findings, "ready", "bad", "n1");

    cluster.nodes[0].kill();
    let (code, findings) = doctor(&["--url", &url]);
    assert_eq!((code, findings.len()), (13, 1), "nothing else can be said: {findings:?}");
    assert_found(&findings, "members", "bad", "no answer from");
}

/// Two voters are worse than one.
#[tokio::test(flavor = "multi_thread")]
async fn an_even_number_of_voters_is_a_warning() {
    let cluster = Cluster::start(2, &[]).await;
    cluster.digests_agree().await;
    let all = urls(&cluster.nodes);
    until("it settles", async || doctor(&["--url", &all]).0 == 12).await;
    let (_, findings) = doctor(&["--url", &all]);
    assert_found(&findings, "quorum", "warn", "An even number of voters");
    assert_eq!(troubles(&findings), ["quorum"]);
}

/// A node that has left shows, with what brings it back, and so does the fork that the cluster notes.
#[tokio::test(flavor = "multi_thread")]
async fn a_detached_node_shows() {
    let cluster = Cluster::start(3, &[]).await;
    let leaving = cluster.follower().await;
    let node = &cluster.nodes[leaving];
    done(&["detach", &node.http]);
    let all = urls(&cluster.nodes);
    until("it has left", async || {
        let (code, findings) = doctor(&["--url", &all]);
        code == 12 && found(&findings, "detached").0 == "warn" && found(&findings, "forks").0 == "warn"
    })
    .await;
    let (_, findings) = doctor(&["--url", &all]);
    assert_found(&findings, "detached", "warn", &format!("lockstep attach {}", node.http));
    assert_found(&findings, "history", "ok", "all are of history");
    assert_found(&findings, "members", "ok", "all answer");
}

/// A node whose state differs, and a node of another cluster.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_do_not_belong_together_show() {
    let mut cluster = Cluster::start(3, &["--fault-injection"]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    let wrong = cluster.follower().await;
    let answer = cluster.request(Method::POST, &cluster.nodes[wrong], "/v1/debug/corrupt", "").await;
    assert!(answer.status().is_success());
    cluster.put_surely(&cluster.nodes[(wrong + 1) % 3], "k", "w").await;
    let url = cluster.nodes[(wrong + 1) % 3].http.clone();
    until("it is noticed", async || found(&doctor(&["--url", &url]).1, "digests").0 == "bad").await;

    let mut alone = Node::new(cluster.dir.path(), "alone", &[]);
    alone.start();
    cluster.ready(&alone).await;
    let (code, findings) = doctor(&["--url", &format!("{url},{}", alone.http)]);
    assert_eq!(code, 13);
    assert_found(&findings, "history", "bad", "alone is of cluster");
    cluster.nodes.push(alone);
}

/// Certificates by how long they are good; a token that may not ask is no illness.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_shows() {
    let it = Encrypted::start(3).await;
    let (all, ca) = (it.urls().join(","), it.certs.join("ca.crt"));
    let target = ["--url", &all, "--ca-file", path(&ca)];
    let root = [&target[..], &["--token-file", path(&it.root)]].concat();
    until("all is well", async || doctor(&root).0 == 0).await;
    let (_, findings) = doctor(&root);
    assert_made_for(&findings, "ok", 365);
    assert_found(&findings, "access", "ok", "every request needs a token");
    for (days, code, level) in [("20", 12, "warn"), ("5", 13, "bad")] {
        done(&["cert", "node", "n2", "--dir", path(&it.certs), "--days", days, "--force"]);
        it.cluster.nodes[1].signal(libc::SIGHUP);
        until("the node has it", async || doctor(&root).0 == code).await;
        let (_, findings) = doctor(&root);
        assert_found(&findings, "certificates", level, "n2 for ");
        assert_eq!(troubles(&findings), ["certificates"]);
    }
    let (code, _, error) = run(&[&["doctor"], &target[..]].concat());
    assert_eq!(code, 11, "{error}");
    // The least token sees all of it.
    let least = it.certs.join("least");
    let create = ["token", "create", "least", "--grant", "observe", "--out", path(&least)];
    done(&[&create[..], &root].concat());
    let (code, findings) = doctor(&[&target[..], &["--token-file", path(&least)]].concat());
    assert_eq!((code, troubles(&findings)), (13, vec!["certificates"]));
}

/// The folder of a node that does not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_examined() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    done(&["snapshot", "take", "--url", &cluster.nodes[0].http]);
    let folder = cluster.nodes[0].data_dir.clone();
    let data = ["--data-dir", path(&folder)];
    let (code, findings) = doctor(&data);
    assert_eq!(code, 0);
    assert_found(&findings, "folder", "unknown", "a node runs on");
    cluster.nodes[0].signal(libc::SIGTERM);
    cluster.nodes[0].wait();
    let (code, findings) = doctor(&data);
    assert_eq!((code, troubles(&findings)), (0, vec![]));
    assert_found(&findings, "folder", "ok", "that of n1 (node 1)");
    assert_found(&findings, "permissions", "ok", "only the owner");

    let certs = cluster.dir.path().join("certs");
    done(&["cert", "ca", "--dir", path(&certs)]);
    done(&["cert", "node", "n1", "--dir", path(&certs), "--days", "20"]);
    let [cert, key] = ["n1.crt", "n1.key"].map(|name| certs.join(name));
    let files = [&data[..], &["--cert-file", path(&cert), "--key-file", path(&key)]].concat();
    let (code, findings) = doctor(&files);
    assert_eq!(code, 12);
    assert_made_for(&findings, "warn", 20);
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("set");
    assert_eq!(doctor(&files).0, 13);

    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("set");
    let (code, findings) = doctor(&data);
    assert_eq!(code, 12);
    assert_found(&findings, "permissions", "warn", "chmod go=");
    let snapshot = folder.join("snapshots/current.snapshot");
    let mut bytes = fs::read(&snapshot).expect("there is one");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).expect("written");
    let (code, findings) = doctor(&data);
    assert_eq!(code, 13);
    assert_found(&findings, "folder", "bad", "damaged");
    let nowhere = cluster.dir.path().join("nowhere");
    assert_eq!(doctor(&["--data-dir", path(&nowhere)]).0, 13);
    assert!(!nowhere.exists(), "looking leaves nothing behind");
}

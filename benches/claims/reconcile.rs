//! How long it takes to compare two sides of a million keys, and to carry out a plan of 100,000 changes under load.

use super::written::memory;
use super::{fill, until};
use crate::support::{Cluster, Node, PROGRAM, run};
use reqwest::Method;
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KEYS: u64 = 1_000_000;
const CHANGED: u64 = 100_000;

pub async fn reconcile() {
    println!("reconcile: {KEYS} keys a side (16 bytes, values of 128), of which incoming changed {CHANGED}");
    let mut cluster =
        Cluster::start(1, &["--capacity-entries", "2000000", "--capacity-bytes", "4000000000"]).await;
    fill(&cluster, KEYS, 128).await;
    let backup = cluster.dir.path().join("backup").to_str().expect("a path").to_owned();
    must(&["snapshot", "save", &backup, "--url", &cluster.nodes[0].http, "--timeout-ms", "60000"]);
    change(&cluster, &cluster.nodes[0], 0..CHANGED, "there").await;
    cluster.nodes[0].signal(libc::SIGTERM);
    cluster.nodes[0].ended().await;

    let mut live = vec![Node::new(cluster.dir.path(), "r1", &[])];
    let (http, peer) = (live[0].http.clone(), live[0].peer.clone());
    let folder = live[0].data_dir.to_str().expect("a path").to_owned();
    must(&[
        "snapshot",
        "restore",
        &backup,
        "--data-dir",
        &folder,
        "--name",
        "r1",
        "--http",
        &http,
        "--peer",
        &peer,
    ]);
    live[0].start();
    cluster.ready(&live[0]).await;
    for name in ["r2", "r3"] {
        let mut node = Node::new(cluster.dir.path(), name, &["--join", &http]);
        node.start();
        cluster.ready(&node).await;
        live.push(node);
    }
    until("all vote", || async {
        let status = cluster.status(&live[0]).await;
        status["members"]
            .as_array()
            .is_some_and(|all| all.iter().filter(|member| member["voter"] == true).count() == 3)
    })
    .await;
    // Half of what incoming changed was changed here, too.
    change(&cluster, &live[0], CHANGED / 2..CHANGED * 3 / 2, "here").await;

    let old = cluster.nodes[0].data_dir.to_str().expect("a path").to_owned();
    let plan = cluster.dir.path().join("plan").to_str().expect("a path").to_owned();
    let before = memory(&cluster, &live[0]).await;
    let state: f64 = before
        .parts
        .iter()
        .filter(|(name, _)| name == "entries" || name == "indexes")
        .map(|part| part.1)
        .sum();
    let arguments =
        ["reconcile", "plan", "--from", &old, "--out", &plan, "--url", &http, "--timeout-ms", "60000"];
    let (took, peak) = timed(&arguments);
    println!(
        "  plan: {took:?}, at most {:.0} MB resident; one state takes {:.0} MB in a node",
        peak / 1e6,
        state / 1e6
    );

    let urls = live.iter().map(|node| node.http.clone()).collect::<Vec<_>>().join(",");
    let quiet = p99(&urls, 5).await;
    let reads = tokio::spawn({
        let urls = urls.clone();
        async move { p99(&urls, 5).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (took, _) = timed(&["reconcile", "apply", &plan, "--url", &http, "--timeout-ms", "60000"]);
    let busy = reads.await.expect("it ends");
    let status = cluster.request(Method::GET, &live[0], "/v1/reconcile", "").await;
    let status: Value = status.json().await.expect("JSON");
    let done = status["merges"][0]["done"].as_u64().expect("a number");
    let rate = done as f64 / took.as_secs_f64();
    println!(
        "  apply: {done} keys in {took:?}, {rate:.0} a second; p99 of 64 readers {busy} us, {quiet} us without"
    );
}

fn must(arguments: &[&str]) {
    let (code, _, error) = run(arguments);
    assert_eq!(code, 0, "{error}");
}

async fn change(cluster: &Cluster, node: &Node, numbers: std::ops::Range<u64>, value: &str) {
    let value = value.repeat(32);
    for first in numbers.clone().step_by(1_000) {
        let put = |n| json!({"op": "put", "key": format!("key-{n:012}"), "value": value});
        let ops: Vec<_> = (first..numbers.end.min(first + 1_000)).map(put).collect();
        let answer = cluster.request(Method::POST, node, "/v1/batch", &json!({"ops": ops}).to_string()).await;
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

/// Runs the program; how long it took, and how much memory it had at most.
#[allow(clippy::zombie_processes, reason = "wait4 waits for it")]
fn timed(arguments: &[&str]) -> (Duration, f64) {
    let begun = Instant::now();
    let child = Command::new(PROGRAM).args(arguments).stdout(Stdio::null()).spawn().expect("it starts");
    let pid = i32::try_from(child.id()).expect("a pid");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both are valid to write to, and the child has not been waited for.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(waited, pid);
    assert!(std::process::ExitStatus::from_raw(status).success(), "{arguments:?}");
    // SAFETY: all zeros are a valid value, and wait4 has written it.
    let usage = unsafe { usage.assume_init() };
    (begun.elapsed(), usage.ru_maxrss as f64 * 1_024.0)
}

async fn p99(urls: &str, seconds: u64) -> u64 {
    let mut load = tokio::process::Command::new(PROGRAM);
    load.args(["bench", "get", "--json", "--warm-up", "0", "--seconds", &seconds.to_string(), "--url", urls]);
    let done = load.output().await.expect("it runs");
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    report["latency_us"]["p99"].as_u64().expect("a number")
}

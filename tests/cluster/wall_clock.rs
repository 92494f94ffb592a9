//! Wall clocks that are thrown about, by libfaketime; without it these tests say so and pass.

use crate::support::{Cluster, Node, until, wall_clock};
use reqwest::Method;
use std::time::{Duration, Instant};

/// How late an expiry may be when a leader is there: the ticker's look and a commit, with room for a busy
/// machine. docs/eviction.md states the bound.
const LATE: Duration = Duration::from_secs(2);

/// Three nodes, each with a wall clock of its own; `None` where there is no libfaketime.
async fn cluster() -> Option<Cluster> {
    let Some(library) = wall_clock::library() else {
        eprintln!("skipped: tests of wall clocks need libfaketime (apt install faketime)");
        return None;
    };
    let mut cluster = Cluster::stopped(3, &[]).await;
    for node in &mut cluster.nodes {
        wall_clock::install(node, library);
        node.start();
    }
    cluster.all_ready().await;
    Some(cluster)
}

fn throw(node: &Node, seconds: i64) {
    wall_clock::throw(node, &format!("{seconds:+}"));
}

async fn thrown(cluster: &Cluster, node: usize, seconds: i64) {
    throw(&cluster.nodes[node], seconds);
    until("the node's wall clock is off", || async {
        let ahead = cluster.status(&cluster.nodes[node]).await["log_time_ahead_ms"].as_i64();
        ahead.is_some_and(|ahead| (ahead + seconds * 1_000).abs() < 600_000)
    })
    .await;
}

async fn put(cluster: &Cluster, node: usize, key: &str, ttl_ms: u64) {
    let path = format!("/v1/kv/{key}?ttl_ms={ttl_ms}");
    let put = cluster.request(Method::PUT, &cluster.nodes[node], &path, "v").await;
    assert_eq!(put.status().as_u16(), 201, "{key}");
}

async fn ttl_left(cluster: &Cluster, node: usize, key: &str) -> u64 {
    let answer = cluster.request(Method::GET, &cluster.nodes[node], &format!("/v1/kv/{key}"), "").await;
    assert_eq!(answer.status().as_u16(), 200, "{key}");
    answer.headers()["lockstep-ttl-ms"].to_str().unwrap().parse().unwrap()
}

/// C2, and the bound on expiry: the leader's wall clock an hour ahead or back expires nothing early and keeps
/// nothing alive late.
#[tokio::test(flavor = "multi_thread")]
async fn a_thrown_wall_clock_moves_no_deadline() {
    let Some(cluster) = cluster().await else { return };
    let leader = cluster.leader().await;
    put(&cluster, leader, "long", 120_000).await;
    let begun = Instant::now();
    for seconds in [3_600, -3_600] {
        thrown(&cluster, leader, seconds).await;
        let key = format!("short{seconds}");
        let before = Instant::now();
        put(&cluster, leader, &key, 1_500).await;
        let answered = Instant::now();
        let reader = (leader + 1) % 3;
        until("it expires", || async { cluster.get(&cluster.nodes[reader], &key).await == Err(404) }).await;
        assert!(before.elapsed() >= Duration::from_millis(1_500), "early, with a clock {seconds} s off");
        let late = answered.elapsed().saturating_sub(Duration::from_millis(1_500));
        assert!(late < LATE, "{late:?} late, with a clock {seconds} s off");
        let left = Duration::from_millis(ttl_left(&cluster, reader, "long").await);
        let expected = Duration::from_secs(120).saturating_sub(begun.elapsed());
        assert!(left.abs_diff(expected) < LATE, "{left:?} left, {expected:?} expected");
    }
    assert_eq!(cluster.leader().await, leader, "it led all the time");
    cluster.digests_agree().await;
}

/// A leader whose wall clock is off takes over the log time of those who run, not its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_with_a_thrown_wall_clock_resets_no_time_to_live() {
    let Some(mut cluster) = cluster().await else { return };
    let leader = cluster.leader().await;
    put(&cluster, leader, "long", 120_000).await;
    let begun = Instant::now();
    for (node, seconds) in [((leader + 1) % 3, 3_600), ((leader + 2) % 3, -3_600)] {
        thrown(&cluster, node, seconds).await;
    }
    cluster.nodes[leader].kill();
    let heir = cluster.leader().await;
    cluster.put_surely(&cluster.nodes[heir], "x", "y").await;
    // The node that comes back is asked by its peers, and asks them, with a clock of its own.
    throw(&cluster.nodes[leader], 7_200);
    cluster.nodes[leader].start();
    cluster.all_ready().await;
    for node in 0..3 {
        let left = Duration::from_millis(ttl_left(&cluster, node, "long").await);
        let expected = Duration::from_secs(120).saturating_sub(begun.elapsed());
        assert!(left.abs_diff(expected) < 2 * LATE, "{left:?} left, {expected:?} expected");
    }
    cluster.digests_agree().await;
}

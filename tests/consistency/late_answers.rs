//! Answers that were held up on their way to a leader say nothing about now.

use crate::harness::cluster::{Cluster, Shape};
use crate::harness::network::Network;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Each takes about two seconds.
const ROUNDS: usize = 5;
/// Writes that the old leader is asked for at once: what waits to be proposed is when news of a commit may wait.
const WRITERS: usize = 30;
const READERS: usize = 20;

/// R5: a leader is cut off after the others have stored what it sent, and before it hears so. Another one is elected, and
/// writes. When the old answers arrive at last, the old leader commits by them; that it still leads they do not say.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_late_that_all_was_stored_serves_nothing_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let shape = Shape {
        nodes: 3,
        snapshot_entries: 100_000,
        entries_kept: 1_000,
        capacity_entries: None,
        extra: Vec::new(),
        first: Vec::new(),
    };
    let mut cluster = Cluster::start(folder.path(), shape, Network::new(1)).await.expect("it starts");
    for round in 0..ROUNDS {
        one_round(&mut cluster, round).await;
    }
}

async fn one_round(cluster: &mut Cluster, round: usize) {
    let old = cluster.wait_for_leader().await.expect("a leader");
    let others: Vec<usize> = (0..cluster.members.len()).filter(|i| *i != old).collect();
    let (ids, network) = (|i: usize| cluster.members[i].id, cluster.network.clone());
    let url = |i: usize| format!("{}/v1/kv/k", cluster.members[i].node.http);
    let http = cluster.http.clone();
    let before = cluster.still().await.expect("they agree")[old].last_log_index;

    others.iter().for_each(|&other| network.cut_one_way(ids(other), ids(old)));
    let stuck = tokio::spawn(http.put(url(old)).body("stuck").send());
    for &other in &others {
        until("the others have stored it", async || {
            cluster.status(other).await.is_some_and(|status| status.last_log_index > before)
        })
        .await;
    }
    others.iter().for_each(|&other| network.cut_one_way(ids(old), ids(other)));

    // The others elect one of them, and it writes.
    let mut written = None;
    until("another one leads, and writes", async || {
        let put = http.put(url(others[0])).body("new").send().await;
        written = put.ok().filter(|answer| answer.status().is_success());
        written.is_some()
    })
    .await;
    let index = |answer: &reqwest::Response| -> u64 {
        answer.headers()["lockstep-index"].to_str().expect("text").parse().expect("a number")
    };
    let floor = index(&written.expect("it was written"));

    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..WRITERS + READERS {
        let (http, url, stop) = (http.clone(), url(old), stop.clone());
        clients.spawn(async move {
            let mut oldest = None;
            while !stop.load(Ordering::Acquire) {
                if number < WRITERS {
                    let _ = http.put(&url).body("more").send().await;
                } else if let Ok(answer) = http.get(&url).send().await
                    && answer.status().is_success()
                {
                    oldest = oldest.min(Some(index(&answer))).or(Some(index(&answer)));
                }
            }
            oldest
        });
    }
    network.heal(false);
    until("the old leader serves again", async || {
        http.get(url(old)).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    stop.store(true, Ordering::Release);
    while let Some(oldest) = clients.join_next().await {
        if let Some(oldest) = oldest.expect("no panic") {
            assert!(oldest >= floor, "round {round}: {floor} was acknowledged, then {oldest} was read");
        }
    }
    let _ = stuck.await;
    cluster.all_ready().await.expect("all serve again");
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

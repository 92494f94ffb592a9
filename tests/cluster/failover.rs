//! Nodes die and freeze; what was acknowledged stays, and nobody answers an old value.

use crate::support::{Cluster, run, until};
use reqwest::Method;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(5);

/// Writes numbered values through all running nodes until told to stop; returns what was acknowledged.
async fn write_on(cluster: Arc<Cluster>, stop: Arc<AtomicBool>, prefix: &str) -> BTreeMap<String, String> {
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let node = &cluster.nodes[number % cluster.nodes.len()];
        let (key, value) = (format!("{prefix}{number}"), format!("v{number}"));
        if cluster.put(node, &key, &value, LIMIT).await {
            acknowledged.insert(key, value);
        }
    }
    acknowledged
}

async fn all_there(cluster: &Cluster, written: &BTreeMap<String, String>) {
    let follower = cluster.follower().await;
    for (key, value) in written {
        assert_eq!(cluster.get(&cluster.nodes[follower], key).await.as_ref(), Ok(value), "{key}");
    }
}

/// R7, H1: an acknowledged write survives the leader's death, and the rest of the cluster goes on.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_the_death_of_the_leader() {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut written = BTreeMap::new();
    for trial in 0..3 {
        let leader = cluster.leader().await;
        let pid = cluster.nodes[leader].pid();
        let shared = Arc::new(cluster);
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (shared, stop) = (shared.clone(), stop.clone());
            async move { write_on(shared, stop, &format!("t{trial}-")).await }
        });
        // Dies somewhere in the middle of the writes.
        let survivor = &shared.nodes[(leader + 1) % 3];
        until("some writes are done", || async {
            shared.get(survivor, &format!("t{trial}-20")).await.is_ok()
        })
        .await;
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        shared.put_surely(survivor, &format!("after{trial}"), "x").await;
        stop.store(true, Ordering::Relaxed);
        written.extend(writer.await.unwrap());
        written.insert(format!("after{trial}"), "x".into());
        cluster = Arc::into_inner(shared).expect("nobody else holds it");
        cluster.nodes[leader].wait();
        all_there(&cluster, &written).await;
        cluster.nodes[leader].start();
        cluster.all_ready().await;
    }
    all_there(&cluster, &written).await;
    cluster.digests_agree().await;
}

/// R7, R4: all nodes die at once during writes; what was acknowledged is there when they come back.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_the_death_of_all() {
    let cluster = Arc::new(Cluster::start(3, &[]).await);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (cluster, stop) = (cluster.clone(), stop.clone());
        async move { write_on(cluster, stop, "k").await }
    });
    until("some writes are done", || async { cluster.get(&cluster.nodes[0], "k50").await.is_ok() }).await;
    for node in &cluster.nodes {
        node.signal(libc::SIGKILL);
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    assert!(written.len() >= 50);
    let mut cluster = Arc::into_inner(cluster).expect("nobody else holds it");
    for node in &mut cluster.nodes {
        node.wait();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    all_there(&cluster, &written).await;
    cluster.digests_agree().await;
    for node in &cluster.nodes {
        cluster.positions_are_ordered(node).await;
    }
}

/// R5: a leader that slept through an election never answers the old value to a linearizable read.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_answers_no_old_value() {
    let cluster = Cluster::start(3, &[]).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let (sleeper, other) = (&cluster.nodes[leader], &cluster.nodes[(leader + 1) % 3]);
        cluster.put_surely(sleeper, "k", &format!("old{round}")).await;
        sleeper.signal(libc::SIGSTOP);
        let new = format!("new{round}");
        cluster.put_surely(other, "k", &new).await;
        // Reads that wait in the sleeper's sockets are the first thing it sees when it wakes.
        let reads: Vec<_> = (0..20)
            .map(|_| {
                let request = cluster.http.get(format!("{}/v1/kv/k", sleeper.http)).timeout(LIMIT);
                tokio::spawn(async move { request.send().await })
            })
            .collect();
        sleeper.signal(libc::SIGCONT);
        for read in reads {
            if let Ok(response) = read.await.unwrap() {
                if response.status().is_success() {
                    assert_eq!(response.text().await.unwrap(), new, "an old value was answered");
                } else {
                    assert_eq!(response.status().as_u16(), 503);
                }
            }
        }
        cluster.all_ready().await;
        assert_eq!(cluster.get(sleeper, "k").await, Ok(new));
    }
    cluster.digests_agree().await;
}

/// Many reads that come at the same time ask no more voters than they need. If those do not answer, the others are asked
/// some milliseconds later, not only when the first ones have timed out (after two seconds).
#[tokio::test(flavor = "multi_thread")]
async fn many_reads_wait_for_no_follower_that_stopped() {
    let cluster = Arc::new(Cluster::start(3, &[]).await);
    let leader = cluster.leader().await;
    cluster.put_surely(&cluster.nodes[leader], "k", "v").await;
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reader = || {
        let (cluster, stop, reads) = (cluster.clone(), stop.clone(), reads.clone());
        async move {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                assert_eq!(cluster.get(&cluster.nodes[leader], "k").await.as_deref(), Ok("v"));
                longest = longest.max(asked.elapsed());
                reads.fetch_add(1, Ordering::Relaxed);
            }
            longest
        }
    };
    let readers: Vec<_> = (0..32).map(|_| tokio::spawn(reader())).collect();
    for follower in [1, 2, 1, 2].map(|after| &cluster.nodes[(leader + after) % 3]) {
        follower.signal(libc::SIGSTOP);
        let before = reads.load(Ordering::Relaxed);
        until("reads go on", async || reads.load(Ordering::Relaxed) > before + 1_000).await;
        follower.signal(libc::SIGCONT);
        cluster.all_ready().await;
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        let longest = reader.await.unwrap();
        assert!(longest < Duration::from_millis(1_500), "{longest:?}");
    }
}

/// Whether a gauge of one node is 1.
async fn is_set(cluster: &Cluster, node: usize, gauge: &str) -> bool {
    let text = cluster.request(Method::GET, &cluster.nodes[node], "/metrics", "").await.text().await.unwrap();
    text.lines().find(|line| line.starts_with(&format!("{gauge} "))).unwrap().ends_with(" 1")
}

async fn has_majority(cluster: &Cluster, node: usize) -> bool {
    cluster.status(&cluster.nodes[node]).await["majority"] == true
}

/// Who has lost the majority knows it, says so, and refuses writes without a doubt about their outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_is_told() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    assert!(
        is_set(&cluster, leader, "lockstep_majority").await
            && is_set(&cluster, leader, "lockstep_is_leader").await
    );
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    for other in &others {
        cluster.nodes[*other].signal(libc::SIGSTOP);
    }
    until("it notices", async || !has_majority(&cluster, leader).await).await;
    assert!(
        !is_set(&cluster, leader, "lockstep_majority").await
            && !is_set(&cluster, leader, "lockstep_is_leader").await
    );
    let url = cluster.nodes[leader].http.clone();
    let (code, out, _) = run(&["status", "--url", &url]);
    assert!(code == 0 && out.contains("NO MAJORITY"), "{out}");
    // The last of its tries is not cut short, so nothing is in doubt.
    for timeout in ["3000", "7000"] {
        let (code, _, error) = run(&["put", "k", "v", "--url", &url, "--timeout-ms", timeout]);
        assert!(code == 5 && error.contains("majority"), "{code}: {error}");
    }
    for other in &others {
        cluster.nodes[*other].signal(libc::SIGCONT);
    }
    until("it is back", async || {
        has_majority(&cluster, leader).await && has_majority(&cluster, others[0]).await
    })
    .await;
    cluster.nodes[leader].kill();
    until("another leads", async || {
        is_set(&cluster, others[0], "lockstep_is_leader").await
            || is_set(&cluster, others[1], "lockstep_is_leader").await
    })
    .await;
    cluster.nodes[leader].start();
    cluster.all_ready().await;
    let log = cluster.nodes[leader].log();
    for words in [
        "this node leads",
        "a member does not answer",
        "no majority of the voters answers",
        "a majority of the voters answers again",
        "a member answers again",
    ] {
        assert!(log.contains(words), "{words}");
    }
    until("it says who leads now", async || cluster.nodes[leader].log().contains("another node leads")).await;
}

/// A node that is told to stop hands the lead over first: the cluster goes on at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    cluster.put_surely(&cluster.nodes[leader], "k", "v").await;
    let term = cluster.status(&cluster.nodes[leader]).await["term"].as_u64();
    cluster.nodes[leader].signal(libc::SIGTERM);
    let status = cluster.nodes[leader].ended().await;
    assert!(status.success(), "{}", cluster.nodes[leader].log());
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert!(cluster.status(&cluster.nodes[next]).await["term"].as_u64() > term);
    assert_eq!(cluster.get(&cluster.nodes[next], "k").await, Ok("v".into()));
    let log = cluster.nodes[leader].log();
    assert!(!log.contains("without handing over"), "{log}");
}

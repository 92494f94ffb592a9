//! Measures what the docs claim, on real clusters of three processes on this machine:
//!
//! `cargo bench --bench claims [-- NAME…]`, with NAME one of failover, all-die, pause, join, snapshot, restart, written,
//! reconcile, fork, tokens, tls.
//! Prints one line a figure, and ends with an error if an acknowledged write is missing, a read was old or
//! digests differ. How fast things are is printed, not judged.

mod fork;
mod load;
mod reconcile;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tls;
mod tokens;
mod written;

use hdrhistogram::Histogram;
use reqwest::{Client, Method};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Cluster, Node, until};

fn main() {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|other| other == name);
        if wanted("failover") {
            failover().await;
        }
        if wanted("all-die") {
            all_die().await;
        }
        if wanted("pause") {
            pause().await;
        }
        if wanted("join") {
            join().await;
        }
        if wanted("snapshot") {
            snapshot().await;
        }
        if wanted("restart") {
            restart().await;
        }
        if wanted("reconcile") {
            reconcile::reconcile().await;
        }
        if wanted("fork") {
            fork::fork().await;
        }
        if wanted("tokens") {
            tokens::tokens().await;
        }
        if wanted("tls") {
            tls::tls().await;
        }
        if wanted("written") {
            for value_bytes in [128, 4_096] {
                written::written(value_bytes).await;
            }
        }
    });
}

/// Writers that go round the nodes, and what they were told.
struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    tasks: tokio::task::JoinSet<()>,
}

struct Seen {
    acknowledged: Mutex<BTreeMap<String, String>>,
    latencies: Mutex<Histogram<u64>>,
    failed: AtomicU64,
}

impl Load {
    /// Starts writers, each with its own keys; `pause` between two writes of one of them.
    fn start(urls: Vec<String>, writers: usize, prefix: &str, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Seen {
            acknowledged: Mutex::default(),
            latencies: Mutex::new(histogram()),
            failed: AtomicU64::new(0),
        });
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..writers {
            let (stop, seen, urls) = (stop.clone(), seen.clone(), urls.clone());
            let prefix = format!("{prefix}{writer}-");
            tasks.spawn(async move {
                let client = client();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let url = &urls[(writer + number) % urls.len()];
                    let (key, value) = (format!("{prefix}{number}"), format!("v{number}"));
                    let begun = Instant::now();
                    let answer = client.put(format!("{url}/v1/kv/{key}")).body(value.clone()).send().await;
                    if answer.is_ok_and(|answer| answer.status().is_success()) {
                        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                        seen.latencies.lock().unwrap().saturating_record(took);
                        seen.acknowledged.lock().unwrap().insert(key, value);
                    } else {
                        seen.failed.fetch_add(1, Ordering::Relaxed);
                    }
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
            });
        }
        Self { stop, seen, tasks }
    }

    /// The latencies since the last call.
    fn latencies(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.seen.latencies.lock().unwrap(), histogram())
    }

    async fn stop(mut self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut *self.seen.acknowledged.lock().unwrap())
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram")
}

fn client() -> Client {
    lockstep::client::plain_http().timeout(Duration::from_secs(10)).build().expect("a client")
}

fn urls(cluster: &Cluster) -> Vec<String> {
    cluster.nodes.iter().map(|node| node.http.clone()).collect()
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn told(name: &str, latencies: &Histogram<u64>) {
    let at = |quantile| ms(latencies.value_at_quantile(quantile));
    println!(
        "{name}: {} writes, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.1} ms",
        latencies.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        ms(latencies.max())
    );
}

/// Reads everything that was acknowledged; ends the program when something is missing.
async fn nothing_is_missing(cluster: &Cluster, written: &BTreeMap<String, String>) {
    let node = &cluster.nodes[cluster.follower().await];
    let mut missing = 0;
    let keys: Vec<(&String, &String)> = written.iter().collect();
    for some in keys.chunks(64) {
        let reads = some
            .iter()
            .map(|(key, value)| async move { cluster.get(node, key).await.as_ref() == Ok(*value) });
        missing += futures::future::join_all(reads).await.into_iter().filter(|there| !there).count();
    }
    assert_eq!(missing, 0, "acknowledged writes are missing");
    println!("  {} acknowledged writes, none missing", written.len());
}

/// `kill -9` the leader during writes: how long until the next write is acknowledged?
async fn failover() {
    println!("failover: kill -9 of the leader during writes, 20 trials");
    let mut cluster = Cluster::start(3, &[]).await;
    let mut took = Vec::new();
    let mut written = BTreeMap::new();
    for trial in 0..20 {
        let leader = cluster.leader().await;
        let survivors: Vec<String> = cluster
            .nodes
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != leader)
            .map(|(_, node)| node.http.clone())
            .collect();
        let load = Load::start(urls(&cluster), 4, &format!("t{trial}-"), Duration::ZERO);
        until("some writes are done", || async { load.seen.acknowledged.lock().unwrap().len() > 200 }).await;
        let client = client();
        cluster.nodes[leader].signal(libc::SIGKILL);
        let begun = Instant::now();
        // A client that asks a survivor, and again whenever it is refused.
        let mut attempts = 0;
        loop {
            let url = &survivors[attempts % survivors.len()];
            let key = format!("next{trial}-{attempts}");
            let answer = client.put(format!("{url}/v1/kv/{key}")).body("x").send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                written.insert(key, "x".to_owned());
                break;
            }
            attempts += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        took.push(begun.elapsed());
        written.extend(load.stop().await);
        cluster.nodes[leader].wait();
        cluster.nodes[leader].start();
        cluster.all_ready().await;
    }
    took.sort();
    println!(
        "  next acknowledged write after: median {:?}, least {:?}, most {:?}",
        took[10], took[0], took[19]
    );
    nothing_is_missing(&cluster, &written).await;
    cluster.digests_agree().await;
}

/// `kill -9` of all nodes together during writes, then a start of all.
async fn all_die() {
    println!("all-die: kill -9 of all nodes together during writes, 5 trials");
    let mut cluster = Cluster::start(3, &[]).await;
    let mut written = BTreeMap::new();
    let mut back = Vec::new();
    for trial in 0..5 {
        let load = Load::start(urls(&cluster), 8, &format!("t{trial}-"), Duration::ZERO);
        until("some writes are done", || async { load.seen.acknowledged.lock().unwrap().len() > 2_000 })
            .await;
        for node in &cluster.nodes {
            node.signal(libc::SIGKILL);
        }
        written.extend(load.stop().await);
        let begun = Instant::now();
        for node in &mut cluster.nodes {
            node.wait();
            node.start();
        }
        cluster.all_ready().await;
        back.push(begun.elapsed());
    }
    back.sort();
    println!("  all ready again after: median {:?}, most {:?}", back[2], back[4]);
    nothing_is_missing(&cluster, &written).await;
    cluster.digests_agree().await;
    println!("  digests are equal at equal index");
}

/// The leader sleeps, others write, it wakes: what does it answer?
async fn pause() {
    println!("pause: SIGSTOP of the leader, writes elsewhere, SIGCONT; 10 trials of 50 reads");
    let cluster = Cluster::start(3, &[]).await;
    let (mut fresh, mut refused) = (0, 0);
    for trial in 0..10 {
        let leader = cluster.leader().await;
        let (sleeper, other) = (&cluster.nodes[leader], &cluster.nodes[(leader + 1) % 3]);
        cluster.put_surely(sleeper, "k", &format!("old{trial}")).await;
        sleeper.signal(libc::SIGSTOP);
        let new = format!("new{trial}");
        cluster.put_surely(other, "k", &new).await;
        let reads: Vec<_> = (0..50)
            .map(|_| tokio::spawn(cluster.http.get(format!("{}/v1/kv/k", sleeper.http)).send()))
            .collect();
        sleeper.signal(libc::SIGCONT);
        for read in reads {
            let Ok(answer) = read.await.expect("the task ends") else { continue };
            if answer.status().is_success() {
                assert_eq!(answer.text().await.expect("a body"), new, "an old value was answered");
                fresh += 1;
            } else {
                refused += 1;
            }
        }
        cluster.all_ready().await;
    }
    println!("  {fresh} reads answered with the new value, {refused} refused, 0 with an old one");
}

/// Fills the cluster with batches: keys of 16 bytes, values of 64.
async fn fill(cluster: &Cluster, entries: u64, value_bytes: usize) {
    let url = format!("{}/v1/batch", cluster.nodes[cluster.leader().await].http);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (url, next, client) = (url.clone(), next.clone(), client());
        tasks.spawn(async move {
            loop {
                let first = next.fetch_add(1_000, Ordering::Relaxed);
                if first >= entries {
                    return;
                }
                let put =
                    |n| json!({"op": "put", "key": format!("key-{n:012}"), "value": "v".repeat(value_bytes)});
                let ops: Vec<_> = (first..entries.min(first + 1_000)).map(put).collect();
                let answer = client.post(&url).json(&json!({"ops": ops})).send().await.expect("an answer");
                assert!(answer.status().is_success(), "{}", answer.text().await.expect("a body"));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("filled");
    }
}

/// A node joins a cluster of 200,000 entries under load; then the leader is removed.
async fn join() {
    println!(
        "join: a node joins 200,000 entries under 8 writers (each pausing 2 ms); then the leader is removed"
    );
    let mut cluster = Cluster::start(
        3,
        &["--capacity-entries", "2000000", "--snapshot-entries", "2000", "--entries-kept", "500"],
    )
    .await;
    fill(&cluster, 200_000, 64).await;
    let load = Load::start(urls(&cluster), 8, "w", Duration::from_millis(2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.latencies();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let quiet = load.latencies();
    told("  quiet", &quiet);

    let url = cluster.nodes[0].http.clone();
    let arguments = ["--join", &url, "--snapshot-entries", "2000", "--entries-kept", "500"];
    let mut fourth = Node::new(cluster.dir.path(), "n4", &arguments);
    let begun = Instant::now();
    fourth.start();
    cluster.ready(&fourth).await;
    let ready = begun.elapsed();
    until("it has a vote", || async {
        let status = cluster.status(&fourth).await;
        let members = status["members"].as_array().expect("members");
        members.iter().any(|member| member["name"] == "n4" && member["voter"] == true)
    })
    .await;
    let voting = begun.elapsed();
    let joining = load.latencies();
    told("  while it joins", &joining);
    let entries = cluster.status(&fourth).await["entries"].as_u64().expect("a number");
    assert!(entries >= 200_000, "{entries}");
    let ratio = joining.value_at_quantile(0.99) as f64 / quiet.value_at_quantile(0.99) as f64;
    println!("  reads after {ready:?}, votes after {voting:?}; p99 is {ratio:.1} times the quiet one");
    cluster.nodes.push(fourth);

    let leader = cluster.leader().await;
    let name = cluster.nodes[leader].name.clone();
    let asked = (leader + 1) % cluster.nodes.len();
    let status = cluster.status(&cluster.nodes[asked]).await;
    let id = status["leader"]["id"].as_u64().expect("a number");
    load.latencies();
    let failed = load.seen.failed.load(Ordering::Relaxed);
    let begun = Instant::now();
    let answer =
        cluster.request(Method::DELETE, &cluster.nodes[asked], &format!("/v1/members/{id}"), "").await;
    assert_eq!(answer.status().as_u16(), 204, "{}", answer.text().await.expect("a body"));
    let removed = begun.elapsed();
    let removing = load.latencies();
    let failed = load.seen.failed.load(Ordering::Relaxed) - failed;
    told("  while the leader is removed", &removing);
    println!("  {name} was removed after {removed:?}, {failed} writes failed meanwhile");
    let mut written = load.stop().await;
    cluster.nodes.remove(leader).kill();
    written.insert("key-000000199999".into(), "v".repeat(64));
    nothing_is_missing(&cluster, &written).await;
    cluster.digests_agree().await;
}

/// A snapshot of a million entries under load: how long does a write wait? And a restart from it.
async fn snapshot() {
    println!(
        "snapshot: 1,000,000 entries (keys of 16 bytes, values of 64) under 4 writers (each pausing 5 ms)"
    );
    let mut cluster =
        Cluster::start(3, &["--capacity-entries", "2000000", "--snapshot-entries", "100000000"]).await;
    fill(&cluster, 1_000_000, 64).await;
    let load = Load::start(urls(&cluster), 4, "w", Duration::from_millis(5));
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.latencies();
    tokio::time::sleep(Duration::from_secs(10)).await;
    told("  quiet", &load.latencies());
    let leader = cluster.leader().await;
    for round in 1..=3 {
        let begun = Instant::now();
        let answer = cluster.request(Method::POST, &cluster.nodes[leader], "/v1/snapshot", "").await;
        assert!(answer.status().is_success());
        let took = begun.elapsed();
        told(&format!("  leader's snapshot {round} ({took:?})"), &load.latencies());
    }
    let begun = Instant::now();
    let all = cluster.nodes.iter().map(|node| cluster.request(Method::POST, node, "/v1/snapshot", ""));
    futures::future::join_all(all).await;
    told(&format!("  all three at once ({:?})", begun.elapsed()), &load.latencies());
    let written = load.stop().await;

    let follower = cluster.follower().await;
    cluster.nodes[follower].kill();
    let begun = Instant::now();
    cluster.nodes[follower].start();
    cluster.ready(&cluster.nodes[follower]).await;
    println!("  one node restarted from its snapshot and ready after {:?}", begun.elapsed());
    for node in &mut cluster.nodes {
        node.kill();
    }
    let begun = Instant::now();
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    println!("  all three restarted from their snapshots and ready after {:?}", begun.elapsed());
    nothing_is_missing(&cluster, &written).await;
    cluster.digests_agree().await;
}

/// All nodes stop and start again with 3,000,000 entries: once in good order, and twice as after a power cut.
async fn restart() {
    const ENTRIES: u64 = 3_000_000;
    println!("restart: 3,000,000 entries (keys of 16 bytes, values of 128) on three nodes, all at once");
    let mut cluster =
        Cluster::start(3, &["--capacity-entries", "4000000", "--capacity-bytes", "4000000000"]).await;
    fill(&cluster, ENTRIES, 128).await;
    for round in 1..=3 {
        // A snapshot that is being written ends first: what is measured is the start.
        tokio::time::sleep(Duration::from_secs(8)).await;
        for node in &mut cluster.nodes {
            if round == 1 {
                node.signal(libc::SIGTERM);
                node.ended().await;
            } else {
                node.kill();
            }
        }
        let begun = Instant::now();
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.all_ready().await;
        println!("  {}: ready after {:?}", if round == 1 { "stopped" } else { "killed" }, begun.elapsed());
        for node in &cluster.nodes {
            assert_eq!(cluster.status(node).await["entries"], ENTRIES);
        }
    }
    cluster.digests_agree().await;
}

//! Nodes go on purpose, and clients of the others are not refused.

use crate::support::{Cluster, Node, run, until};
use reqwest::Method;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Clients that write and read through all nodes but one, as fast as they can.
struct Clients {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// What each was told that was no success.
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    async fn of_others(cluster: &Cluster, leader: usize) -> Self {
        let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let client = |client: usize| {
            let node = &cluster.nodes[(leader + 1 + client % 2) % 3];
            let url = format!("{}/v1/kv/{leader}-{client}", node.http);
            let (http, answered, stop) = (cluster.http.clone(), answered.clone(), stop.clone());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    for request in [http.put(&url).body("v"), http.get(&url)] {
                        let response = request.send().await.expect("an answer");
                        if !response.status().is_success() {
                            failed.push(response.text().await.expect("a body"));
                        }
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        };
        let clients = (0..16).map(client).collect();
        let clients = Self { answered, stop, clients };
        clients.go_on().await;
        clients
    }

    /// Returns once they have been answered some more times.
    async fn go_on(&self) {
        let so_far = self.answered.load(Ordering::Relaxed);
        until("they go on", async || self.answered.load(Ordering::Relaxed) > so_far + 200).await;
    }

    async fn end(self) -> Vec<String> {
        self.go_on().await;
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for client in self.clients {
            failed.extend(client.await.expect("no panic"));
        }
        failed
    }
}

/// Nobody who writes or reads through another node while the leader stops is told that it failed, or that its outcome is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stops_and_clients_of_others_do_not_hear_of_it() {
    let mut cluster = Cluster::start(3, &[]).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let clients = Clients::of_others(&cluster, leader).await;
        cluster.nodes[leader].signal(libc::SIGTERM);
        assert!(cluster.nodes[leader].ended().await.success(), "{}", cluster.nodes[leader].log());
        assert_eq!(clients.end().await, [""; 0], "in round {round}");
        cluster.nodes[leader].start();
        cluster.all_ready().await;
    }
}

/// Nor is anybody refused when it leaves the cluster, which it does once it has ended what it has begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_detached_and_clients_of_others_are_not_refused() {
    let cluster = Cluster::start(3, &[]).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let clients = Clients::of_others(&cluster, leader).await;
        let url = cluster.nodes[leader].http.clone();
        // A leader that has not heard from all others yet is not let go.
        until("it leaves", async || {
            let url = url.clone();
            let detaching = tokio::task::spawn_blocking(move || run(&["detach", &url]));
            let (code, _, error) = detaching.await.expect("no panic");
            assert!(code == 0 || error.contains("would lose its majority"), "{code}: {error}");
            code == 0
        })
        .await;
        let mut failed = clients.end().await;
        // A node that is no member any more does not learn what becomes of a write that it took when another was being elected.
        failed.retain(|told| !told.contains("\"outcome_unknown\""));
        assert_eq!(failed, [""; 0], "in round {round}");
        until("it comes back", async || {
            let url = url.clone();
            let attaching = tokio::task::spawn_blocking(move || run(&["attach", &url]));
            let (code, _, error) = attaching.await.expect("no panic");
            println!("{code}: {error}");
            code == 0
        })
        .await;
        until("it votes again", async || {
            let status = cluster.status(&cluster.nodes[leader]).await;
            let members = status["members"].as_array().expect("a list");
            members.len() == 3 && members.iter().all(|member| member["voter"] == true)
        })
        .await;
        cluster.all_ready().await;
    }
}

/// A node that is about to stop takes no lead over, however long its clients have it wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_is_not_made_the_leader() {
    let (mut cluster, ports) = Cluster::with_redis().await;
    // Of equals the last one is chosen.
    let stops = 2;
    let status = cluster.status(&cluster.nodes[stops]).await;
    let members = status["members"].as_array().expect("a list");
    let id = members.iter().find(|member| member["name"] == "n3").expect("a member")["id"].to_string();
    let (code, _, error) = run(&["member", "transfer", &id, "--url", &cluster.nodes[stops].http]);
    assert_eq!(code, 0, "{error}");
    until("it leads", async || cluster.leader().await == stops).await;
    // It waits for ten seconds until that is read.
    let unread = client_that_does_not_read(&cluster, &cluster.nodes[stops], ports[stops]).await;
    cluster.nodes[stops].signal(libc::SIGTERM);
    let leader = async |at: usize| cluster.status(&cluster.nodes[at]).await["leader"]["name"].clone();
    until("another leads", async || leader(0).await.as_str().is_some_and(|leader| leader != "n3")).await;
    let next = usize::from(leader(0).await == "n2");
    let last = 1 - next;
    cluster.nodes[next].signal(libc::SIGTERM);
    until("the last one leads", async || leader(last).await == cluster.nodes[last].name.as_str()).await;
    assert!(cluster.nodes[next].ended().await.success(), "{}", cluster.nodes[next].log());
    drop(unread);
    assert!(cluster.nodes[stops].ended().await.success());
}

/// A Redis client that has asked for much, and is being answered.
async fn client_that_does_not_read(cluster: &Cluster, node: &Node, port: u16) -> TcpStream {
    let answer = cluster.request(Method::PUT, node, "/v1/kv/large", "x".repeat(1_000_000)).await;
    assert!(answer.status().is_success());
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.write_all("GET large\r\n".repeat(200).as_bytes()).expect("sent");
    let mut first = [0; 10];
    client.read_exact(&mut first).expect("the first reply");
    assert_eq!(&first, b"$1000000\r\n");
    client
}

/// A client that reads slowly, or not at all, keeps the node that it has asked from being opened again for a few seconds, and no
/// longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_keeps_no_node_from_leaving() {
    let (mut cluster, ports) = Cluster::with_redis().await;
    let follower = cluster.follower().await;
    let url = cluster.nodes[follower].http.clone();
    let client = client_that_does_not_read(&cluster, &cluster.nodes[follower], ports[follower]).await;
    let answer = cluster.request(Method::POST, &cluster.nodes[follower], "/v1/detach", "{}").await;
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(cluster.nodes[follower].still_runs(), "it has ended:\n{}", cluster.nodes[follower].log());
        let told: Option<Value> = match cluster.http.get(format!("{url}/v1/detached")).send().await {
            Ok(answer) => answer.json().await.ok(),
            Err(_) => None,
        };
        if told.is_some_and(|told| told["detached"].is_object()) {
            break;
        }
        assert!(Instant::now() < deadline, "it is not opened again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(client);
}

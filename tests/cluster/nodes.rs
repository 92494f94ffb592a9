//! `/v1/nodes`: what every member says of itself, on whichever node it is asked.

use crate::support::{Cluster, Node, until};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

async fn nodes(cluster: &Cluster, node: &Node) -> Value {
    cluster.request(Method::GET, node, "/v1/nodes", "").await.json().await.expect("json")
}

fn entry<'a>(told: &'a Value, name: &str) -> &'a Value {
    let nodes = told["nodes"].as_array().expect("a list");
    nodes.iter().find(|node| node["name"] == name).expect("a member")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_is_asked_and_one_that_is_down_holds_nobody_up() {
    let mut cluster = Cluster::start(3, &["--fault-injection"]).await;
    let leader = cluster.leader().await;
    cluster.put_surely(&cluster.nodes[leader], "k", "v").await;
    for node in &cluster.nodes {
        until("all are told of as equal and up to date", || async {
            let told = nodes(&cluster, node).await;
            told["nodes"].as_array().expect("a list").iter().all(|other| {
                let myself = other["id"] == told["asked_by"];
                let compared =
                    other["equal_at"].as_u64() > Some(0) && other["round_trip_us"].as_u64() > Some(0);
                other["lag_entries"] == 0 && other["error"].is_null() && (myself != compared)
            })
        })
        .await;
        let told = nodes(&cluster, node).await;
        assert_eq!(told["nodes"].as_array().expect("a list").len(), 3);
        assert_eq!(told["members"]["members"].as_array().expect("a list").len(), 3);
        assert_eq!(entry(&told, &cluster.nodes[leader].name)["report"]["role"], "leader");
        let report = &entry(&told, &node.name)["report"];
        assert_eq!(report["digest"]["index"], report["applied_index"]);
        assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    }

    // A node that hangs is waited for, but not for long.
    let hanging = (leader + 1) % 3;
    let asking = (leader + 2) % 3;
    cluster.nodes[hanging].signal(libc::SIGSTOP);
    let told = loop {
        let begun = Instant::now();
        let told = nodes(&cluster, &cluster.nodes[asking]).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        // For half a second it is told what was found out before.
        if !entry(&told, &cluster.nodes[hanging].name)["error"].is_null() {
            break told;
        }
    };
    let silent = entry(&told, &cluster.nodes[hanging].name);
    // Half a second, and three round trips.
    let error = silent["error"].as_str().expect("a sentence");
    assert!(error.starts_with("did not answer in 5") && error.ends_with(" ms"), "{silent}");
    // However many ask, the members are asked once in a while.
    let begun = Instant::now();
    let many = join_all((0..50).map(|_| nodes(&cluster, &cluster.nodes[asking]))).await;
    let asked: BTreeSet<u64> = many.iter().map(|told| told["at_ms"].as_u64().expect("a time")).collect();
    assert!(asked.len() < 10, "asked {} times", asked.len());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((&silent["report"], &silent["lag_entries"]), (&Value::Null, &Value::Null));
    cluster.nodes[hanging].signal(libc::SIGCONT);

    // One that is gone is told of too.
    cluster.nodes[hanging].kill();
    until("its death shows", || async {
        let told = nodes(&cluster, &cluster.nodes[asking]).await;
        entry(&told, &cluster.nodes[hanging].name)["error"].is_string()
    })
    .await;
}

/// R4, as those who watch see it: a node that differs is told of with the index.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_differs_is_told_of() {
    let cluster = Cluster::start(3, &["--fault-injection"]).await;
    let follower = cluster.follower().await;
    let other = cluster.leader().await;
    cluster.put_surely(&cluster.nodes[other], "before", "v").await;
    cluster.request(Method::POST, &cluster.nodes[follower], "/v1/debug/corrupt", "").await;
    cluster.put_surely(&cluster.nodes[other], "after", "v").await;
    until("the difference shows", || async {
        let told = nodes(&cluster, &cluster.nodes[other]).await;
        entry(&told, &cluster.nodes[follower].name)["differs_at"].as_u64() > Some(0)
    })
    .await;
    let told = nodes(&cluster, &cluster.nodes[other]).await;
    let [equal_at, differs_at] =
        ["equal_at", "differs_at"].map(|name| entry(&told, &cluster.nodes[follower].name)[name].as_u64());
    assert!(equal_at < differs_at, "{told}");
    assert_eq!(entry(&told, &cluster.nodes[other].name)["differs_at"], json!(null), "not with itself");
}

async fn samples_of(cluster: &Cluster, asked: usize, of: usize) -> (u16, Value) {
    let path = format!("/v1/samples?node={}", cluster.status(&cluster.nodes[of]).await["node"]["id"]);
    told(cluster, asked, &path).await
}

async fn told(cluster: &Cluster, asked: usize, path: &str) -> (u16, Value) {
    let answer = cluster.request(Method::GET, &cluster.nodes[asked], path, "").await;
    (answer.status().as_u16(), answer.json().await.expect("json"))
}

/// A node tells what another one did, second by second, or says that it does not answer; and it asks it no more than so often at
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn samples_of_a_member_are_told_by_every_node() {
    let cluster = Cluster::start(3, &[]).await;
    for asked in 0..3 {
        for of in 0..3 {
            let own = samples_of(&cluster, of, of).await.1;
            until("a sample", || async {
                let (status, told) = samples_of(&cluster, asked, of).await;
                assert_eq!((status, &told["node"]), (200, &own["node"]), "{told}");
                told["columns"]["at_ms"].as_array().is_some_and(|times| !times.is_empty())
            })
            .await;
        }
    }
    let (_, told_by_other) = samples_of(&cluster, 0, 1).await;
    let (_, told_by_itself) = samples_of(&cluster, 1, 1).await;
    let times = |told: &Value| told["columns"]["at_ms"].as_array().expect("a list").clone();
    assert!(times(&told_by_itself).starts_with(&times(&told_by_other)), "{told_by_other} {told_by_itself}");

    let path = format!("/v1/samples?node={}", told_by_itself["node"]["id"]);
    cluster.nodes[1].signal(libc::SIGSTOP);
    // A signal is not an answer: its threads stop one after another, and might still tell something.
    let tasks = format!("/proc/{}/task", cluster.nodes[1].pid());
    until("all of it has stopped", || async {
        std::fs::read_dir(&tasks).expect("it is there").flatten().all(|task| {
            std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") T "))
        })
    })
    .await;
    let begun = Instant::now();
    let all = join_all((0..60).map(|_| told(&cluster, 0, &path))).await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let codes: BTreeSet<(u16, &str)> =
        all.iter().map(|(status, problem)| (*status, problem["code"].as_str().expect("a code"))).collect();
    assert_eq!(codes, BTreeSet::from([(429, "busy"), (503, "unavailable")]));
    let asked = all.iter().filter(|(status, _)| *status == 503).count();
    assert!((32..60).contains(&asked), "asked {asked} times");
    cluster.nodes[1].signal(libc::SIGCONT);
    until("it answers again", || async { told(&cluster, 0, &path).await.0 == 200 }).await;
}

//! Nodes that cannot hear each other.

use crate::support::{Cluster, Node};
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

async fn cut(cluster: &Cluster, node: &Node, cut: bool) {
    let body = format!("{{\"cut\": {cut}}}");
    let answer = cluster.request(Method::PUT, node, "/v1/debug/links", body).await;
    assert_eq!(answer.status().as_u16(), 200);
}

/// H2, R5: a leader alone acknowledges nothing and answers no reads; what it could not finish is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_neither_acknowledges_nor_answers() {
    let cluster = Cluster::start(3, &["--fault-injection", "--request-timeout-ms", "2000"]).await;
    let leader = cluster.leader().await;
    let (alone, other) = (&cluster.nodes[leader], &cluster.nodes[(leader + 1) % 3]);
    cluster.put_surely(alone, "k", "old").await;
    cut(&cluster, alone, true).await;

    // Proposed before it noticed: the outcome is unknown, and the answer says so.
    let first = cluster.request(Method::PUT, alone, "/v1/kv/k", "lost").await;
    assert!([503, 504].contains(&first.status().as_u16()), "{first:?}");
    let status = first.status().as_u16();
    let problem: Value = first.json().await.unwrap();
    assert_eq!(problem["effect"], if status == 504 { "unknown" } else { "none" });

    cluster.put_surely(other, "k", "new").await;
    assert_eq!(cluster.get(alone, "k").await, Err(503));
    // The old value is there for those who ask for what the node has, and is labelled.
    let stale = cluster.request(Method::GET, alone, "/v1/kv/k?consistency=stale", "").await;
    assert_eq!(stale.headers()["lockstep-consistency"], "stale");
    assert_eq!(stale.text().await.unwrap(), "old");

    cut(&cluster, alone, false).await;
    cluster.all_ready().await;
    assert_eq!(cluster.get(alone, "k").await, Ok("new".into()));
    cluster.digests_agree().await;
}

/// A follower that was cut off comes back without disturbing the leader: pre-vote keeps the term.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_comes_back_does_not_raise_the_term() {
    let cluster = Cluster::start(3, &["--fault-injection"]).await;
    let follower = cluster.follower().await;
    let leader = cluster.leader().await;
    let term = cluster.status(&cluster.nodes[leader]).await["term"].clone();
    cut(&cluster, &cluster.nodes[follower], true).await;
    // Long enough for several election timeouts: until it has given up on the leader and tried.
    crate::support::until("the follower misses its leader", || async {
        cluster.status(&cluster.nodes[follower]).await["leader"].is_null()
            || !cluster.put(&cluster.nodes[follower], "x", "y", Duration::from_millis(2_500)).await
    })
    .await;
    cluster.put_surely(&cluster.nodes[leader], "k", "v").await;
    cut(&cluster, &cluster.nodes[follower], false).await;
    cluster.all_ready().await;
    assert_eq!(cluster.get(&cluster.nodes[follower], "k").await, Ok("v".into()));
    let after = cluster.status(&cluster.nodes[leader]).await;
    assert_eq!(after["term"], term);
    assert_eq!(after["role"], "leader");
}

/// Without a majority nothing is written and nothing is read; with it again, all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_waits() {
    let cluster = Cluster::start(3, &["--request-timeout-ms", "1500"]).await;
    let leader = cluster.leader().await;
    waits_without_a_majority(cluster, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_without_a_majority_waits() {
    let cluster = Cluster::start(3, &["--request-timeout-ms", "1500"]).await;
    let follower = cluster.follower().await;
    waits_without_a_majority(cluster, follower).await;
}

async fn waits_without_a_majority(mut cluster: Cluster, survivor: usize) {
    cluster.put_surely(&cluster.nodes[survivor], "k", "v").await;
    let [first, second] = [(survivor + 1) % 3, (survivor + 2) % 3];
    cluster.nodes[first].kill();
    cluster.nodes[second].kill();
    crate::support::until("the survivor notices", || async {
        cluster.get(&cluster.nodes[survivor], "k").await == Err(503)
    })
    .await;
    let refused = cluster.request(Method::PUT, &cluster.nodes[survivor], "/v1/kv/k", "w").await;
    assert_eq!(refused.status().as_u16(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.unwrap();
    assert_eq!((problem["code"].as_str(), problem["effect"].as_str()), (Some("unavailable"), Some("none")));
    // Many at once: the last try of each has the time to hear that nothing was done.
    let many = (0..300).map(|_| cluster.request(Method::PUT, &cluster.nodes[survivor], "/v1/kv/k", "w"));
    for refused in futures::future::join_all(many).await {
        assert_eq!(refused.status().as_u16(), 503, "{}", refused.text().await.unwrap());
    }
    let live = cluster.request(Method::GET, &cluster.nodes[survivor], "/livez", "").await;
    assert_eq!(live.status().as_u16(), 200, "liveness needs no quorum");
    cluster.nodes[first].start();
    cluster.ready(&cluster.nodes[first]).await;
    assert_eq!(cluster.get(&cluster.nodes[survivor], "k").await, Ok("v".into()));
}

/// The routes that break things exist only where they were asked for.
#[tokio::test(flavor = "multi_thread")]
async fn faults_are_not_injected_into_a_node_that_did_not_ask() {
    let cluster = Cluster::start(1, &[]).await;
    let answer = cluster.request(Method::PUT, &cluster.nodes[0], "/v1/debug/links", r#"{"cut": true}"#).await;
    assert_eq!(answer.status().as_u16(), 404);
}

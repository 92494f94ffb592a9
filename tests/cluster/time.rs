//! Time to live across nodes, restarts and changes of the lead.

use crate::support::{Cluster, until};
use reqwest::Method;
use std::time::{Duration, Instant};

/// A key with a time to live goes everywhere, without a write to bring the time along, and not early.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires_by_itself_and_not_early() {
    let cluster = Cluster::start(3, &[]).await;
    let node = &cluster.nodes[0];
    let begun = Instant::now();
    let put = cluster.request(Method::PUT, node, "/v1/kv/k?ttl_ms=700", "v").await;
    assert_eq!(put.status().as_u16(), 201);
    let answered = Instant::now();
    until("it is gone", || async { cluster.get(&cluster.nodes[1], "k").await == Err(404) }).await;
    assert!(begun.elapsed() >= Duration::from_millis(700), "gone early");
    assert!(answered.elapsed() < Duration::from_secs(5), "alive late");
    cluster.digests_agree().await;
}

/// A change of the lead neither resets a time to live nor ends it early; nor does a restart of all.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_lead_keeps_the_time_to_live() {
    let mut cluster = Cluster::start(3, &[]).await;
    let put = cluster.request(Method::PUT, &cluster.nodes[0], "/v1/kv/k?ttl_ms=60000", "v").await;
    assert_eq!(put.status().as_u16(), 201);
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let other = cluster.leader().await;
    cluster.put_surely(&cluster.nodes[other], "x", "y").await;
    let left = ttl_left(&cluster, other).await;
    assert!((30_000..=60_000).contains(&left), "{left}");
    cluster.nodes[leader].start();
    cluster.all_ready().await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    cluster.put_surely(&cluster.nodes[0], "x", "z").await;
    let later = ttl_left(&cluster, 0).await;
    assert!((10_000..=left).contains(&later), "{later} after {left}");
}

/// Time goes on while there is no majority, on the clocks of those that run; the first entry after it brings that time
/// along. What was to live shorter than the loss is gone before its owner can renew it.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_runs_out_while_there_is_no_majority() {
    const TTL: Duration = Duration::from_secs(5);
    let mut cluster = Cluster::start(3, &[]).await;
    let survivor = cluster.leader().await;
    for (path, ttl_ms) in [("/v1/kv/short", TTL.as_millis()), ("/v1/kv/long", 600_000)] {
        let path = format!("{path}?ttl_ms={ttl_ms}");
        let put = cluster.request(Method::PUT, &cluster.nodes[survivor], &path, "v").await;
        assert_eq!(put.status().as_u16(), 201);
    }
    let stored = Instant::now();
    for at in (0..3).filter(|at| *at != survivor) {
        cluster.nodes[at].kill();
    }
    until("its time has passed", || async {
        // Nothing is committed, so nothing expires: who asks for what the node has is still told of it.
        let path = "/v1/kv/short?consistency=stale";
        let stale = cluster.request(Method::GET, &cluster.nodes[survivor], path, "").await;
        assert_eq!(stale.status().as_u16(), 200);
        stored.elapsed() > TTL
    })
    .await;
    for at in (0..3).filter(|at| *at != survivor) {
        cluster.nodes[at].start();
    }
    until("the first renewal is answered", || async {
        let body = r#"{"ttl_ms": 600000}"#;
        let renewed =
            cluster.request(Method::POST, &cluster.nodes[survivor], "/v1/kv/short/expire", body).await;
        let status = renewed.status().as_u16();
        assert!([503, 504, 404].contains(&status), "{renewed:?}");
        status == 404
    })
    .await;
    assert_eq!(cluster.get(&cluster.nodes[survivor], "short").await, Err(404));
    assert_eq!(cluster.get(&cluster.nodes[survivor], "long").await, Ok("v".into()));
}

async fn ttl_left(cluster: &Cluster, node: usize) -> u64 {
    let answer = cluster.request(Method::GET, &cluster.nodes[node], "/v1/kv/k", "").await;
    answer.headers()["lockstep-ttl-ms"].to_str().unwrap().parse().unwrap()
}

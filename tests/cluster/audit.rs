//! A node whose state is not what the log says.

use crate::support::{Cluster, until};
use reqwest::Method;

/// R4: the node that differs is found by comparing digests and takes itself out of service, leader or not;
/// the others go on, and a restart computes its state anew from snapshot and log.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_differs_takes_itself_out_of_service() {
    let mut cluster = Cluster::start(3, &["--fault-injection"]).await;
    for victim_leads in [false, true] {
        let leader = cluster.leader().await;
        let victim = if victim_leads { leader } else { cluster.follower().await };
        let other = (victim + 1) % 3;
        let before = format!("before{victim_leads}");
        cluster.put_surely(&cluster.nodes[other], &before, "v").await;
        let done = cluster.request(Method::POST, &cluster.nodes[victim], "/v1/debug/corrupt", "").await;
        assert_eq!(done.status().as_u16(), 204);
        // The difference shows with the next entry.
        cluster.put_surely(&cluster.nodes[other], "k", "v").await;
        until("it is out of service", || async {
            !cluster.status(&cluster.nodes[victim]).await["differs_at"].is_null()
        })
        .await;
        for path in ["/readyz", "/v1/kv/k", "/v1/kv/k?consistency=stale"] {
            let refused = cluster.request(Method::GET, &cluster.nodes[victim], path, "").await;
            assert_eq!(refused.status().as_u16(), 503, "{path}");
            assert!(refused.text().await.unwrap().contains("differs"), "{path}");
        }
        until("another node leads", || async {
            cluster.status(&cluster.nodes[other]).await["leader"]["name"] != *cluster.nodes[victim].name
        })
        .await;
        for node in (0..3).filter(|node| *node != victim) {
            assert!(
                cluster.status(&cluster.nodes[node]).await["differs_at"].is_null(),
                "the others are right"
            );
        }
        cluster.put_surely(&cluster.nodes[other], "still", "here").await;
        assert_eq!(cluster.get(&cluster.nodes[other], &before).await, Ok("v".into()));

        cluster.nodes[victim].kill();
        cluster.nodes[victim].start();
        cluster.all_ready().await;
        cluster.digests_agree().await;
    }
}

/// Where nobody else can lead, because a majority agrees on nothing, the leader refuses clients' writes: their outcomes might be wrong.
/// Once there is a majority that agrees, it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_differs_and_stays_refuses_writes() {
    let mut cluster = Cluster::start(3, &["--fault-injection"]).await;
    let leader = cluster.leader().await;
    let (other, gone) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.put_surely(&cluster.nodes[other], "before", "v").await;
    cluster.nodes[gone].kill();
    cluster.request(Method::POST, &cluster.nodes[leader], "/v1/debug/corrupt", "").await;
    // The difference shows with the next entry. Of two that differ nobody knows which one is right.
    cluster.put_surely(&cluster.nodes[other], "after", "v").await;
    for node in [leader, other] {
        until("both are out of service", || async {
            !cluster.status(&cluster.nodes[node]).await["differs_at"].is_null()
        })
        .await;
    }
    // Each hands leadership to the other again and again, and in between nobody leads.
    until("the reason is told", || async {
        let refused = cluster.request(Method::PUT, &cluster.nodes[other], "/v1/kv/k", "v").await;
        assert_eq!(refused.status().as_u16(), 503);
        refused.text().await.expect("a text").contains("differs from the others'")
    })
    .await;
    cluster.nodes[gone].start();
    until("the one that is right is in service again", || async {
        cluster.status(&cluster.nodes[other]).await["differs_at"].is_null()
    })
    .await;
    cluster.put_surely(&cluster.nodes[gone], "k", "v").await;
    assert_eq!(cluster.get(&cluster.nodes[other], "k").await, Ok("v".into()));
    let refused = cluster.request(Method::GET, &cluster.nodes[leader], "/v1/kv/k", "").await;
    assert_eq!(refused.status().as_u16(), 503, "the one that is wrong stays out of service");
}

//! Growing and shrinking while the cluster serves.

use crate::support::{Cluster, Node, until};
use reqwest::Method;
use serde_json::Value;

async fn members(cluster: &Cluster, node: &Node) -> Vec<Value> {
    let body: Value = cluster.request(Method::GET, node, "/v1/members", "").await.json().await.unwrap();
    body["members"].as_array().unwrap().clone()
}

async fn voter(cluster: &Cluster, node: &Node, name: &str) -> bool {
    members(cluster, node).await.iter().any(|m| m["name"] == name && m["voter"] == true)
}

async fn id_of(cluster: &Cluster, node: &Node, name: &str) -> u64 {
    let all = members(cluster, node).await;
    all.iter().find(|m| m["name"] == name).and_then(|m| m["id"].as_u64()).unwrap()
}

/// R6: joining nodes get numbers from the log; a number that was used is never given again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_votes_leaves_and_its_number_is_not_given_again() {
    let mut cluster = Cluster::start(3, &[]).await;
    for number in 0..30 {
        cluster.put_surely(&cluster.nodes[0], &format!("k{number}"), "v").await;
    }
    let url = cluster.nodes[1].http.clone();
    let mut first = Node::new(cluster.dir.path(), "n4", &["--join", &url]);
    first.start();
    cluster.ready(&first).await;
    until("it has a vote", || voter(&cluster, &cluster.nodes[0], "n4")).await;
    assert_eq!(cluster.get(&first, "k29").await, Ok("v".into()));
    let first_id = id_of(&cluster, &first, "n4").await;
    assert!(first_id > 16, "numbers of joined nodes come from the log: {first_id}");

    // A restart changes nothing.
    first.kill();
    first.start();
    cluster.ready(&first).await;
    assert_eq!(id_of(&cluster, &first, "n4").await, first_id);

    let gone =
        cluster.request(Method::DELETE, &cluster.nodes[2], &format!("/v1/members/{first_id}"), "").await;
    assert_eq!(gone.status().as_u16(), 204);
    // Another node answered, and this one hears of it a moment later.
    until("it is no member any more", || async { members(&cluster, &cluster.nodes[0]).await.len() == 3 })
        .await;
    first.kill();

    let mut second = Node::new(cluster.dir.path(), "n5", &["--join", &url, "--learner"]);
    second.start();
    cluster.ready(&second).await;
    let second_id = id_of(&cluster, &cluster.nodes[0], "n5").await;
    assert!(second_id > first_id, "{second_id} after {first_id}");
    assert!(!voter(&cluster, &cluster.nodes[0], "n5").await, "a learner stays one when asked to");
    assert_eq!(cluster.get(&second, "k0").await, Ok("v".into()), "a learner reads linearizably");
    cluster.nodes.push(second);
    cluster.digests_agree().await;
}

/// A node that runs on after it was removed learns of it, takes nothing more, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_knows_it() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let removed = (leader + 1) % 3;
    let id = id_of(&cluster, &cluster.nodes[leader], &cluster.nodes[removed].name).await;
    let done =
        cluster.request(Method::DELETE, &cluster.nodes[leader], &format!("/v1/members/{id}"), "").await;
    assert_eq!(done.status().as_u16(), 204);
    for run in 0..2 {
        until("it knows", async || {
            let Ok(answer) =
                cluster.http.get(format!("{}/v1/status", cluster.nodes[removed].http)).send().await
            else {
                return false;
            };
            answer.json().await.is_ok_and(|status: Value| status["removed"] == true)
        })
        .await;
        for (method, path) in [
            (Method::PUT, "/v1/kv/k"),
            (Method::GET, "/v1/kv/k?consistency=stale"),
            (Method::GET, "/v1/watch"),
            (Method::GET, "/readyz"),
        ] {
            let answer = cluster.request(method.clone(), &cluster.nodes[removed], path, "v").await;
            assert_eq!(answer.status().as_u16(), 503, "{method} {path}");
            let problem: Value = answer.json().await.unwrap();
            let reason = problem["detail"].as_str().unwrap().to_owned();
            assert!(
                reason.contains("removed") || reason.contains("not a member"),
                "{method} {path}: {reason}"
            );
        }
        let told = || cluster.nodes[removed].log().matches("was removed from the cluster").count();
        until("it says so", || async { told() > run }).await;
        assert_eq!(told(), run + 1, "each of its lives says it once");
        // One that was not reachable when it happened learns of it too.
        cluster.nodes[removed].kill();
        cluster.nodes[removed].start();
    }
    until("it knows again", async || {
        let Ok(answer) = cluster.http.get(format!("{}/v1/status", cluster.nodes[removed].http)).send().await
        else {
            return false;
        };
        answer.json().await.is_ok_and(|status: Value| status["removed"] == true)
    })
    .await;
    // When one of the others falls silent, the word of the rest is as good as before.
    let silent = (leader + 2) % 3;
    cluster.nodes[silent].signal(libc::SIGSTOP);
    for _ in 0..20 {
        assert_eq!(cluster.status(&cluster.nodes[removed]).await["removed"], true);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    cluster.nodes[silent].signal(libc::SIGCONT);
    cluster.ready(&cluster.nodes[silent]).await;
    // Nobody else takes itself for removed.
    for other in [leader, (leader + 2) % 3] {
        assert_eq!(cluster.status(&cluster.nodes[other]).await["removed"], false);
        cluster.put_surely(&cluster.nodes[other], "k", "v").await;
    }
}

/// The leader that is removed hands over first, and the rest goes on.
#[tokio::test(flavor = "multi_thread")]
async fn removing_the_leader_hands_over_first() {
    let cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let name = cluster.nodes[leader].name.clone();
    let asked = &cluster.nodes[(leader + 1) % 3];
    let id = id_of(&cluster, asked, &name).await;
    let done = cluster.request(Method::DELETE, asked, &format!("/v1/members/{id}"), "").await;
    assert_eq!(done.status().as_u16(), 204, "{}", done.text().await.unwrap());
    cluster.put_surely(asked, "k", "v").await;
    until("the removed one is no member any more", || async {
        let left = members(&cluster, asked).await;
        left.len() == 2 && left.iter().all(|m| m["name"] != *name)
    })
    .await;
    // The removed one is no longer sent clients.
    let removed = &cluster.nodes[leader];
    until("it is not ready", || async {
        cluster.request(Method::GET, removed, "/readyz", "").await.status().as_u16() == 503
    })
    .await;
}

/// Changes that would cost the majority, or make no sense, are refused with a sentence.
#[tokio::test(flavor = "multi_thread")]
async fn senseless_changes_are_refused() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let node = &cluster.nodes[leader];
    for (method, path, body, status) in [
        (Method::DELETE, "/v1/members/999", "", 404),
        (Method::POST, "/v1/members/999/promote", "", 404),
        (Method::POST, "/v1/members/abc/promote", "", 400),
        (Method::POST, "/v1/leader", r#"{"to": 999}"#, 404),
        (Method::POST, "/v1/leader", r#"{"too": 1}"#, 400),
        (Method::POST, "/v1/members", r#"{"http": "x", "peer": "nowhere", "store_uuid": "u"}"#, 400),
    ] {
        let answer = cluster.request(method, node, path, body).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
    }
    // Of three voters one is down; without another of those left there is no majority.
    let down = (leader + 1) % 3;
    cluster.nodes[down].kill();
    let node = &cluster.nodes[leader];
    let victim = id_of(&cluster, node, &cluster.nodes[(leader + 2) % 3].name).await;
    until("the leader misses the dead one", || async {
        let all = members(&cluster, node).await;
        all.iter().any(|m| {
            m["name"] == cluster.nodes[down].name && m["silent_ms"].as_u64().is_none_or(|s| s > 3_000)
        })
    })
    .await;
    let refused = cluster.request(Method::DELETE, node, &format!("/v1/members/{victim}"), "").await;
    assert_eq!(refused.status().as_u16(), 409);
    assert!(refused.text().await.unwrap().contains("majority"));
}

/// The lead goes where it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_handed_to_a_given_node() {
    let cluster = Cluster::start(3, &[]).await;
    for _ in 0..3 {
        let to = cluster.follower().await;
        let id = id_of(&cluster, &cluster.nodes[to], &cluster.nodes[to].name).await;
        let asked = &cluster.nodes[(to + 1) % 3];
        let answer = cluster.request(Method::POST, asked, "/v1/leader", format!("{{\"to\": {id}}}")).await;
        assert_eq!(answer.status().as_u16(), 204);
        assert_eq!(cluster.leader().await, to);
    }
}

/// The lead stays where it is if it is to go to a node that has just stopped, and writes go on: that node does not store what it would have
/// to know, so it is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stopped_is_not_asked_to_lead() {
    let cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let (node, silent) = (&cluster.nodes[leader], &cluster.nodes[(leader + 1) % 3]);
    let id = id_of(&cluster, node, &silent.name).await;
    cluster.put_surely(node, "before", "v").await;
    let term = cluster.status(node).await["term"].as_u64();
    silent.signal(libc::SIGSTOP);
    // At first it is not known that it does not answer.
    for _ in 0..2 {
        let refused = cluster.request(Method::POST, node, "/v1/leader", format!("{{\"to\": {id}}}")).await;
        let status = refused.status().as_u16();
        let problem: Value = refused.json().await.unwrap();
        assert_eq!((status, &problem["code"]), (409, &Value::from("conflict")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("does not answer"), "{problem}");
        cluster.put_surely(node, "after", "v").await;
        assert_eq!(cluster.status(node).await["term"].as_u64(), term);
    }
    assert!(node.log().contains("leadership was not handed over"));
    silent.signal(libc::SIGCONT);
    cluster.all_ready().await;
    cluster.digests_agree().await;
}

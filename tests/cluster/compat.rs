//! The `/api` routes on a cluster: what was done is told the same everywhere and after a restart, and a node that is
//! cut off says so.

use crate::support::{Cluster, Node, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn ask(cluster: &Cluster, node: &Node, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = cluster.http.request(method, format!("{}{path}", node.http)).json(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("json"))
}

async fn history(cluster: &Cluster, node: &Node, limit: usize) -> Vec<Value> {
    let path = format!("/api/sync/history?limit={limit}");
    let (status, told) = ask(cluster, node, Method::GET, &path, &json!({})).await;
    assert_eq!((status, &told["success"]), (200, &json!(true)));
    told["history"].as_array().expect("a list").clone()
}

/// What is the same on all nodes, and for ever.
fn essence(history: &[Value]) -> Vec<Value> {
    let names = ["id", "type", "key", "value", "strategy", "index", "nodeId"];
    let part = |told: &Value| json!(names.iter().map(|name| told[*name].clone()).collect::<Vec<Value>>());
    history.iter().map(part).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_told_everywhere_and_after_a_restart() {
    let mut cluster = Cluster::start(3, &[]).await;
    let [first, second, third] = [0, 1, 2].map(|i| cluster.nodes[i].name.clone());
    let asked = [
        (0, Method::POST, "/api/cache", json!({"key": "a", "value": {"x": 1}}), "set"),
        (1, Method::DELETE, "/api/cache/a", json!({}), "delete"),
        (2, Method::POST, "/api/strategy", json!({"strategy": "LFU"}), "strategy-change"),
        (0, Method::POST, "/api/cache", json!({"key": "long", "value": "x".repeat(5_000)}), "set"),
        (1, Method::DELETE, "/api/cache", json!({}), "clear"),
    ];
    for (node, method, path, body, _) in &asked {
        let (status, told) = ask(&cluster, &cluster.nodes[*node], method.clone(), path, body).await;
        assert_eq!(status, 200, "{path}: {told}");
    }
    let newest = history(&cluster, &cluster.nodes[1], 5).await;
    let kinds: Vec<&str> = newest.iter().map(|told| told["type"].as_str().expect("a type")).collect();
    let expected: Vec<&str> = asked.iter().rev().map(|(.., kind)| *kind).collect();
    assert_eq!(kinds, expected);
    let taken_in: Vec<&str> = newest.iter().map(|told| told["nodeId"].as_str().expect("a name")).collect();
    assert_eq!(taken_in, [&second, &first, &third, &second, &first]);
    let sources: Vec<&str> = newest.iter().map(|told| told["source"].as_str().expect("a source")).collect();
    assert_eq!(sources, ["local", "remote", "remote", "local", "remote"]);
    assert_eq!((&newest[4]["value"], &newest[1]["omittedBytes"]), (&json!({"x": 1}), &json!(5_000)));
    assert_eq!((&newest[4]["bytes"], &newest[0]["removed"]), (&json!(7), &json!(1)));
    assert_eq!(newest[2]["strategy"], "LFU");
    assert!(newest.windows(2).all(|pair| pair[0]["index"].as_u64() >= pair[1]["index"].as_u64()));
    let index = newest[0]["index"].as_u64().expect("an index");
    for node in &cluster.nodes {
        until("it has applied all", || async {
            cluster.status(node).await["applied_index"].as_u64() >= Some(index)
        })
        .await;
        assert_eq!(essence(&history(&cluster, node, 5).await), essence(&newest));
    }

    // What a snapshot covers is not applied again after a restart; the snapshot tells of it.
    for node in &mut cluster.nodes {
        let taken = cluster.http.post(format!("{}/v1/snapshot", node.http)).send().await.expect("an answer");
        assert_eq!(taken.status().as_u16(), 200);
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    for node in &cluster.nodes {
        assert_eq!(essence(&history(&cluster, node, 5).await), essence(&newest));
    }
    // And it goes on.
    ask(
        &cluster,
        &cluster.nodes[2],
        Method::POST,
        "/api/cache",
        &json!({"key": "b", "value": 1, "ttl": 0.05}),
    )
    .await;
    until("its end is told", || async {
        let newest = history(&cluster, &cluster.nodes[0], 2).await;
        newest[0]["type"] == "expire" && newest[0]["source"] == "local" && newest[1]["nodeId"] == *third
    })
    .await;
    let longest = history(&cluster, &cluster.nodes[0], 1_000).await;
    assert!((7..=100).contains(&longest.len()), "{}", longest.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_shows_what_it_has_answered() {
    let cluster = Cluster::start(3, &[]).await;
    let follower = &cluster.nodes[cluster.follower().await];
    for i in 0..200 {
        let item = json!({"key": format!("k{i}"), "value": i});
        assert_eq!(ask(&cluster, follower, Method::POST, "/api/cache", &item).await.0, 200);
        if i % 2 == 0 {
            assert_eq!(history(&cluster, follower, 1).await[0]["key"], item["key"]);
        } else {
            let (_, metrics) = ask(&cluster, follower, Method::GET, "/api/metrics", &json!({})).await;
            assert_eq!(metrics["cache"]["sets"], json!(i + 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_says_so() {
    let cluster = Cluster::start(3, &["--fault-injection", "--request-timeout-ms", "1500"]).await;
    let follower = &cluster.nodes[cluster.follower().await];
    ask(&cluster, follower, Method::POST, "/api/cache", &json!({"key": "a", "value": 1})).await;
    cluster.request(Method::PUT, follower, "/v1/debug/links", r#"{"cut": true}"#).await;
    let write = json!({"key": "a", "value": 2});
    let (status, told) = ask(&cluster, follower, Method::POST, "/api/cache", &write).await;
    // What it passed on before it noticed is on its way, or lost.
    assert!([503, 504].contains(&status), "{status} {told}");
    let unknown = told["message"].as_str().expect("a message").contains("outcome is unknown");
    assert_eq!((unknown, &told["success"]), (status == 504, &json!(false)), "{told}");
    for (method, path) in
        [(Method::GET, "/api/cache/a"), (Method::GET, "/api/cache"), (Method::POST, "/api/sync/force")]
    {
        let (status, told) = ask(&cluster, follower, method, path, &json!({})).await;
        assert_eq!((status, &told["success"]), (503, &json!(false)), "{path}: {told}");
        assert_eq!(told["error"], Value::Null, "{path}");
    }
    for (path, part) in [("/api/sync/status", ""), ("/api/metrics", "/sync")] {
        let (status, told) = ask(&cluster, follower, Method::GET, path, &json!({})).await;
        assert_eq!(
            (status, told.pointer(&format!("{part}/connectedNodes"))),
            (200, Some(&json!(0))),
            "{told}"
        );
    }
    let (status, health) = ask(&cluster, follower, Method::GET, "/health", &json!({})).await;
    assert_eq!((status, &health["status"]), (200, &json!("unready")));
    cluster.request(Method::PUT, follower, "/v1/debug/links", r#"{"cut": false}"#).await;
    until("it is back", || async {
        let (status, told) = ask(&cluster, follower, Method::POST, "/api/sync/force", &json!({})).await;
        status == 200 && told["peers"].as_array().expect("a list").iter().all(|peer| peer["equal"] == true)
    })
    .await;
}

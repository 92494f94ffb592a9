//! The two examples by which a well-known Node.js cache server explains its policies, at the speed of a program: each
//! request is sent as soon as the one before is answered.

use crate::support::{Cluster, Node};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy)]
enum Api {
    V1,
    Compat,
}

struct Client<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    api: Api,
}

impl Client<'_> {
    async fn put(&self, key: &str) {
        let Self { cluster, node, api } = self;
        let request = match api {
            Api::V1 => cluster.http.put(format!("{}/v1/kv/{key}", node.http)).body("x"),
            Api::Compat => cluster
                .http
                .post(format!("{}/api/cache", node.http))
                .json(&json!({ "key": key, "value": "x" })),
        };
        assert!(request.send().await.expect("an answer").status().is_success());
    }

    /// Whether the key was there, and how often it was used as the answer says, if it does.
    async fn get(&self, key: &str) -> (bool, Option<u64>) {
        let Self { cluster, node, api } = self;
        let path = match api {
            Api::V1 => format!("{}/v1/kv/{key}", node.http),
            Api::Compat => format!("{}/api/cache/{key}", node.http),
        };
        let response = cluster.http.get(path).send().await.expect("an answer");
        let found = response.status().is_success();
        let uses = match (api, found) {
            (Api::Compat, true) => {
                response.json::<Value>().await.expect("json")["value"]["accessCount"].as_u64()
            }
            _ => None,
        };
        (found, uses)
    }

    async fn clear(&self) {
        let url = format!("{}/api/cache", self.node.http);
        assert!(self.cluster.http.delete(url).send().await.expect("an answer").status().is_success());
    }

    async fn strategy(&self, strategy: &str) {
        let url = format!("{}/api/strategy", self.node.http);
        let request = self.cluster.http.post(url).json(&json!({ "strategy": strategy }));
        assert!(request.send().await.expect("an answer").status().is_success());
    }

    /// The keys that are left, by reads that count nowhere.
    async fn left(&self) -> Vec<String> {
        let url = format!("{}/v1/keys", self.node.http);
        let keys: Value =
            self.cluster.http.get(url).send().await.expect("an answer").json().await.expect("json");
        let keys = keys["keys"].as_array().expect("a list").iter();
        keys.map(|key| key["key"].as_str().expect("text").to_owned()).collect()
    }
}

/// A, B, C are there and A is read: D takes B's place. And with counts: A once, B three times, C twice, so A goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_hold_at_the_speed_of_a_program() {
    const ROUNDS: usize = 50;
    let cluster = Cluster::start(3, &["--capacity-entries", "3"]).await;
    let leader = cluster.leader().await;
    for (position, api) in [
        (leader, Api::V1),
        (leader, Api::Compat),
        ((leader + 1) % 3, Api::V1),
        ((leader + 1) % 3, Api::Compat),
    ] {
        let client = Client { cluster: &cluster, node: &cluster.nodes[position], api };
        client.strategy("LRU").await;
        for round in 0..ROUNDS {
            client.clear().await;
            for key in ["A", "B", "C"] {
                client.put(key).await;
            }
            assert!(client.get("A").await.0);
            client.put("D").await;
            assert_eq!(client.left().await, ["A", "C", "D"], "LRU, round {round}, {api:?}, node {position}");
        }
        client.strategy("LFU").await;
        for round in 0..ROUNDS {
            client.clear().await;
            for key in ["C", "B", "A"] {
                client.put(key).await;
            }
            // A and C are used once more than B, which is neither the oldest nor the newest.
            for key in ["A", "C", "A", "C"] {
                assert!(client.get(key).await.0);
            }
            client.put("D").await;
            assert_eq!(client.left().await, ["A", "C", "D"], "LFU, round {round}, {api:?}, node {position}");
        }
    }
}

/// Each read of a key by one node counts at once in what that node answers, under every policy.
#[tokio::test(flavor = "multi_thread")]
async fn uses_are_counted_under_every_policy() {
    let cluster = Cluster::start(3, &[]).await;
    let follower = cluster.follower().await;
    for policy in ["lru", "lfu", "s3fifo"] {
        let config = json!({ "policy": policy }).to_string();
        let changed = cluster.http.put(format!("{}/v1/config", cluster.nodes[0].http));
        let changed =
            changed.header("content-type", "application/json").body(config).send().await.expect("an answer");
        assert!(changed.status().is_success(), "{}", changed.text().await.unwrap());
        for position in [follower, (follower + 1) % 3] {
            let client = Client { cluster: &cluster, node: &cluster.nodes[position], api: Api::Compat };
            client.clear().await;
            client.put("key").await;
            client.put("newer").await;
            let mut counts = Vec::new();
            for _ in 0..20 {
                counts.push(client.get("key").await.1.expect("a count"));
            }
            assert!(counts.is_sorted(), "{policy}: {counts:?}");
            crate::support::until(&format!("{policy}: all twenty are counted"), || async {
                let url = format!("{}/api/cache", client.node.http);
                let all: Value = cluster.http.get(url).send().await.unwrap().json().await.unwrap();
                all.to_string().contains("\"accessCount\":21")
            })
            .await;
        }
    }
}

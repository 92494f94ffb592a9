//! Times to live that uses renew, through every route that can set one.

use crate::server::Server;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What each key has left, all at one point of the log.
async fn left(server: &Server) -> BTreeMap<String, u64> {
    let page: Value = server.get("/v1/keys").await.json().await.unwrap();
    let entries = page["keys"].as_array().unwrap().iter();
    let pair = |entry: &Value| Some((entry["key"].as_str().unwrap().to_owned(), entry["ttl_ms"].as_u64()?));
    entries.filter_map(pair).collect()
}

#[tokio::test]
async fn uses_renew_a_time_to_live_that_slides() {
    const SLIDING: [&str; 5] = ["batch-incr", "batch-put", "expire", "incr", "put"];
    let server = Server::start().await;
    let body = r#"{"ttl_ms": 60000, "sliding": true}"#;
    server.send(Method::PUT, "/v1/kv/put?ttl_ms=60000&sliding=true", &[], "1").await;
    server.send(Method::POST, "/v1/kv/incr/incr", &[], body).await;
    server.put("expire", "1").await;
    let expire = server.send(Method::POST, "/v1/kv/expire/expire", &[], body).await;
    assert_eq!(expire.json::<Value>().await.unwrap()["ttl_ms"], 60_000);
    let batch = json!({"ops": [
        {"op": "put", "key": "batch-put", "value": "1", "ttl_ms": 60_000, "sliding": true},
        {"op": "incr", "key": "batch-incr", "ttl_ms": 60_000, "sliding": true},
    ]});
    server.send(Method::POST, "/v1/batch", &[], batch.to_string()).await;
    // The one that does not slide is the last, so that it has the most left until the others are used.
    server.send(Method::PUT, "/v1/kv/fixed?ttl_ms=60000&sliding=false", &[], "1").await;

    // Log time moves with the log only.
    while left(&server).await["fixed"] == 60_000 {
        server.put("other", "1").await;
    }
    let before = left(&server).await;
    assert_eq!(before.len(), 6, "{before:?}");
    assert!(SLIDING.iter().all(|key| before[*key] <= before["fixed"]), "{before:?}");
    let read = |key: &str| json!({"op": "get", "key": key});
    let mut reads: Vec<Value> = before.keys().map(|key| read(key)).collect();
    // Only what goes through the log counts at once.
    reads.push(json!({"op": "put", "key": "other", "value": "2"}));
    server.send(Method::POST, "/v1/batch", &[], json!({"ops": reads}).to_string()).await;
    let after = left(&server).await;
    assert!(SLIDING.iter().all(|key| after[*key] > after["fixed"]), "{before:?} {after:?}");
    server.stop().await;
}

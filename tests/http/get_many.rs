//! Reading many keys at once: exact, at one moment, in parts, and without a log entry.

use crate::server::{Server, limits};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockstep::api::{Consistency, WireValue};
use lockstep::client::Client;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A server whose bodies may be as large as those of a node.
async fn roomy() -> Server {
    let mut limits = limits();
    (limits.http, limits.front) = Default::default();
    Server::start_with(limits, |options| options).await
}

async fn get_many(server: &Server, query: &str, keys: &[&str]) -> Value {
    let body = json!({ "keys": keys }).to_string();
    let answer = server.send(Method::POST, &format!("/v1/get{query}"), &[JSON], body).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json().await.expect("JSON")
}

/// The index of the newest log entry.
async fn log_index(server: &Server) -> u64 {
    let status: Value = server.get("/v1/status").await.json().await.expect("JSON");
    status["last_log_index"].as_u64().expect("a number")
}

/// Reports of what was read would be in the log, like those of other reads.
async fn do_not_count(server: &Server) {
    let quiet = r#"{"touch":{"enabled":false}}"#;
    assert_eq!(server.send(Method::PUT, "/v1/config", &[JSON], quiet).await.status(), 200);
}

/// Stores `count` values of so many bytes, in batches.
async fn fill(server: &Server, count: usize, bytes: usize) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|number| format!("k{number:05}")).collect();
    for part in keys.chunks((1_000_000 / bytes).clamp(1, 1_000)) {
        let put = |key: &String| json!({"op": "put", "key": key, "value": "x".repeat(bytes)});
        let body = json!({"ops": part.iter().map(put).collect::<Vec<_>>()}).to_string();
        assert_eq!(server.send(Method::POST, "/v1/batch", &[JSON], body).await.status(), 200);
    }
    keys
}

#[tokio::test]
async fn many_keys_are_read_in_order_with_all_that_is_known_of_them() {
    let server = roomy().await;
    let put = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        assert!(server.send(Method::PUT, path, headers, body).await.status().is_success());
    };
    put("/v1/kv/a", &[], b"one".to_vec()).await;
    put("/v1/kv/a", &[("content-type", "text/plain")], b"two".to_vec()).await;
    put("/v1/kv/b?ttl_ms=60000", &[], vec![0, 255]).await;
    let before = log_index(&server).await;
    let told = get_many(&server, "", &["b", "none", "a", "b"]).await;
    let [b, none, a, again] = &told["results"].as_array().expect("a list")[..] else { panic!("{told}") };
    assert_eq!(
        (none, &told["next"]),
        (&json!({"found": false, "gone": null, "complete": true}), &Value::Null)
    );
    assert_eq!((&a["value"], &a["content_type"]), (&json!("two"), &json!("text/plain")));
    assert_eq!((&a["version"], &a["ttl_ms"], &b["version"]), (&json!(2), &Value::Null, &json!(1)));
    assert_eq!(b["value_base64"], BASE64.encode([0, 255]));
    assert!((50_000..=60_000).contains(&b["ttl_ms"].as_u64().expect("a number")), "{b}");
    assert_eq!(b["revision"], again["revision"]);
    assert!(
        a["created_at_ms"].as_u64() <= a["modified_at_ms"].as_u64() && a["created_at_ms"].as_u64() > Some(0)
    );

    // A batch that only reads says the same, and neither is in the log.
    let reads = json!({"ops": [{"op": "get", "key": "a"}, {"op": "get", "key": "none"}]}).to_string();
    let batch = server.send(Method::POST, "/v1/batch", &[JSON], reads.clone()).await;
    assert_eq!(batch.headers()["lockstep-consistency"], "linearizable");
    let batch: Value = batch.json().await.expect("JSON");
    assert_eq!(batch["results"][0]["value"], "two");
    assert_eq!(batch["results"][1], json!({"op": "get", "found": false}));
    assert_eq!(batch["revision"].as_u64(), told["index"].as_u64());
    assert_eq!(log_index(&server).await, before, "reads are not in the log");
    // With an idempotency key the first answer is the answer, so it is in the log.
    let keyed = async || {
        let key = ("idempotency-key", "one");
        let answer = server.send(Method::POST, "/v1/batch", &[JSON, key], reads.clone()).await;
        answer.json::<Value>().await.expect("JSON")
    };
    let first = keyed().await;
    put("/v1/kv/a", &[], b"three".to_vec()).await;
    assert_eq!(keyed().await, first);
    assert!(log_index(&server).await >= before + 2);
    let stale = get_many(&server, "?consistency=stale", &["a"]).await;
    assert_eq!(stale["results"][0]["value"], "three");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_and_where() {
    let server = roomy().await;
    let many: Vec<String> = (0..10_001).map(|number| number.to_string()).collect();
    for (body, code, position) in [
        (json!({"keys": []}), "invalid_body", None),
        (json!({ "keys": many }), "invalid_body", None),
        (json!({"keys": ["a"], "more": 1}), "invalid_body", None),
        (json!({}), "invalid_body", None),
        (json!({"keys": ["a", ""]}), "invalid_key", Some(1)),
        (json!({"keys": ["a", "b", "x".repeat(4_097)]}), "invalid_key", Some(2)),
    ] {
        let answer = server.send(Method::POST, "/v1/get", &[JSON], body.to_string()).await;
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!((problem["code"].as_str(), problem["op"].as_u64()), (Some(code), position), "{problem}");
    }
    server
        .refused(Method::POST, "/v1/get?consistency=old", &[JSON], r#"{"keys":["a"]}"#, "invalid_query")
        .await;
    server.refused(Method::POST, "/v1/get?min_index=999999", &[JSON], r#"{"keys":["a"]}"#, "conflict").await;
    for query in ["values=true&details=true", "values=1"] {
        server.refused(Method::GET, &format!("/v1/keys?{query}"), &[], "", "invalid_query").await;
    }
    server.stop().await;
}

/// A client that begins with 10,000 keys, and one whose values are large.
#[tokio::test]
async fn a_first_copy_takes_few_requests_and_no_log_entry() {
    let server = roomy().await;
    do_not_count(&server).await;
    let keys = fill(&server, 10_000, 100).await;
    let before = log_index(&server).await;
    let (mut after, mut requests, mut copied) = (String::new(), 0, Vec::new());
    loop {
        let page = server.get(&format!("/v1/keys?values=true&limit=10000&after={after}")).await;
        let page: Value = page.json().await.expect("JSON");
        requests += 1;
        let entries = page["entries"].as_array().expect("a list");
        copied.extend(entries.iter().map(|entry| entry["key"].as_str().expect("a key").to_owned()));
        assert!(entries.iter().all(|entry| entry["value"].as_str().is_some_and(|value| value.len() == 100)));
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    assert_eq!(copied, keys);
    assert!(requests <= 12, "{requests} requests");
    let all: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(get_many(&server, "", &all).await["next"], Value::Null, "in one request, too");
    assert_eq!(log_index(&server).await, before);
    server.stop().await;

    let server = roomy().await;
    do_not_count(&server).await;
    let keys = fill(&server, 2_000, 20_000).await;
    let before = log_index(&server).await;
    let mut wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut sizes = Vec::new();
    while !wanted.is_empty() {
        let part = get_many(&server, "", &wanted).await;
        let results = part["results"].as_array().expect("a list");
        assert!(
            results.iter().all(|found| found["value"].as_str().is_some_and(|value| value.len() == 20_000))
        );
        sizes.push(results.len());
        let next = part["next"].as_u64().map_or(wanted.len(), |next| next.try_into().expect("a position"));
        assert_eq!(next, results.len());
        wanted.drain(..next);
    }
    // 8 MiB are 420 values.
    assert_eq!(sizes, [420, 420, 420, 420, 320]);
    let url = format!("http://{}", server.address);
    let client = Client::new(&[url], Duration::from_secs(20)).expect("a URL");
    let found = client.get_many(&keys, Consistency::Linearizable).await.expect("read");
    assert!(found.len() == 2_000 && found.iter().flatten().count() == 2_000);
    let page = client.entries("k0000", Some("k00001"), 3, Consistency::Stale).await.expect("read").value;
    let shown: Vec<&str> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!((shown, page.next.as_deref()), (vec!["k00002", "k00003", "k00004"], Some("k00004")));
    let WireValue::Text { value } = &page.entries[0].entry.value else { panic!("it is text") };
    assert_eq!(value.len(), 20_000);
    // All or nothing, so a batch must fit into one answer.
    let gets: Vec<Value> = keys[..1_000].iter().map(|key| json!({"op": "get", "key": key})).collect();
    server
        .refused(Method::POST, "/v1/batch", &[JSON], &json!({ "ops": gets }).to_string(), "invalid_batch")
        .await;
    let gets = json!({ "ops": gets[..400] }).to_string();
    assert_eq!(server.send(Method::POST, "/v1/batch", &[JSON], gets).await.status(), 200);
    assert_eq!(log_index(&server).await, before);
    server.stop().await;
}

//! Independent operations in one batch, why a key is gone, and what is told of entries.

use crate::server::Server;
use reqwest::Method;
use serde_json::{Value, json};

async fn each(server: &Server, headers: &[(&str, &str)], ops: Value) -> Value {
    let body = json!({"mode": "each", "ops": ops}).to_string();
    let answer = server.send(Method::POST, "/v1/batch", headers, body).await;
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn what_is_refused_does_not_hinder_the_rest_and_is_told_what_its_key_has() {
    let server = Server::start().await;
    server.put("a", "1").await;
    server.put("n", "1").await;
    server.put("gone", "1").await;
    let deleted = server.send(Method::DELETE, "/v1/kv/gone", &[], "").await;
    let deleted_at: u64 = deleted.headers()["lockstep-index"].to_str().unwrap().parse().unwrap();
    let before = server.node.status().await.applied_index;
    let answer = each(
        &server,
        &[("lockstep-origin", "app-1")],
        json!([
            {"op": "put", "key": "a", "value": "2", "if_absent": true, "previous": true},
            {"op": "put", "key": "b", "value": "2", "ttl_ms": 60000, "sliding": true},
            {"op": "put", "key": "gone", "value": "2", "if_revision": 3},
            {"op": "incr", "key": "n", "by": i64::MAX},
            {"op": "delete", "key": "b2"},
            {"op": "get", "key": "a"},
        ]),
    )
    .await;
    assert_eq!(server.node.status().await.applied_index, before + 1, "one log entry");
    let [put_a, put_b, gone, incr, delete, get] = &answer["results"].as_array().unwrap()[..] else {
        panic!("{answer}")
    };
    let refused = &put_a["refused"];
    assert_eq!((&put_a["op"], &refused["code"]), (&json!("put"), &json!("precondition_failed")));
    assert_eq!(
        (&refused["found"], &refused["value"], &refused["version"]),
        (&json!(true), &json!("1"), &json!(1))
    );
    assert_eq!((&refused["origin"], &refused["ttl_ms"]), (&Value::Null, &Value::Null));
    assert_eq!(put_b, &json!({"op": "put", "created": true}));
    let refused = &gone["refused"];
    assert_eq!((&refused["found"], &refused["gone"]["cause"]), (&json!(false), &json!("delete")));
    assert_eq!((&refused["gone"]["revision"], &refused["complete"]), (&json!(deleted_at), &json!(true)));
    assert_eq!((&incr["refused"]["code"], incr["refused"].get("value")), (&json!("overflow"), None));
    assert_eq!(delete, &json!({"op": "delete", "found": false}));
    assert_eq!((&get["found"], &get["value"]), (&json!(true), &json!("1")));

    let read = server.get("/v1/kv/b").await;
    let entry = read.headers()["lockstep-entry"].to_str().unwrap().to_owned();
    assert!(entry.starts_with("version=1, created_at_ms="), "{entry}");
    assert!(entry.ends_with(", sliding_ms=60000, origin=\"app-1\""), "{entry}");
    assert!(read.headers()["lockstep-time-ms"].to_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000_000);
    server.stop().await;
}

/// G5: refusals are remembered with the rest of the answer.
#[tokio::test]
async fn a_repeated_request_is_answered_as_before() {
    let server = Server::start().await;
    server.put("a", "1").await;
    let ops = json!([{"op": "put", "key": "a", "value": "2", "if_absent": true, "previous": true},
                     {"op": "put", "key": "b", "value": "2"}, {"op": "delete", "key": "none"}]);
    let key = [("idempotency-key", "once")];
    let first = each(&server, &key, ops.clone()).await;
    server.send(Method::DELETE, "/v1/kv/a", &[], "").await;
    assert_eq!(each(&server, &key, ops.clone()).await, first);
    let body = json!({"ops": ops}).to_string();
    server.refused(Method::POST, "/v1/batch", &key, &body, "idempotency_key_reused").await;
    server.stop().await;
}

/// They are one log entry, and whoever asks what changed is told of the key once.
#[tokio::test]
async fn operations_of_one_key_see_each_other() {
    let server = Server::start().await;
    let before = server.node.status().await.applied_index;
    let ops = json!([
        {"op": "put", "key": "n", "value": "7"}, {"op": "incr", "key": "n", "by": 3}, {"op": "get", "key": "n"},
        {"op": "put", "key": "n", "value": "8", "if_absent": true}, {"op": "delete", "key": "n"},
        {"op": "incr", "key": "n"}, {"op": "put", "key": "brief", "value": "1"}, {"op": "delete", "key": "brief"},
    ]);
    let answer = each(&server, &[], ops).await;
    let results = answer["results"].as_array().unwrap();
    assert_eq!((&results[1]["value"], &results[2]["value"]), (&json!(10), &json!("10")));
    assert_eq!(results[3]["refused"]["code"], "precondition_failed");
    assert_eq!((&results[5]["value"], &results[5]["created"]), (&json!(1), &json!(true)));
    let revision = answer["revision"].as_u64().unwrap();
    assert_eq!(revision, before + 1, "one log entry");
    let read = server.get("/v1/kv/n").await;
    assert_eq!(read.headers()["etag"].to_str().unwrap(), format!("\"{revision}\""));
    assert_eq!(read.text().await.unwrap(), "1");
    let changes: Value =
        server.get(&format!("/v1/changes?since={before}&values=true")).await.json().await.unwrap();
    let [changed] = &changes["changes"].as_array().unwrap()[..] else { panic!("{changes}") };
    assert_eq!(
        (&changed["key"], &changed["value"], &changed["version"]),
        (&json!("n"), &json!("1"), &json!(1))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_batch_of_each_has_the_shape_of_a_batch() {
    let server = Server::start().await;
    let put = |key: &str| json!({"op": "put", "key": key, "value": "1"});
    let too_many: Vec<Value> = (0..1_025).map(|number| put(&number.to_string())).collect();
    for (ops, code) in [
        (json!([]), "invalid_batch"),
        (json!(too_many), "too_large"),
        (
            json!([{"op": "put", "key": "a", "value": "1", "if_absent": true, "if_absent_since": 1}]),
            "invalid_body",
        ),
        (json!([{"op": "put", "key": "a", "value": "1", "ttl_ms": 0}]), "invalid_ttl"),
    ] {
        let body = json!({"mode": "each", "ops": ops}).to_string();
        server.refused(Method::POST, "/v1/batch", &[], &body, code).await;
    }
    let body = json!({"mode": "some", "ops": [put("a")]}).to_string();
    server.refused(Method::POST, "/v1/batch", &[], &body, "invalid_body").await;
    server.stop().await;
}

#[tokio::test]
async fn a_missing_key_says_why_and_since_when() {
    let server = Server::start().await;
    let gone = async |key: &str| -> Value {
        let answer = server.get(&format!("/v1/kv/{key}")).await;
        assert_eq!(answer.status(), 404);
        let problem: Value = answer.json().await.unwrap();
        json!([problem["gone"]["cause"], problem["complete"]])
    };
    assert_eq!(gone("never").await, json!([null, true]));
    server.configure(json!({"capacity_entries": 2})).await;
    for key in ["a", "b", "c"] {
        server.put(key, "1").await;
    }
    assert_eq!(gone("a").await, json!(["evict", true]));
    server.send(Method::DELETE, "/v1/kv/b", &[], "").await;
    assert_eq!(gone("b").await, json!(["delete", true]));
    server.send(Method::DELETE, "/v1/kv?prefix=c", &[], "").await;
    assert_eq!(gone("c").await, json!(["clear", true]));
    server.put("short?ttl_ms=1", "x").await;
    server.until_absent("short").await;
    assert_eq!(gone("short").await, json!(["expire", true]));

    // The same for refused conditions, and for changes of nothing.
    let problem =
        server.refused(Method::PUT, "/v1/kv/b", &[("if-match", "*")], "2", "precondition_failed").await;
    assert_eq!(problem["gone"]["cause"], "delete");
    let problem = server.refused(Method::DELETE, "/v1/kv/b", &[], "", "not_found").await;
    assert_eq!((&problem["gone"]["cause"], &problem["complete"]), (&json!("delete"), &json!(true)));
    let problem = server.refused(Method::POST, "/v1/kv/b/persist", &[], "", "not_found").await;
    let since = problem["gone"]["revision"].as_u64().unwrap();

    // An older state does not raise it again.
    let older = format!("/v1/kv/b?if_absent_since={}", since - 1);
    server.refused(Method::PUT, &older, &[], "2", "precondition_failed").await;
    let incr = async |key: &str, index: u64| {
        let path = format!("/v1/kv/{key}/incr?if_absent_since={index}");
        server.send(Method::POST, &path, &[], "{}").await.status().as_u16()
    };
    assert_eq!((incr("b", since - 1).await, incr("n", since).await, incr("n", since).await), (412, 200, 412));
    let put = server.send(Method::PUT, &format!("/v1/kv/b?if_absent_since={since}"), &[], "2").await;
    assert_eq!(put.status(), 201);
    server
        .refused(Method::PUT, &format!("/v1/kv/b?if_absent_since={since}"), &[], "3", "precondition_failed")
        .await;
    server.refused(Method::PUT, "/v1/kv/new?if_absent_since=1000000", &[], "2", "precondition_failed").await;
    for wrong in ["x", "-1", "1@0badcafe0"] {
        let code = if wrong.contains('@') { "other_history" } else { "invalid_query" };
        server.refused(Method::PUT, &format!("/v1/kv/b?if_absent_since={wrong}"), &[], "2", code).await;
    }
    server
        .refused(Method::PUT, "/v1/kv/b?if_absent_since=1", &[("if-match", "*")], "2", "invalid_query")
        .await;

    // In a batch it may name its history, too.
    let missed = server.get("/v1/kv/batched").await;
    let (index, history) =
        (server.node.status().await.applied_index, missed.headers()["lockstep-history"].clone());
    let history = history.to_str().unwrap();
    let json = [("content-type", "application/json")];
    let batch = |since: Value| {
        json!({"ops": [
            {"op": "get", "key": "batched"},
            {"op": "put", "key": "batched", "value": "1", "if_absent_since": since},
        ]})
        .to_string()
    };
    for (wrong, code) in [
        (json!(format!("{index}@0badcafe0")), "other_history"),
        (json!("x"), "invalid_body"),
        (json!(-1), "invalid_body"),
        (json!(index + 1_000_000), "precondition_failed"),
    ] {
        let problem = server.refused(Method::POST, "/v1/batch", &json, &batch(wrong.clone()), code).await;
        assert_eq!(problem["op"], 1, "{wrong}: {problem}");
    }
    let named = batch(json!(format!("{index}@{history}")));
    assert_eq!(server.send(Method::POST, "/v1/batch", &json, named).await.status(), 200);
    let number = batch(json!(index)).replace("batched", "other");
    assert_eq!(server.send(Method::POST, "/v1/batch", &json, number).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn an_origin_is_a_short_name() {
    let server = Server::start().await;
    for (origin, good) in [
        ("a", true),
        (&"x".repeat(64), true),
        (&"x".repeat(65), false),
        ("a b", false),
        ("a,b", false),
        ("\"a\"", false),
        ("", false),
    ] {
        let put = server.send(Method::PUT, "/v1/kv/k", &[("lockstep-origin", origin)], "v").await;
        assert_eq!(put.status().is_success(), good, "{origin:?}");
    }
    let listed: Value = server.get("/v1/keys").await.json().await.unwrap();
    assert_eq!(listed["keys"][0]["origin"], "x".repeat(64));
    server.stop().await;
}

//! What the key routes answer when all is well.

use crate::metadata::without_metadata;
use crate::server::{Server, limits};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

/// Whatever is wrong with an operation, its position is told, in words of the API.
#[tokio::test]
async fn a_batch_that_cannot_be_read_says_where() {
    let server = Server::start().await;
    let get = json!({"op": "get", "key": "k"});
    for (wrong, words) in [
        (json!({"op": "puut", "key": "k"}), "unknown name `puut`"),
        (json!({"op": "put", "key": "k", "valu": "v"}), "valu"),
        (json!({"op": "put", "key": "k", "value": "v", "ttl_ms": -1}), "expected a whole number from 0"),
        (json!({"op": "put", "key": "", "value": "v"}), "key"),
    ] {
        let body = json!({"ops": [get, wrong]}).to_string();
        let response = server.send(Method::POST, "/v1/batch", &[], body).await;
        assert_eq!(response.status(), 400, "{wrong}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["op"], 1, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    // What is wrong elsewhere has no position.
    let more = r#"{"ops": [{"op": "get", "key": "k"}], "opz": 1}"#;
    let problem: Value = server.send(Method::POST, "/v1/batch", &[], more).await.json().await.unwrap();
    assert!(problem["op"].is_null() && problem["detail"].as_str().unwrap().contains("opz"), "{problem}");
    let empty = server.send(Method::POST, "/v1/kv/k/expire", &[], "").await;
    let problem: Value = empty.json().await.unwrap();
    assert_eq!(problem["detail"], "body: it is empty; missing field `ttl_ms`");
    let slash: Value = server.get("/v1/kv/a/b").await.json().await.unwrap();
    assert!(slash["detail"].as_str().unwrap().ends_with("a%2Fb"), "{slash}");
    server.stop().await;
}

/// H1: an answer says where in history it stands, and a read after it sees it.
#[tokio::test]
async fn a_value_comes_back_as_it_was_put() {
    let server = Server::start().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let put = server
        .send(Method::PUT, "/v1/kv/k?ttl_ms=60000", &[("content-type", "image/png")], bytes.clone())
        .await;
    assert_eq!(put.status(), StatusCode::CREATED);
    let (tag, index) = (header(&put, "etag").to_owned(), header(&put, "lockstep-index").to_owned());
    assert_eq!(tag, format!("\"{index}\""));

    let get = server.get("/v1/kv/k").await;
    assert_eq!(get.status(), StatusCode::OK);
    assert_eq!(header(&get, "etag"), tag);
    assert_eq!(header(&get, "content-type"), "image/png");
    assert_eq!(header(&get, "lockstep-consistency"), "linearizable");
    assert_eq!(header(&get, "cache-control"), "no-store");
    let ttl: u64 = header(&get, "lockstep-ttl-ms").parse().unwrap();
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");
    assert_eq!(get.bytes().await.unwrap(), bytes);

    let head = server.send(Method::HEAD, "/v1/kv/k", &[], "").await;
    assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, "256"));
    let same = server.send(Method::GET, "/v1/kv/k", &[("if-none-match", &tag)], "").await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);

    assert_eq!(server.put("k", "").await.status(), StatusCode::NO_CONTENT);
    let changed = server.send(Method::GET, "/v1/kv/k", &[("if-none-match", &tag)], "").await;
    assert_eq!((changed.status(), changed.bytes().await.unwrap().len()), (StatusCode::OK, 0));
    for level in ["lease", "stale"] {
        let get = server.get(&format!("/v1/kv/k?consistency={level}")).await;
        assert_eq!((get.status(), header(&get, "lockstep-consistency")), (StatusCode::OK, level));
    }
    server.stop().await;
}

#[tokio::test]
async fn keys_are_percent_decoded_once() {
    let server = Server::start().await;
    for (path, key) in
        [("a%2Fb", "a/b"), ("%25", "%"), ("%2525", "%25"), ("h%C3%A9", "hé"), ("a+b", "a+b"), ("%20", " ")]
    {
        assert_eq!(server.put(path, key).await.status(), StatusCode::CREATED, "{path}");
        assert_eq!(server.get(&format!("/v1/kv/{path}")).await.text().await.unwrap(), key);
    }
    let page: Value = server.get("/v1/keys").await.json().await.unwrap();
    let keys: Vec<&str> =
        page["keys"].as_array().unwrap().iter().map(|k| k["key"].as_str().unwrap()).collect();
    assert_eq!(keys, [" ", "%", "%25", "a+b", "a/b", "hé"]);
    server.stop().await;
}

#[tokio::test]
async fn conditions_hold_or_nothing_happens() {
    let server = Server::start().await;
    let none = &[("if-none-match", "*")];
    assert_eq!(server.send(Method::PUT, "/v1/kv/k", none, "1").await.status(), StatusCode::CREATED);
    let refused = server.send(Method::PUT, "/v1/kv/k", none, "2").await;
    assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
    assert!(
        refused.headers().contains_key("lockstep-index") && refused.headers().contains_key("lockstep-term")
    );
    let tag = header(&refused, "etag").to_owned();
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(format!("\"{}\"", problem["revision"]), tag, "it carries the current revision");
    let swap = server.send(Method::PUT, "/v1/kv/k", &[("if-match", &tag)], "3").await;
    assert_eq!(swap.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        server.send(Method::DELETE, "/v1/kv/k", &[("if-match", &tag)], "").await.status().as_u16(),
        412
    );
    assert_eq!(
        server.send(Method::DELETE, "/v1/kv/k", &[("if-match", "*")], "").await.status().as_u16(),
        204
    );
    assert_eq!(server.send(Method::DELETE, "/v1/kv/k", &[], "").await.status().as_u16(), 404);
    assert_eq!(server.send(Method::PUT, "/v1/kv/k", &[("if-match", "*")], "").await.status().as_u16(), 412);
    server.stop().await;
}

/// C6 through the whole node: a request sent again with the same key is applied once.
#[tokio::test]
async fn a_repeated_request_is_applied_once() {
    let server = Server::start().await;
    let named = &[("idempotency-key", "order-7")];
    let first: Value = server.send(Method::POST, "/v1/kv/n/incr", named, "").await.json().await.unwrap();
    let again = server.send(Method::POST, "/v1/kv/n/incr", named, "").await;
    assert_eq!(header(&again, "idempotency-replayed"), "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    assert_eq!(server.get("/v1/kv/n").await.text().await.unwrap(), "1");
    server.refused(Method::POST, "/v1/kv/n/incr", named, r#"{"by": 2}"#, "idempotency_key_reused").await;
    server.stop().await;
}

/// C6: what may have been done, and is forgotten, is not done again.
#[tokio::test]
async fn a_repetition_that_comes_too_late_is_refused() {
    let mut large = limits();
    (large.front.value_bytes, large.http.batch_bytes) = (1_000_000, 1_000_000);
    let server = Server::start_with(large, |options| options).await;
    let first = server.send(Method::PUT, "/v1/kv/large", &[], vec![7; 1_000_000]).await;
    let (index, history) =
        (header(&first, "lockstep-index").to_owned(), header(&first, "lockstep-history").to_owned());
    let after = format!("{index}@{history}");
    let named = &[("idempotency-key", "mine"), ("idempotency-sent-after", after.as_str())];
    let incr = || server.send(Method::POST, "/v1/kv/n/incr", named, "");
    assert_eq!(incr().await.status(), 200);
    assert_eq!(header(&incr().await, "idempotency-replayed"), "true");
    // Answers of others push it out.
    let body = r#"{"ops": [{"op": "get", "key": "large"}]}"#;
    for number in 0..70 {
        let key = number.to_string();
        let named = &[("idempotency-key", key.as_str())];
        assert_eq!(server.send(Method::POST, "/v1/batch", named, body).await.status(), 200);
    }
    server.refused(Method::POST, "/v1/kv/n/incr", named, "", "outcome_forgotten").await;
    assert_eq!(server.get("/v1/kv/n").await.text().await.unwrap(), "1");
    for (value, code) in [("x", "invalid_header"), ("", "invalid_header"), ("1@0123456789", "other_history")]
    {
        let named = &[("idempotency-key", "other"), ("idempotency-sent-after", value)];
        server.refused(Method::POST, "/v1/kv/n/incr", named, "", code).await;
    }
    let alone = &[("idempotency-sent-after", after.as_str())];
    server.refused(Method::POST, "/v1/kv/n/incr", alone, "", "invalid_header").await;
    server.stop().await;
}

#[tokio::test]
async fn counters_deadlines_and_batches() {
    let server = Server::start().await;
    let body = r#"{"by": 5, "initial": 100, "ttl_ms": 60000}"#;
    let counter: Value = server.send(Method::POST, "/v1/kv/n/incr", &[], body).await.json().await.unwrap();
    assert_eq!((&counter["value"], &counter["created"]), (&json!(105), &json!(true)));
    let persisted: Value = server.send(Method::POST, "/v1/kv/n/persist", &[], "").await.json().await.unwrap();
    assert_eq!(persisted["ttl_ms"], Value::Null);
    assert!(!server.get("/v1/kv/n").await.headers().contains_key("lockstep-ttl-ms"));
    let expire = server.send(Method::POST, "/v1/kv/n/expire", &[], r#"{"ttl_ms": 5000}"#).await;
    assert_eq!(expire.json::<Value>().await.unwrap()["ttl_ms"], 5_000);
    assert_eq!(server.send(Method::POST, "/v1/kv/none/persist", &[], "").await.status().as_u16(), 404);

    let batch = json!({"ops": [
        {"op": "put", "key": "a", "value": "1"},
        {"op": "put", "key": "b", "value_base64": "/w==", "content_type": "x/y"},
        {"op": "get", "key": "b"}, {"op": "incr", "key": "c"}, {"op": "delete", "key": "none"}, {"op": "get", "key": "d"},
    ]});
    let answer = server.send(Method::POST, "/v1/batch", &[], batch.to_string()).await;
    let answer: Value = answer.json().await.unwrap();
    let revision = answer["revision"].clone();
    assert_eq!(
        without_metadata(answer["results"].clone()),
        json!([
            {"op": "put", "created": true}, {"op": "put", "created": true},
            {"op": "get", "found": true, "value_base64": "/w==", "content_type": "x/y", "revision": revision},
            {"op": "incr", "value": 1, "created": true}, {"op": "delete", "found": false}, {"op": "get", "found": false},
        ])
    );
    let half = json!({"ops": [{"op": "put", "key": "a", "value": "2"}, {"op": "put", "key": "b", "value": "2", "if_absent": true}]});
    let problem =
        server.refused(Method::POST, "/v1/batch", &[], &half.to_string(), "precondition_failed").await;
    assert_eq!(problem["op"], 1);
    assert_eq!(server.get("/v1/kv/a").await.text().await.unwrap(), "1", "all or none");
    server.stop().await;
}

#[tokio::test]
async fn listings_have_pages_and_clearing_takes_prefixes() {
    let server = Server::start().await;
    for number in 0..25 {
        server.put(&format!("p{number:02}"), "x").await;
    }
    server.put("q", "x").await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page: Value =
            server.get(&format!("/v1/keys?prefix=p&limit=10&after={after}")).await.json().await.unwrap();
        seen.extend(page["keys"].as_array().unwrap().iter().map(|k| k["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).map(|n| format!("p{n:02}")).collect::<Vec<_>>());
    // As long as the longest key, and longer: the first removes nothing, the second never reaches the log.
    for (length, status) in [(4_096, 200), (4_097, 400)] {
        let path = format!("/v1/kv?prefix={}", "p".repeat(length));
        let response = server.send(Method::DELETE, &path, &[], "").await;
        assert_eq!(response.status(), status, "{length}");
        assert_eq!(response.headers().contains_key("lockstep-index"), status == 200, "{length}");
        let body: Value = response.json().await.unwrap();
        match status {
            200 => assert_eq!(body["removed"], 0),
            _ => assert_eq!((&body["code"], &body["field"]), (&json!("invalid_query"), &json!("prefix"))),
        }
    }
    let cleared: Value = server.send(Method::DELETE, "/v1/kv?prefix=p", &[], "").await.json().await.unwrap();
    assert_eq!(cleared["removed"], 25);
    let cleared: Value = server.send(Method::DELETE, "/v1/kv?all=true", &[], "").await.json().await.unwrap();
    assert_eq!(cleared["removed"], 1);
    server.stop().await;
}

#[tokio::test]
async fn status_settings_and_probes_have_the_shapes_scripts_rely_on() {
    let server = Server::start().await;
    let status: Value = server.get("/v1/status").await.json().await.unwrap();
    for field in [
        "cluster_id",
        "history",
        "node",
        "role",
        "leader",
        "term",
        "last_log_index",
        "committed_index",
        "applied_index",
        "snapshot_index",
        "digest",
        "members",
        "config",
        "entries",
        "bytes",
    ] {
        assert!(status.get(field).is_some(), "{field}");
    }
    assert_eq!(status["role"], "leader");
    assert!(status["digest"]["digest"].as_str().unwrap().len() == 32);
    let settings = r#"{"capacity_entries": 3, "default_ttl_ms": 1000}"#;
    let config: Value = server.send(Method::PUT, "/v1/config", &[], settings).await.json().await.unwrap();
    assert_eq!(config["touch"], json!({"enabled": true, "interval_ms": 100, "max_per_flush": 4096}));
    let config: Value = server
        .send(Method::PUT, "/v1/config", &[], r#"{"default_ttl_ms": null}"#)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!((&config["capacity_entries"], &config["default_ttl_ms"]), (&json!(3), &Value::Null));
    for key in ["a", "b", "c", "d"] {
        server.put(key, "x").await;
    }
    assert_eq!(server.get("/v1/kv/a").await.status().as_u16(), 404, "evicted: the one written longest ago");
    let digests: Value = server.get("/v1/digest").await.json().await.unwrap();
    assert!(digests["digests"].as_array().unwrap().len() > 3);
    for path in ["/livez", "/readyz", "/health", "/ping", "/v1/openapi.json", "/v1/introduction"] {
        assert_eq!(server.get(path).await.status().as_u16(), 200, "{path}");
    }
    let metrics = server.get("/metrics").await.text().await.unwrap();
    for name in
        ["lockstep_entries 3", "lockstep_is_leader 1", "route=\"/v1/kv/{key}\",method=\"PUT\",status=\"201\""]
    {
        assert!(metrics.contains(name), "{name}");
    }
    let backup = server.get("/v1/snapshot").await;
    assert_eq!(header(&backup, "content-type"), "application/octet-stream");
    let length: usize = header(&backup, "content-length").parse().unwrap();
    assert_eq!(backup.bytes().await.unwrap().len(), length);
    server.stop().await;
}

/// `min_index` waits for what the caller has seen elsewhere. What nobody can have seen is refused at once.
#[tokio::test]
async fn a_read_waits_for_the_index_it_needs() {
    let server = Server::start_with(crate::server::limits(), |mut options| {
        options.limits.request = std::time::Duration::from_secs(5);
        options
    })
    .await;
    let put = server.put("k", "v").await;
    let index: u64 = header(&put, "lockstep-index").parse().unwrap();
    assert_eq!(
        server.get(&format!("/v1/kv/k?consistency=stale&min_index={index}")).await.status().as_u16(),
        200
    );
    for consistency in ["stale", "lease", "linearizable"] {
        for far in [index + 1_000, u64::MAX] {
            for path in ["/v1/kv/k", "/v1/keys", "/v1/config"] {
                let path = format!("{path}?consistency={consistency}&min_index={far}");
                let problem = server.refused(Method::GET, &path, &[], "", "conflict").await;
                assert!(problem["detail"].as_str().unwrap().contains("has not reached"), "{problem}");
            }
        }
    }
    server.stop().await;
}

/// An embedded node on any free port opens its own folder again.
#[tokio::test]
async fn a_node_alone_opens_its_folder_again() {
    use lockstep::cache::{Command, Condition, Key, Op, Ttl, Value};
    use lockstep::node::{Consistency, Node, NodeOptions};
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new("k").unwrap();
    for round in 0..3 {
        let node = Node::start(NodeOptions::alone(folder.path())).await.unwrap();
        if round == 0 {
            let value = Value::new("v".into(), None).unwrap();
            let put = Op::Put {
                key: key.clone(),
                value,
                ttl: Ttl::Never,
                condition: Condition::Always,
                previous: false,
            };
            node.write(Command::One(put)).await.unwrap();
        }
        let read = node.get(&key, Consistency::Linearizable).await.unwrap();
        assert_eq!(read.value.unwrap().value.bytes, "v");
        node.stop().await;
    }
}

/// A listing tells more on request, and a part of each value only.
#[tokio::test]
async fn a_listing_with_details_tells_them_of_each_key() {
    let server = Server::start().await;
    server.send(Method::PUT, "/v1/kv/d:text", &[("content-type", "text/plain")], "hello").await;
    server.send(Method::PUT, "/v1/kv/d:bytes", &[], vec![0, 255, 16]).await;
    server.put("d:long", &"ü".repeat(300)).await;
    // Cut within a character, which is then left out.
    server.put("d:odd", &format!("x{}", "ü".repeat(300))).await;
    server.get("/v1/kv/d:text").await;
    let list = async |query: &str| server.get(&format!("/v1/keys?prefix=d:{query}")).await;
    let plain: Value = list("").await.json().await.unwrap();
    assert!(plain["keys"][0].get("details").is_none(), "{plain}");
    let answer = list("&details=true").await;
    assert_eq!(header(&answer, "lockstep-consistency"), "linearizable");
    let page: Value = answer.json().await.unwrap();
    let details = |place: usize| page["keys"][place]["details"].clone();
    assert_eq!(details(0)["preview"], json!({"value_base64": "AP8Q"}));
    assert_eq!(details(1)["preview"], json!({"value": "ü".repeat(48)}));
    assert_eq!(details(2)["preview"], json!({"value": format!("x{}", "ü".repeat(47))}));
    assert_eq!(page["keys"][2]["bytes"], 601);
    assert_eq!(
        (&details(3)["preview"], &details(3)["content_type"]),
        (&json!({"value": "hello"}), &json!("text/plain"))
    );
    assert_eq!((&details(0)["content_type"], &details(0)["by"]), (&Value::Null, &json!(server.node.id())));
    assert!(
        details(3)["uses"].as_u64() >= Some(1) && page["keys"][3]["modified_at_ms"].as_u64() > Some(0),
        "{page}"
    );
    let stale: Value = list("&details=true&consistency=stale&limit=1").await.json().await.unwrap();
    assert_eq!((&stale["next"], stale["keys"].as_array().unwrap().len()), (&json!("d:bytes"), 1));
    for wrong in ["details=yes", "details=true&limit=1001"] {
        server.refused(Method::GET, &format!("/v1/keys?{wrong}"), &[], "", "invalid_query").await;
    }
    assert_eq!(list("&limit=1001").await.status(), StatusCode::OK);
    server.stop().await;
}

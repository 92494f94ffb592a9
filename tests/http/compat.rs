//! The `/api` routes: bodies and statuses as clients of a well-known Node.js cache server expect them.

use crate::admission::raw;
use crate::server::{Server, limits, settings};
use lockstep::http::{CompatSettings, HttpSettings};
use reqwest::{Method, Response};
use serde_json::{Value, json};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

async fn told(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} with {text:?}")))
}

async fn get(server: &Server, path: &str) -> (u16, Value) {
    told(server.get(path).await).await
}

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    told(server.send(Method::POST, path, JSON, body.to_string()).await).await
}

async fn delete(server: &Server, path: &str) -> (u16, Value) {
    told(server.send(Method::DELETE, path, &[], "").await).await
}

fn failure(message: &str) -> Value {
    json!({"success": false, "message": message})
}

fn is_iso(time: &Value) -> bool {
    let text = time.as_str().unwrap_or_default();
    text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T' && text.as_bytes()[19] == b'.'
}

#[tokio::test]
async fn items_are_stored_read_and_removed() {
    let server = Server::start().await;
    assert_eq!(get(&server, "/api/cache/k").await, (404, failure("Key not found")));
    let stored = (200, json!({"success": true, "message": "Item cached successfully"}));
    assert_eq!(post(&server, "/api/cache", &json!({"key": "k", "value": "v"})).await, stored);
    let (status, read) = get(&server, "/api/cache/k").await;
    assert_eq!((status, &read["success"], &read["key"]), (200, &json!(true), &json!("k")));
    assert_eq!(read["value"]["value"], "v");
    assert!(is_iso(&read["value"]["timestamp"]), "{read}");
    assert!(read["value"]["accessCount"].as_u64() >= Some(2), "{read}");
    for body in [json!({}), json!({"key": "k"}), json!({"value": 1}), json!({"key": "", "value": 1})] {
        assert_eq!(
            post(&server, "/api/cache", &body).await,
            (400, failure("Key and value are required")),
            "{body}"
        );
    }
    let deleted = (200, json!({"success": true, "message": "Item deleted successfully"}));
    assert_eq!(delete(&server, "/api/cache/k").await, deleted);
    assert_eq!(delete(&server, "/api/cache/k").await, (404, failure("Key not found")));

    post(&server, "/api/cache", &json!({"key": "a/b c", "value": 1})).await;
    assert_eq!(get(&server, "/api/cache/a%2Fb%20c").await.1["value"]["value"], 1);
    post(&server, "/api/cache", &json!({"key": "bulk", "value": 2})).await;
    assert_eq!(get(&server, "/api/cache/bulk").await.1["value"]["value"], 2);
    let cleared = (200, json!({"success": true, "message": "Cache cleared successfully", "removed": 2}));
    assert_eq!(delete(&server, "/api/cache").await, cleared);
    assert_eq!(get(&server, "/api/cache").await.1["count"], 0);
    server.stop().await;
}

/// Values are any JSON; what `/v1/kv` stores and reads is the same data.
#[tokio::test]
async fn values_are_the_same_data_as_under_v1() {
    let server = Server::start().await;
    for value in
        [json!(null), json!({"b": [1, {"a": null}]}), json!([]), json!(-1.5), json!(false), json!("ü\n")]
    {
        post(&server, "/api/cache", &json!({"key": "k", "value": value})).await;
        assert_eq!(get(&server, "/api/cache/k").await.1["value"]["value"], value);
    }
    let raw = server.get("/v1/kv/k").await;
    assert_eq!(raw.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(raw.text().await.unwrap(), "ü\n");
    // Text and order are kept to the letter.
    let body = r#"{"key":"k","value":{"z":1.0,"a":12345678901234567890}}"#;
    server.send(Method::POST, "/api/cache", JSON, body).await;
    let raw = server.get("/v1/kv/k").await;
    assert_eq!(raw.headers()["content-type"], "application/json");
    assert_eq!(raw.text().await.unwrap(), r#"{"z":1.0,"a":12345678901234567890}"#);
    let shown = server.get("/api/cache/k").await.text().await.unwrap();
    assert!(shown.contains(r#""value":{"z":1.0,"a":12345678901234567890}"#), "{shown}");

    server.put("plain", "text").await;
    assert_eq!(get(&server, "/api/cache/plain").await.1["value"]["value"], "text");
    server.send(Method::PUT, "/v1/kv/json", JSON, "{\"a\": 1}").await;
    assert_eq!(get(&server, "/api/cache/json").await.1["value"]["value"], json!({"a": 1}));
    server.send(Method::PUT, "/v1/kv/bin", &[("content-type", "image/png")], vec![0xff, 0]).await;
    let binary = get(&server, "/api/cache/bin").await.1["value"].clone();
    assert_eq!((&binary["value"], &binary["encoding"]), (&json!("/wA="), &json!("base64")));
    assert_eq!(binary["contentType"], "image/png");
    server.stop().await;
}

#[tokio::test]
async fn a_time_to_live_is_in_seconds() {
    let server = Server::start().await;
    post(&server, "/api/cache", &json!({"key": "k", "value": 1, "ttl": 3600})).await;
    let left =
        server.get("/v1/kv/k").await.headers()["lockstep-ttl-ms"].to_str().unwrap().parse::<u64>().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert!(is_iso(&get(&server, "/api/cache/k").await.1["value"]["expiresAt"]));
    post(&server, "/api/cache", &json!({"key": "k", "value": 1, "ttl": 0.05})).await;
    let begun = std::time::Instant::now();
    while get(&server, "/api/cache/k").await.0 != 404 {
        assert!(begun.elapsed().as_secs() < 20, "it never expires");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (status, refusal) = post(&server, "/api/cache", &json!({"key": "k", "value": 1, "ttl": 0})).await;
    assert_eq!(status, 400);
    assert!(refusal["message"].as_str().unwrap().starts_with("Ttl must be"), "{refusal}");
    server.stop().await;
}

#[tokio::test]
async fn all_items_come_in_pages() {
    let server = Server::start().await;
    let items: Vec<Value> = (0..7).map(|i| json!({"key": format!("k{i}"), "value": i})).collect();
    post(&server, "/api/cache/bulk", &json!({"items": items})).await;
    let (status, page) = get(&server, "/api/cache?limit=4").await;
    assert_eq!(
        (status, &page["success"], &page["count"], &page["total"]),
        (200, &json!(true), &json!(4), &json!(7))
    );
    assert_eq!((&page["next"], &page["items"][3]["key"]), (&json!("k3"), &json!("k3")));
    assert_eq!(page["items"][3]["value"]["value"], 3);
    let (_, rest) = get(&server, "/api/cache?after=k3&_=1").await;
    assert_eq!((&rest["count"], &rest["next"]), (&json!(3), &Value::Null));
    assert_eq!(get(&server, "/api/cache?limit=0").await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn bulk_stores_what_it_can_and_says_what_it_could_not() {
    let mut limits = limits();
    limits.front.value_bytes = 100_000;
    let server = Server::start_with(limits, |options| options).await;
    let two = json!({"items": [{"key": "a", "value": "1"}, {"key": "b", "value": {}}]});
    let done = post(&server, "/api/cache/bulk", &two).await;
    assert_eq!(done, (200, json!({"success": true, "successCount": 2, "totalCount": 2})));
    let before = server.node.status().await.last_log_index;
    // More than one log entry's worth, one key twice, and some that are wrong.
    let mut items: Vec<Value> = (0..1_500).map(|i| json!({"key": format!("k{i}"), "value": i})).collect();
    items.extend((0..60).map(|i| json!({"key": format!("large{i}"), "value": "x".repeat(50_000)})));
    items.push(json!({"key": "k7", "value": "the last one counts"}));
    items.extend([json!({"key": "x"}), json!(5), json!({"key": "y", "value": "y".repeat(100_001)})]);
    let (status, report) = post(&server, "/api/cache/bulk", &json!({"items": items})).await;
    assert_eq!((status, &report["success"]), (200, &json!(false)), "{report}");
    assert_eq!((&report["successCount"], &report["totalCount"]), (&json!(1_561), &json!(1_564)));
    let errors = report["errors"].as_array().unwrap();
    let places: Vec<u64> = errors.iter().map(|error| error["index"].as_u64().unwrap()).collect();
    assert_eq!(places, [1_561, 1_562, 1_563]);
    assert_eq!(errors[0]["message"], "Key and value are required");
    assert_eq!(get(&server, "/api/cache/k7").await.1["value"]["value"], "the last one counts");
    let written = server.node.status().await.last_log_index - before;
    assert!((3..=6).contains(&written), "{written} log entries");

    for wrong in [json!({}), json!({"items": 5}), json!({"items": null})] {
        assert_eq!(post(&server, "/api/cache/bulk", &wrong).await, (400, failure("Items array is required")));
    }
    assert_eq!(
        post(&server, "/api/cache/bulk", &json!({"items": []})).await,
        (200, json!({"success": true, "successCount": 0, "totalCount": 0}))
    );
    // A refusal of the state machine fails the items it is about, and no others.
    server
        .configure(json!({"policy": "noeviction", "capacity_entries": server.node.status().await.entries}))
        .await;
    let (status, report) =
        post(&server, "/api/cache/bulk", &json!({"items": [{"key": "new", "value": 1}]})).await;
    assert_eq!((status, &report["successCount"]), (200, &json!(0)));
    assert_eq!(report["errors"][0]["message"], "The cache is full, and its strategy evicts nothing");
    server.node.drain().await;
    let (status, report) =
        post(&server, "/api/cache/bulk", &json!({"items": [{"key": "new", "value": 1}]})).await;
    assert_eq!((status, &report["success"], &report["totalCount"]), (503, &json!(false), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn strategies_change_without_losing_an_item() {
    let server = Server::start().await;
    post(&server, "/api/cache", &json!({"key": "k", "value": 1})).await;
    for (asked, named) in [("LFU", "LFU"), ("lru", "LRU"), ("s3fifo", "S3FIFO"), ("NoEviction", "NOEVICTION")]
    {
        let (status, changed) = post(&server, "/api/strategy", &json!({"strategy": asked})).await;
        let message = format!("Strategy changed to {named}");
        assert_eq!((status, changed), (200, json!({"success": true, "message": message, "strategy": named})));
        assert_eq!(get(&server, "/api/metrics").await.1["cache"]["strategy"], named);
    }
    for wrong in [json!({}), json!({"strategy": "FIFO"}), json!({"strategy": 1})] {
        let refused = failure("Strategy must be LRU, LFU, S3FIFO or NOEVICTION");
        assert_eq!(post(&server, "/api/strategy", &wrong).await, (400, refused));
    }
    assert_eq!(get(&server, "/api/cache/k").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn metrics_have_the_three_parts() {
    let server = Server::start().await;
    server.configure(json!({"capacity_entries": 8})).await;
    for key in ["a", "b"] {
        post(&server, "/api/cache", &json!({"key": key, "value": 1})).await;
    }
    for path in ["/api/cache/a", "/api/cache/a", "/api/cache/a", "/api/cache/none"] {
        get(&server, path).await;
    }
    let (status, metrics) = get(&server, "/api/metrics").await;
    assert_eq!(status, 200);
    let expected = json!({"strategy": "LRU", "size": 2, "capacity": 8, "usage": 25.0, "hits": 3, "misses": 1,
        "totalRequests": 4, "hitRate": 75.0, "missRate": 25.0, "sets": 2, "deletes": 0, "evictions": 0, "expirations": 0});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&metrics["cache"][name], value, "{name}");
    }
    assert!(metrics["server"]["uptime"].as_f64() > Some(0.0));
    assert!(metrics["server"]["timestamp"].as_u64() > Some(1_700_000_000_000));
    for name in ["rss", "heapTotal", "heapUsed", "external"] {
        assert!(metrics["server"]["memory"][name].as_u64() > Some(0), "{name}: {metrics}");
    }
    let (_, sync) = get(&server, "/api/sync/status").await;
    for (name, value) in sync.as_object().unwrap() {
        assert!(metrics["sync"].get(name).is_some(), "{name} {value}");
    }
    assert_eq!(
        (&sync["nodeId"], &sync["syncEnabled"], &sync["connectedNodes"]),
        (&json!("n1"), &json!(true), &json!(0))
    );
    assert_eq!(
        (&sync["role"], &sync["leader"], &sync["nodeList"]),
        (&json!("leader"), &json!("n1"), &json!([]))
    );
    assert!(sync["totalSyncOperations"].as_u64() >= Some(2) && sync["lastSyncTime"].is_u64(), "{sync}");
    let (status, forced) = told(server.send(Method::POST, "/api/sync/force", &[], "").await).await;
    assert_eq!(
        (status, &forced["message"], &forced["peers"]),
        (200, &json!("Force sync initiated"), &json!([]))
    );
    let (status, toggled) = told(server.send(Method::POST, "/api/sync/toggle", &[], "").await).await;
    // A node that is alone cannot leave; tests/cluster has some that can.
    assert_eq!((status, &toggled["success"]), (409, &json!(false)));
    assert!(toggled["message"].as_str().unwrap().contains("nobody to leave"), "{toggled}");
    server.stop().await;
}

#[tokio::test]
async fn probes_say_what_they_say_elsewhere() {
    let server = Server::start().await;
    let pong = server.get("/ping").await.text().await.unwrap();
    let time = pong.strip_prefix("pong - ").unwrap_or_else(|| panic!("{pong}"));
    assert!(is_iso(&json!(time)), "{pong}");
    let (status, health) = get(&server, "/health").await;
    assert_eq!((status, &health["status"], &health["nodeId"]), (200, &json!("healthy"), &json!("n1")));
    assert!(is_iso(&health["timestamp"]));
    assert_eq!((&health["node"], &health["reason"]), (&json!("n1"), &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn bodies_are_json_or_forms() {
    let server = Server::start().await;
    let send = |headers: &'static [(&str, &str)], path: &'static str, body: &'static str| {
        let server = &server;
        async move { told(server.send(Method::POST, path, headers, body).await).await }
    };
    assert_eq!(send(FORM, "/api/cache", "key=f&value=a+b").await.0, 200);
    assert_eq!(get(&server, "/api/cache/f").await.1["value"]["value"], "a b");
    let bulk = send(
        FORM,
        "/api/cache/bulk",
        "items[0][key]=g&items[0][value][x]=1&items[1][key]=h&items[1][value]=2",
    );
    assert_eq!(bulk.await, (200, json!({"success": true, "successCount": 2, "totalCount": 2})));
    assert_eq!(get(&server, "/api/cache/g").await.1["value"]["value"], json!({"x": "1"}));
    // Other kinds are no body at all: a plain form of another site cannot pass for JSON.
    for headers in [&[][..], &[("content-type", "text/plain")]] {
        let (status, _) = send(headers, "/api/cache", r#"{"key":"k","value":1}"#).await;
        assert_eq!(status, 400, "{headers:?}");
    }
    for (headers, body) in
        [(JSON, "{"), (JSON, "5"), (JSON, "{\"key\":\"k\",\"value\":}"), (FORM, "items[=1")]
    {
        let (status, refusal) = send(headers, "/api/cache", body).await;
        let message = refusal["message"].as_str().unwrap();
        assert!(
            status == 400 && (message.starts_with("Malformed") || headers == FORM),
            "{body}: {status} {message}"
        );
    }
    let (status, refusal) =
        post(&server, "/api/cache", &json!({"key": "k", "value": "x".repeat(10 * 1024 * 1024)})).await;
    assert_eq!((status, &refusal["success"]), (413, &json!(false)));
    let (status, refusal) =
        post(&server, "/api/cache", &json!({"key": "k", "value": "x".repeat(1_001)})).await;
    assert_eq!((status, refusal["message"].as_str().unwrap().contains("at most 1000")), (413, true));
    assert_eq!(get(&server, "/api/cache/k").await.0, 404, "nothing was stored");
    for (method, path) in
        [(Method::GET, "/api/none"), (Method::PUT, "/api/cache"), (Method::GET, "/api/cache/a/b")]
    {
        let (status, refusal) = told(server.send(method.clone(), path, &[], "").await).await;
        assert_eq!((status, refusal), (404, failure(&format!("Cannot {method} {path}"))));
    }
    server.stop().await;
}

/// What a server error came from is told in development only, and its status is always the honest one.
#[tokio::test]
async fn production_keeps_the_cause_to_itself() {
    for (node_env, tells) in [(None, false), (Some("production"), false), (Some("development"), true)] {
        let compat = CompatSettings::of(None, node_env).unwrap();
        let server = Server::start_for(limits(), settings(compat, &[]), |options| options).await;
        server.node.drain().await;
        let answer = server.send(Method::POST, "/api/cache", JSON, r#"{"key":"k","value":1}"#).await;
        assert!(answer.headers().contains_key("retry-after"));
        let (status, refusal) = told(answer).await;
        assert_eq!((status, &refusal["success"]), (503, &json!(false)));
        assert_eq!(refusal["message"], "Service unavailable, nothing was changed: try again");
        assert_eq!(refusal["error"], if tells { json!("this node is stopping") } else { Value::Null });
        server.stop().await;
    }
}

#[tokio::test]
async fn pages_of_other_sites_may_not_write() {
    let compat = CompatSettings::of(Some("https://front.example, http://localhost:3000/"), None).unwrap();
    let server = Server::start_for(limits(), settings(compat, &[]), |options| options).await;
    let own = format!("http://{}", server.address);
    for (origin, status) in [
        ("https://front.example", 200),
        ("http://localhost:3000", 200),
        (own.as_str(), 200),
        ("https://evil.example", 403),
        ("http://front.example", 403),
        ("null", 403),
    ] {
        let headers = [("content-type", "application/json"), ("origin", origin)];
        let written = server.send(Method::POST, "/api/cache", &headers, r#"{"key":"k","value":1}"#).await;
        assert_eq!(written.status().as_u16(), status, "{origin}");
        let read = server.send(Method::GET, "/api/cache/k", &[("origin", origin)], "").await;
        assert_eq!(read.status().as_u16(), 200, "{origin}");
        let allowed = read.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        let listed = status == 200 && origin != own;
        assert_eq!(allowed, listed.then_some(origin), "{origin}");
        let raw = server.send(Method::GET, "/v1/kv/k", &[("origin", origin)], "").await;
        let allowed = raw.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, listed.then_some(origin), "{origin}: what is named is for all routes");
        assert!(!raw.headers().contains_key("strict-transport-security"));
        assert_eq!(read.headers()["access-control-allow-credentials"], "true");
    }
    let asks = [
        ("origin", "https://front.example"),
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "content-type,x-mine"),
    ];
    for path in ["/api/cache/k", "/v1/kv/k"] {
        let preflight = server.send(Method::OPTIONS, path, &asks, "").await;
        assert!(preflight.status().is_success(), "{path}");
        let header = |name: &str| preflight.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "https://front.example");
        assert!(header("access-control-allow-methods").contains("DELETE"));
        assert_eq!(header("access-control-allow-headers"), "content-type,x-mine");
    }
    let refused = server.send(Method::GET, "/v1/kv/k", &[asks[0], ("host", "evil.example")], "").await;
    let shown = &refused.headers()["access-control-allow-origin"];
    assert_eq!((refused.status().as_u16(), shown), (421, &asks[0].1.parse().unwrap()));
    let raw = server.send(Method::GET, "/v1/kv/k", &asks[..1], "").await;
    let exposed = raw.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(["etag", "lockstep-index"].iter().all(|name| exposed.contains(name)), "{exposed}");
    server.stop().await;
}

/// At the default anybody's program may listen: its pages may use the `/api` routes, but not as the user, and no others.
#[tokio::test]
async fn the_default_frontend_gets_nothing_with_credentials() {
    let settings = HttpSettings { hsts_max_age: Some(600), ..settings(CompatSettings::default(), &[]) };
    let server = Server::start_for(limits(), settings, |options| options).await;
    let page = [("origin", "http://localhost:3000")];
    let read = server.send(Method::GET, "/api/cache", &page, "").await;
    assert_eq!(read.headers()["access-control-allow-origin"], "http://localhost:3000");
    assert!(!read.headers().contains_key("access-control-allow-credentials"));
    assert_eq!(read.headers()["strict-transport-security"], "max-age=600", "somebody asked for it");
    let raw = server.send(Method::GET, "/v1/keys", &page, "").await;
    assert!(!raw.headers().contains_key("access-control-allow-origin"));
    let asks = [page[0], ("access-control-request-method", "PUT")];
    let preflight = server.send(Method::OPTIONS, "/v1/kv/k", &asks, "").await;
    assert_eq!(preflight.status(), 405);
    server.stop().await;
}

/// Compression and careful headers stand around these routes and no others.
#[tokio::test]
async fn what_stands_around_the_routes_stands_around_no_others() {
    let server = Server::start().await;
    post(&server, "/api/cache", &json!({"key": "k", "value": "x".repeat(900)})).await;
    post(&server, "/api/cache", &json!({"key": "l", "value": "x".repeat(900)})).await;
    let gzip = [("accept-encoding", "gzip")];
    let list = server.send(Method::GET, "/api/cache", &gzip, "").await;
    assert_eq!(list.headers()["content-encoding"], "gzip");
    assert_eq!(list.headers()["x-frame-options"], "SAMEORIGIN");
    assert!(list.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'self';"));
    let bytes = list.bytes().await.unwrap();
    assert!(bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() < 1_000, "{} bytes", bytes.len());
    let short = server.send(Method::GET, "/api/sync/status", &gzip, "").await;
    assert!(!short.headers().contains_key("content-encoding"), "it is not worth it");
    let refused = server.send(Method::GET, "/api/none", &gzip, "").await;
    assert_eq!(refused.headers()["x-content-type-options"], "nosniff");
    let raw = server.send(Method::GET, "/v1/kv/k", &gzip, "").await;
    for name in ["content-encoding", "x-frame-options", "access-control-allow-credentials"] {
        assert!(!raw.headers().contains_key(name), "{name}");
    }
    // A value that says it is a page must not be one on this node's own site.
    assert_eq!(raw.headers()["content-security-policy"], "sandbox; default-src 'none'");
    server.stop().await;
}

/// Express takes a slash at a path's end for nothing.
#[tokio::test]
async fn a_slash_at_the_end_changes_nothing() {
    let server = Server::start().await;
    post(&server, "/api/cache/", &json!({"key": "k", "value": 1})).await;
    let (status, told) = get(&server, "/api/cache/k/").await;
    assert_eq!((status, &told["value"]["value"]), (200, &json!(1)), "{told}");
    assert_eq!(get(&server, "/api/cache/?limit=1").await.0, 200);
    for path in ["/health/", "/ping/"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(get(&server, "/api/none/").await, (404, failure("Cannot GET /api/none")));
    assert_eq!(get(&server, "/api/").await.0, 404);
    // Keys under /v1 may end with one.
    server.put("k%2F", "v").await;
    assert_eq!(server.get("/v1/kv/k/").await.status(), 404);
    server.stop().await;
}

/// What is small in a request and large in memory is bounded before it is there.
#[tokio::test]
async fn many_tiny_items_are_refused() {
    let server = Server::start().await;
    let json = [("content-type", "application/json")];
    let items = format!(r#"{{"items":[{}0]}}"#, "0,".repeat(100_000));
    let answer = server.send(Method::POST, "/api/cache/bulk", &json, items).await;
    assert_eq!(answer.status(), 413);
    let deep =
        format!(r#"{{"strategy":[{}0],"key":[{}0],"value":1}}"#, "0,".repeat(9_000), "0,".repeat(9_000));
    assert_eq!(server.send(Method::POST, "/api/strategy", &json, deep.clone()).await.status(), 400);
    assert_eq!(server.send(Method::POST, "/api/cache", &json, deep).await.status(), 400);
    server.stop().await;
}

/// Programs resolve such keys before they ask, and then ask for something else: for all items, as it were.
#[tokio::test]
async fn keys_that_a_url_resolves_are_no_keys() {
    let server = Server::start().await;
    server.put("kept", "1").await;
    let path = |method: &str, path: &str| format!("{method} {path} HTTP/1.1");
    for method in ["GET", "DELETE"] {
        for target in
            ["/api/cache/.", "/api/cache/..", "/api/cache/%2E", "/api/cache/%2e%2E/", "/api/cache/./"]
        {
            let answer = raw(&server, &[&path(method, target), "host: localhost"], "").await;
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains("are no keys"),
                "{target}: {answer}"
            );
        }
        for target in ["/v1/kv/.", "/v1/kv/%2e%2e", "/v1/kv/..?previous=true"] {
            let answer = raw(&server, &[&path(method, target), "host: localhost"], "").await;
            assert!(answer.contains("\"code\":\"invalid_key\""), "{target}: {answer}");
        }
    }
    for key in [".", ".."] {
        let (status, told) = post(&server, "/api/cache", &json!({"key": key, "value": 1})).await;
        assert!(status == 400 && told["message"].as_str().unwrap().contains("are no keys"), "{told}");
        let items = json!({"items": [{"key": key, "value": 1}, {"key": "fine", "value": 1}]});
        let (status, told) = post(&server, "/api/cache/bulk", &items).await;
        assert_eq!((status, &told["successCount"], &told["errors"][0]["index"]), (200, &json!(1), &json!(0)));
        let batch = json!({"ops": [{"op": "put", "key": key, "value": "1"}]}).to_string();
        let refused = server.refused(Method::POST, "/v1/batch", &[], &batch, "invalid_key").await;
        assert_eq!((&refused["op"], &refused["field"]), (&json!(0), &json!("key")));
    }
    for target in ["/api/cache/", "/api/cache//"] {
        let (status, told) = delete(&server, target).await;
        assert!([400, 404].contains(&status), "{target}: {told}");
    }
    assert_eq!(server.get("/v1/kv/kept").await.status(), 200);
    assert_eq!(get(&server, "/api/cache/").await.0, 200, "a list is harmless");
    assert_eq!(delete(&server, "/api/cache").await.1["removed"], 2);
    server.stop().await;
}

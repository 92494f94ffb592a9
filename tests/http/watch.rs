//! The change feed of one node: what is told, from where, and to whom it is not.

use crate::metadata::without_metadata;
use crate::server::{Server, limits};
use crate::tokens::{ask, create, give_root};
use lockstep::api::WatchMessage;
use lockstep::client::{Client, WatchOptions, Watching};
use lockstep::http::HttpSettings;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const LIMIT: Duration = Duration::from_secs(20);

fn client(server: &Server) -> Client {
    Client::new(std::slice::from_ref(&server.url), LIMIT).unwrap()
}

async fn next(watching: &mut Watching) -> Value {
    let told = tokio::time::timeout(LIMIT, watching.next()).await.expect("it is told in time").unwrap();
    serde_json::to_value(told).unwrap()
}

/// The next change's events; places in between are passed over.
async fn events(watching: &mut Watching) -> Value {
    loop {
        let told = next(watching).await;
        if told["type"] == "change" {
            return without_metadata(told["events"].clone());
        }
        assert!(told["type"] == "subscribed" || told["type"] == "bookmark", "{told}");
    }
}

async fn batch(server: &Server, ops: Value) {
    let done = server.send(Method::POST, "/v1/batch", &[], json!({ "ops": ops }).to_string()).await;
    assert_eq!(done.status(), 200, "{}", done.text().await.unwrap());
}

/// C8, F3: each log entry that changes something is told of as a whole, with the cause of each event.
#[tokio::test]
async fn every_change_is_told_with_its_cause() {
    let server = Server::start().await;
    server.configure(json!({"capacity_entries": 3})).await;
    let client = client(&server);
    let mut watching = client.watch(WatchOptions::default());
    let begin = next(&mut watching).await;
    assert_eq!(begin["type"], "subscribed", "{begin}");
    let status = server.node.status().await;
    assert_eq!(
        (&begin["cluster_id"], &begin["history"]),
        (&json!(status.cluster_id), &json!(status.history))
    );

    server.send(Method::PUT, "/v1/kv/a", &[("content-type", "text/plain")], "one").await;
    server.send(Method::PUT, "/v1/kv/b", &[], vec![0xff, 0]).await;
    server.put("a", "two").await;
    server.send(Method::POST, "/v1/kv/a/expire", &[], r#"{"ttl_ms": 3600000}"#).await;
    server.send(Method::POST, "/v1/kv/a/persist", &[], "").await;
    // The third and the fourth: the oldest goes in the same entry of the log.
    batch(
        &server,
        json!([{"op": "put", "key": "c", "value": "3"}, {"op": "incr", "key": "d", "by": 4},
               {"op": "delete", "key": "none"}, {"op": "get", "key": "a"}]),
    )
    .await;
    server.send(Method::DELETE, "/v1/kv/c", &[], "").await;
    server.put("short?ttl_ms=1", "x").await;
    assert_eq!(
        events(&mut watching).await,
        json!([{"cause": "put", "key": "a", "created": true,
        "bytes": 3, "value": "one", "content_type": "text/plain"}])
    );
    assert_eq!(
        events(&mut watching).await,
        json!([{"cause": "put", "key": "b", "created": true,
        "bytes": 2, "value_base64": "/wA="}])
    );
    assert_eq!(
        events(&mut watching).await,
        json!([{"cause": "put", "key": "a", "created": false,
        "bytes": 3, "value": "two"}])
    );
    let lifetime = events(&mut watching).await;
    assert_eq!((&lifetime[0]["cause"], &lifetime[0]["key"]), (&json!("lifetime"), &json!("a")));
    assert!(lifetime[0]["expires_at_ms"].as_u64().unwrap() > 1_600_000_000_000, "{lifetime}");
    assert_eq!(events(&mut watching).await, json!([{"cause": "lifetime", "key": "a"}]));
    let together = events(&mut watching).await;
    let causes: Vec<_> = together.as_array().unwrap().iter().map(|event| &event["cause"]).collect();
    assert_eq!(causes, ["put", "put", "evict"], "{together}");
    assert_eq!(together[2], json!({"cause": "evict", "key": "b"}));
    assert_eq!(events(&mut watching).await, json!([{"cause": "delete", "key": "c"}]));
    assert_eq!(events(&mut watching).await[0]["key"], "short");
    // Nobody asks for it: the leader's own tick lets it go.
    assert_eq!(events(&mut watching).await, json!([{"cause": "expire", "key": "short"}]));

    server.send(Method::DELETE, "/v1/kv?prefix=d", &[], "").await;
    server.send(Method::DELETE, "/v1/kv?all=true", &[], "").await;
    server.configure(json!({"policy": "lfu"})).await;
    assert_eq!(events(&mut watching).await, json!([{"cause": "clear", "prefix": "d", "removed": 1}]));
    assert_eq!(events(&mut watching).await, json!([{"cause": "clear", "removed": 1}]));
    assert_eq!(events(&mut watching).await[0]["config"]["policy"], "lfu");
    server.stop().await;
}

/// F2: whoever comes back with a place is told all that follows it, once.
#[tokio::test]
async fn a_place_resumes() {
    let server = Server::start().await;
    let client = client(&server);
    let mut first = client.watch(WatchOptions::prefix("", Some(0)));
    for number in 0..50 {
        server.put("k", &number.to_string()).await;
    }
    let mut all = Vec::new();
    while all.len() < 50 {
        let told = next(&mut first).await;
        if told["type"] == "change" && told["events"][0]["cause"] == "put" {
            all.push(told);
        }
    }
    let indexes: Vec<u64> = all.iter().map(|told| told["index"].as_u64().unwrap()).collect();
    assert!(indexes.is_sorted_by(|a, b| a < b), "{indexes:?}");
    for (at, place) in indexes.iter().enumerate().take(49) {
        let mut again = client.watch(WatchOptions::prefix("", Some(*place)));
        assert_eq!(next(&mut again).await["index"], *place);
        assert_eq!(next(&mut again).await, all[at + 1]);
    }
    // A browser's own place counts more than the one in its page's address. It is the id of the last event.
    let request = server.client.get(format!("{}/v1/watch?from=0", server.url));
    let text = until_told("change", request.header("last-event-id", indexes[48].to_string())).await;
    let last = text.split("\n\n").find(|frame| frame.contains("event: change")).unwrap();
    let id = last.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert!(id.starts_with(&format!("{}@", indexes[49])), "{text}");
    server.put("k", "next").await;
    for request in [
        server.client.get(format!("{}/v1/watch", server.url)).header("last-event-id", id),
        server.client.get(format!("{}/v1/watch", server.url)).query(&[("from", id)]),
    ] {
        let text = until_told("change", request).await;
        assert!(text.contains(r#""value":"next""#), "{text}");
    }
    server.stop().await;
}

/// What a request for `/v1/watch` is answered, until a message of this kind has come.
async fn until_told(kind: &str, request: RequestBuilder) -> String {
    let mut response = request.send().await.unwrap();
    let mut text = String::new();
    while !text.contains(&format!("event: {kind}")) || !text.ends_with("\n\n") {
        text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    text
}

/// F2: a place in another history means nothing here, as after a restore from a backup, whatever its index.
#[tokio::test]
async fn a_place_of_another_history_is_none() {
    let server = Server::start().await;
    for number in 0..20 {
        server.put("k", &number.to_string()).await;
    }
    let applied = server.node.status().await.applied_index;
    for place in ["3@0badcafe", "1000000@0badcafe"] {
        let request = server.client.get(format!("{}/v1/watch", server.url));
        let text = until_told("resync", request.header("last-event-id", place)).await;
        let from = place.split('@').next().unwrap();
        let resync = format!(r#"{{"type":"resync","from":{from},"index":{applied},"at_ms":"#);
        assert!(text.contains(&resync) && !text.contains("event: change"), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn only_what_is_watched_is_told() {
    let server = Server::start().await;
    let client = client(&server);
    let mut watching = client.watch(WatchOptions { values: false, ..WatchOptions::prefix("user:", None) });
    next(&mut watching).await;
    for key in ["user", "user:1", "order:1", "users"] {
        server.put(key, "x").await;
    }
    batch(
        &server,
        json!([{"op": "put", "key": "a", "value": "1"}, {"op": "put", "key": "user:2", "value": "2"}]),
    )
    .await;
    server.configure(json!({"policy": "lfu"})).await;
    // Of those that are cleared, some, all or none are watched.
    for which in ["prefix=order:", "prefix=user:2", "prefix=us", "all=true"] {
        server.send(Method::DELETE, &format!("/v1/kv?{which}"), &[], "").await;
    }
    let put = |key: &str| json!([{"cause": "put", "key": key, "created": true, "bytes": 1}]);
    assert_eq!(events(&mut watching).await, put("user:1"));
    assert_eq!(events(&mut watching).await, put("user:2"));
    assert_eq!(events(&mut watching).await, json!([{"cause": "clear", "prefix": "user:2", "removed": 1}]));
    assert_eq!(events(&mut watching).await, json!([{"cause": "clear", "prefix": "us", "removed": 3}]));
    assert_eq!(events(&mut watching).await, json!([{"cause": "clear", "removed": 1}]));
    server.stop().await;
}

/// F2: what is forgotten is said to be.
#[tokio::test]
async fn behind_the_window_there_is_a_resync() {
    let server = Server::start_with(limits(), |mut options| {
        options.limits.watch_bytes = 5_000;
        options
    })
    .await;
    for number in 0..200 {
        server.put("k", &format!("{number:0>100}")).await;
    }
    let client = client(&server);
    let mut watching = client.watch(WatchOptions::prefix("", Some(3)));
    assert_eq!(next(&mut watching).await["index"], 3);
    let resync = next(&mut watching).await;
    let applied = server.node.status().await.applied_index;
    let at_ms = &resync["at_ms"];
    assert_eq!(resync, json!({"type": "resync", "from": 3, "index": applied, "at_ms": at_ms}));
    server.put("k", "next").await;
    assert_eq!(events(&mut watching).await[0]["value"], "next");
    server.stop().await;
}

#[tokio::test]
async fn a_place_that_is_none_is_refused() {
    let server = Server::start().await;
    let get = Method::GET;
    server.refused(get.clone(), "/v1/watch?from=1000000", &[], "", "conflict").await;
    server.refused(get.clone(), "/v1/watch?from=-1", &[], "", "invalid_query").await;
    server.refused(get.clone(), "/v1/watch?values=no", &[], "", "invalid_query").await;
    server.refused(get.clone(), "/v1/watch?key=a", &[], "", "invalid_query").await;
    server.refused(get.clone(), "/v1/watch", &[("last-event-id", "x")], "", "invalid_header").await;
    server.refused(get, "/v1/watch?from=@x", &[], "", "invalid_query").await;
    server.stop().await;
}

/// Those who watch are told where they got to before the node stops, and do not hold it up.
#[tokio::test]
async fn a_node_that_stops_says_where_to_go_on() {
    let server = Server::start().await;
    let mut response = server.client.get(format!("{}/v1/watch", server.url)).send().await.unwrap();
    let index = server.node.status().await.applied_index;
    server.node.drain().await;
    let mut text = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let cut: WatchMessage = serde_json::from_str(data).unwrap();
    assert_eq!(
        cut,
        WatchMessage::Closed { resume: index, reason: "this node is stopping".into(), code: None }
    );
    server.stop().await;
}

/// Opens a watch on a connection that takes little at a time.
async fn watch_slowly(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.address.parse().unwrap()).await.unwrap();
    stream.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    stream
}

/// More than all buffers on the way to a client hold, and more than the window.
async fn flood(server: &Server) {
    let value = "x".repeat(50_000);
    let ops: Vec<Value> =
        (0..30).map(|key| json!({"op": "put", "key": key.to_string(), "value": value})).collect();
    for _ in 0..20 {
        batch(server, json!(ops)).await;
    }
}

async fn server_for_slow_ones(send_timeout: Duration) -> Server {
    let mut large = limits();
    large.front.value_bytes = 1_000_000;
    (large.http.batch_bytes, large.http.send_timeout) = (4_000_000, send_timeout);
    Server::start_with(large, |mut options| {
        options.limits.watch_bytes = 4_000_000;
        options
    })
    .await
}

async fn watchers(server: &Server) -> u64 {
    let text = server.get("/metrics").await.text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix("lockstep_watchers ")).unwrap().parse().unwrap()
}

/// F4: one that is too slow is cut off, with the place that it got to.
#[tokio::test]
async fn a_slow_watcher_is_cut_off_with_its_place() {
    let server = server_for_slow_ones(Duration::from_secs(30)).await;
    let mut slow = watch_slowly(&server).await;
    flood(&server).await;
    let mut text = String::new();
    let reading = slow.read_to_string(&mut text);
    tokio::time::timeout(LIMIT, reading).await.expect("its end comes").unwrap();
    let told: Vec<WatchMessage> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let (last, before) = told.split_last().unwrap();
    let WatchMessage::Closed { resume, .. } = last else { panic!("{last:?}") };
    assert_eq!(*resume, before.last().unwrap().index(), "nothing between is missing");
    assert_eq!(watchers(&server).await, 0);
    server.stop().await;
}

/// F4: one that takes nothing at all is not waited for.
#[tokio::test]
async fn a_stuck_watcher_is_dropped() {
    let server = server_for_slow_ones(Duration::from_millis(500)).await;
    let stuck = watch_slowly(&server).await;
    assert_eq!(watchers(&server).await, 1);
    flood(&server).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    while watchers(&server).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(stuck);
    server.stop().await;
}

/// Those who watch leave connections for everybody else.
#[tokio::test]
async fn watchers_do_not_take_all_connections() {
    let mut few = limits();
    few.front.connections = 6;
    let server = Server::start_with(few, |options| options).await;
    let url = format!("{}/v1/watch", server.url);
    let mut watching = Vec::new();
    for _ in 0..3 {
        let response = server.client.get(&url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        watching.push(response);
    }
    server.refused(Method::GET, "/v1/watch", &[], "", "busy").await;
    assert_eq!(server.get("/livez").await.status(), 200);
    drop(watching);
    server.stop().await;
}

/// One of low priority makes room for others, and not for a watch that is refused.
#[tokio::test]
async fn none_is_cut_for_a_watch_that_is_refused() {
    let mut few = limits();
    few.front.connections = 10;
    let (server, root) = give_root(few, HttpSettings::default()).await;
    let grants = json!([{"role": "read", "prefix": "a/"}]);
    let (_, token) = create(&server, &root, "app", grants, None).await;
    let mut low = Vec::new();
    for last in [2, 3, 4, 5, 6] {
        let client = server.client_from([127, 0, 0, last]);
        let url = format!("{}/v1/watch?priority=low", server.url);
        let answer = client.get(url).bearer_auth(&root).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        low.push(answer);
    }
    let refused = ask(&server, Method::GET, "/v1/watch", &token, "").await;
    assert_eq!(refused.status(), 403);
    assert_eq!(ask(&server, Method::PUT, "/v1/kv/k", &root, "v").await.status(), 201);
    for watch in &mut low {
        let mut told = String::new();
        while !told.contains("\"cause\":\"put\"") {
            let chunk =
                tokio::time::timeout(LIMIT, watch.chunk()).await.expect("it is told in time").unwrap();
            told += std::str::from_utf8(&chunk.expect("it is not cut")).unwrap();
        }
        assert!(!told.contains("closed"), "{told}");
    }
    let admitted = ask(&server, Method::GET, "/v1/watch?prefix=a%2F", &token, "").await;
    assert_eq!(admitted.status(), 200, "one is cut for this one");
    server.stop().await;
}

/// A client that takes all it can leaves some for others.
#[tokio::test]
async fn one_address_does_not_take_all_places() {
    let mut few = limits();
    few.front.connections = 16;
    let server = Server::start_with(few, |options| options).await;
    let (greedy, other) = (server.client_from([127, 0, 0, 2]), server.client_from([127, 0, 0, 3]));
    let watch = async |client: &reqwest::Client| {
        let answer = client.get(format!("{}/v1/watch", server.url)).send().await.unwrap();
        (answer.status().as_u16(), answer)
    };
    let mut held = Vec::new();
    for _ in 0..6 {
        let (status, answer) = watch(&greedy).await;
        assert_eq!(status, 200);
        held.push(answer);
    }
    let (status, refused) = watch(&greedy).await;
    assert_eq!((status, refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert!(refused.text().await.unwrap().contains("your address"));
    for expected in [200, 200, 429] {
        let (status, answer) = watch(&other).await;
        assert_eq!(status, expected);
        held.push(answer);
    }
    drop(held);
    let begun = Instant::now();
    while watch(&greedy).await.0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "places are given back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

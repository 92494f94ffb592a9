//! The change feed over a WebSocket.

use crate::metadata::without_metadata;
use crate::server::{Server, limits, settings};
use futures::{SinkExt, StreamExt};
use lockstep::http::CompatSettings;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A page's connection.
struct Page(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Page {
    async fn open(server: &Server) -> Self {
        let (socket, _) = connect_async(format!("ws://{}/v1/live", server.address)).await.unwrap();
        Self(socket)
    }

    async fn say(&mut self, request: Value) {
        self.0.send(Message::text(request.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.0.next()).await;
            match next.expect("it is told in time").expect("the connection is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message of a kind other than a bookmark.
    async fn news(&mut self) -> Value {
        loop {
            let told = self.hear().await;
            if told["type"] != "bookmark" {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn subscriptions_come_and_go() {
    let server = Server::start().await;
    let mut page = Page::open(&server).await;
    page.say(json!({"subscribe": {"id": "users", "prefix": "user:", "values": false}})).await;
    let begin = page.news().await;
    assert_eq!((&begin["type"], &begin["id"]), (&json!("subscribed"), &json!("users")));
    page.say(json!({"subscribe": {"from": begin["index"]}})).await;
    assert_eq!(page.news().await["id"], "");
    server.put("user:1", "ada").await;
    server.put("order:1", "tea").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let news = page.news().await;
        assert_eq!(news["type"], "change");
        told.push((news["id"].as_str().unwrap().to_owned(), without_metadata(news["events"].clone())));
    }
    told.sort_by_key(|(id, events)| (id.clone(), events.to_string()));
    let put = |key: &str, value: Option<&str>| {
        let mut event = json!({"cause": "put", "key": key, "created": true, "bytes": 3});
        if let Some(value) = value {
            event["value"] = json!(value);
        }
        json!([event])
    };
    let all = |key, value| (String::new(), put(key, Some(value)));
    assert_eq!(told, [all("order:1", "tea"), all("user:1", "ada"), ("users".into(), put("user:1", None))]);

    page.say(json!({"unsubscribe": ""})).await;
    assert_eq!(page.news().await, json!({"type": "unsubscribed", "id": ""}));
    server.put("order:2", "x").await;
    server.put("user:2", "abc").await;
    assert_eq!(without_metadata(page.news().await["events"].clone()), put("user:2", None));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_rest_goes_on() {
    let server = Server::start().await;
    let mut page = Page::open(&server).await;
    for (request, code) in [
        (json!("hello"), "invalid_body"),
        (json!({"subscribe": {"pre": "x"}}), "invalid_body"),
        (json!({"subscribe": {"from": 1_000_000}}), "conflict"),
    ] {
        page.say(request.clone()).await;
        let refused = page.news().await;
        assert_eq!((&refused["type"], &refused["code"]), (&json!("refused"), &json!(code)), "{request}");
    }
    page.0.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(page.news().await["code"], "invalid_body");
    for number in 0..16 {
        page.say(json!({"subscribe": {"id": number.to_string()}})).await;
        assert_eq!(page.news().await["type"], "subscribed");
    }
    page.say(json!({"subscribe": {"id": "3"}})).await;
    assert_eq!(page.news().await["code"], "conflict");
    page.say(json!({"subscribe": {"id": "more"}})).await;
    assert_eq!(page.news().await["code"], "busy");
    server.put("k", "v").await;
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < 16 {
        ids.insert(page.news().await["id"].as_str().unwrap().to_owned());
    }
    server.refused(Method::GET, "/v1/live", &[], "", "invalid_header").await;
    server.stop().await;
}

/// Each ping costs the node an answer.
#[tokio::test]
async fn a_client_that_pings_without_end_is_sent_away() {
    let server = Server::start().await;
    let mut page = Page::open(&server).await;
    for _ in 0..64 {
        page.0.send(Message::Ping("x".into())).await.unwrap();
    }
    for _ in 0..64 {
        assert!(matches!(page.0.next().await, Some(Ok(Message::Pong(_)))));
    }
    // At most 64 of these come after the second in which the others came.
    for _ in 0..130 {
        let _ = page.0.send(Message::Ping("x".into())).await;
    }
    let end = loop {
        match tokio::time::timeout(Duration::from_secs(20), page.0.next()).await.expect("it ends") {
            Some(Ok(Message::Pong(_))) => {}
            end => break end,
        }
    };
    if let Some(Ok(Message::Close(frame))) = &end {
        assert_eq!(frame.as_ref().unwrap().code, CloseCode::Policy);
    }
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    server.stop().await;
}

/// Browsers let any page post plain text to anywhere.
#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let server = Server::start().await;
    let evil = [("origin", "http://evil.example"), ("content-type", "text/plain")];
    for (method, path) in [
        (Method::POST, "/v1/kv/n/incr"),
        (Method::POST, "/v1/batch"),
        (Method::PUT, "/v1/kv/n"),
        (Method::DELETE, "/v1/kv"),
        (Method::POST, "/v1/leader"),
    ] {
        server.refused(method, path, &evil, "", "forbidden").await;
    }
    assert_eq!(
        server.send(Method::GET, "/v1/keys", &evil, "").await.status(),
        200,
        "its browser does not show it this"
    );
    // What `/api` takes for its frontend when nobody names one.
    let usual = [("origin", "http://localhost:3000")];
    server.refused(Method::POST, "/v1/kv/n/incr", &usual, "", "forbidden").await;
    let own = [("origin", server.url.as_str())];
    assert_eq!(server.send(Method::POST, "/v1/kv/n/incr", &own, "").await.status(), 200);
    // A stranger's name may be made to lead here once the stranger's page is loaded.
    let rebound = [("origin", "http://evil.example:5001"), ("host", "evil.example:5001")];
    server.refused(Method::POST, "/v1/kv/n/incr", &rebound, "", "misdirected").await;
    let named = [("origin", "http://cache-1:5001"), ("host", "cache-1:5001")];
    server.refused(Method::POST, "/v1/kv/n/incr", &named, "", "misdirected").await;
    server.stop().await;
    let listed = settings(CompatSettings::default(), &["cache-1"]);
    let server = Server::start_for(limits(), listed, |options| options).await;
    assert_eq!(server.send(Method::POST, "/v1/kv/n/incr", &named, "").await.status(), 200);
    server.stop().await;
}

/// Names that the members advertise, and those that the operator lists, are the cluster's own.
#[tokio::test]
async fn pages_of_the_clusters_own_sites_are_welcome() {
    let compat = CompatSettings::of(Some("https://cache.example"), None).unwrap();
    let server = Server::start_for(limits(), settings(compat, &[]), |mut options| {
        options.http_advertise = "http://cache-1.example:5001".into();
        options
    })
    .await;
    for (origin, host, status) in [
        ("http://cache-1.example:5001", "cache-1.example:5001", 200),
        ("https://cache.example", "10.0.0.7", 200),
        ("http://cache-2.example:5001", "10.0.0.7", 403),
        ("http://cache-2.example:5001", "cache-2.example:5001", 421),
    ] {
        let headers = [("origin", origin), ("host", host)];
        let answer = server.send(Method::POST, "/v1/kv/n/incr", &headers, "").await;
        assert_eq!(answer.status(), status, "{origin}");
    }
    server.stop().await;
}

/// Browsers let any page open a WebSocket to anywhere, so the server has to say no.
#[tokio::test]
async fn pages_of_other_sites_are_sent_away() {
    let server = Server::start().await;
    let try_from = async |origin: &str| {
        let mut request = format!("ws://{}/v1/live", server.address).into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        match connect_async(request).await {
            Ok(_) => 101,
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(try_from(&server.url).await, 101);
    assert_eq!(try_from("http://evil.example").await, 403);
    assert_eq!(try_from("null").await, 403);
    assert_eq!(try_from(&format!("http://evil.example/?{}", server.address)).await, 403);
    let evil = [("origin", "http://evil.example")];
    server.refused(Method::GET, "/v1/live", &evil, "", "forbidden").await;
    server.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_says_so() {
    let server = Server::start().await;
    let mut idle = Page::open(&server).await;
    let mut page = Page::open(&server).await;
    page.say(json!({"subscribe": {}})).await;
    let index = page.news().await["index"].clone();
    server.node.drain().await;
    let cut = page.news().await;
    assert_eq!(cut, json!({"type": "cut", "id": "", "resume": index, "reason": "this node is stopping"}));
    for page in [&mut idle, &mut page] {
        let end = tokio::time::timeout(Duration::from_secs(20), page.0.next()).await.unwrap();
        assert!(matches!(end, Some(Ok(Message::Close(_)))), "{end:?}");
    }
    server.stop().await;
}

//! Nodes of the original Node.js cache server, by hand: what is answered, and what is bounded.

use crate::server::{Server, limits};
use crate::tokens::{ask, create, give_root};
use futures::{SinkExt, StreamExt};
use lockstep::http::HttpSettings;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATIENCE: Duration = Duration::from_secs(20);

/// An old node's connection.
struct OldNode {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: String,
    made: u64,
}

impl OldNode {
    async fn connect(server: &Server, id: &str) -> Self {
        Self::connect_with(server, id, "40").await.expect("it is admitted")
    }

    /// The same with this packet; `None` if it is not admitted.
    async fn connect_with(server: &Server, id: &str, packet: &str) -> Option<Self> {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", server.address);
        let (mut socket, _) = connect_async(url).await.unwrap();
        socket.send(Message::text(packet)).await.unwrap();
        let answer = async {
            loop {
                let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
                if text.starts_with("40") || text.starts_with("44") {
                    return text.starts_with("40");
                }
            }
        };
        let admitted = timeout(PATIENCE, answer).await.expect("an answer");
        admitted.then(|| Self { socket, id: id.into(), made: 0 })
    }

    async fn emit(&mut self, event: &str, data: &Value) {
        self.socket.send(Message::text(format!("42{}", json!([event, data])))).await.unwrap();
    }

    async fn register(&mut self) {
        let data = json!({"nodeId": self.id, "port": "5000"});
        self.emit("register-node", &data).await;
    }

    async fn operate(&mut self, mut operation: Value) -> String {
        self.made += 1;
        let id = format!("{}-{}", self.id, self.made);
        operation["nodeId"] = self.id.clone().into();
        operation["operationId"] = id.clone().into();
        self.emit("cache-operation", &operation).await;
        id
    }

    /// The data of the next event of this name; `None` if it is disconnected before.
    async fn event(&mut self, name: &str) -> Option<Value> {
        let next = async {
            while let Some(Ok(message)) = self.socket.next().await {
                let text = message.into_text().unwrap_or_default();
                if text == "2" {
                    let _ = self.socket.send(Message::text("3")).await;
                }
                if text == "41" {
                    return None;
                }
                let Some(event) = text.strip_prefix("42") else { continue };
                let mut event: Vec<Value> = serde_json::from_str(event).unwrap();
                if event[0] == name {
                    return event.pop();
                }
            }
            None
        };
        timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("there is no {name}"))
    }
}

async fn put(server: &Server, key: &str, value: &str) {
    let body = json!({"key": key, "value": value}).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(server.send(Method::POST, "/api/cache", &headers, body).await.status(), 200);
}

async fn value_of(server: &Server, key: &str) -> Value {
    server.get(&format!("/api/cache/{key}")).await.json::<Value>().await.unwrap()["value"]["value"].clone()
}

#[tokio::test]
async fn what_is_stored_here_is_sent_in_pages_and_then_every_change_whole() {
    let mut limits = limits();
    limits.front.value_bytes = 10_000;
    let server = Server::start_with(limits, |options| options).await;
    for n in 0..300 {
        put(&server, &format!("k{n:03}"), &n.to_string()).await;
    }
    let mut node = OldNode::connect(&server, "old").await;
    node.register().await;
    let mut keys = Vec::new();
    loop {
        let page = node.event("cache-sync").await.unwrap();
        assert_eq!(page["type"], "full-sync");
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= 256 && items.iter().all(|item| item["value"]["timestamp"].is_string()));
        keys.extend(items.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
        if page["more"] == false {
            break;
        }
    }
    assert_eq!((keys.len(), keys.first().unwrap().as_str()), (300, "k000"));
    // A value beyond what pages are shown.
    let large = "x".repeat(5_000);
    put(&server, "large", &large).await;
    let told = node.event("cache-operation").await.unwrap();
    assert_eq!(
        (&told["type"], &told["key"], &told["value"]),
        (&json!("set"), &json!("large"), &json!(large))
    );
    let attached: Value = server.get("/v1/old-nodes").await.json().await.unwrap();
    let listed = &attached["old_nodes"][0];
    assert_eq!(
        (&listed["node_id"], &listed["port"], &listed["told"]),
        (&json!("old"), &json!(5000), &json!(1))
    );
    let status: Value = server.get("/api/sync/status").await.json().await.unwrap();
    assert_eq!(status["nodeList"][0]["role"], "old-node");
    server.stop().await;
}

/// What it sends is stored, once, and is not told to it; another old node is told, with the id that it had.
#[tokio::test]
async fn its_operations_are_stored_once_and_told_to_others_only() {
    let server = Server::start().await;
    let (mut one, mut other) =
        (OldNode::connect(&server, "one").await, OldNode::connect(&server, "other").await);
    for node in [&mut one, &mut other] {
        node.register().await;
        node.event("cache-sync").await.unwrap();
    }
    let id = one.operate(json!({"type": "set", "key": "k", "value": {"a": 1}})).await;
    let told = other.event("cache-operation").await.unwrap();
    assert_eq!((&told["nodeId"], &told["operationId"]), (&json!("one"), &json!(id)));
    assert_eq!(value_of(&server, "k").await, json!({"a": 1}));
    // Once more, after somebody else has changed it: it is not carried out again.
    put(&server, "k", "newer").await;
    one.made -= 1;
    one.operate(json!({"type": "set", "key": "k", "value": {"a": 1}})).await;
    one.operate(json!({"type": "set", "key": "last", "value": 1})).await;
    assert_eq!(other.event("cache-operation").await.unwrap()["value"], "newer");
    assert_eq!(other.event("cache-operation").await.unwrap()["key"], "last");
    assert_eq!(value_of(&server, "k").await, "newer");
    // The only one that it is told is not its own.
    assert_eq!(one.event("cache-operation").await.unwrap()["value"], "newer");
    put(&server, "end", "end").await;
    assert_eq!(one.event("cache-operation").await.unwrap()["key"], "end");
    server.stop().await;
}

#[tokio::test]
async fn a_refused_operation_is_answered_and_taken_back() {
    let server = Server::start().await;
    let mut node = OldNode::connect(&server, "old").await;
    node.register().await;
    node.event("cache-sync").await.unwrap();
    let id = node.operate(json!({"type": "rename", "key": "k", "value": 1})).await;
    let error = node.event("cache-error").await.unwrap();
    assert_eq!(
        (&error["operationId"], &error["code"], &error["effect"]),
        (&json!(id), &json!("invalid_body"), &json!("none"))
    );
    assert!(error["message"].as_str().unwrap().contains("rename"));
    let taken_back = node.event("cache-operation").await.unwrap();
    assert_eq!((&taken_back["type"], &taken_back["key"]), (&json!("delete"), &json!("k")));
    server.stop().await;
}

/// Much more than a page may send passes, without a cut.
#[tokio::test]
async fn much_is_taken_and_nothing_is_cut() {
    let server = Server::start().await;
    let mut node = OldNode::connect(&server, "old").await;
    node.register().await;
    node.event("cache-sync").await.unwrap();
    let value = "v".repeat(900);
    for n in 0..2_000 {
        node.operate(json!({"type": "set", "key": format!("k{n}"), "value": value})).await;
    }
    node.operate(json!({"type": "rename"})).await;
    assert_eq!(node.event("cache-error").await.unwrap()["code"], "invalid_body", "it is still there");
    let attached: Value = server.get("/v1/old-nodes").await.json().await.unwrap();
    assert_eq!(
        (&attached["old_nodes"][0]["received"], &attached["old_nodes"][0]["refused"]),
        (&json!(2_001), &json!(1))
    );
    server.stop().await;
}

#[tokio::test]
async fn so_many_old_nodes_are_attached_and_one_more_is_told_why_not() {
    let server = Server::start_with(limits(), |options| options).await;
    let mut nodes = Vec::new();
    for n in 0..16 {
        let mut node = OldNode::connect(&server, &format!("n{n}")).await;
        node.register().await;
        node.event("cache-sync").await.unwrap();
        nodes.push(node);
    }
    let mut more = OldNode::connect(&server, "more").await;
    more.register().await;
    let error = more.event("cache-error").await.unwrap();
    assert_eq!((&error["success"], &error["code"]), (&json!(false), &json!("busy")));
    assert_eq!(more.event("cache-sync").await, None, "it is disconnected");
    server.stop().await;
}

/// Where requests need a token, so does an old node, and it writes what its token may.
#[tokio::test]
async fn an_old_node_does_what_its_token_may() {
    let (server, root) = give_root(limits(), HttpSettings::default()).await;
    assert!(OldNode::connect_with(&server, "old", "40").await.is_none(), "without a token");
    let grants = json!([{"role": "read", "prefix": ""}, {"role": "write", "prefix": "b/"}]);
    let (_, token) = create(&server, &root, "old", grants, None).await;
    let packet = format!("40{}", json!({"token": token}));
    let mut node =
        OldNode::connect_with(&server, "old", &packet).await.expect("its token may read everything");
    node.register().await;
    node.event("cache-sync").await.unwrap();
    node.operate(json!({"type": "set", "key": "b/k", "value": "mine"})).await;
    for refused in [json!({"type": "set", "key": "a/k", "value": 1}), json!({"type": "clear"})] {
        let id = node.operate(refused).await;
        let error = node.event("cache-error").await.unwrap();
        assert_eq!((&error["operationId"], &error["code"]), (&json!(id), &json!("forbidden")));
    }
    let value = async |key: &str| ask(&server, Method::GET, &format!("/api/cache/{key}"), &root, "").await;
    assert_eq!(value("a%2Fk").await.status(), 404);
    let kept: Value = value("b%2Fk").await.json().await.unwrap();
    assert_eq!(kept["value"]["value"], "mine");
    server.stop().await;
}

/// What it sent over a connection that has ended does not overwrite what it sends over the next one.
#[tokio::test]
async fn operations_keep_their_order_over_a_new_connection() {
    let server = Server::start().await;
    let mut before = OldNode::connect(&server, "old").await;
    for n in 0..500 {
        before.operate(json!({"type": "set", "key": "k", "value": format!("old {n}")})).await;
    }
    before.socket.close(None).await.unwrap();
    let is_gone = async {
        // Everything that it sent is read before its connection ends.
        while before.socket.next().await.is_some() {}
        loop {
            let attached: Value = server.get("/v1/old-nodes").await.json().await.unwrap();
            if attached["old_nodes"] == json!([]) {
                return;
            }
        }
    };
    timeout(PATIENCE, is_gone).await.expect("the first connection ends");
    let mut after = OldNode::connect(&server, "old").await;
    after.made = 1_000;
    after.operate(json!({"type": "set", "key": "k", "value": "new"})).await;
    let is_new = async { while server.get("/v1/kv/k").await.text().await.unwrap() != "new" {} };
    timeout(PATIENCE, is_new).await.expect("what the new connection said is stored");
    let mut follower = OldNode::connect(&server, "follower").await;
    follower.register().await;
    let page = follower.event("cache-sync").await.unwrap();
    assert_eq!(page["data"][0]["value"]["value"], "new", "{page}");
    put(&server, "end", "end").await;
    let told = follower.event("cache-operation").await.unwrap();
    assert_eq!(told["key"], "end", "nothing of the first connection came later: {told}");
    server.stop().await;
}

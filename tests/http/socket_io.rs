//! Socket.IO pages that are abandoned, by hand: their places are given back.

use crate::server::{Server, limits};
use futures::{SinkExt, StreamExt};
use reqwest::{Client, Method};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PING: Duration = Duration::from_secs(2);
const PONG: Duration = Duration::from_secs(1);
/// By then everything that is abandoned is given up.
const PATIENCE: Duration = Duration::from_secs(15);

async fn server() -> Server {
    let mut limits = limits();
    (limits.http.page_ping_interval, limits.http.page_pong_timeout) = (PING, PONG);
    limits.http.head_timeout = Duration::from_secs(30);
    Server::start_with(limits, |options| options).await
}

/// A page that polls, and listens.
async fn polling(server: &Server) -> String {
    let path = "/socket.io/?EIO=4&transport=polling";
    let open = server.get(path).await.text().await.unwrap();
    let open: Value = serde_json::from_str(&open[1..]).unwrap();
    let session = open["sid"].as_str().unwrap().to_owned();
    let joined = server.send(Method::POST, &format!("{path}&sid={session}"), &[], "40").await;
    assert_eq!(joined.status(), 200);
    session
}

async fn socket(server: &Server, session: Option<&str>) -> Result<Socket, Error> {
    let session = session.map(|session| format!("&sid={session}")).unwrap_or_default();
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket{session}", server.address);
    connect_async(url).await.map(|(socket, _)| socket)
}

/// How many watch, by the node's own count.
async fn watchers(server: &Server) -> u64 {
    let metrics = server.get("/metrics").await.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("lockstep_watchers ")).unwrap();
    line.parse().unwrap()
}

async fn watchers_become(server: &Server, count: u64) {
    let begun = Instant::now();
    while watchers(server).await != count {
        assert!(begun.elapsed() < PATIENCE, "there are {} watchers, not {count}", watchers(server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ended(mut socket: Socket) {
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    timeout(PATIENCE, end).await.expect("the connection ends");
}

#[tokio::test]
async fn a_page_that_never_changes_over_gives_its_place_back() {
    let server = server().await;
    let mut abandoned = Vec::new();
    for says in [None, Some("2probe")] {
        let session = polling(&server).await;
        let mut socket = socket(&server, Some(&session)).await.unwrap();
        if let Some(text) = says {
            socket.send(Message::text(text)).await.unwrap();
        }
        abandoned.push(socket);
    }
    watchers_become(&server, 2).await;
    watchers_become(&server, 0).await;
    for socket in abandoned {
        ended(socket).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_that_is_silent_gives_its_place_back_and_others_stay() {
    let server = server().await;
    let mut alive = socket(&server, None).await.unwrap();
    alive.send(Message::text("40")).await.unwrap();
    let mut silent = socket(&server, None).await.unwrap();
    silent.send(Message::text("40")).await.unwrap();
    let session = polling(&server).await;
    let mut changed = socket(&server, Some(&session)).await.unwrap();
    changed.send(Message::text("2probe")).await.unwrap();
    changed.send(Message::text("5")).await.unwrap();
    watchers_become(&server, 3).await;
    let begun = Instant::now();
    let mut pings = 0;
    while begun.elapsed() < 3 * (PING + PONG) {
        let next = timeout(PATIENCE, alive.next()).await.expect("it is told something");
        if next.expect("it is open").unwrap() == Message::text("2") {
            alive.send(Message::text("3")).await.unwrap();
            pings += 1;
        }
    }
    assert!(pings >= 3, "{pings} pings");
    watchers_become(&server, 1).await;
    ended(silent).await;
    ended(changed).await;
    server.stop().await;
}

/// A second connection of a session would wait behind the first for ever.
#[tokio::test]
async fn a_session_has_one_socket() {
    let server = server().await;
    let session = polling(&server).await;
    let first = socket(&server, Some(&session)).await.unwrap();
    for _ in 0..3 {
        let refused = socket(&server, Some(&session)).await;
        assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 400));
    }
    ended(first).await;
    server.stop().await;
}

/// A connection that says nothing takes memory until it is given up, so only so many may begin, and one client begins three
/// quarters of them.
#[tokio::test]
async fn a_flood_of_socket_io_connections_is_refused() {
    let server = Server::start().await;
    let (flooding, other) = (server.client_from([127, 0, 0, 2]), server.client_from([127, 0, 0, 3]));
    let url = format!("{}/socket.io/?EIO=4&transport=polling", server.url);
    let begin = async |client: &Client| client.get(&url).send().await.unwrap().status().as_u16();
    let mut answers = Vec::new();
    while answers.len() < 385 {
        answers.push(begin(&flooding).await);
    }
    assert_eq!((answers[0], answers[383], answers[384]), (200, 200, 429));
    while answers.len() < 385 + 129 {
        answers.push(begin(&other).await);
    }
    assert_eq!((answers[385], answers[512], answers[513]), (200, 200, 429));
    server.stop().await;
}

/// A page sends names of events. The library would keep whatever else comes, however much it is.
#[tokio::test]
async fn a_socket_io_page_sends_little() {
    let server = Server::start().await;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", server.address);
    let (mut page, _) = connect_async(&url).await.unwrap();
    page.send(Message::text("40")).await.unwrap();
    // A client sends nothing before it is told that it is connected: the library would end the connection.
    while !page.next().await.unwrap().unwrap().into_text().unwrap().starts_with("40{") {}
    // So much is fine, and is answered.
    page.send(Message::text(r#"42["get-cache-state"]"#)).await.unwrap();
    let mut states = 0;
    while states < 2 {
        let told = page.next().await.unwrap().unwrap().into_text().unwrap();
        states += usize::from(told.starts_with(r#"42["cache-state""#));
    }
    let large = format!(r#"42["get-cache-state","{}"]"#, "x".repeat(1_000_000));
    let _ = page.send(Message::text(large)).await;
    let end = async { while let Some(Ok(_)) = page.next().await {} };
    tokio::time::timeout(Duration::from_secs(20), end).await.expect("the connection is cut");

    let polling = "/socket.io/?EIO=4&transport=polling";
    let text = server.get(polling).await.text().await.unwrap();
    let open: Value = serde_json::from_str(&text[1..]).unwrap();
    let polling = format!("{polling}&sid={}", open["sid"].as_str().unwrap());
    let post = async |body: String| server.send(Method::POST, &polling, &[], body).await.status().as_u16();
    assert_eq!(post("40".into()).await, 200);
    let announced = r#"452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(post(format!("{announced}\x1ebAAAA")).await, 400);
    assert_eq!(post("bAAAA".into()).await, 400);
    assert_eq!(post(format!(r#"42["{}"]"#, "x".repeat(5_000))).await, 413);
    server.stop().await;
}

/// A page that asks before it has its answer gets an answer to its last request: nothing more comes if the cache does not change.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_request_of_a_page_is_answered() {
    let server = Server::start().await;
    for number in 0..30 {
        let put = server.send(Method::PUT, &format!("/v1/kv/k{number}"), &[], "v").await;
        assert!(put.status().is_success());
    }
    let asked = (0..16).map(|_| tokio::spawn(ask_in_a_hurry(server.address.clone())));
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    server.stop().await;
}

/// Asks as soon as it is told that it is connected.
async fn ask_in_a_hurry(address: String) {
    let (mut page, _) =
        connect_async(format!("ws://{}/socket.io/?EIO=4&transport=websocket", address)).await.unwrap();
    page.send(Message::text("40")).await.unwrap();
    while !page.next().await.unwrap().unwrap().into_text().unwrap().starts_with("40{") {}
    for limit in 1..=20 {
        page.feed(Message::text(format!(r#"42["get-cache-state",{{"limit":{limit}}}]"#))).await.unwrap();
    }
    page.flush().await.unwrap();
    let answered = async {
        loop {
            let told = page.next().await.unwrap().unwrap().into_text().unwrap();
            let state = told.strip_prefix("42").and_then(|told| serde_json::from_str::<Value>(told).ok());
            if state.is_some_and(|state| state[0] == "cache-state" && state[1]["count"] == 20) {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), answered).await.expect("the last request is answered");
}

//! The port for clients with TLS: everything works as without, and whoever does not shake hands is closed in time.

use crate::certs::Authority;
use crate::server::{Limits, Server, limits};
use futures::{SinkExt, StreamExt};
use lockstep::client::{Client, PutOptions, WatchOptions};
use lockstep::http::{HttpLimits, HttpSettings};
use lockstep::node::{NewToken, Principal, RootToken};
use lockstep::tls::{CertFiles, ClientTls, ServerTls};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

/// A server with TLS, and whom its clients believe.
struct Encrypted {
    server: Server,
    tls: ClientTls,
    _dir: TempDir,
}

async fn start(limits: Limits, root: Option<&str>) -> Encrypted {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let files = CertFiles { ca: None, ..authority.node("n1") };
    let tls = ClientTls { ca: Some(authority.ca()), own: None };
    let settings =
        HttpSettings { tls: Some(ServerTls::open(files).expect("good files")), ..HttpSettings::default() };
    let builder = reqwest::Client::builder().no_proxy();
    let builder = builder.tls_backend_preconfigured(tls.config().expect("a file"));
    let server = Server::start_as(limits, settings, builder, |mut options| {
        options.require_tokens = root.and_then(Principal::of_token).map(RootToken::Given);
        options
    });
    Encrypted { server: server.await, tls, _dir: dir }
}

#[tokio::test]
async fn requests_watches_and_sockets_work() {
    let it = start(limits(), None).await;
    let client = Client::with_tls(std::slice::from_ref(&it.server.url), Duration::from_secs(20), &it.tls)
        .expect("a client");
    let value = vec![b'x'; 900];
    let stored = client.put("k", value.clone().into(), &PutOptions::default()).await.expect("written");
    let read = it.server.get("/v1/kv/k").await;
    assert_eq!(read.bytes().await.expect("a body"), value);

    let mut watching = client.watch(WatchOptions::prefix("", Some(stored.revision)));
    client.put("l", "y".into(), &PutOptions::default()).await.expect("written");
    while !format!("{:?}", watching.next().await.expect("a message")).contains("\"l\"") {}

    let stream = TcpStream::connect(&it.server.address).await.expect("it listens");
    let connector = TlsConnector::from(Arc::new(it.tls.config().expect("a file")));
    let host = "localhost".try_into().expect("a name");
    let stream = connector.connect(host, stream).await.expect("shaken");
    let page = format!("wss://{}/v1/live", it.server.address);
    let (mut socket, _) = tokio_tungstenite::client_async(page, stream).await.expect("a WebSocket");
    socket.send(Message::text(json!({"subscribe": {"id": "a"}}).to_string())).await.expect("sent");
    let Some(Ok(Message::Text(told))) = socket.next().await else { panic!("no answer") };
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["type"], "subscribed");
    drop(socket);
    it.server.stop().await;
}

/// A browser takes such a cookie over HTTPS only, and sends it to no other host.
#[tokio::test]
async fn a_session_is_kept_to_https() {
    let root = NewToken::random().expect("random numbers").text().to_owned();
    let it = start(limits(), Some(&root)).await;
    let body = json!({ "token": root }).to_string();
    let begun = Instant::now();
    let cookie = loop {
        let login =
            it.server.send(Method::POST, "/v1/login", &[("content-type", "application/json")], &*body);
        let login = login.await;
        if login.status() == StatusCode::NO_CONTENT {
            break login.headers()["set-cookie"].to_str().expect("text").to_owned();
        }
        assert!(begun.elapsed().as_secs() < 20, "{}", login.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(cookie.starts_with("__Host-lockstep-") && cookie.contains("; Secure"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    let own = [("cookie", pair), ("origin", it.server.url.as_str())];
    assert_eq!(it.server.send(Method::PUT, "/v1/kv/k", &own, "x").await.status(), StatusCode::CREATED);
    it.server.stop().await;
}

/// Who connects and does not shake hands holds a connection for as long as a handshake may take, not longer; and whatever is sent
/// instead of one does no harm.
#[tokio::test]
async fn who_does_not_shake_hands_is_closed_in_time() {
    let http = HttpLimits { handshake_timeout: Duration::from_millis(300), ..limits().http };
    let it = start(Limits { http, ..limits() }, None).await;
    let closed = async |sent: &[u8]| {
        let mut stream = TcpStream::connect(&it.server.address).await.expect("it listens");
        stream.write_all(sent).await.expect("sent");
        let (begun, mut read) = (Instant::now(), Vec::new());
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut read)).await;
        ended.expect("it is closed").ok();
        (begun.elapsed(), read)
    };
    let (took, read) = closed(b"").await;
    assert!(took >= Duration::from_millis(250) && read.is_empty(), "{took:?}");
    // The beginning of a handshake, and then nothing.
    let (took, _) = closed(&[22, 3, 1, 2, 0, 1]).await;
    assert!(took >= Duration::from_millis(250), "{took:?}");
    let (_, read) = closed(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(read.starts_with(b"HTTP/1.1 400 ") && read.ends_with(b"https://host\n"), "{read:?}");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..200 {
        let length = random.usize(1..600);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        if round % 2 == 0 {
            // What looks like a handshake at first.
            let head = [22, 3, 3, 0, 200, 1, 0, 0, 196];
            bytes.splice(..head.len().min(length), head);
        }
        let mut stream = TcpStream::connect(&it.server.address).await.expect("it listens");
        let _ = stream.write_all(&bytes).await;
    }
    assert_eq!(it.server.get("/livez").await.status(), StatusCode::OK);
    it.server.stop().await;
}

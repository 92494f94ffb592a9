//! Clients that are slow, rude or many.

use crate::server::{Server, limits};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn send(server: &Server, bytes: &[u8]) -> (TcpStream, Instant) {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    (stream, Instant::now())
}

/// Reads until the server closes; fails when it does not.
async fn closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut_off() {
    let server = Server::start().await;
    for head in [&b""[..], b"GET /v1/kv/k HT", b"GET / HTTP/1.1\r\nx: y\r\n"] {
        let (stream, _) = send(&server, head).await;
        closed(stream).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_pauses_within_its_body_is_cut_off() {
    let server = Server::start().await;
    let (stream, _) =
        send(&server, b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = closed(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(server.get("/v1/kv/k").await.status().as_u16(), 404, "half a value is no value");
    server.stop().await;
}

#[tokio::test]
async fn an_announced_flood_is_refused_before_it_comes() {
    let server = Server::start().await;
    let head = b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999999\r\n\r\n";
    let (mut stream, begun) = send(&server, head).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.stop().await;
}

#[tokio::test]
async fn nonsense_is_answered_and_the_server_goes_on() {
    let server = Server::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"LET ME IN\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
    ] {
        let (stream, _) = send(&server, bytes).await;
        closed(stream).await;
    }
    assert_eq!(server.get("/livez").await.status().as_u16(), 200);
    server.stop().await;
}

/// Each byte comes in time, and the whole never.
#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_cut_off() {
    let transfer = Duration::from_millis(700);
    let mut limits = limits();
    limits.http.transfer_timeout = transfer;
    let server = Server::start_with(limits, |options| options).await;
    for path in ["/v1/kv/k", "/v1/config"] {
        let head = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n");
        let (stream, begun) = send(&server, head.as_bytes()).await;
        let (mut reader, mut writer) = stream.into_split();
        let dribbling = tokio::spawn(async move {
            while writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let mut status = [0; 12];
        tokio::time::timeout(Duration::from_secs(10), reader.read_exact(&mut status)).await.unwrap().unwrap();
        assert_eq!(&status, b"HTTP/1.1 400", "{path}");
        assert!(begun.elapsed() >= transfer);
        dribbling.abort();
    }
    server.stop().await;
}

/// A client that sends first and reads later hears of the refusal, whatever refuses it.
#[tokio::test]
async fn a_refusal_arrives_though_the_body_is_on_its_way() {
    let server = Server::start().await;
    let body = vec![b'x'; 3_000_000];
    for (target, status) in [
        ("PUT /v1/kv/k", "413"),
        ("PUT /v1/kv/k?ttl_ms=0", "400"),
        ("POST /v1/kv/k", "405"),
        ("PUT /nowhere", "404"),
        ("POST /api/cache", "400"),
    ] {
        for length in [format!("content-length: {}", body.len()), "transfer-encoding: chunked".into()] {
            let head = format!("{target} HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n");
            let (mut stream, _) = send(&server, head.as_bytes()).await;
            if length.starts_with('t') {
                stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await.unwrap();
            }
            stream.write_all(&body).await.unwrap_or_else(|error| panic!("{target} {length}: {error}"));
            let answer = closed(stream).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target} {length}: {answer}");
        }
    }
    server.stop().await;
}

/// More connections than allowed are for probes only.
#[tokio::test]
async fn connections_are_bounded() {
    let head = Duration::from_secs(3);
    let mut few = limits();
    few.front.connections = 4;
    (few.http.probe_connections, few.http.head_timeout) = (3, head);
    let server = Server::start_with(few, |options| options).await;
    let mut held = Vec::new();
    // The test's own client has one more.
    for _ in 0..20 {
        held.push(send(&server, b"GET /livez HT").await.0);
    }
    for (path, status) in
        [("/livez", "200"), ("/v1/status", "200"), ("/v1/kv/k", "503"), ("/api/cache", "503")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let begun = Instant::now();
        // The held ones are kept for a moment, and a newer one is refused meanwhile.
        let answer = loop {
            let answer = closed(send(&server, request.as_bytes()).await.0).await;
            if !answer.is_empty() || begun.elapsed() >= head {
                break answer;
            }
        };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(begun.elapsed() < head, "{path} was answered after {:?}", begun.elapsed());
    }
    // The held ones are cut off in time, and then others have their turn.
    for stream in held {
        closed(stream).await;
    }
    let (mut stream, _) = send(&server, b"GET /v1/kv/k HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    server.stop().await;
}

/// Clients that stop within their bodies keep the memory for what they sent, but not all of it.
#[tokio::test]
async fn bodies_that_are_stuck_leave_room_for_small_ones() {
    let mut limits = limits();
    limits.front.body_memory = 4_000;
    limits.http.body_pause_timeout = Duration::from_secs(20);
    let server = Server::start_with(limits, |options| options).await;
    let head = "PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n";
    let most = format!("{head}{}", "x".repeat(999));
    let mut stuck = Vec::new();
    for _ in 0..5 {
        stuck.push(send(&server, most.as_bytes()).await.0);
    }
    let answers = stuck.iter_mut().map(|stream| {
        Box::pin(async move {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        })
    });
    let (refused, _, others) = futures::future::select_all(answers).await;
    assert_eq!(&refused, b"HTTP/1.1 429", "so many do not fit");
    assert_eq!(server.put("small", "ten bytes!").await.status().as_u16(), 201);
    drop(others);
    drop(stuck);
    server.stop().await;
}

/// Who connects again and again takes no room from somebody's probe.
#[tokio::test]
async fn a_probe_is_not_displaced_by_another_client() {
    let mut few = limits();
    few.front.connections = 1;
    (few.http.probe_connections, few.http.head_timeout) = (3, Duration::from_secs(30));
    let server = Server::start_with(few, |options| options).await;
    let connect = async |from: [u8; 4]| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(server.address.parse().unwrap()).await.unwrap()
    };
    // The test's own client has the only connection, or this one.
    let _place = connect([127, 0, 0, 2]).await;
    let mut probe = connect([127, 0, 0, 3]).await;
    probe.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(connect([127, 0, 0, 2]).await);
    }
    // The last one finds no room, so all were accepted.
    closed(flood.pop().expect("twenty")).await;
    probe.write_all(b"host: localhost\r\n\r\n").await.unwrap();
    let answer = closed(probe).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(flood);
    server.stop().await;
}

/// The system lets as many connections wait as may come at once. With more than that a client would only try again after a
/// second, and so would a probe.
#[tokio::test]
async fn connections_that_come_at_once_wait_for_their_turn() {
    let server = Server::start().await;
    let address = server.address.parse().unwrap();
    // Nothing is accepted meanwhile, because the server has this very thread.
    let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500));
    let held: Result<Vec<_>, _> = (0..300).map(connect).collect();
    let held = held.expect("all of them wait");
    assert_eq!(server.get("/livez").await.status().as_u16(), 200);
    drop(held);
    server.stop().await;
}

/// Asks for a value a few times, and reads nothing of the answers: more than the system's own buffers hold.
async fn ask_and_not_read(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.address.parse().unwrap()).await.unwrap();
    let request = b"GET /v1/kv/large HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(4);
    stream.write_all(&request).await.unwrap();
    stream
}

/// Clients that do not read their answers take a bounded part of the memory. Those that come later are told to try again,
/// and what would have an effect has none.
#[tokio::test]
async fn answers_that_are_not_read_have_a_bound() {
    const LARGE: usize = 1_500_000;
    let mut limits = limits();
    limits.front.value_bytes = LARGE;
    limits.front.answer_memory = 10 * LARGE;
    limits.http.batch_bytes = 2 * LARGE;
    let server = Server::start_with(limits, |options| options).await;
    for key in ["large", "large2"] {
        let put = server.send(Method::PUT, &format!("/v1/kv/{key}"), &[], "x".repeat(LARGE)).await;
        assert_eq!(put.status(), 201);
    }
    let mut stuck = Vec::new();
    while server.get("/v1/kv/large2").await.status() == 200 {
        stuck.push(ask_and_not_read(&server).await);
        assert!(stuck.len() <= 200, "nobody was ever refused");
    }
    assert!(stuck.len() >= 9, "{} answers fill the memory", stuck.len());

    let refused = server.get("/v1/kv/large2").await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
    assert!(refused.text().await.unwrap().contains("busy"));
    let batch = json!({"ops": [{"op": "incr", "key": "n"}, {"op": "get", "key": "large"}]}).to_string();
    assert_eq!(server.send(Method::POST, "/v1/batch", &[], batch.clone()).await.status(), 429);
    for method in [Method::PUT, Method::DELETE] {
        let asked = server.send(method, "/v1/kv/large?previous=true", &[], "").await;
        assert_eq!(asked.status(), 429);
    }
    assert_eq!(server.get("/v1/kv/n").await.status(), 404, "a refused batch has no effect");
    assert_eq!(
        server.get("/v1/keys?prefix=large").await.json::<Value>().await.unwrap()["keys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(server.get("/readyz").await.status(), 200, "small answers need none of it");

    drop(stuck);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.send(Method::POST, "/v1/batch", &[], batch.clone()).await.status() != 200 {
        assert!(Instant::now() < deadline, "the memory is free again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.get("/v1/kv/n").await.text().await.unwrap(), "1");
    assert_eq!(server.get("/v1/kv/large").await.bytes().await.unwrap().len(), LARGE);
    server.stop().await;
}

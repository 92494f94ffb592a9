//! Clients that are slow, rude or many.

use crate::server::{Server, limits};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
        send(&server, b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = closed(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(server.get("/v1/kv/k").await.status().as_u16(), 404, "half a value is no value");
    server.stop().await;
}

#[tokio::test]
async fn an_announced_flood_is_refused_before_it_comes() {
    let server = Server::start().await;
    let head = b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n";
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

/// More connections than allowed wait; those that are there are served.
#[tokio::test]
async fn connections_are_bounded() {
    let server =
        Server::start_with(lockstep::http::HttpLimits { connections: 4, ..limits() }, |options| options)
            .await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(send(&server, b"GET /livez HT").await.0);
    }
    // The held ones are cut off in time, and then this one has its turn.
    let (mut stream, _) = send(&server, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    server.stop().await;
}

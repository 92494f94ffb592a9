//! Attacks on the port for clients.

use crate::attacker::{Target, ask, connect, connect_once, discard, many, tried};
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests of one connection that are sent at once.
const PIPELINED: usize = 32;
/// Connections that bring their bodies byte by byte.
pub const SLOW_BODIES: u64 = 1_000;
/// Time between two bytes of one body.
const SLOW_PAUSE: Duration = Duration::from_millis(50);
/// The connections that a node takes by default, and those that it keeps for probes.
pub const IDLE_CONNECTIONS: u64 = 10_064;
/// More than a node takes that may open 512 files.
const DESCRIPTORS: u64 = 1_000;
/// Abandoned upgrades that are held open: the oldest is closed for one more.
const HELD_UPGRADES_MAX: usize = 2_000;

/// A WebSocket that pings and reads nothing; another when it is cut off.
pub fn websocket_pings(target: Target) -> BoxFuture<'static, ()> {
    // Masked with zeros, 125 bytes each: the longest.
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.extend([b'x'; 125]);
    Box::pin(many(1, move |_| {
        let (target, ping) = (target.clone(), ping.clone());
        async move {
            let Ok(mut stream) = connect_once(target.http, Some(4_096)).await else { return };
            if upgraded(&mut stream, target.http, "/v1/live").await {
                while stream.write_all(&ping).await.is_ok() {
                    tried();
                }
            }
        }
    }))
}

/// Asks for a WebSocket; whether there is one.
async fn upgraded(stream: &mut TcpStream, host: SocketAddr, path: &str) -> bool {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut status = [0; 12];
    stream.write_all(head.as_bytes()).await.is_ok()
        && stream.read_exact(&mut status).await.is_ok()
        && &status == b"HTTP/1.1 101"
}

/// Pages that begin and go no further: after the handshake, or in the middle of the change to a WebSocket, held or closed.
pub fn socket_io_upgrades(target: Target) -> BoxFuture<'static, ()> {
    let held: Arc<Mutex<VecDeque<TcpStream>>> = Arc::default();
    Box::pin(many(32, move |number| {
        let (target, held) = (target.clone(), held.clone());
        async move {
            tried();
            let path = "/socket.io/?EIO=4&transport=polling";
            let mut polling = connect(target.http).await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", target.http);
            let Some(answer) = answer(&mut polling, &request).await else { return };
            let Some((_, rest)) = answer.split_once(r#""sid":""#) else { return };
            let Some((session, _)) = rest.split_once('"') else { return };
            if number % 3 == 0 {
                return;
            }
            let request = format!(
                "POST {path}&sid={session} HTTP/1.1\r\nhost: {}\r\ncontent-length: 2\r\n\r\n40",
                target.http
            );
            let _ = self::answer(&mut polling, &request).await;
            let mut socket = connect(target.http).await;
            let path = format!("/socket.io/?EIO=4&transport=websocket&sid={session}");
            if upgraded(&mut socket, target.http, &path).await && number % 3 == 1 {
                let mut held = held.lock().expect("no panic while held");
                if held.len() == HELD_UPGRADES_MAX {
                    held.pop_front();
                }
                held.push_back(socket);
            }
        }
    }))
}

/// A short answer: what comes at once.
async fn answer(stream: &mut TcpStream, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut space = [0; 4_096];
    let length = stream.read(&mut space).await.ok()?;
    Some(String::from_utf8_lossy(&space[..length]).into_owned())
}

/// Bodies that come one byte at a time.
pub fn slow_bodies(target: Target) -> BoxFuture<'static, ()> {
    Box::pin(many(SLOW_BODIES, move |number| {
        let host = target.http;
        async move {
            let mut stream = connect(host).await;
            let head = format!(
                "PUT /v1/kv/slow-{number} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000000\r\n\r\n"
            );
            let mut every = tokio::time::interval(SLOW_PAUSE);
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                tried();
                every.tick().await;
                sent = stream.write_all(b"x").await;
            }
        }
    }))
}

/// Requests that are refused in every way that could be worth a warning.
pub fn log_lines(target: Target) -> BoxFuture<'static, ()> {
    let host = target.http;
    let path = "x".repeat(2_000);
    let refused = [
        format!("GET /v1/kv/{path} HTTP/1.1\r\nhost: {path}.example\r\n\r\n"),
        format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!(
            "GET /v1/kv/k HTTP/1.1\r\nhost: {host}\r\nsec-fetch-site: cross-site\r\norigin: http://{path}\r\n\r\n"
        ),
        format!("GET /v1/kv/k HTTP/1.1\r\nhost: {host}\r\nexpect: {path}\r\n\r\n"),
        format!("PUT /v1/kv/k?ttl_ms={path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"),
        format!("POST /v1/members HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\n{{}}"),
    ];
    // What is no HTTP ends the connection.
    let batch = refused.iter().cycle().take(PIPELINED - 1).map(String::as_str).collect::<String>();
    repeat(target, batch + "\x16\x03 LET ME IN\r\n\r\n")
}

/// Requests for which a line each is meant to be written.
pub fn request_lines(target: Target) -> BoxFuture<'static, ()> {
    let (path, host) = ("a".repeat(2_000), target.http);
    let request = format!("GET /api/{path} HTTP/1.1\r\nhost: {host}\r\n");
    let batch = format!("{request}\r\n").repeat(PIPELINED - 1);
    repeat(target, format!("{batch}{request}connection: close\r\n\r\n"))
}

/// Sends this on new connections as fast as it is answered.
fn repeat(target: Target, batch: String) -> BoxFuture<'static, ()> {
    let batch: Arc<str> = batch.into();
    Box::pin(many(8, move |_| {
        let batch = batch.clone();
        async move {
            ask(target.http, batch.as_bytes()).await;
            (0..PIPELINED).for_each(|_| tried());
        }
    }))
}

/// All connections that a node takes which may open few files, and as many again that are tried all the time.
pub fn descriptors(target: Target) -> BoxFuture<'static, ()> {
    hold(target.http, DESCRIPTORS)
}

/// All connections that a node takes.
pub fn idle_connections(target: Target) -> BoxFuture<'static, ()> {
    hold(target.http, IDLE_CONNECTIONS)
}

/// Connections that are silent; another when one is closed.
fn hold(to: SocketAddr, count: u64) -> BoxFuture<'static, ()> {
    Box::pin(many(count, move |_| async move {
        let stream = connect(to).await;
        tried();
        discard(&stream).await;
    }))
}

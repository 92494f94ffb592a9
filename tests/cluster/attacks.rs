//! Clients that want to wear a node out. Its memory stays in bounds, and probes are answered meanwhile.

use crate::support::{Cluster, Node, PATIENCE, run, until};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// What a node may grow by under one client's attack.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A probe is answered within this.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// How much of a node is in the machine's memory.
fn resident_bytes(node: &Node) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{}/statm", node.pid())).expect("its memory");
    pages.split(' ').nth(1).expect("resident pages").parse::<u64>().expect("a number") * 4_096
}

/// Asserts that each of these paths is answered with 200 in time, on a connection of its own.
async fn probes_are_answered(node: &Node) {
    for path in ["/livez", "/readyz", "/health", "/ping", "/v1/status", "/metrics"] {
        // Those that came just before are kept for a moment, and a newer one is closed meanwhile.
        let asking = async {
            loop {
                if let Ok(head) = probe(node, path).await {
                    break head;
                }
            }
        };
        let head = timeout(PROBE_LIMIT, asking).await.unwrap_or_else(|_| panic!("{path} is not answered"));
        assert_eq!(head.lines().next(), Some("HTTP/1.1 200 OK"), "{path}");
    }
}

/// The beginning of the response. Not with the HTTP client of the other tests: of 60,000 connections that a listener
/// accepts and closes at once, it reports one by its own timeout only, not by an error.
async fn probe(node: &Node, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address(node)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", address(node));
    stream.write_all(request.as_bytes()).await?;
    let mut head = vec![0; 64];
    stream.read_exact(&mut head).await?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn address(node: &Node) -> std::net::SocketAddr {
    node.http.trim_start_matches("http://").parse().expect("an address")
}

/// A connection whose client takes in next to nothing.
async fn connect_deaf(node: &Node) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    socket.connect(address(node)).await.expect("a connection")
}

/// A WebSocket whose client never reads and sends pings that ask for long pongs.
#[tokio::test(flavor = "multi_thread")]
async fn pongs_that_nobody_takes_do_not_pile_up() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let before = resident_bytes(node);
    let mut stream = connect_deaf(node).await;
    let head = format!(
        "GET /v1/live HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        address(node)
    );
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 101");
    // Masked with zeros, 125 bytes each.
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.extend([b'x'; 125]);
    let pings = ping.repeat(500);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        // It is cut off, or not read any more.
        if !matches!(timeout(Duration::from_millis(200), stream.write_all(&pings)).await, Ok(Ok(()))) {
            break;
        }
    }
    probes_are_answered(node).await;
    let grown = resident_bytes(node).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "it grew by {grown} bytes");
}

/// Idle connections take all there may be, and more are tried all the time.
#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_when_all_connections_are_taken() {
    let cluster = Cluster::start(1, &["--connections", "32"]).await;
    let node = &cluster.nodes[0];
    let before = resident_bytes(node);
    let mut held = Vec::new();
    for _ in 0..600 {
        held.push(TcpStream::connect(address(node)).await.expect("a connection"));
    }
    probes_are_answered(node).await;
    // The cluster's own client has a connection already.
    let newcomer = lockstep::client::plain_http().timeout(PROBE_LIMIT).build().expect("a client");
    let answer = newcomer.get(format!("{}/v1/kv/k", node.http)).send().await.expect("an answer");
    assert_eq!(answer.status(), 503, "there is no room for anything else");
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(answer.text().await.expect("a body").contains("connections"), "it says why");
    let grown = resident_bytes(node).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "it grew by {grown} bytes");
    drop(held);
    until("there is room again", || async {
        let client = lockstep::client::plain_http().build().expect("a client");
        client.get(format!("{}/v1/kv/k", node.http)).send().await.is_ok_and(|answer| answer.status() == 404)
    })
    .await;
}

/// A page can have its own name lead here, so a node answers to those names only that it was told, or that it advertises.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_to_the_names_it_was_told() {
    let names = ["--allowed-hosts", "cache-1, cache.example", "--advertise-http", "http://n1.example:5000"];
    let cluster = Cluster::start(1, &names).await;
    let node = &cluster.nodes[0];
    for (host, status) in [
        ("cache-1", 200),
        ("CACHE.example:5000", 200),
        ("n1.example", 200),
        ("10.0.0.7:80", 200),
        ("cache-2", 421),
        ("evil.example", 421),
        ("cache.example.evil.example", 421),
    ] {
        let request = cluster.http.get(format!("{}/v1/keys", node.http)).header("host", host);
        assert_eq!(request.send().await.expect("an answer").status(), status, "{host}");
    }
    let folder = cluster.dir.path().join("other").display().to_string();
    for wrong in ["cache-1:5000", "http://cache-1", "*"] {
        let (code, _, error) =
            run(&["serve", "--data-dir", &folder, "--http", "127.0.0.1:0", "--allowed-hosts", wrong]);
        assert!(code == 2 && error.contains("--allowed-hosts"), "{wrong}: {code} {error}");
    }
}

/// Whoever asks fast, and for long paths, does not fill the disk with what is told of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_is_told_in_few_lines() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let before = node.log().len();
    let (mut reader, mut writer) =
        TcpStream::connect(address(node)).await.expect("a connection").into_split();
    let request = format!("GET /api/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(20_000));
    let asking = tokio::spawn(async move {
        let begun = Instant::now();
        let mut asked = 0;
        while asked < 5_000 && writer.write_all(request.as_bytes()).await.is_ok() {
            asked += 1;
        }
        (begun.elapsed().as_secs() as usize, asked)
    });
    let mut answers = vec![0; 64 * 1024];
    let mut received = 0;
    // The answers repeat the paths, so they are as many bytes at least.
    while received < 5_000 * 20_000 {
        let count = timeout(PATIENCE, reader.read(&mut answers)).await.expect("in time").expect("an answer");
        assert!(count > 0, "the node goes on answering");
        received += count;
    }
    let (seconds, asked) = asking.await.expect("it is sent");
    assert_eq!(asked, 5_000);
    // 1,000 lines a second, each with 512 bytes of the path.
    let told = node.log().len() - before;
    assert!(told < (seconds + 2) * 1_000 * 700, "{told} bytes in {seconds} s");
    probes_are_answered(node).await;
}

/// A byte that comes by itself takes a byte, and not the whole buffer that it was received into.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_come_byte_by_byte_take_what_they_bring() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let before = resident_bytes(node);
    let sending = (0..100).map(|number| {
        let address = address(node);
        // `/socket.io` has bodies of another kind.
        let target = match number % 2 {
            0 => format!("PUT /v1/kv/slow-{number}"),
            _ => format!("POST /socket.io/?EIO=4&transport=polling&sid={number}"),
        };
        let head = format!("{target} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 4000\r\n\r\n");
        async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("small packets");
            stream.write_all(head.as_bytes()).await.expect("it is read");
            let mut every = tokio::time::interval(Duration::from_millis(4));
            for _ in 0..1_000 {
                every.tick().await;
                stream.write_all(b"x").await.expect("it is read");
            }
            stream
        }
    });
    let held = futures::future::join_all(sending).await;
    let grown = resident_bytes(node).saturating_sub(before);
    println!("it grew by {grown} bytes");
    assert!(grown < GROWTH_BYTES_MAX, "it grew by {grown} bytes");
    probes_are_answered(node).await;
    drop(held);
}

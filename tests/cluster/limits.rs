//! A process that may open few files.

use crate::support::gauges::gauges;
use crate::support::{Cluster, Node, until};
use reqwest::Method;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Sets the soft limit, up to which the node may open files just now.
fn limit_open_files(node: &Node, files: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: prlimit writes into the one struct and reads the other.
    let done = unsafe { libc::prlimit(node.pid(), libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    limit.rlim_cur = files;
    // SAFETY: as above.
    let done =
        unsafe { libc::prlimit(node.pid(), libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn open_files(node: &Node) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("it runs").count() as u64
}

/// A snapshot that cannot begin is no reason to end: it is tried again, and the log stays longer meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_file_descriptors_writes_its_snapshot_later() {
    let mut cluster = Cluster::start(1, &["--snapshot-entries", "200", "--entries-kept", "10"]).await;
    cluster.put_surely(&cluster.nodes[0], "first", "v").await;
    let connection =
        TcpStream::connect(cluster.nodes[0].http.trim_start_matches("http://")).expect("it listens");
    let mut connection = connection;
    let mut put = |key: String| {
        write!(connection, "PUT /v1/kv/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nv")
            .expect("sent");
        let mut answer = [0; 1_024];
        let length = connection.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..length]).starts_with("HTTP/1.1 20")
    };
    assert!(put("warm".into()));
    let now = open_files(&cluster.nodes[0]);
    limit_open_files(&cluster.nodes[0], now);
    for number in 0..300 {
        assert!(put(format!("k{number}")), "write {number} is taken");
    }
    until("it says that it tries again", || async {
        cluster.nodes[0].log().contains("cannot write a snapshot; it is tried again later")
    })
    .await;
    assert!(put("after".into()), "and goes on");
    assert!(cluster.nodes[0].still_runs());
    limit_open_files(&cluster.nodes[0], 1_024);
    until("the snapshot is written", || async {
        cluster.status(&cluster.nodes[0]).await["snapshot_index"].as_u64().expect("a number") > 0
    })
    .await;
}

/// Connections are clamped to what the system allows, so that they never take the files that the node needs.
#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_room_for_the_node_s_own_files() {
    let mut cluster = Cluster::stopped(1, &[]).await;
    cluster.nodes[0].files_max = Some(400);
    cluster.nodes[0].start();
    cluster.all_ready().await;
    assert!(
        cluster.nodes[0].log().contains("fewer connections than asked for"),
        "{}",
        cluster.nodes[0].log()
    );
    let address = cluster.nodes[0].http.trim_start_matches("http://").to_owned();
    // More than are accepted, and no more than the system lets wait.
    let held: Vec<TcpStream> = (0..300).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    until("the connections are accepted", || async { open_files(&cluster.nodes[0]) > 200 }).await;
    assert!(open_files(&cluster.nodes[0]) < 330, "{} files", open_files(&cluster.nodes[0]));
    drop(held);
    until("they are gone", || async { open_files(&cluster.nodes[0]) < 100 }).await;
    let taken = cluster.request(Method::POST, &cluster.nodes[0], "/v1/snapshot", "").await;
    assert!(taken.status().is_success());
}

/// Asks from each of these addresses once, over one connection. All answers are equally long.
fn ask_from(stream: &mut TcpStream, addresses: std::ops::Range<u32>) {
    const AT_ONCE: usize = 100;
    let request = |number: u32| {
        let [high, low] = [number >> 16, number & 0xffff];
        // A network of its own for each.
        format!("GET /ping HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 2001:{high:x}:{low:x}::1\r\n\r\n")
    };
    stream.write_all(request(addresses.start).as_bytes()).expect("sent");
    let mut answer = [0; 4_096];
    let length = stream.read(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
    let mut answers = vec![0; length * AT_ONCE];
    for first in (addresses.start + 1..addresses.end).step_by(AT_ONCE) {
        let requests: String = (first..first + AT_ONCE as u32).map(request).collect();
        stream.write_all(requests.as_bytes()).expect("sent");
        stream.read_exact(&mut answers).expect("answers");
        for answer in answers.chunks(length) {
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
        }
    }
}

/// An address is a few bytes that anybody can make up; `LOCKSTEP_SPOOFED` of them.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_addresses_take_no_memory() {
    const FIRST: u32 = 10_000;
    let count: u32 = std::env::var("LOCKSTEP_SPOOFED").map_or(50_000, |text| text.parse().expect("a number"));
    let cluster = Cluster::start(1, &["--rate-limit", "2/1h", "--trusted-proxies", "127.0.0.0/8"]).await;
    let node = &cluster.nodes[0];
    let mut stream = TcpStream::connect(node.http.trim_start_matches("http://")).expect("it listens");
    let rss = || async { gauges(&cluster.http, node).await.expect("an answer").rss };
    ask_from(&mut stream, 0..FIRST);
    let before = rss().await;
    ask_from(&mut stream, 2 * FIRST..count + FIRST);
    let grown = rss().await - before;
    println!("{count} addresses: {grown} bytes from the {FIRST}th on");
    assert!(grown < 1e6, "{grown} bytes");
}

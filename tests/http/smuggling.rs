//! Request smuggling: requests whose framing two servers can read in two ways, over raw sockets.
//!
//! The corpus says for each what RFC 9112 allows: which answers, and whether the connection goes on. Within each stands
//! `PUT /v1/kv/smuggled`, where it is a part of a body, or behind a body's end after which nothing may be read. It must
//! never have an effect. `tests/proxies.sh` sends the same corpus through proxies.

use crate::server::Server;
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PUT: &str = "PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n";
/// 69 (0x45) bytes: the lengths in the corpus count on it.
const SMUGGLED: &str = "PUT /v1/kv/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
/// Sent after each case. It is answered if, and only if, the connection goes on.
const NEXT: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// How long an answer may take. A server that waits for more than it was sent has misread a length.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// One character a byte.
    send: String,
    /// The status of each answer.
    answers: Vec<u16>,
    /// How many requests reach the routes. Others are refused while they are read.
    handled: u64,
    /// Whether the connection goes on.
    kept: bool,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        let text = self.send.replace("{put}", PUT).replace("{smuggled}", SMUGGLED);
        text.chars().map(|c| u8::try_from(u32::from(c)).expect("one character a byte")).collect()
    }
}

fn corpus() -> Vec<Case> {
    serde_json::from_str(include_str!("../smuggling/corpus.json")).unwrap()
}

/// Sends, and reads until the server closes.
async fn exchange(server: &Server, case: &Case) -> Vec<u8> {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let bytes = [&case.bytes()[..], NEXT].concat();
    let mut answers = Vec::new();
    // A server that has refused a long head need not read its rest, and may reset the connection.
    let both = async { tokio::join!(writer.write_all(&bytes), reader.read_to_end(&mut answers)) };
    let ended = tokio::time::timeout(PATIENCE, both).await;
    assert!(ended.is_ok(), "{}: neither answered nor closed", case.name);
    answers
}

/// The status of each answer, interim ones too. Fails where something stands between two answers.
fn statuses(name: &str, mut rest: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer.parse(rest).unwrap_or_else(|error| panic!("{name}: {error}: {}", show(rest)));
        let httparse::Status::Complete(head) = parsed else {
            panic!("{name}: half an answer: {}", show(rest))
        };
        let status = answer.code.unwrap();
        found.push(status);
        if status == 101 {
            // What follows is a WebSocket's.
            break;
        }
        let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.map_or(0, |length| std::str::from_utf8(length.value).unwrap().parse().unwrap());
        let is_head = name.starts_with("body unread, HEAD") && found.len() == 1;
        rest = &rest[head + if is_head { 0 } else { length }..];
    }
    found
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How many requests the routes have seen, beside those for this figure.
async fn handled(server: &Server) -> u64 {
    let metrics = server.get("/metrics").await.text().await.unwrap();
    let counts = metrics.lines().filter_map(|line| {
        let series = line.strip_prefix("lockstep_http_request_duration_seconds_count{route=")?;
        if series.starts_with("\"/metrics\"") { None } else { series.rsplit_once(' ')?.1.parse::<u64>().ok() }
    });
    counts.sum()
}

#[tokio::test]
async fn each_request_is_read_in_one_way_only() {
    let server = Server::start().await;
    let corpus = corpus();
    assert!(corpus.len() > 150, "{}", corpus.len());
    let mut wrong = Vec::new();
    for case in &corpus {
        server.send(Method::DELETE, "/v1/kv/a", &[], "").await;
        let before = handled(&server).await;
        let mut found = statuses(&case.name, &exchange(&server, case).await);
        let handled = handled(&server).await - before;
        let kept = found.len() > case.answers.len() && found.pop() == Some(200);
        let smuggled = server.get("/v1/kv/smuggled").await.status() != 404;
        if (&found, handled, kept, smuggled)
            != (&case.answers, case.handled + u64::from(kept), case.kept, false)
        {
            wrong.push(format!(
                "{}: {found:?}, {handled} handled, kept: {kept}, smuggled: {smuggled}",
                case.name
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    server.stop().await;
}

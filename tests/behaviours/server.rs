//! Nodes that answer what a case says, fail as it says, and note what they were asked.

use crate::case::{Answer, Case, Fault, Then};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockstep::api::{ErrorCode, Leader, Problem};
use serde_json::{Value, json};
use socket2::SockRef;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub const HISTORY: &str = "11111111-1111-4111-8111-111111111111";

/// A request that arrived.
pub struct Seen {
    pub node: usize,
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub at: Instant,
}

struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    urls: Vec<String>,
}

/// The nodes of one case. They stop when this is dropped.
pub struct Nodes {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Nodes {
    pub async fn start(case: &Case) -> Self {
        let mut listeners = Vec::new();
        let mut urls = Vec::new();
        for node in 0..case.nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            urls.push(format!("http://{}", listener.local_addr().expect("it has one")));
            // One that is down gives its port back: nobody listens there.
            if !case.down.contains(&node) {
                listeners.push((node, listener));
            }
        }
        let answers = Mutex::new(case.answers.iter().cloned().collect());
        let shared = Arc::new(Shared { answers, seen: Mutex::default(), urls });
        let mut tasks = JoinSet::new();
        for (node, listener) in listeners {
            tasks.spawn(serve(node, listener, Arc::clone(&shared)));
        }
        Self { shared, _tasks: tasks }
    }

    pub fn urls(&self) -> Vec<String> {
        self.shared.urls.clone()
    }

    /// What arrived, in that order, and how many answers nobody asked for.
    pub fn seen(self) -> (Vec<Seen>, usize) {
        let left = self.shared.answers.lock().unwrap().iter().filter(|answer| !answer.repeat).count();
        (std::mem::take(&mut *self.shared.seen.lock().unwrap()), left)
    }
}

async fn serve(node: usize, listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("it listens");
        let shared = Arc::clone(&shared);
        // Whether the client hangs up in the middle is its own affair: what arrived is noted before.
        connections.spawn(async move { answer(node, stream, &shared).await.ok() });
    }
}

/// One request, and its answer. Each has a connection of its own.
async fn answer(node: usize, mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(seen) = request(node, &mut stream).await? else { return Ok(()) };
    let answer = {
        shared.seen.lock().unwrap().push(seen);
        let mut answers = shared.answers.lock().unwrap();
        match answers.front() {
            Some(answer) if answer.repeat => Some(answer.clone()),
            _ => answers.pop_front(),
        }
    };
    // More requests than the case has answers for: none of them was expected.
    let Some(answer) = answer else { return refuse(&mut stream).await };
    match answer.fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => reset(&stream),
        Some(Fault::Half) => {
            let (head, body) = response(&answer, &shared.urls);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body[..body.len() / 2]).await?;
            stream.flush().await
        }
        Some(Fault::Drip) => {
            let (head, body) = response(&answer, &shared.urls);
            stream.write_all(head.as_bytes()).await?;
            for part in body.chunks(body.len().div_ceil(4)) {
                stream.write_all(part).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(1_100)).await;
            }
            stream.shutdown().await
        }
        None if answer.stream.is_some() => events(&mut stream, &answer).await,
        None => {
            let (head, body) = response(&answer, &shared.urls);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.shutdown().await
        }
    }
}

async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 501 More than expected\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .await
}

/// The connection ends with a reset, not with an orderly close.
fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

async fn events(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nlockstep-history: {HISTORY}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    for message in answer.stream.iter().flatten() {
        stream.write_all(format!("data: {message}\n\n").as_bytes()).await?;
    }
    if answer.then == Some(Then::Half) {
        stream.write_all(b"data: {\"type\":\"change\",\"index\":99").await?;
    }
    stream.flush().await?;
    match answer.then {
        Some(Then::Hold) | None => std::future::pending().await,
        Some(Then::Close | Then::Half) => stream.shutdown().await,
        Some(Then::Reset) => {
            // What was written before has to arrive: the reset follows when the client has taken it.
            tokio::time::sleep(Duration::from_millis(50)).await;
            reset(stream)
        }
    }
}

fn response(answer: &Answer, urls: &[String]) -> (String, Vec<u8>) {
    let mut headers: BTreeMap<String, String> = [
        ("lockstep-index", "7"),
        ("lockstep-term", "1"),
        ("lockstep-history", HISTORY),
        ("lockstep-time-ms", "1000"),
        ("connection", "close"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let (status, body) = match &answer.problem {
        Some(code) => {
            headers.insert("content-type".into(), "application/problem+json".into());
            if let Some(ms) = answer.retry_after_ms {
                headers.insert("retry-after".into(), ms.div_ceil(1_000).to_string());
            }
            let problem = problem(code, answer, urls);
            (problem["status"].as_u64().expect("it has one"), problem.to_string().into_bytes())
        }
        None => {
            let body = match (&answer.text, &answer.base64, &answer.json) {
                (Some(text), None, None) => text.clone().into_bytes(),
                (None, Some(text), None) => BASE64.decode(text).expect("base64"),
                (None, None, Some(json)) => json.to_string().into_bytes(),
                (None, None, None) => Vec::new(),
                _ => panic!("an answer has one body"),
            };
            (u64::from(answer.status.expect("a status")), body)
        }
    };
    for (name, value) in &answer.headers {
        headers.insert(name.clone(), value.as_str().expect("headers are text").to_owned());
    }
    if status != 204 {
        headers.insert("content-length".into(), body.len().to_string());
    }
    let mut head = format!("HTTP/1.1 {status} -\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    (head + "\r\n", body)
}

fn problem(code: &str, answer: &Answer, urls: &[String]) -> Value {
    let code: ErrorCode = serde_json::from_value(json!(code)).expect("an error code");
    let mut problem = Problem::new(code, "as the case says");
    problem.retry_after_ms = answer.retry_after_ms;
    problem.revision = answer.revision;
    problem.leader = answer.leader.map(|node| Leader {
        id: node as u64 + 1,
        name: format!("n{}", node + 1),
        http: urls[node].clone(),
    });
    let mut problem = serde_json::to_value(problem).expect("it is plain data");
    if let Some(holder) = &answer.holder {
        problem["holder"] = holder.clone();
    }
    if let Some(gone) = &answer.gone {
        problem["gone"] = gone.clone();
        problem["complete"] = json!(true);
    }
    problem
}

async fn request(node: usize, stream: &mut TcpStream) -> io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(length)) = head.parse(&bytes) {
            let target = head.path.expect("it is complete").to_owned();
            let method = head.method.expect("it is complete").to_owned();
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers: BTreeMap<String, String> =
                head.headers.iter().map(|header| (header.name.to_lowercase(), text(header.value))).collect();
            let body = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
            while bytes.len() < length + body {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Ok(None);
                }
            }
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let query = serde_urlencoded::from_str(query).expect("a query");
            let (path, body) = (path.to_owned(), bytes[length..].to_vec());
            return Ok(Some(Seen { node, method, path, query, headers, body, at: Instant::now() }));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

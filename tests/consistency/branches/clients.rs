//! Clients that write registers and add to a set, through any node, and record with each answer which history it is from.

use crate::support::Node;
use lockstep::check::{Operation, Outcome};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

pub const REGISTERS: u64 = 6;
const CLIENTS: u64 = 6;
/// How long a client waits: longer than a node does.
const PATIENCE: Duration = Duration::from_secs(2);

/// An operation, and the history that answered it.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub operation: Operation,
    /// `None` without an answer.
    pub history: Option<String>,
}

/// What all clients share.
pub struct Shared {
    urls: Vec<String>,
    begun: Instant,
    http: Client,
    recorded: Mutex<Vec<Recorded>>,
    numbers: AtomicU64,
    clients: AtomicU64,
    stop: AtomicBool,
}

/// Running clients.
pub struct Load {
    pub shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Load {
    pub fn start(nodes: &[Node], seed: u64) -> Self {
        let http = lockstep::client::plain_http().timeout(PATIENCE).build().expect("a client");
        let shared = Arc::new(Shared {
            urls: nodes.iter().map(|node| node.http.clone()).collect(),
            begun: Instant::now(),
            http,
            recorded: Mutex::default(),
            numbers: AtomicU64::new(1),
            clients: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
            let shared = shared.clone();
            tasks.spawn(async move {
                let mut id = shared.clients.fetch_add(1, Ordering::Relaxed);
                while !shared.stop.load(Ordering::Acquire) {
                    if !shared.step(id, &mut random).await {
                        // That operation goes on for ever, and a client does one thing at a time.
                        id = shared.clients.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(random.u64(2..20))).await;
                }
            });
        }
        Self { shared, tasks }
    }

    /// Stops the clients, and lets each finish what it does.
    pub async fn finish(mut self) -> Vec<Recorded> {
        self.shared.stop.store(true, Ordering::Release);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
        std::mem::take(&mut *self.shared.recorded.lock().expect("no panic while held"))
    }
}

impl Shared {
    /// Nanoseconds since the clients began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// One operation of one client; whether its outcome is known.
    async fn step(&self, client: u64, random: &mut fastrand::Rng) -> bool {
        let url = &self.urls[random.usize(..self.urls.len())];
        let register = format!("register{}", random.u64(..REGISTERS));
        let (key, op, method, argument) = match random.u8(..10) {
            0..4 => (register, "read", Method::GET, Value::Null),
            4..7 => (register, "write", Method::PUT, json!(self.numbers.fetch_add(1, Ordering::Relaxed))),
            7 => (register, "delete", Method::DELETE, Value::Null),
            _ => {
                let number = self.numbers.fetch_add(1, Ordering::Relaxed);
                (format!("set:{number}"), "add", Method::PUT, json!(number))
            }
        };
        let call_ns = self.now_ns();
        let body = if op == "write" || op == "add" { argument.to_string() } else { String::new() };
        let request = self.http.request(method, format!("{url}/v1/kv/{key}")).body(body);
        let mut operation = Operation {
            client,
            node: url.clone(),
            key,
            op: op.to_owned(),
            argument,
            result: Value::Null,
            revision: None,
            index: None,
            call_ns,
            return_ns: None,
            outcome: Outcome::Unknown,
            error: None,
        };
        let mut history = None;
        match request.send().await {
            Err(error) if error.is_connect() => operation.outcome = Outcome::Fail,
            Err(_) => {}
            Ok(response) => {
                let header = |name: &str| {
                    let value = response.headers().get(name)?.to_str().ok()?;
                    Some(value.trim_matches('"').to_owned())
                };
                history = header("lockstep-history");
                operation.index = header("lockstep-index").and_then(|index| index.parse().ok());
                operation.revision = header("etag").and_then(|revision| revision.parse().ok());
                let status = response.status().as_u16();
                match response.text().await {
                    Err(_) => {}
                    Ok(text) => answer(&mut operation, status, &text),
                }
            }
        }
        let known = operation.outcome != Outcome::Unknown;
        operation.return_ns = known.then(|| self.now_ns());
        self.recorded.lock().expect("no panic while held").push(Recorded { operation, history });
        known
    }
}

fn answer(operation: &mut Operation, status: u16, text: &str) {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    match (operation.op.as_str(), status) {
        ("read", 200) => {
            operation.outcome = Outcome::Ok;
            operation.result = text.parse::<i64>().map_or_else(|_| json!(text), Value::from);
        }
        ("read", 404) => operation.outcome = Outcome::Ok,
        (_, 200..300) => {
            operation.outcome = Outcome::Ok;
            if operation.op == "delete" {
                operation.revision = operation.index;
            }
        }
        // There was nothing to delete.
        ("delete", 404) => {
            operation.outcome = Outcome::Ok;
            operation.op = "read".into();
        }
        _ if problem["effect"] == "none" => operation.outcome = Outcome::Fail,
        _ => {}
    }
}

//! A client that speaks HTTP: one request to one node, and what came of it by the table of errors: it happened, it did
//! not, nobody knows.

use super::ask::{Condition, Level, Reply, Request};
use super::cluster::Address;
use bytes::Bytes;
use lockstep::api::{Effect, Problem};
use lockstep::check::Outcome;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a client waits: longer than a node does.
const PATIENCE: Duration = Duration::from_secs(2);
/// More keys than there are under any prefix.
const MEMBERS_MAX: usize = 10_000;

/// A client that keeps its connections and never repeats a request.
#[derive(Clone)]
pub struct Asker(Client);

/// A request as it is sent, built step by step.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// An answer as it came.
struct Answer {
    status: u16,
    revision: Option<u64>,
    index: Option<u64>,
    body: Bytes,
}

impl Ask {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: String::new() }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// The request in HTTP's words.
    fn of(request: &Request) -> Self {
        let kv = |key: &str| format!("/v1/kv/{key}");
        match request {
            Request::Get { key, level: Level::Linearizable } | Request::GetToChange { key } => {
                Self::new(Method::GET, kv(key))
            }
            Request::Get { key, level: Level::Lease } => {
                Self::new(Method::GET, format!("{}?consistency=lease", kv(key)))
            }
            Request::Get { key, level: Level::Stale(floor) } => {
                Self::new(Method::GET, format!("{}?consistency=stale&min_index={floor}", kv(key)))
            }
            Request::Put { key, value, condition, ttl_ms, sliding } => {
                let path = ttl_ms.map_or_else(
                    || kv(key),
                    |ms| format!("{}?ttl_ms={ms}{}", kv(key), if *sliding { "&sliding=true" } else { "" }),
                );
                let ask = Self::new(Method::PUT, path).body(value);
                match condition {
                    Condition::Always => ask,
                    Condition::Revision(Some(revision)) => ask.header("If-Match", format!("\"{revision}\"")),
                    Condition::Revision(None) => ask.header("If-None-Match", "*"),
                    Condition::Value(_) | Condition::Watched => unreachable!("only Redis has it"),
                }
            }
            Request::Delete { key } => Self::new(Method::DELETE, kv(key)),
            Request::Add { key, by, id } => {
                let ask = Self::new(Method::POST, format!("{}/incr", kv(key)));
                let ask = ask.body(json!({"by": by}).to_string());
                match id {
                    Some(id) => ask.header("Idempotency-Key", id),
                    None => ask,
                }
            }
            Request::Expire { key, ttl_ms } => Self::new(Method::POST, format!("{}/expire", kv(key)))
                .body(json!({"ttl_ms": ttl_ms}).to_string()),
            Request::Left { .. } => unreachable!("only Redis has it"),
            Request::Members { prefix, .. } => {
                Self::new(Method::GET, format!("/v1/keys?prefix={prefix}&limit={MEMBERS_MAX}"))
            }
            Request::GetAll { keys } => {
                Self::batch(keys.iter().map(|key| json!({"op": "get", "key": key})).collect())
            }
            Request::PutAll { keys, value, condition, on } => {
                let put = |key: &String| json!({"op": "put", "key": key, "value": value});
                let mut ops: Vec<Value> = keys.iter().map(put).collect();
                match condition {
                    Condition::Always => {}
                    Condition::Revision(Some(revision)) => ops[*on]["if_revision"] = json!(revision),
                    Condition::Revision(None) => ops[*on]["if_absent"] = json!(true),
                    Condition::Value(_) | Condition::Watched => unreachable!("only Redis has it"),
                }
                Self::batch(ops)
            }
            Request::Mix { read, put, add } => Self::batch(vec![
                json!({"op": "get", "key": read}),
                json!({"op": "put", "key": put, "value": "y", "ttl_ms": 500}),
                json!({"op": "incr", "key": add, "by": 2}),
            ]),
            Request::Http(ask) => ask.clone(),
        }
    }

    fn batch(ops: Vec<Value>) -> Self {
        Self::new(Method::POST, "/v1/batch").body(json!({"ops": ops}).to_string())
    }
}

impl Asker {
    pub fn new() -> Self {
        let client = lockstep::client::plain_http().timeout(PATIENCE).pool_max_idle_per_host(4).build();
        Self(client.expect("a client"))
    }

    pub async fn ask(&self, node: &Address, request: &Request) -> Reply {
        match self.send(node, &Ask::of(request)).await {
            Ok(answer) => answer.reply(request),
            // A read of a key that is not there is a read like any other.
            Err(refused) if refused.failed_with("not_found") && looks(request) => {
                Reply { outcome: Outcome::Ok, error: None, revision: None, ..refused }
            }
            Err(refused) => refused,
        }
    }

    /// # Errors
    /// It was refused, or nobody knows.
    async fn send(&self, node: &Address, ask: &Ask) -> Result<Answer, Reply> {
        let mut request = self.0.request(ask.method.clone(), format!("{}{}", node.url, ask.path));
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let response = match request.body(ask.body.clone()).send().await {
            Ok(response) => response,
            // Nothing can have been sent without a connection.
            Err(error) if error.is_connect() => return Err(Reply::without(Outcome::Fail, "unreachable")),
            Err(error) if error.is_timeout() => return Err(Reply::without(Outcome::Unknown, "timeout")),
            Err(_) => return Err(Reply::without(Outcome::Unknown, "lost")),
        };
        let status = response.status().as_u16();
        let number = |name: &str| -> Option<u64> {
            response.headers().get(name)?.to_str().ok()?.trim_matches('"').parse().ok()
        };
        let (revision, index) = (number("etag"), number("lockstep-index"));
        if status == 502 {
            // The proxy's own answer: nobody listens behind it.
            return Err(Reply::without(Outcome::Fail, "unreachable"));
        }
        let Ok(body) = response.bytes().await else {
            return Err(Reply::without(Outcome::Unknown, "lost"));
        };
        if status < 400 {
            return Ok(Answer { status, revision, index, body });
        }
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            return Err(Reply::without(Outcome::Unknown, "garbled"));
        };
        let outcome = match problem.effect {
            Effect::None => Outcome::Fail,
            Effect::Unknown => Outcome::Unknown,
        };
        let refused = Reply::without(outcome, problem.code.as_str());
        Err(Reply { revision: problem.revision, index, ..refused })
    }
}

fn looks(request: &Request) -> bool {
    match request {
        Request::Get { .. } | Request::GetToChange { .. } => true,
        Request::Http(ask) => ask.method == Method::GET,
        _ => false,
    }
}

impl Answer {
    fn reply(self, request: &Request) -> Reply {
        let body = self.json();
        let (mut answer, mut revision) = (Value::Null, self.revision);
        match request {
            Request::Get { .. } | Request::GetToChange { .. } if self.status == 200 => {
                answer = self.text().into();
            }
            Request::Add { .. } => {
                answer = body["value"].clone();
                revision = body["revision"].as_u64();
            }
            Request::Members { prefix, .. } => {
                let members = body["keys"].as_array().into_iter().flatten();
                let member =
                    |listed: &Value| Some(Value::from(listed["key"].as_str()?.strip_prefix(prefix)?));
                // What has another prefix is no member that anybody added.
                answer = members.map(|listed| member(listed).unwrap_or_default()).collect();
            }
            Request::GetAll { .. } => {
                let parts = body["results"].as_array().cloned().unwrap_or_default();
                answer = parts.iter().map(|part| part["value"].clone()).collect();
                let first = parts.first().map(|part| part["revision"].clone());
                let same = parts.iter().all(|part| Some(&part["revision"]) == first.as_ref());
                if !same {
                    // Parts of different writes are a value that nobody wrote.
                    answer = parts.iter().map(|part| part["revision"].to_string()).collect();
                }
                revision = first.and_then(|revision| revision.as_u64());
            }
            Request::PutAll { .. } => revision = body["revision"].as_u64(),
            // The value's own revision stays as it is.
            Request::Expire { .. } | Request::Delete { .. } => revision = self.index,
            Request::Mix { .. } | Request::Http(_) => answer = self.text().into(),
            _ => {}
        }
        Reply { revision, index: self.index, ..Reply::ok(answer) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

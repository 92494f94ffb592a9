//! One request to one node, and what came of it by the table of errors: it happened, it did not, nobody knows.

use super::cluster::Address;
use bytes::Bytes;
use lockstep::api::{Effect, Problem};
use lockstep::check::Outcome;
use reqwest::{Client, Method};
use std::time::Duration;

/// How long a client waits: longer than a node does.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client that keeps its connections and never repeats a request.
#[derive(Clone)]
pub struct Asker(Client);

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub outcome: Outcome,
    /// The code of the error, or how the answer was lost.
    pub error: Option<String>,
    pub status: u16,
    /// The `ETag`, or the current revision that a failed precondition tells of.
    pub revision: Option<u64>,
    pub index: Option<u64>,
    pub body: Bytes,
}

/// A request, built step by step.
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
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
}

impl Asker {
    pub fn new() -> Self {
        let client = lockstep::client::plain_http().timeout(PATIENCE).pool_max_idle_per_host(4).build();
        Self(client.expect("a client"))
    }

    pub async fn ask(&self, node: &Address, ask: &Ask) -> Reply {
        let mut request = self.0.request(ask.method.clone(), format!("{}{}", node.url, ask.path));
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let response = match request.body(ask.body.clone()).send().await {
            Ok(response) => response,
            // Nothing can have been sent without a connection.
            Err(error) if error.is_connect() => return Reply::without(Outcome::Fail, "unreachable", 0),
            Err(error) if error.is_timeout() => return Reply::without(Outcome::Unknown, "timeout", 0),
            Err(_) => return Reply::without(Outcome::Unknown, "lost", 0),
        };
        let status = response.status().as_u16();
        let number = |name: &str| -> Option<u64> {
            response.headers().get(name)?.to_str().ok()?.trim_matches('"').parse().ok()
        };
        let (revision, index) = (number("etag"), number("lockstep-index"));
        if status == 502 {
            // The proxy's own answer: nobody listens behind it.
            return Reply::without(Outcome::Fail, "unreachable", status);
        }
        let Ok(body) = response.bytes().await else {
            return Reply::without(Outcome::Unknown, "lost", status);
        };
        if status < 400 {
            return Reply { outcome: Outcome::Ok, error: None, status, revision, index, body };
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => {
                let outcome = match problem.effect {
                    Effect::None => Outcome::Fail,
                    Effect::Unknown => Outcome::Unknown,
                };
                let error = Some(problem.code.as_str().to_owned());
                Reply { outcome, error, status, revision: problem.revision, index, body }
            }
            Err(_) => Reply::without(Outcome::Unknown, "garbled", status),
        }
    }
}

impl Reply {
    fn without(outcome: Outcome, error: &str, status: u16) -> Self {
        let error = Some(error.to_owned());
        Self { outcome, error, status, revision: None, index: None, body: Bytes::new() }
    }

    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// The key is not there, and the answer says so.
    pub fn is_absent(&self) -> bool {
        self.error.as_deref() == Some("not_found")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

//! The Rust client: knows several nodes, goes on to the next when one fails, sends writes to the leader
//! once it knows it, and repeats a write only when that cannot apply it twice.

use crate::api::{
    BatchAnswer, BatchRequest, Cleared, ConfigBody, ConfigUpdate, Consistency, Counter, Digests, Effect,
    ErrorCode, IDEMPOTENCY_KEY, IncrRequest, KeyPage, Members, OpRequest, Problem, Status, TTL_MS,
    TransferLeader,
};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What need not be escaped in a path segment or a query value.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// How long one try may take when there are other nodes to ask: a node that hangs must not use up all the time.
const TRY_LIMIT: Duration = Duration::from_secs(2);
/// How long to try when nobody at all listens: enough for a node that restarts.
const NOBODY_LIMIT: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_millis(500);

/// Why a request failed. [`ClientError::effect`] says whether it may have happened.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A node answered with a problem.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// No node could be reached: nothing was done.
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// The answer was lost or late: a write may have been done.
    #[error("no answer from {url}: {reason}")]
    Lost { url: String, reason: String },
    /// Something other than a Lockstep node answered.
    #[error("{url} gave an answer that makes no sense: {reason}")]
    Garbled { url: String, reason: String },
}

impl ClientError {
    /// Whether a write may have happened.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Problem(problem) => problem.effect,
            Self::Unreachable { .. } => Effect::None,
            Self::Lost { .. } | Self::Garbled { .. } => Effect::Unknown,
        }
    }

    /// The row of the error table it belongs to.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Problem(problem) => problem.code,
            Self::Unreachable { .. } => ErrorCode::Unavailable,
            Self::Lost { .. } | Self::Garbled { .. } => ErrorCode::OutcomeUnknown,
        }
    }
}

/// A value as a node gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub value: Bytes,
    pub content_type: Option<String>,
    pub revision: u64,
    /// Milliseconds it has left; `None` lives for ever.
    pub ttl_ms: Option<u64>,
}

/// How to store a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    pub content_type: Option<String>,
    /// Time to live; the cluster's default when `None`.
    pub ttl_ms: Option<u64>,
    /// Store only over this revision.
    pub if_revision: Option<u64>,
    /// Store only if the key is absent.
    pub if_absent: bool,
}

/// A client of one cluster.
pub struct Client {
    http: reqwest::Client,
    urls: Vec<String>,
    /// Where the next request goes that is not for the leader.
    next: AtomicUsize,
    leader: Mutex<Option<String>>,
    limit: Duration,
}

impl Client {
    /// A client of the nodes behind these URLs; requests go to the first that answers. A request and its
    /// repetitions take at most `limit`.
    ///
    /// # Errors
    /// A sentence: no URL, or a malformed one.
    pub fn new(urls: &[String], limit: Duration) -> Result<Self, String> {
        let parse = |url: &String| match reqwest::Url::parse(url) {
            Ok(parsed) if parsed.scheme() == "http" && parsed.has_host() => {
                Ok(url.trim_end_matches('/').to_owned())
            }
            Ok(_) => Err(format!("{url}: expected http://host:port")),
            Err(error) => Err(format!("{url}: {error}; expected http://host:port")),
        };
        let urls = urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err("no URL was given".into());
        }
        let http = reqwest::Client::builder()
            .timeout(limit)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { http, urls, next: AtomicUsize::new(0), leader: Mutex::new(None), limit })
    }

    /// Starts with another node than the first.
    pub fn starting_at(self, position: usize) -> Self {
        self.next.store(position % self.urls.len(), Ordering::Relaxed);
        self
    }

    /// Reads a key; `None` when it is absent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, key: &str, consistency: Consistency) -> Result<Option<Answer>, ClientError> {
        let path = format!("{}?consistency={}", kv_path(key), consistency.as_str());
        let response = match self.send(Method::GET, &path, Kind::Read, |request| request).await {
            Ok(response) => response,
            Err(ClientError::Problem(problem)) if problem.code == ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let url = response.url().to_string();
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let revision = text("etag").and_then(|tag| tag.trim_matches('"').parse().ok());
        let revision = revision.ok_or_else(|| garbled(&url, "it has no ETag"))?;
        let (content_type, ttl_ms) = (text("content-type"), text(TTL_MS).and_then(|ttl| ttl.parse().ok()));
        let value = response.bytes().await.map_err(|error| lost(&url, &error))?;
        Ok(Some(Answer { value, content_type, revision, ttl_ms }))
    }

    /// Stores a value; returns its revision and whether the key is new.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put(
        &self,
        key: &str,
        value: Bytes,
        options: &PutOptions,
    ) -> Result<(u64, bool), ClientError> {
        let mut path = kv_path(key);
        if let Some(ttl_ms) = options.ttl_ms {
            path = format!("{path}?ttl_ms={ttl_ms}");
        }
        let build = |mut request: RequestBuilder| {
            if let Some(revision) = options.if_revision {
                request = request.header(header::IF_MATCH, format!("\"{revision}\""));
            }
            if options.if_absent {
                request = request.header(header::IF_NONE_MATCH, "*");
            }
            if let Some(content_type) = &options.content_type {
                request = request.header(header::CONTENT_TYPE, content_type);
            }
            request.body(value.clone())
        };
        let response = self.send(Method::PUT, &path, Kind::Write, build).await?;
        let created = response.status() == StatusCode::CREATED;
        let tag = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok());
        let revision = tag.and_then(|tag| tag.trim_matches('"').parse().ok());
        let revision = revision.ok_or_else(|| garbled(response.url().as_str(), "it has no ETag"))?;
        Ok((revision, created))
    }

    /// Removes a key; false when there was none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, key: &str, if_revision: Option<u64>) -> Result<bool, ClientError> {
        let build = |request: RequestBuilder| match if_revision {
            Some(revision) => request.header(header::IF_MATCH, format!("\"{revision}\"")),
            None => request,
        };
        match self.send(Method::DELETE, &kv_path(key), Kind::Write, build).await {
            Ok(_) => Ok(true),
            Err(ClientError::Problem(problem)) if problem.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn incr(&self, key: &str, request: &IncrRequest) -> Result<Counter, ClientError> {
        let path = format!("{}/incr", kv_path(key));
        self.json(Method::POST, &path, Kind::Write, |builder| builder.json(request)).await
    }

    /// Carries out several operations, all or none.
    ///
    /// # Errors
    /// [`ClientError`].
    ///
    /// One that reads is not repeated after a lost answer: what it read would have to be remembered whole.
    pub async fn batch(&self, request: &BatchRequest) -> Result<BatchAnswer, ClientError> {
        let reads = request.ops.iter().any(|op| matches!(op, OpRequest::Get { .. }));
        let kind = if reads { Kind::Once } else { Kind::Write };
        self.json(Method::POST, "/v1/batch", kind, |builder| builder.json(request)).await
    }

    /// Lists keys in byte order.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, ClientError> {
        let mut path = format!("/v1/keys?limit={limit}&prefix={}", utf8_percent_encode(prefix, PLAIN));
        if let Some(after) = after {
            path = format!("{path}&after={}", utf8_percent_encode(after, PLAIN));
        }
        self.json(Method::GET, &path, Kind::Read, |builder| builder).await
    }

    /// Removes all keys with a prefix.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clear(&self, prefix: &str) -> Result<Cleared, ClientError> {
        let path = format!("/v1/kv?prefix={}", utf8_percent_encode(prefix, PLAIN));
        self.json(Method::DELETE, &path, Kind::Write, |builder| builder).await
    }

    /// # Errors
    /// [`ClientError`].
    pub async fn config(&self) -> Result<ConfigBody, ClientError> {
        self.json(Method::GET, "/v1/config", Kind::Read, |builder| builder).await
    }

    /// Changes the replicated settings that are named.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_config(&self, update: &ConfigUpdate) -> Result<ConfigBody, ClientError> {
        self.json(Method::PUT, "/v1/config", Kind::Write, |builder| builder.json(update)).await
    }

    /// What one node says of itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(Method::GET, "/v1/status", Kind::Read, |builder| builder).await
    }

    /// # Errors
    /// [`ClientError`].
    pub async fn digests(&self) -> Result<Digests, ClientError> {
        self.json(Method::GET, "/v1/digest", Kind::Read, |builder| builder).await
    }

    /// # Errors
    /// [`ClientError`].
    pub async fn members(&self) -> Result<Members, ClientError> {
        self.json(Method::GET, "/v1/members", Kind::Read, |builder| builder).await
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn promote(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/v1/members/{id}/promote");
        self.send(Method::POST, &path, Kind::Once, |builder| builder).await.map(drop)
    }

    /// Takes a node out of the cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/v1/members/{id}");
        self.send(Method::DELETE, &path, Kind::Once, |builder| builder).await.map(drop)
    }

    /// Hands the lead over.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), ClientError> {
        let body = TransferLeader { to };
        self.send(Method::POST, "/v1/leader", Kind::Once, |builder| builder.json(&body)).await.map(drop)
    }

    /// Whether the node behind the first URL is ready for clients.
    pub async fn ready(&self) -> bool {
        let Some(url) = self.urls.first() else { return false };
        let answer = self.http.get(format!("{url}/readyz")).send().await;
        answer.is_ok_and(|response| response.status().is_success())
    }

    /// Asks for a fresh snapshot and returns its answer as it comes, for a backup.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backup(&self) -> Result<Response, ClientError> {
        self.send(Method::GET, "/v1/snapshot", Kind::Read, |builder| builder).await
    }

    /// Asks one node to write a snapshot.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn take_snapshot(&self) -> Result<serde_json::Value, ClientError> {
        self.json(Method::POST, "/v1/snapshot", Kind::Once, |builder| builder).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        kind: Kind,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.send(method, path, kind, build).await?;
        let url = response.url().to_string();
        let bytes = response.bytes().await.map_err(|error| lost(&url, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| garbled(&url, &error.to_string()))
    }

    /// Sends a request, and again where that is safe, until it is answered or time is up. A write carries an
    /// idempotency key of its own, so even one whose answer was lost may be sent again.
    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Kind,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, ClientError> {
        let deadline = Instant::now() + self.limit;
        let idempotency_key = (kind == Kind::Write).then(|| uuid::Uuid::new_v4().to_string());
        let mut pause = PAUSE_FIRST;
        let begun = Instant::now();
        // The last reason a node gave.
        let mut told = None;
        // An earlier try whose outcome nobody knows: a later refusal does not undo it.
        let mut unknown = None;
        loop {
            let url = self.target(kind);
            let mut left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if self.urls.len() > 1 && kind != Kind::Once {
                left = left.min(TRY_LIMIT);
            }
            let mut request = build(self.http.request(method.clone(), format!("{url}{path}"))).timeout(left);
            if let Some(key) = &idempotency_key {
                request = request.header(IDEMPOTENCY_KEY, key);
            }
            let error = match answer(&url, request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.learn(&url, &error);
            let harmless = kind == Kind::Read && error.effect() == Effect::Unknown;
            let safe = error.code().retry_is_safe(idempotency_key.is_some()) || harmless;
            // A full cache passes, but not while a caller waits.
            let worth = error.code() != ErrorCode::CacheFull;
            let nobody = matches!(error, ClientError::Unreachable { .. });
            let given_up = nobody && told.is_none() && begun.elapsed() >= NOBODY_LIMIT;
            if !safe || !worth || given_up || Instant::now() + pause >= deadline {
                return Err(match unknown.filter(|_| !is_final(&error)) {
                    Some(unknown) => unknown,
                    None => explained(error, kind, told),
                });
            }
            if let ClientError::Problem(problem) = &error {
                told = Some(problem.clone());
            }
            if error.effect() == Effect::Unknown && kind != Kind::Read {
                unknown.get_or_insert(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    fn target(&self, kind: Kind) -> String {
        let leader = self.leader.lock().expect("no panic while held").clone();
        match leader.filter(|_| kind == Kind::Write) {
            Some(leader) => leader,
            None => self.urls[self.next.load(Ordering::Relaxed) % self.urls.len()].clone(),
        }
    }

    /// After a failure: another node, and the leader if the answer named it.
    fn learn(&self, url: &str, error: &ClientError) {
        let named = match error {
            ClientError::Problem(problem) => problem.leader.as_ref().map(|leader| leader.http.clone()),
            _ => None,
        };
        let mut leader = self.leader.lock().expect("no panic while held");
        *leader = named.filter(|named| !named.is_empty() && named != url);
        drop(leader);
        let failed = !matches!(error, ClientError::Problem(problem) if problem.effect == Effect::None
            && problem.code != ErrorCode::Unavailable);
        if failed {
            self.next.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The error worth telling: a reason that a node gave rather than a silence after it. A read without an
/// answer did nothing, so its outcome is not in doubt.
fn explained(error: ClientError, kind: Kind, told: Option<Box<Problem>>) -> ClientError {
    match (error, told) {
        (ClientError::Unreachable { .. }, Some(told)) => ClientError::Problem(told),
        (ClientError::Lost { .. }, Some(told)) if kind == Kind::Read => ClientError::Problem(told),
        (ClientError::Lost { url, reason }, None) if kind == Kind::Read => {
            ClientError::Unreachable { url, reason }
        }
        (error, _) => error,
    }
}

/// Whether an answer speaks for every try of a named request: the state machine gives each of them the one
/// it gave first.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error.code(),
        ErrorCode::PreconditionFailed
            | ErrorCode::NotANumber
            | ErrorCode::Overflow
            | ErrorCode::IdempotencyKeyReused
    )
}

/// What a request is, for choosing a node and for repeating it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Never repeated where it might be carried out twice.
    Once,
}

async fn answer(url: &str, request: RequestBuilder) -> Result<Response, ClientError> {
    let response = request.send().await.map_err(|error| {
        if error.is_connect() {
            ClientError::Unreachable { url: url.to_owned(), reason: innermost(&error) }
        } else {
            lost(url, &error)
        }
    })?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let bytes = response.bytes().await.map_err(|error| lost(url, &error))?;
    match serde_json::from_slice(&bytes) {
        Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
        Err(_) => Err(garbled(url, &format!("status {status} without a problem description"))),
    }
}

fn kv_path(key: &str) -> String {
    format!("/v1/kv/{}", utf8_percent_encode(key, PLAIN))
}

fn lost(url: &str, error: &reqwest::Error) -> ClientError {
    let reason = if error.is_timeout() { "not in time".into() } else { innermost(error) };
    ClientError::Lost { url: url.to_owned(), reason }
}

fn garbled(url: &str, reason: &str) -> ClientError {
    ClientError::Garbled { url: url.to_owned(), reason: reason.to_owned() }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

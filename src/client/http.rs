//! The Rust client. It knows several nodes and tries the next one when one fails, sends writes to the leader once it knows
//! it, and repeats a write only where that cannot apply it twice.

use super::bounded::{ANSWER_BYTES_MAX, SMALL_BYTES_MAX, Unread, read_up_to};
use super::builder::{http_builder, is_https, tls_for};
use super::error::{ClientError, garbled, innermost, lost};
use super::position::{Cursor, Newest};
use super::token::ClientToken;
use crate::api::{
    CONSISTENCY, Consistency, EXPECT_HISTORY, Effect, ErrorCode, IDEMPOTENCY_KEY, IDEMPOTENCY_SENT_AFTER,
    INDEX, ORIGIN, Problem,
};
use crate::cache::{is_origin, limits::ORIGIN_BYTES_MAX};
use crate::tls::ClientTls;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long an answer may take to begin if there are other nodes, and to go on: a node that hangs must not use up the whole time.
pub(super) const TRY_TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer a try can take than the one before, which was refused.
const SLACK: Duration = Duration::from_millis(100);
/// How long to try while no node listens: enough for a node that restarts.
const NOBODY_TIMEOUT: Duration = Duration::from_secs(2);
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(20);
pub(super) const PAUSE_LAST: Duration = Duration::from_millis(500);

/// A client of one cluster. Clones share its connections, and what it knows of the nodes.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// For responses without an end.
    streams: reqwest::Client,
    urls: Arc<[String]>,
    targets: Arc<Targets>,
    limit: Duration,
    allows_detached: bool,
    /// The id of the only history that is to answer.
    expected: Option<String>,
    token: Option<ClientToken>,
    origin: Option<String>,
}

/// Which nodes the next requests go to.
#[derive(Default)]
struct Targets {
    /// The position of the node that gets the next request that is not for the leader.
    next: AtomicUsize,
    leader: Mutex<Option<String>>,
    newest: Newest,
}

/// A whole response, and when it was asked for.
pub(super) struct Answered {
    pub(super) url: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) sent_at: Instant,
}

impl Client {
    /// A client of the nodes behind these URLs; requests go to the first that answers. A request and its
    /// repetitions take at most `limit`.
    ///
    /// # Errors
    /// A sentence: no URL, or a malformed one.
    pub fn new(urls: &[String], limit: Duration) -> Result<Self, String> {
        Self::with_tls(urls, limit, &ClientTls::default())
    }

    /// The same, with certificates for `https://` URLs.
    ///
    /// # Errors
    /// A sentence: no URL, a malformed one, or a file with certificates cannot be used.
    pub fn with_tls(urls: &[String], limit: Duration, tls: &ClientTls) -> Result<Self, String> {
        let urls = urls.iter().map(|url| base_url(url)).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err("no URL was given".into());
        }
        let tls = tls_for(&urls, tls)?;
        let builder = || http_builder(tls.clone()).tcp_nodelay(true);
        let http = builder().timeout(limit).build().map_err(|error| error.to_string())?;
        let streams = builder().build().map_err(|error| error.to_string())?;
        Ok(Self {
            http,
            streams,
            urls: urls.into(),
            targets: Arc::default(),
            limit,
            allows_detached: false,
            expected: None,
            token: None,
            origin: None,
        })
    }

    /// The same client, starting with a node other than the first.
    pub fn starting_at(self, position: usize) -> Self {
        let next = AtomicUsize::new(position % self.urls.len());
        Self { targets: Arc::new(Targets { next, ..Targets::default() }), ..self }
    }

    /// The same client, which also takes what a node answers that has left its cluster on purpose. Otherwise it goes to another
    /// node then.
    #[must_use]
    pub fn allowing_detached(self, allows_detached: bool) -> Self {
        Self { allows_detached, ..self }
    }

    /// The same client, which shows this token.
    #[must_use]
    pub fn with_token(self, token: Option<ClientToken>) -> Self {
        Self { token, ..self }
    }

    /// The same client, with a name for itself: it stays with what it stores, and watchers are told it.
    ///
    /// # Errors
    /// A sentence: nodes would refuse the name.
    pub fn with_origin(self, origin: &str) -> Result<Self, String> {
        match is_origin(origin.as_bytes()) {
            true => Ok(Self { origin: Some(origin.to_owned()), ..self }),
            false => Err(format!(
                "`{origin}`: expected 1 to {ORIGIN_BYTES_MAX} visible ASCII characters other than `\"`, `\\`, `,` and `;`"
            )),
        }
    }

    /// The same client, which does something only where the log belongs to this history.
    #[must_use]
    pub fn expecting(self, history: &str) -> Self {
        Self { expected: Some(history.to_owned()), ..self }
    }

    /// Whether the node behind the first URL is ready for clients.
    pub async fn ready(&self) -> bool {
        let Some(url) = self.urls.first() else { return false };
        let answer = self.http.get(format!("{url}/readyz")).send().await;
        answer.is_ok_and(|response| response.status().is_success())
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        retry: Retry<'_>,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, ClientError> {
        self.send(method, path, retry, build).await?.json()
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        retry: Retry<'_>,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answered, ClientError> {
        self.ask(method, path, retry, &[], build).await
    }

    /// Sends a request, and again where that is safe, until it is answered or time is up. A write carries an idempotency key, so
    /// even one whose answer was lost may be sent again. Responses with a status in `answers` that say their position are answers,
    /// not errors.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        retry: Retry<'_>,
        answers: &[StatusCode],
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answered, ClientError> {
        let deadline = Instant::now() + self.limit;
        let idempotency_key = match retry {
            Retry::WithKey => Some(uuid::Uuid::new_v4().to_string()),
            Retry::WithThisKey { key, .. } => Some(key.to_owned()),
            Retry::Always | Retry::Idempotent | Retry::Never => None,
        };
        // So that a repetition which comes too late is not taken for a new request.
        let sent_after = match retry {
            Retry::WithThisKey { sent_after, .. } => {
                Some((sent_after.index, sent_after.history.as_str().into()))
            }
            Retry::WithKey => self.targets.newest.get(),
            Retry::Always | Retry::Idempotent | Retry::Never => None,
        };
        let mut pause = PAUSE_FIRST;
        let begun = Instant::now();
        // With less time left than this, another try would hardly be answered: it is how long the last refused try took.
        let mut too_late = Duration::ZERO;
        // The last problem that a node returned.
        let mut last_problem = None;
        // An earlier try whose outcome is unknown: a later refusal does not undo it.
        let mut unknown = None;
        // Nodes that the cluster goes on without.
        let mut left_behind = 0;
        loop {
            let url = self.target(retry);
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let request = build(self.http.request(method.clone(), format!("{url}{path}"))).timeout(left);
            // A slow link is no node that hangs: what is sent and what comes may take their time.
            let limits = match self.urls.len() > 1 && retry != Retry::Never {
                true if method == Method::GET => (left.min(TRY_TIMEOUT), TRY_TIMEOUT),
                true => (left.min(TRY_TIMEOUT + upload_time(&request)), TRY_TIMEOUT),
                false => (left, left),
            };
            let mut request = self.insisting(request);
            if let Some(key) = &idempotency_key {
                request = request.header(IDEMPOTENCY_KEY, key);
                let is_needed = unknown.is_some() || retry != Retry::WithKey;
                if let Some((index, history)) = sent_after.as_ref().filter(|_| is_needed) {
                    request = request.header(IDEMPOTENCY_SENT_AFTER, format!("{index}@{history}"));
                }
            }
            let tried = Instant::now();
            let error = match whole_answer(&url, request, answers, tried, limits).await {
                Ok(answered) => {
                    self.targets.newest.note(&answered);
                    return Ok(answered);
                }
                Err(error) => error,
            };
            self.learn(&url, &error);
            let is_repeatable = matches!(retry, Retry::Always | Retry::Idempotent);
            let harmless = is_repeatable && error.effect() == Effect::Unknown;
            let is_elsewhere = matches!(error.code(), ErrorCode::Detached | ErrorCode::Superseded);
            left_behind += usize::from(is_elsewhere);
            let goes_on = is_elsewhere && left_behind < self.urls.len();
            let safe = error.code().retry_is_safe(idempotency_key.is_some()) || harmless || goes_on;
            // A full cache passes, but not while a caller waits.
            let worth = error.code() != ErrorCode::CacheFull && !matches!(error, ClientError::TooLong { .. });
            let nobody = matches!(error, ClientError::Unreachable { .. });
            let given_up = nobody && last_problem.is_none() && begun.elapsed() >= NOBODY_TIMEOUT;
            if error.effect() == Effect::None {
                too_late = tried.elapsed() + SLACK;
            }
            // A try that is cut short would turn a known outcome into an unknown one.
            let wait = pause.max(error.retry_after());
            if !safe || !worth || given_up || Instant::now() + wait + too_late >= deadline {
                return Err(match unknown.filter(|_| !is_final(&error)) {
                    Some(unknown) => unknown,
                    None => explained(error, retry, last_problem),
                });
            }
            if let ClientError::Problem(problem) = &error {
                last_problem = Some(problem.clone());
            }
            if error.effect() == Effect::Unknown && retry != Retry::Always {
                unknown.get_or_insert(error);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// A request with the token, that only the cluster itself, or a certain history of it, is to answer, unless the client allows
    /// for less.
    pub(super) fn insisting(&self, request: RequestBuilder) -> RequestBuilder {
        let request = match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token.header()),
            None => request,
        };
        let request = match &self.origin {
            Some(origin) => request.header(ORIGIN, origin),
            None => request,
        };
        let request = match &self.expected {
            Some(history) => request.header(EXPECT_HISTORY, history),
            None => request,
        };
        match self.allows_detached {
            true => request,
            false => request.header(CONSISTENCY, Consistency::Linearizable.as_str()),
        }
    }

    pub(super) fn has_others(&self) -> bool {
        self.urls.len() > 1
    }

    pub(super) fn streams(&self) -> &reqwest::Client {
        &self.streams
    }

    /// How long a request and its repetitions may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// The node for the next request that need not go to the leader.
    pub(super) fn any_url(&self) -> String {
        self.urls[self.targets.next.load(Ordering::Relaxed) % self.urls.len()].clone()
    }

    /// The node failed, or is of no use now: another one is asked next, unless somebody else has seen to that.
    pub(super) fn try_another(&self, failed: &str) {
        let next = self.targets.next.load(Ordering::Relaxed);
        if self.urls[next % self.urls.len()] == failed {
            // If it fails, another request has gone on from this node at the same time.
            let _ = self.targets.next.compare_exchange(
                next,
                next.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    fn target(&self, retry: Retry<'_>) -> String {
        let leader = self.targets.leader.lock().expect("no panic while held").clone();
        match leader.filter(|_| !matches!(retry, Retry::Always | Retry::Never)) {
            Some(leader) => leader,
            None => self.any_url(),
        }
    }

    /// After a failure: chooses another node, and the leader if the response named it.
    fn learn(&self, url: &str, error: &ClientError) {
        let named = match error {
            ClientError::Problem(problem) => problem.leader.as_ref().map(|leader| leader.http.clone()),
            _ => None,
        };
        let mut leader = self.targets.leader.lock().expect("no panic while held");
        // What a client encrypts for one node it does not send to another as it is.
        let is_as_safe = |named: &String| !is_https(url) || is_https(named);
        *leader = named.filter(|named| !named.is_empty() && named != url && is_as_safe(named));
        drop(leader);
        let failed = !matches!(error, ClientError::Problem(problem) if problem.effect == Effect::None
            && !matches!(problem.code, ErrorCode::Unavailable | ErrorCode::Superseded | ErrorCode::Detached));
        if failed {
            self.try_another(url);
        }
    }
}

/// The URL of a node without a slash at its end.
fn base_url(url: &str) -> Result<String, String> {
    match reqwest::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err(format!("{url}: expected http://host:port or https://host:port")),
    }
}

/// The error to return: a reason that a node gave rather than a later silence. A read without an answer had no effect, so
/// its outcome is not in doubt.
fn explained(error: ClientError, retry: Retry<'_>, last_problem: Option<Box<Problem>>) -> ClientError {
    match (error, last_problem) {
        (ClientError::Unreachable { .. }, Some(problem)) => ClientError::Problem(problem),
        (ClientError::Lost { .. }, Some(problem)) if retry == Retry::Always => ClientError::Problem(problem),
        (ClientError::Lost { url, reason }, None) if retry == Retry::Always => {
            ClientError::Unreachable { url, reason }
        }
        (error, _) => error,
    }
}

/// Whether an error is the final answer to all tries of a request with an idempotency key: the state machine gives each of
/// them the answer that it gave first.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error.code(),
        ErrorCode::PreconditionFailed
            | ErrorCode::NotANumber
            | ErrorCode::Overflow
            | ErrorCode::WrongKind
            | ErrorCode::IdempotencyKeyReused
            | ErrorCode::NotFound
    )
}

/// The beginning of a line.
fn truncated(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_control()).take(120).collect()
}

/// When a request is repeated. Requests that change data go to the leader first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry<'a> {
    /// It only reads, so it can be repeated after any failure.
    Always,
    /// It changes something, and to do so twice is to do it once: it can be repeated after any failure. Without an answer it may have
    /// been carried out.
    Idempotent,
    /// It carries an idempotency key, so it is applied once however often it is sent.
    WithKey,
    /// The same, and the caller chose the key, and knew this place in the log before he first sent it.
    WithThisKey { key: &'a str, sent_after: &'a Cursor },
    /// It is not repeated where it might be carried out twice.
    Never,
}

/// Reads a response of at most `max` bytes.
pub(super) async fn read(
    url: &str,
    response: Response,
    max: usize,
    pause: Duration,
) -> Result<Bytes, ClientError> {
    read_up_to(response, max, pause).await.map_err(|unread| match unread {
        Unread::TooLong(max) => ClientError::TooLong { url: url.to_owned(), max },
        Unread::Lost(error) => lost(url, &error),
        Unread::Stalled(pause) => {
            let reason = format!("nothing more of it came in {} s", pause.as_secs());
            ClientError::Lost { url: url.to_owned(), reason }
        }
    })
}

impl Answered {
    /// Its body, which is JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| garbled(&self.url, &error.to_string()))
    }

    pub(super) fn text(&self, header: &str) -> Option<&str> {
        self.headers.get(header)?.to_str().ok()
    }

    pub(super) fn number(&self, header: &str) -> Option<u64> {
        self.text(header)?.parse().ok()
    }
}

/// How long a request's body may take on the slowest link that is not taken for a node that hangs.
fn upload_time(request: &RequestBuilder) -> Duration {
    const BYTES_PER_MS_MIN: usize = 16;
    let body =
        request.try_clone().and_then(|request| request.build().ok()?.body()?.as_bytes().map(<[u8]>::len));
    Duration::from_millis((body.unwrap_or(0) / BYTES_PER_MS_MIN) as u64)
}

/// An answer with its body: one that is cut off in the middle is no answer. Its beginning may take as long as the first limit says, and
/// between two parts as much as the second may pass.
async fn whole_answer(
    url: &str,
    request: RequestBuilder,
    answers: &[StatusCode],
    sent_at: Instant,
    (begins, pause): (Duration, Duration),
) -> Result<Answered, ClientError> {
    let late = || ClientError::Lost { url: url.to_owned(), reason: "not in time".into() };
    let mut response = timeout(begins, answer(url, request, answers)).await.map_err(|_| late())??;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let body = read(url, response, ANSWER_BYTES_MAX, pause).await?;
    Ok(Answered { url: url.to_owned(), status, headers, body, sent_at })
}

/// A proxy, or a port that speaks TLS, says it in words. Only of an error of its own (5xx) is it unknown what it did before.
fn said_by_no_node(url: &str, status: StatusCode, retry_after_s: Option<u64>, body: &[u8]) -> ClientError {
    let text = String::from_utf8_lossy(body);
    let said = text.lines().next().map(|line| format!(": {}", truncated(line))).unwrap_or_default();
    let reason = format!("status {status} without a problem description{said}");
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let mut problem = Problem::new(ErrorCode::RateLimited, format!("{url}: {reason}"));
            problem.retry_after_ms = retry_after_s.map(|s| s.saturating_mul(1_000));
            ClientError::Problem(Box::new(problem))
        }
        _ if status.is_server_error() => garbled(url, &reason),
        _ => ClientError::NoNode { url: url.to_owned(), reason },
    }
}

pub(super) async fn answer(
    url: &str,
    request: RequestBuilder,
    answers: &[StatusCode],
) -> Result<Response, ClientError> {
    let response = request.send().await.map_err(|error| {
        if error.is_connect() {
            ClientError::Unreachable { url: url.to_owned(), reason: innermost(&error) }
        } else {
            lost(url, &error)
        }
    })?;
    let status = response.status();
    if status.is_success() || answers.contains(&status) && response.headers().contains_key(INDEX) {
        return Ok(response);
    }
    let retry_after =
        response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes = read(url, response, SMALL_BYTES_MAX, TRY_TIMEOUT).await?;
    match serde_json::from_slice(&bytes) {
        Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
        Err(_) => Err(said_by_no_node(url, status, retry_after, &bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_fail_at_one_node_go_on_to_the_same_next_one() {
        let urls = ["http://a:1", "http://b:1", "http://c:1"].map(str::to_owned);
        let client = Client::new(&urls, Duration::from_secs(1)).expect("a client");
        let dead = || ClientError::Lost { url: urls[0].clone(), reason: "dead".into() };
        for _ in 0..3 {
            client.learn(&urls[0], &dead());
        }
        assert_eq!(client.any_url(), urls[1]);
        client.try_another(&urls[0]);
        assert_eq!(client.any_url(), urls[1]);
        client.try_another(&urls[1]);
        assert_eq!(client.any_url(), urls[2]);
    }
}

//! The client's writes.

use super::error::{ClientError, garbled};
use super::http::{Answered, Client, Retry};
use super::position::{Cursor, Positioned, position, positioned};
use crate::api::{
    BatchAnswer, BatchMode, Cleared, Counter, Deadline, ENTRY, EntryMeta, ErrorCode, ExpireRequest,
    IncrRequest, OpRequest, OpResult, PREVIOUS_REVISION, Problem, TTL_MS,
};
use crate::cache::{Key, KeyError, Ttl};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::Serialize;

/// Characters that need no escape in a path segment or a query value.
pub(super) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A [`crate::api::BatchRequest`] that borrows its operations.
#[derive(Serialize)]
struct Batch<'a> {
    mode: BatchMode,
    ops: &'a [OpRequest],
}

/// How to store a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOptions {
    pub content_type: Option<String>,
    pub ttl: Ttl,
    /// Store only over this revision.
    pub if_revision: Option<u64>,
    /// Store only if the key is absent.
    pub if_absent: bool,
    /// Store only if the key is there.
    pub if_present: bool,
    /// Store only if the key is absent, and has been since this index.
    pub if_absent_since: Option<u64>,
    /// Ask for the value that is replaced.
    pub previous: bool,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            content_type: None,
            ttl: Ttl::Default,
            if_revision: None,
            if_absent: false,
            if_present: false,
            if_absent_since: None,
            previous: false,
        }
    }
}

/// What a put did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub revision: u64,
    /// Whether the key is new.
    pub created: bool,
    /// The value that was replaced, if it was asked for and there was one.
    pub previous: Option<Previous>,
}

/// A value that a write replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    pub value: Bytes,
    pub content_type: Option<String>,
    pub revision: u64,
}

impl Client {
    /// Stores a value.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put(&self, key: &str, value: Bytes, options: &PutOptions) -> Result<Stored, ClientError> {
        Ok(self.put_at(key, value, options, None).await?.value)
    }

    /// The same, and where in the log it was done. `absent_since`: only if the key is absent, and has been since then.
    pub(super) async fn put_at(
        &self,
        key: &str,
        value: Bytes,
        options: &PutOptions,
        absent_since: Option<&Cursor>,
    ) -> Result<Positioned<Stored>, ClientError> {
        let ttl = match options.ttl {
            Ttl::Default => String::new(),
            Ttl::Never => "&ttl_ms=never".into(),
            Ttl::Ms(ttl_ms) => format!("&ttl_ms={ttl_ms}"),
            Ttl::Sliding(ttl_ms) => format!("&ttl_ms={ttl_ms}&sliding=true"),
            Ttl::At(_) | Ttl::Keep => {
                let reason = "over HTTP a time to live is a number of milliseconds, or `never`";
                return Err(ClientError::Problem(Box::new(Problem::new(ErrorCode::InvalidTtl, reason))));
            }
        };
        let since = absent_since.map(Cursor::to_string);
        let since = since.or_else(|| options.if_absent_since.map(|index| index.to_string()));
        let since = since.map(|place| format!("&if_absent_since={place}")).unwrap_or_default();
        let path = format!("{}?previous={}{ttl}{since}", kv_path(key)?, options.previous);
        let build = |mut request: RequestBuilder| {
            if options.if_present {
                request = request.header(header::IF_MATCH, "*");
            }
            if options.if_absent {
                request = request.header(header::IF_NONE_MATCH, "*");
            }
            if let Some(content_type) = &options.content_type {
                request = request.header(header::CONTENT_TYPE, content_type);
            }
            only_over(request, options.if_revision).body(value.clone())
        };
        let answered = self.ask(Method::PUT, &path, Retry::WithKey, &[], build).await?;
        let at = position(&answered)?;
        let (revision, created) = (revision(&answered)?, answered.status == StatusCode::CREATED);
        Ok(Positioned { value: Stored { revision, created, previous: previous(answered) }, at })
    }

    /// Removes a key; false when there was none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, key: &str, if_revision: Option<u64>) -> Result<bool, ClientError> {
        Ok(self.delete_at(key, if_revision).await?.value)
    }

    /// The same, and where in the log it was done.
    pub(super) async fn delete_at(
        &self,
        key: &str,
        if_revision: Option<u64>,
    ) -> Result<Positioned<bool>, ClientError> {
        let build = |request: RequestBuilder| only_over(request, if_revision);
        let (path, answers) = (kv_path(key)?, [StatusCode::NOT_FOUND]);
        let answered = self.ask(Method::DELETE, &path, Retry::WithKey, &answers, build).await?;
        let was_there = answered.status != StatusCode::NOT_FOUND;
        Ok(Positioned { value: was_there, at: position(&answered)? })
    }

    /// Removes a key and returns what it held; `None` when there was none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn take(&self, key: &str, if_revision: Option<u64>) -> Result<Option<Previous>, ClientError> {
        let path = format!("{}?previous=true", kv_path(key)?);
        let build = |request: RequestBuilder| only_over(request, if_revision);
        let answer = self.send(Method::DELETE, &path, Retry::WithKey, build).await;
        let Some(answered) = found(answer)? else { return Ok(None) };
        let url = answered.url.clone();
        previous(answered).map(Some).ok_or_else(|| garbled(&url, "it has no previous revision"))
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn incr(&self, key: &str, request: &IncrRequest) -> Result<Counter, ClientError> {
        Ok(self.incr_at(key, request).await?.value)
    }

    /// The same, and where in the log it was done.
    pub(super) async fn incr_at(
        &self,
        key: &str,
        request: &IncrRequest,
    ) -> Result<Positioned<Counter>, ClientError> {
        let path = format!("{}/incr", kv_path(key)?);
        let build = |builder: RequestBuilder| builder.json(request);
        positioned(&self.ask(Method::POST, &path, Retry::WithKey, &[], build).await?)
    }

    /// Sets the TTL of a key; `None` if there is no such key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn expire(&self, key: &str, request: &ExpireRequest) -> Result<Option<Deadline>, ClientError> {
        let path = format!("{}/expire", kv_path(key)?);
        found(self.json(Method::POST, &path, Retry::WithKey, |builder| builder.json(request)).await)
    }

    /// Removes the TTL of a key; `None` if there is no such key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn persist(&self, key: &str) -> Result<Option<Deadline>, ClientError> {
        let path = format!("{}/persist", kv_path(key)?);
        found(self.json(Method::POST, &path, Retry::WithKey, |builder| builder).await)
    }

    /// Carries out several operations, all or none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batch(&self, ops: &[OpRequest]) -> Result<BatchAnswer, ClientError> {
        self.send_batch(BatchMode::All, ops, None).await?.json()
    }

    /// Carries out several operations in one log entry, each by itself. What became of each is in the answer. A refusal is
    /// remembered with the rest of the answer: to try again what was refused is another request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batch_each(&self, ops: &[OpRequest]) -> Result<BatchAnswer<OpResult>, ClientError> {
        self.send_batch(BatchMode::Each, ops, None).await?.json()
    }

    /// The same, under an idempotency key of the caller's: he can send the same operations again under it, and they are carried out
    /// once. `sent_after`: a place in the log that he knew before the first time.
    ///
    /// # Errors
    /// [`ClientError`]; `outcome_forgotten`: nodes do not know any more whether they were carried out, and did not do so now.
    pub async fn batch_each_once(
        &self,
        ops: &[OpRequest],
        idempotency_key: &str,
        sent_after: &Cursor,
    ) -> Result<Positioned<BatchAnswer<OpResult>>, ClientError> {
        let retry = Retry::WithThisKey { key: idempotency_key, sent_after };
        positioned(&self.send_batch(BatchMode::Each, ops, Some(retry)).await?)
    }

    async fn send_batch(
        &self,
        mode: BatchMode,
        ops: &[OpRequest],
        retry: Option<Retry<'_>>,
    ) -> Result<Answered, ClientError> {
        let only_reads = ops.iter().all(|op| matches!(op, OpRequest::Get { .. }));
        let retry = match retry {
            Some(retry) => retry,
            // With a key it would take a log entry.
            None if only_reads => Retry::Always,
            None => Retry::WithKey,
        };
        let request = Batch { mode, ops };
        let build = |builder: RequestBuilder| builder.json(&request);
        self.ask(Method::POST, "/v1/batch", retry, &[], build).await
    }

    /// Removes all keys with a prefix, which has at least one byte.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clear(&self, prefix: &str) -> Result<Cleared, ClientError> {
        let path = format!("/v1/kv?prefix={}", utf8_percent_encode(prefix, PLAIN));
        self.json(Method::DELETE, &path, Retry::WithKey, |builder| builder).await
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clear_all(&self) -> Result<Cleared, ClientError> {
        self.json(Method::DELETE, "/v1/kv?all=true", Retry::WithKey, |builder| builder).await
    }
}

/// # Errors
/// `invalid_key`. A URL with `.` or `..` would be that of another path, so none is made.
pub(super) fn kv_path(key: &str) -> Result<String, ClientError> {
    path_of("/v1/kv", key)
}

/// The path of what has a key, or a name with the rules of keys.
///
/// # Errors
/// `invalid_key`.
pub(super) fn path_of(below: &str, key: &str) -> Result<String, ClientError> {
    let invalid = |error: KeyError| {
        let mut problem = Problem::new(ErrorCode::InvalidKey, error.to_string());
        problem.field = Some("key".into());
        ClientError::Problem(Box::new(problem))
    };
    let key = Key::new(key).map_err(invalid)?;
    Ok(format!("{below}/{}", utf8_percent_encode(key.as_str(), PLAIN)))
}

fn only_over(request: RequestBuilder, revision: Option<u64>) -> RequestBuilder {
    match revision {
        Some(revision) => request.header(header::IF_MATCH, format!("\"{revision}\"")),
        None => request,
    }
}

/// An answer, or `None` if there is no such key.
pub(super) fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(response) => Ok(Some(response)),
        Err(ClientError::Problem(problem)) if problem.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The key's revision, from its tag.
fn revision(answered: &Answered) -> Result<u64, ClientError> {
    let tag = answered.text(header::ETAG.as_str());
    let revision = tag.and_then(|tag| tag.trim_matches('"').parse().ok());
    revision.ok_or_else(|| garbled(&answered.url, "it has no ETag"))
}

/// What is known of the entry beside its value.
pub(super) fn entry_meta(answered: &Answered) -> Result<EntryMeta, ClientError> {
    let members = answered.text(ENTRY).unwrap_or_default();
    let member =
        |name: &str| members.split(", ").find_map(|member| member.strip_prefix(name)?.strip_prefix('='));
    let number_in = |name: &str| {
        let number = member(name).and_then(|number| number.parse::<u64>().ok());
        number.ok_or_else(|| garbled(&answered.url, &format!("its {ENTRY} has no {name}")))
    };
    Ok(EntryMeta {
        revision: revision(answered)?,
        version: number_in("version")?,
        created_at_ms: number_in("created_at_ms")?,
        modified_at_ms: number_in("modified_at_ms")?,
        ttl_ms: answered.number(TTL_MS),
        sliding_ms: member("sliding_ms").and_then(|ms| ms.parse().ok()),
        origin: member("origin").map(|origin| origin.trim_matches('"').to_owned()),
    })
}

/// The value an answer carries, and its content type.
pub(super) fn body(answered: Answered) -> (Bytes, Option<String>) {
    let content_type = answered.text(header::CONTENT_TYPE.as_str()).map(str::to_owned);
    (answered.body, content_type)
}

/// What a write replaced or removed, if the response has it.
fn previous(answered: Answered) -> Option<Previous> {
    let revision = answered.number(PREVIOUS_REVISION)?;
    let (value, content_type) = body(answered);
    Some(Previous { value, content_type, revision })
}

//! `/v1/keys` lists, `DELETE /v1/kv` clears.

use super::door::Ready;
use super::extract::{NoBody, Query, ReadQuery, bad_query, flag, idempotency_key, level, whole};
use super::kv::{unexpected, written_at};
use super::respond::{ApiError, read_at};
use crate::api::{Cleared, KeyEntry, KeyPage};
use crate::cache::{Cache, Command, Outcome};
use crate::node::WriteRequest;
use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<String>,
    consistency: Option<String>,
    min_index: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearQuery {
    prefix: Option<String>,
    all: Option<String>,
}

impl ClearQuery {
    /// The prefix, or all keys where that is what was asked for: what is only missing removes nothing.
    fn prefix(self) -> Result<Option<String>, ApiError> {
        match (self.prefix, flag("all", self.all.as_deref())?) {
            (Some(_), true) => Err(bad_query("prefix", "all=true leaves none out".into())),
            (None, true) => Ok(None),
            (Some(prefix), false) if prefix.is_empty() => {
                Err(bad_query("prefix", "it is empty; all=true removes all keys".into()))
            }
            (Some(prefix), false) => Ok(Some(prefix)),
            (None, false) => Err(bad_query("prefix", "it is missing; all=true removes all keys".into())),
        }
    }
}

/// `GET /v1/keys`.
pub(super) async fn list(Ready(node): Ready, Query(query): Query<ListQuery>) -> Result<Response, ApiError> {
    let limit = match query.limit.as_deref().map(|limit| whole(limit)?.try_into().ok()) {
        None => LIMIT_DEFAULT,
        Some(Some(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => return Err(bad_query("limit", format!("expected a number from 1 to {LIMIT_MAX}"))),
    };
    let read_query = ReadQuery { consistency: query.consistency, min_index: query.min_index };
    let (consistency, min_index) = (read_query.consistency()?, read_query.min_index()?);
    let prefix = query.prefix.unwrap_or_default();
    // One more than asked for tells whether there is a next page.
    let look = |cache: &Cache| cache.keys(&prefix, query.after.as_deref(), limit + 1);
    let read =
        node.read(level(consistency), min_index, look).await.map_err(|e| ApiError::from_node(&node, e))?;
    let more = read.value.len() > limit;
    let entries = read.value.iter().take(limit).map(|(key, info)| KeyEntry {
        key: key.as_str().to_owned(),
        revision: info.revision,
        bytes: info.bytes,
        ttl_ms: info.expires_at_ms.map(|deadline| deadline.saturating_sub(read.now_ms)),
    });
    let keys: Vec<KeyEntry> = entries.collect();
    let next = keys.last().filter(|_| more).map(|last| last.key.clone());
    Ok((read_at(&read, consistency), Json(KeyPage { keys, next, index: read.index })).into_response())
}

/// `DELETE /v1/kv`.
pub(super) async fn clear(
    Ready(node): Ready,
    Query(query): Query<ClearQuery>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    let prefix = query.prefix()?;
    let idempotency_key = idempotency_key(&headers)?;
    let request = WriteRequest { command: Command::Clear { prefix }, idempotency_key, limit: None };
    let written = node.write(request).await.map_err(|error| ApiError::from_node(&node, error))?;
    let Outcome::Cleared { revision, removed } = written.outcome else { return Err(unexpected()) };
    Ok((written_at(&written), Json(Cleared { removed, revision })).into_response())
}

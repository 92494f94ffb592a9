//! `GET /v1/keys` lists keys; `DELETE /v1/kv` removes many.

use super::api_error::ApiError;
use super::body::NoBody;
use super::extract::{Query, ReadQuery, bad_query, flag, idempotency_key, whole};
use super::get_many::ANSWER_BYTES;
use super::metered_body::reserve_bytes;
use super::response_headers::{read_at, written_at};
use super::state::AppState;
use crate::api::{Cleared, Entry, EntryDetails, EntryMeta, EntryPage, KeyEntry, KeyPage, ValueDetails};
use crate::cache::limits::KEY_BYTES_MAX;
use crate::cache::{Command, KeyDetails, Outcome};
use crate::node::{EntriesPage, KeysPage, ListKeys, ReadAt, Session, WriteRequest};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;
/// The same with details, each of which has a part of a value.
const DETAILED_LIMIT_MAX: usize = 1_000;
const PREVIEW_BYTES_MAX: usize = 96;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<String>,
    consistency: Option<String>,
    min_index: Option<String>,
    details: Option<String>,
    values: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearQuery {
    prefix: Option<String>,
    all: Option<String>,
}

impl ClearQuery {
    /// The prefix, or `None` for all keys. A missing prefix alone removes nothing.
    fn prefix(self) -> Result<Option<String>, ApiError> {
        match (self.prefix, flag("all", self.all.as_deref())?) {
            (Some(_), true) => Err(bad_query("prefix", "all=true leaves none out".into())),
            (None, true) => Ok(None),
            (Some(prefix), false) if prefix.is_empty() => {
                Err(bad_query("prefix", "it is empty; all=true removes all keys".into()))
            }
            (Some(prefix), false) if prefix.len() > KEY_BYTES_MAX => {
                Err(bad_query("prefix", format!("no key is longer than {KEY_BYTES_MAX} bytes")))
            }
            (Some(prefix), false) => Ok(Some(prefix)),
            (None, false) => Err(bad_query("prefix", "it is missing; all=true removes all keys".into())),
        }
    }
}

/// `GET /v1/keys`.
pub(super) async fn list(
    State(state): State<AppState>,
    session: Session,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let detailed = flag("details", query.details.as_deref())?;
    let with_values = flag("values", query.values.as_deref())?;
    if detailed && with_values {
        return Err(bad_query("values", "give it or details, not both".into()));
    }
    let limit_max = if detailed { DETAILED_LIMIT_MAX } else { LIMIT_MAX };
    let limit = match query.limit.as_deref().map(|limit| whole(limit)?.try_into().ok()) {
        None => LIMIT_DEFAULT,
        Some(Some(limit)) if (1..=limit_max).contains(&limit) => limit,
        Some(_) => return Err(bad_query("limit", format!("expected a number from 1 to {limit_max}"))),
    };
    let read_query = ReadQuery { consistency: query.consistency, min_index: query.min_index };
    let (consistency, min_index) =
        (read_query.consistency(&session)?, read_query.min_index(session.lineage())?);
    if with_values {
        let session = session.with_consistency(consistency).not_before(min_index);
        return entries(&state, &session, query.prefix.unwrap_or_default(), query.after, limit).await;
    }
    let request = ListKeys {
        prefix: query.prefix.unwrap_or_default(),
        after: query.after,
        limit,
        preview_bytes: detailed.then_some(PREVIEW_BYTES_MAX),
    };
    let read = session.with_consistency(consistency).not_before(min_index).list(request).await?;
    let headers = read_at(&read, consistency);
    let ReadAt { value: KeysPage { keys, more }, index, now_ms, .. } = read;
    let entries = keys.into_iter().map(|listed| KeyEntry {
        key: listed.key.as_str().to_owned(),
        meta: EntryMeta::new(&listed.info.entry, now_ms),
        bytes: listed.info.bytes,
        details: listed.details.map(|details| entry_details(details, listed.info.bytes, listed.by)),
    });
    let keys: Vec<KeyEntry> = entries.collect();
    let next = keys.last().filter(|_| more).map(|last| last.key.clone());
    Ok((headers, Json(KeyPage { keys, next, index })).into_response())
}

/// A page with values: of at most `limit` keys, and it ends after the value that brings it to so many bytes.
async fn entries(
    state: &AppState,
    session: &Session,
    prefix: String,
    after: Option<String>,
    limit: usize,
) -> Result<Response, ApiError> {
    // It is not known yet how much of it there is.
    let _permit = reserve_bytes(state, session.all_stored_bytes().min(ANSWER_BYTES))?;
    let read = session.entries(prefix, after, limit, ANSWER_BYTES).await?;
    let headers = read_at(&read, session.consistency());
    let ReadAt { value: EntriesPage { entries, more, .. }, index, now_ms, .. } = read;
    let entries = entries.into_iter().map(|listed| Entry {
        key: listed.key.as_str().to_owned(),
        entry: ValueDetails::new(listed.found, now_ms),
    });
    let entries: Vec<Entry> = entries.collect();
    let next = entries.last().filter(|_| more).map(|last| last.key.clone());
    Ok((headers, Json(EntryPage { entries, next, index })).into_response())
}

fn entry_details(details: KeyDetails, bytes: u64, by: Option<u64>) -> EntryDetails {
    let KeyDetails { mut preview, content_type, uses } = details;
    if (preview.len() as u64) < bytes {
        // Text is cut between two characters.
        let whole = match std::str::from_utf8(&preview) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => preview.len(),
        };
        preview.truncate(whole);
    }
    EntryDetails { preview: Bytes::from(preview).into(), content_type, uses, by }
}

/// `DELETE /v1/kv`.
pub(super) async fn clear(
    session: Session,
    Query(query): Query<ClearQuery>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    let prefix = query.prefix()?;
    let idempotency_key = idempotency_key(&headers, session.lineage())?;
    let request = WriteRequest { idempotency_key, ..Command::Clear { prefix, unless: None }.into() };
    let written = session.write(request).await?;
    let Outcome::Cleared { revision, removed } = written.outcome else {
        return Err(ApiError::unexpected_outcome());
    };
    Ok((written_at(&written), Json(Cleared { removed, revision })).into_response())
}

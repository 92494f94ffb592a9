//! `GET /v1/changes`: what changed since an index, for clients that ask from time to time instead of watching.

use super::api_error::ApiError;
use super::cursor::Cursor;
use super::extract::{Query, bad_query, flag, whole};
use super::get_many::ANSWER_BYTES;
use super::metered_body::reserve_bytes;
use super::response_headers::read_at;
use super::state::AppState;
use crate::api::{Change, Changes, EntryMeta, WireValue};
use crate::cache::Found;
use crate::cache::limits::KEY_BYTES_MAX;
use crate::node::{ChangedKey, ChangedKeys, ChangesLimit, ReadAt, Session};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangesQuery {
    since: Option<String>,
    prefix: Option<String>,
    limit: Option<String>,
    values: Option<String>,
}

/// `GET /v1/changes`.
pub(super) async fn changes(
    State(state): State<AppState>,
    session: Session,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, ApiError> {
    let since = query.since.ok_or_else(|| bad_query("since", "expected a log index".into()))?;
    let cursor = Cursor::parse(&since);
    let cursor = cursor.ok_or_else(|| bad_query("since", format!("`{since}` is no log index")))?;
    let since = cursor.index_in(session.lineage())?;
    let prefix = query.prefix.unwrap_or_default();
    if prefix.len() > KEY_BYTES_MAX {
        return Err(bad_query("prefix", format!("expected at most {KEY_BYTES_MAX} bytes")));
    }
    let keys = match query.limit.as_deref().map(|limit| whole(limit)?.try_into().ok()) {
        None => LIMIT_DEFAULT,
        Some(Some(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => return Err(bad_query("limit", format!("expected a number from 1 to {LIMIT_MAX}"))),
    };
    let values = flag("values", query.values.as_deref())?;
    let _permit = match values {
        true => Some(reserve_bytes(&state, session.all_stored_bytes().min(ANSWER_BYTES))?),
        false => None,
    };
    let read =
        session.changed_since(since, prefix, ChangesLimit { keys, bytes: ANSWER_BYTES, values }).await?;
    let headers = read_at(&read, session.consistency());
    let ReadAt { value: ChangedKeys { changes, next, more, complete }, index, now_ms, .. } = read;
    let changes = changes.into_iter().map(|change| match change {
        ChangedKey::Present { key, found, has_value } => {
            let Found { value, info } = found;
            let meta = EntryMeta::new(&info, now_ms);
            let content_type = value.content_type.as_deref().map(str::to_owned);
            let bytes = value.bytes.len() as u64;
            let value = (values && has_value).then(|| WireValue::from(value.bytes));
            Change::Key {
                key: key.as_str().to_owned(),
                found: true,
                meta: Some(meta),
                bytes: Some(bytes),
                value,
                content_type,
                gone: None,
            }
        }
        ChangedKey::Absent { key, removal } => Change::Key {
            key: key.as_str().to_owned(),
            found: false,
            meta: None,
            bytes: None,
            value: None,
            content_type: None,
            gone: removal,
        },
        ChangedKey::Cleared { prefix, removal } => Change::Cleared { prefix, gone: removal },
    });
    let answer = Changes { changes: changes.collect(), next, more, complete, index: index.max(next) };
    Ok((headers, Json(answer)).into_response())
}

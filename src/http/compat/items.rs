//! `/api/cache`: all items, read or removed.

use super::super::api_error::ApiError;
use super::super::extract::{parse_query, whole};
use super::super::response_headers::{read_at, written_at};
use super::answer::{Context, Refusal};
use super::value::Shown;
use crate::cache::{Command, Listed, Outcome};
use crate::node::EntriesPage;
use axum::Json;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Items in one response, and bytes of their values, at most.
const ITEMS_MAX: usize = 1_000;
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Answer of `GET /api/cache`.
#[derive(Serialize)]
struct Items {
    success: bool,
    items: Vec<Item>,
    /// Items in this answer, and in the cache.
    count: usize,
    total: u64,
    /// Give it as `after` to go on; absent when this is the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A key and what is stored under it.
#[derive(Serialize)]
pub(in crate::http) struct Item {
    key: String,
    value: Shown,
}

/// Query of `GET /api/cache`. Other parameters are ignored, as with Express.
#[derive(Default, Deserialize)]
struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
}

/// Answer of `DELETE /api/cache`.
#[derive(Serialize)]
struct Cleared {
    success: bool,
    message: &'static str,
    removed: u64,
}

/// `GET`: a page of items in the order of their keys.
pub(super) async fn list(context: Context, uri: Uri) -> Result<Response, Refusal> {
    let query: ListQuery =
        parse_query(&uri).map_err(|error| Refusal::bad(format!("Malformed query: {error}")))?;
    let limit = match query.limit.as_deref().map(whole) {
        None => ITEMS_MAX,
        Some(Some(limit)) if limit > 0 => limit.try_into().map_or(ITEMS_MAX, |limit| ITEMS_MAX.min(limit)),
        Some(_) => return Err(Refusal::bad("Limit must be a positive number")),
    };
    let read = context.session.entries(String::new(), query.after, limit, BYTES_MAX).await;
    let read = read.map_err(|error| context.refuse(error))?;
    let headers = read_at(&read, context.session.consistency());
    let EntriesPage { entries, more, total } = read.value;
    let next = entries.last().filter(|_| more).map(|last| last.key.as_str().to_owned());
    let items: Result<Vec<Item>, serde_json::Error> = entries.iter().map(Item::of).collect();
    let items = items.map_err(|error| context.broken(&error))?;
    Ok((headers, Json(Items { success: true, count: items.len(), items, total, next })).into_response())
}

impl Item {
    pub fn of(entry: &Listed) -> Result<Self, serde_json::Error> {
        Ok(Self { key: entry.key.as_str().to_owned(), value: Shown::of(entry)? })
    }

    /// The value without what is known about it.
    pub fn into_value(self) -> Box<RawValue> {
        self.value.into_value()
    }
}

/// `DELETE`.
pub(super) async fn clear(context: Context) -> Result<Response, Refusal> {
    let written = context
        .session
        .write(Command::Clear { prefix: None, unless: None })
        .await
        .map_err(|error| context.refuse(error))?;
    let headers = written_at(&written);
    let Outcome::Cleared { removed, .. } = written.outcome else {
        return Err(context.refuse(ApiError::unexpected_outcome()));
    };
    Ok((headers, Json(Cleared { success: true, message: "Cache cleared successfully", removed }))
        .into_response())
}

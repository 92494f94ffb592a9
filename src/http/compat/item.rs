//! `/api/cache/{key}`, and `POST /api/cache`: one item.

use super::super::api_error::ApiError;
use super::super::extract::PathKey;
use super::super::response_headers::{read_at, written_at};
use super::answer::{Context, Refusal};
use super::body::Text;
use super::put::PutBody;
use super::value::Shown;
use crate::cache::{Command, Condition, Listed, Op, Outcome};
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Answer of a read.
#[derive(Serialize)]
struct Item<'a> {
    success: bool,
    key: &'a str,
    value: Shown,
}

/// Answer of a write.
#[derive(Serialize)]
pub(super) struct Done {
    success: bool,
    message: &'static str,
}

impl Done {
    pub fn new(message: &'static str) -> Json<Self> {
        Json(Self { success: true, message })
    }
}

fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "Key not found")
}

/// `GET`. It counts as a use of the key, and the response includes it.
pub(super) async fn get(context: Context, key: Result<PathKey, ApiError>) -> Result<Response, Refusal> {
    let PathKey(key) = key.map_err(|error| context.refuse(error))?;
    let read = context.session.get_with_uses(&key).await.map_err(|error| context.refuse(error))?;
    let headers = read_at(&read, context.session.consistency());
    let Ok(seen) = read.value else {
        return Ok((headers, not_found()).into_response());
    };
    let entry = Listed { key, uses: seen.uses + 1, found: seen.found };
    let value = Shown::of(&entry).map_err(|error| context.broken(&error))?;
    Ok((headers, Json(Item { success: true, key: entry.key.as_str(), value })).into_response())
}

/// `POST /api/cache`.
pub(super) async fn put(context: Context, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let text = Text::of(&context, &headers, body).await?;
    let item: PutBody = text.read()?;
    let op = item.op(context.state.front.limits.value_bytes).map_err(|error| context.refuse(error))?;
    let written = context.session.write(Command::One(op)).await.map_err(|error| context.refuse(error))?;
    Ok((written_at(&written), Done::new("Item cached successfully")).into_response())
}

/// `DELETE`.
pub(super) async fn delete(context: Context, key: Result<PathKey, ApiError>) -> Result<Response, Refusal> {
    let PathKey(key) = key.map_err(|error| context.refuse(error))?;
    let op = Op::Delete { key, condition: Condition::Always, previous: false };
    let written = context.session.write(Command::One(op)).await.map_err(|error| context.refuse(error))?;
    let headers = written_at(&written);
    match written.outcome {
        Outcome::Deleted { .. } => Ok((headers, Done::new("Item deleted successfully")).into_response()),
        Outcome::NotFound(_) => Ok((headers, not_found()).into_response()),
        _ => Err(context.refuse(ApiError::unexpected_outcome())),
    }
}

//! `GET /v1/digest/range`: digests of ranges of keys, for whoever has a copy of them.

use super::api_error::ApiError;
use super::extract::{Query, ReadQuery, bad_query, whole};
use super::response_headers::read_at;
use crate::node::{DigestRanges, Session};
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

const SPLIT_DEFAULT: usize = 16;
const SPLIT_MAX: usize = 1_024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DigestQuery {
    prefix: Option<String>,
    after: Option<String>,
    until: Option<String>,
    split: Option<String>,
    consistency: Option<String>,
    min_index: Option<String>,
}

/// `GET /v1/digest/range`.
pub(super) async fn range_digests(
    session: Session,
    Query(query): Query<DigestQuery>,
) -> Result<Response, ApiError> {
    let DigestQuery { prefix, after, until, split, consistency, min_index } = query;
    let split = match split.as_deref().map(|split| whole(split)?.try_into().ok()) {
        None => SPLIT_DEFAULT,
        Some(Some(split)) if (1..=SPLIT_MAX).contains(&split) => split,
        Some(_) => return Err(bad_query("split", format!("expected a number from 1 to {SPLIT_MAX}"))),
    };
    let read_query = ReadQuery { consistency, min_index };
    let (consistency, min_index) =
        (read_query.consistency(&session)?, read_query.min_index(session.lineage())?);
    let request = DigestRanges { prefix: prefix.unwrap_or_default(), after, until, split };
    let read = session.with_consistency(consistency).not_before(min_index).range_digests(request).await?;
    Ok((read_at(&read, consistency), Json(read.value)).into_response())
}

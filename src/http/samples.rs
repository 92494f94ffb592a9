//! `GET /v1/samples`: what a node did in the last hour, one sample per second.

use super::api_error::ApiError;
use super::extract::{Query, bad_query, whole};
use super::response_headers::no_store;
use crate::api::{Columns, Samples};
use crate::front::SAMPLE_INTERVAL;
use crate::node::{Admin, Sample, SamplesOf};
use axum::Json;
use axum::http::HeaderMap;
use serde::Deserialize;

/// Query of `GET /v1/samples`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SamplesQuery {
    since_ms: Option<String>,
    node: Option<String>,
}

/// `GET /v1/samples`.
pub(super) async fn samples(
    admin: Admin,
    Query(query): Query<SamplesQuery>,
) -> Result<(HeaderMap, Json<Samples>), ApiError> {
    let since_ms = number("since_ms", query.since_ms.as_deref(), "expected milliseconds since 1970")?;
    let id = number("node", query.node.as_deref(), "expected a member's number")?;
    let id = id.unwrap_or(admin.node_id());
    let SamplesOf { node, now_ms, samples } = admin.samples_of(id, since_ms.unwrap_or(0)).await?;
    let interval_ms = u64::try_from(SAMPLE_INTERVAL.as_millis()).unwrap_or(u64::MAX);
    Ok((no_store(), Json(Samples { node, interval_ms, now_ms, columns: columns(&samples) })))
}

fn number(field: &str, text: Option<&str>, expected: &str) -> Result<Option<u64>, ApiError> {
    text.map(|text| whole(text).ok_or_else(|| bad_query(field, expected.into()))).transpose()
}

fn columns(samples: &[Sample]) -> Columns {
    fn column<T>(samples: &[Sample], of: impl Fn(&Sample) -> T) -> Vec<T> {
        samples.iter().map(of).collect()
    }
    Columns {
        at_ms: column(samples, |s| s.at_ms),
        requests: column(samples, |s| s.requests),
        errors: column(samples, |s| s.errors),
        reads: column(samples, |s| s.reads),
        writes: column(samples, |s| s.writes),
        p50_us: column(samples, |s| s.p50_us),
        p99_us: column(samples, |s| s.p99_us),
        hits: column(samples, |s| s.hits),
        misses: column(samples, |s| s.misses),
        puts: column(samples, |s| s.puts),
        evicted: column(samples, |s| s.evicted),
        expired: column(samples, |s| s.expired),
        touches: column(samples, |s| s.touches),
        flushes: column(samples, |s| s.flushes),
        flush_us: column(samples, |s| s.flush_us),
        entries: column(samples, |s| s.entries),
        bytes: column(samples, |s| s.bytes),
        applied_index: column(samples, |s| s.applied_index),
        is_leader: column(samples, |s| s.is_leader),
    }
}

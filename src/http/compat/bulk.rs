//! `POST /api/cache/bulk`: many items. Each 1,024 of them, or just under 2 MiB, are one log entry, all or none.

use super::super::api_error::ApiError;
use super::super::body::from_object;
use super::answer::{Context, Refusal};
use super::body::Text;
use super::put::PutBody;
use crate::api::ErrorCode;
use crate::cache::limits::BATCH_OPS_MAX;
use crate::cache::{Command, Key, Op};
use crate::node::NodeError;
use crate::replica::COMMAND_BYTES_MAX;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

/// Most bytes that an item has in the log beyond its key, value and content type; and a command beyond its items.
const ITEM_BYTES: usize = 64;
const COMMAND_BYTES: usize = 1_024;
/// Items of one request.
const ITEMS_MAX: usize = 100_000;
/// Failed items that a response names.
const FAILURES_SHOWN: usize = 100;

#[derive(Deserialize)]
struct BulkBody<'a> {
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
}

/// Items that are not parsed further, up to the limit: an item of a few bytes needs more in memory.
struct Items<'a>(Vec<&'a RawValue>);

const TOO_MANY: &str = "too many items";

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == ITEMS_MAX {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

/// The answer.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    success_count: usize,
    total_count: usize,
    /// The first of those that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why an item was not stored.
#[derive(Debug, Serialize)]
struct Failure {
    /// Its position, from 0.
    index: usize,
    message: String,
}

/// Items for one log entry. Each key is in it once: of several items the last one counts.
#[derive(Default)]
struct Batch {
    ops: Vec<Op>,
    places: HashMap<Key, usize>,
    bytes: usize,
    /// Positions of its items, and of earlier ones that a later item with the same key replaced.
    positions: Vec<usize>,
}

impl Batch {
    fn has_room(&self, op: &Op) -> bool {
        let bytes = self.bytes + bytes_of(op) + COMMAND_BYTES;
        self.ops.is_empty() || (self.positions.len() < BATCH_OPS_MAX && bytes <= COMMAND_BYTES_MAX)
    }

    fn add(&mut self, position: usize, op: Op) {
        let Op::Put { key, .. } = &op else { return };
        self.bytes += bytes_of(&op);
        self.positions.push(position);
        match self.places.get(key) {
            Some(&place) => {
                self.bytes -= bytes_of(&self.ops[place]);
                self.ops[place] = op;
            }
            None => {
                self.places.insert(key.clone(), self.ops.len());
                self.ops.push(op);
            }
        }
    }
}

fn bytes_of(op: &Op) -> usize {
    let Op::Put { key, value, .. } = op else { return 0 };
    let content_type = value.content_type.as_ref().map_or(0, |content_type| content_type.len());
    ITEM_BYTES + key.as_str().len() + value.bytes.len() + content_type
}

impl Report {
    fn fail(&mut self, index: usize, message: &str) {
        if self.errors.len() < FAILURES_SHOWN {
            self.errors.push(Failure { index, message: message.to_owned() });
        }
    }
}

/// `POST`.
pub(super) async fn put(context: Context, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let text = Text::of(&context, &headers, body).await?;
    let body: BulkBody = text.read()?;
    let items = body.items.map(|items| serde_json::from_str::<Items>(items.get()));
    let items = match items {
        Some(Ok(Items(items))) => items,
        Some(Err(error)) if error.to_string().starts_with(TOO_MANY) => {
            let reason = format!("At most {ITEMS_MAX} items are taken at a time");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        Some(Err(_)) | None => return Err(Refusal::bad("Items array is required")),
    };
    let mut report = Report { total_count: items.len(), ..Report::default() };
    let mut batch = Batch::default();
    for (position, item) in items.into_iter().enumerate() {
        if position % BATCH_OPS_MAX == 0 {
            // Other requests need this thread, too.
            tokio::task::yield_now().await;
        }
        match parse(item, context.state.front.limits.value_bytes) {
            Ok(op) => {
                if !batch.has_room(&op)
                    && let Err(refusal) = store(&context, &mut batch, &mut report).await
                {
                    return Ok(stopped(report, &refusal));
                }
                batch.add(position, op);
            }
            Err(error) if report.errors.len() < FAILURES_SHOWN => {
                report.fail(position, &context.refuse(error).body.message);
            }
            Err(_) => {}
        }
    }
    if let Err(refusal) = store(&context, &mut batch, &mut report).await {
        return Ok(stopped(report, &refusal));
    }
    report.success = report.success_count == report.total_count;
    Ok(Json(report).into_response())
}

fn parse(item: &RawValue, value_bytes_max: usize) -> Result<Op, ApiError> {
    let wrong = |_| ApiError::new(ErrorCode::InvalidBody, "An item is an object with a key and a value");
    let item: PutBody = from_object(item.get().as_bytes()).map_err(wrong)?;
    item.op(value_bytes_max)
}

/// Stores the batch, and counts its items. An error is one that the next items would get, too.
async fn store(context: &Context, batch: &mut Batch, report: &mut Report) -> Result<(), Refusal> {
    let Batch { ops, positions, .. } = std::mem::take(batch);
    if ops.is_empty() {
        return Ok(());
    }
    match context.session.write(Command::Batch(ops)).await {
        Ok(_) => report.success_count += positions.len(),
        Err(error) => {
            let of_these = matches!(error.error, NodeError::Refused { .. } | NodeError::TooLarge { .. });
            let refusal = context.refuse(error);
            positions.iter().for_each(|position| report.fail(*position, &refusal.body.message));
            if !of_these {
                return Err(refusal);
            }
        }
    }
    Ok(())
}

/// The response if the rest was not tried.
fn stopped(mut report: Report, refusal: &Refusal) -> Response {
    let stored = report.success_count;
    report.message = Some(match stored {
        0 => refusal.body.message.clone(),
        _ => format!("{stored} items were stored, then: {}", refusal.body.message),
    });
    report.error = refusal.body.error.clone();
    refusal.with(report)
}

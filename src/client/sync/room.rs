//! What fits into one batch.

use super::decide::ChangeKind;
use super::record::BatchItem;
use crate::api::{LogIndex, OpRequest, WireValue};

/// The most bytes of one batch in the log, less what the log adds.
const LOG_BYTES_MAX: usize = 1_900_000;
/// The most bytes of one batch in JSON, less than the nodes' limit of 4 MiB.
const JSON_BYTES_MAX: usize = 3_900_000;

/// The operation as it is sent to a cluster in this history.
pub(super) fn op_of(item: &BatchItem, history: &str) -> OpRequest {
    let BatchItem { key, intent, if_revision, if_absent_since, if_present, ttl_ms } = item;
    let (key, if_revision, if_absent_since, ttl_ms) = (key.clone(), *if_revision, *if_absent_since, *ttl_ms);
    // In another history it would say something else.
    let if_absent_since = if_absent_since.map(|index| LogIndex::Text(format!("{index}@{history}")));
    match intent.kind {
        ChangeKind::Delete => OpRequest::Delete { key, previous: false, if_revision, if_present: false },
        ChangeKind::Add => OpRequest::Incr {
            key,
            by: Some(intent.by),
            initial: None,
            ttl_ms: None,
            sliding: false,
            if_revision: None,
            if_absent: false,
            if_present: *if_present,
            if_absent_since,
        },
        ChangeKind::Set => {
            let bytes = intent.value.as_ref().map(|value| value.bytes.clone()).unwrap_or_default();
            let (value, value_base64) = match WireValue::from(bytes) {
                WireValue::Text { value } => (Some(value), None),
                WireValue::Base64 { value_base64 } => (None, Some(value_base64)),
            };
            OpRequest::Put {
                key,
                value,
                value_base64,
                content_type: intent.value.as_ref().and_then(|value| value.content_type.clone()),
                ttl_ms,
                sliding: false,
                previous: false,
                if_revision,
                if_absent: false,
                if_present: false,
                if_absent_since,
            }
        }
    }
}

/// The room in one batch.
#[derive(Default)]
pub(super) struct BatchRoom {
    json: usize,
    log: usize,
}

impl BatchRoom {
    /// Whether this operation still fits; if so, it takes its room. The first always does: one that is too large by itself gets a
    /// batch of its own, which the node refuses.
    pub(super) fn take(&mut self, op: &OpRequest) -> bool {
        let json = self.json + serde_json::to_vec(op).map_or(0, |json| json.len() + 1);
        let log = self.log + log_bytes(op);
        let fits = self.json == 0 || (json <= JSON_BYTES_MAX && log <= LOG_BYTES_MAX);
        if fits {
            (self.json, self.log) = (json, log);
        }
        fits
    }
}

/// About the bytes that an operation takes in the log.
fn log_bytes(op: &OpRequest) -> usize {
    let (key, value) = match op {
        OpRequest::Put { key, value, value_base64, content_type, .. } => {
            let text = value.as_ref().map_or(0, String::len);
            let base64 = value_base64.as_ref().map_or(0, |base64| base64.len() / 4 * 3);
            (key, text + base64 + content_type.as_ref().map_or(0, String::len))
        }
        OpRequest::Get { key } | OpRequest::Delete { key, .. } | OpRequest::Incr { key, .. } => (key, 0),
    };
    96 + key.len() + value
}

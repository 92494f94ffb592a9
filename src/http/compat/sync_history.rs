//! `GET /api/sync/history`: the newest operations that were applied, newest first. All nodes show the same
//! operations, also after a restart; how many a node knows can differ where values are large.

use super::super::extract::{parse_query, whole};
use super::answer::Context;
use super::strategy;
use super::value::shown;
use crate::cache::Cause;
use crate::node::{Operation, OperationKind, Session};
use axum::Json;
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Builder;
use xxhash_rust::xxh3::xxh3_128;

const LIMIT: usize = 20;

/// The answer.
#[derive(Serialize)]
pub(super) struct SyncHistory {
    success: bool,
    history: Vec<LoggedOperation>,
}

/// An operation.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct LoggedOperation {
    /// The same on all nodes.
    id: String,
    operation_id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// Bytes of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// When it expires, in milliseconds of log time.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// Bytes of a value that is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// How many keys a clear removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    /// The node at which a client asked for it; null if no client did.
    node_id: Option<String>,
    /// `local` if a client asked for it on this node, or no client did; otherwise `remote`.
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_node: Option<String>,
    /// Log time in milliseconds.
    timestamp: u64,
    index: u64,
}

#[derive(Default, Deserialize)]
struct HistoryQuery {
    limit: Option<String>,
}

/// `GET`. An invalid limit counts as the default, as with the original server.
pub(super) async fn history(context: Context, uri: Uri) -> Json<SyncHistory> {
    let query: HistoryQuery = parse_query(&uri).unwrap_or_default();
    let limit = query.limit.and_then(|limit| whole(&limit)?.try_into().ok());
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(LIMIT);
    context.session.own_writes_applied().await;
    let history = context
        .session
        .recent(limit)
        .into_iter()
        .map(|operation| LoggedOperation::of(operation, &context.session))
        .collect();
    Json(SyncHistory { success: true, history })
}

impl LoggedOperation {
    /// An operation as these routes show it.
    pub(in crate::http) fn of(operation: Operation, session: &Session) -> Self {
        let Operation { index, position, at_ms, by, kind } = operation;
        let id = id_of(session.lineage().cluster_id(), index, position);
        let mut logged = Self { operation_id: id.clone(), id, timestamp: at_ms, index, ..Self::default() };
        match kind {
            OperationKind::Put { key, value, bytes, .. } => {
                (logged.kind, logged.key, logged.bytes) = ("set", Some(key.into()), Some(bytes));
                match value.map(|value| shown(&value)) {
                    Some(Ok((json, is_base64))) => {
                        (logged.value, logged.encoding) = (Some(json), is_base64.then_some("base64"));
                    }
                    Some(Err(_)) | None => logged.omitted_bytes = Some(bytes),
                }
            }
            OperationKind::Deadline { key, expires_at_ms } => {
                (logged.kind, logged.key, logged.expires_at) = ("ttl", Some(key.into()), expires_at_ms);
            }
            OperationKind::Removed { key, cause } => {
                let cause = match cause {
                    Cause::Delete => "delete",
                    Cause::Expire => "expire",
                    Cause::Evict => "evict",
                };
                (logged.kind, logged.key) = (cause, Some(key.into()));
            }
            OperationKind::Cleared { prefix, removed } => {
                (logged.kind, logged.prefix, logged.removed) = ("clear", prefix, Some(removed));
            }
            OperationKind::Configured { config, policy_changed } => {
                logged.kind = if policy_changed { "strategy-change" } else { "config" };
                logged.strategy = Some(strategy::name(config.policy));
            }
        }
        // Expiry and eviction come with a log entry that a client may have asked for, but no client asked for them.
        let by = by.filter(|_| !["expire", "evict"].contains(&logged.kind));
        logged.node_id = by.map(|id| session.member_name(id));
        let from_elsewhere = by.is_some_and(|id| id != session.node_id());
        logged.source = if from_elsewhere { "remote" } else { "local" };
        logged.from_node = logged.node_id.clone().filter(|_| from_elsewhere);
        logged
    }
}

/// An operation's place in the log, as a UUID.
pub(super) fn id_of(cluster_id: &str, index: u64, position: u32) -> String {
    let hash = xxh3_128(format!("{cluster_id} {index} {position}").as_bytes());
    Builder::from_random_bytes(hash.to_be_bytes()).into_uuid().to_string()
}

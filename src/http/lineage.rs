//! `GET /v1/lineage`: where this node's log comes from.

use super::response_headers::no_store;
use crate::api::LineageReport;
use crate::node::Session;
use axum::Json;
use axum::http::HeaderMap;

/// `GET /v1/lineage`.
pub(super) async fn lineage(session: Session) -> (HeaderMap, Json<LineageReport>) {
    (no_store(), Json(session.lineage_report()))
}

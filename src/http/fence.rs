//! `POST /v1/fence`: ends this node's part in a history that was recovered elsewhere.

use super::api_error::ApiError;
use super::body::NoBody;
use super::response_headers::no_store;
use crate::node::Admin;
use axum::Json;
use axum::http::HeaderMap;
use serde::Serialize;

/// What was done.
#[derive(Serialize)]
pub(super) struct Fenced {
    fenced: bool,
}

/// `POST /v1/fence`.
pub(super) async fn fence(admin: Admin, _: NoBody) -> Result<(HeaderMap, Json<Fenced>), ApiError> {
    admin.fence().await?;
    Ok((no_store(), Json(Fenced { fenced: true })))
}

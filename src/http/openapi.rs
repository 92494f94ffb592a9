//! `/v1/openapi.json`: the API's description for machines. A test compares it with the routes.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The description of this API, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

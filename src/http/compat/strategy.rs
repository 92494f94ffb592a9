//! `POST /api/strategy`: the eviction policy. A change loses no item.

use super::super::api_error::ApiError;
use super::super::response_headers::written_at;
use super::answer::{Context, Refusal};
use super::body::Text;
use crate::cache::{Command, ConfigChange, Outcome, Policy};
use axum::Json;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct StrategyBody<'a> {
    #[serde(borrow, default)]
    strategy: Option<&'a RawValue>,
}

/// The answer.
#[derive(Serialize)]
struct Changed {
    success: bool,
    message: String,
    strategy: String,
}

/// A policy's name as these routes write it.
pub(super) fn name(policy: Policy) -> String {
    policy.name().to_ascii_uppercase()
}

/// `POST`.
pub(super) async fn change(context: Context, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let text = Text::of(&context, &headers, body).await?;
    let StrategyBody { strategy } = text.read()?;
    let wanted = strategy.and_then(|wanted| serde_json::from_str::<String>(wanted.get()).ok());
    let policy = wanted.and_then(|wanted| Policy::from_name(&wanted.to_ascii_lowercase()));
    let policy = policy.ok_or_else(|| Refusal::bad("Strategy must be LRU, LFU, S3FIFO or NOEVICTION"))?;
    let change = ConfigChange { policy: Some(policy), ..ConfigChange::default() };
    let written =
        context.session.write(Command::Configure(change)).await.map_err(|error| context.refuse(error))?;
    let headers = written_at(&written);
    let Outcome::Configured(config) = written.outcome else {
        return Err(context.refuse(ApiError::unexpected_outcome()));
    };
    let strategy = name(config.policy);
    let message = format!("Strategy changed to {strategy}");
    Ok((headers, Json(Changed { success: true, message, strategy })).into_response())
}

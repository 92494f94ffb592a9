//! A server that keeps values in a map: no log, no disk, no other node, no checks. The cost of a request here is the cost of
//! HTTP on this machine; the rest is the price of what Lockstep promises. Answers have the shape of the API, so that the
//! same clients can be used.

use crate::api::{BatchAnswer, BatchRequest, Counter, OpRequest};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

#[derive(Clone, Default)]
struct Values(Arc<Mutex<HashMap<String, Bytes>>>);

impl Values {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the process ends.
///
/// # Errors
/// None so far: axum continues after errors of connections.
pub async fn serve_baseline(listener: TcpListener) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/kv/{key}", put(store).get(read))
        .route("/v1/kv/{key}/incr", post(incr))
        .route("/v1/batch", post(batch))
        .layer(DefaultBodyLimit::disable())
        .with_state(Values::default());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await
}

async fn store(State(values): State<Values>, Path(key): Path<String>, value: Bytes) -> StatusCode {
    values.lock().insert(key, value);
    StatusCode::NO_CONTENT
}

async fn read(State(values): State<Values>, Path(key): Path<String>) -> Result<Bytes, StatusCode> {
    values.lock().get(&key).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn incr(State(values): State<Values>, Path(key): Path<String>) -> Json<Counter> {
    let mut values = values.lock();
    let old = values.get(&key).and_then(|value| std::str::from_utf8(value).ok()?.parse::<i64>().ok());
    let value = old.unwrap_or(0).wrapping_add(1);
    values.insert(key, value.to_string().into());
    Json(Counter { value, revision: 0, created: old.is_none() })
}

/// Only puts of text have an effect.
async fn batch(State(values): State<Values>, body: Bytes) -> Result<Json<BatchAnswer>, StatusCode> {
    let request: BatchRequest = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut values = values.lock();
    for op in request.ops {
        if let OpRequest::Put { key, value: Some(value), .. } = op {
            values.insert(key, value.into());
        }
    }
    Ok(Json(BatchAnswer { revision: 0, results: Vec::new() }))
}

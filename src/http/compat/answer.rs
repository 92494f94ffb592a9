//! What the `/api` handlers share: the session, and errors in the words of Express. An error keeps its HTTP status; the cause
//! of a server error is shown in development only.

use super::super::access::CHALLENGE;
use super::super::api_error::ApiError;
use super::super::state::AppState;
use crate::api::ErrorCode;
use crate::front::{LineRate, truncate};
use crate::node::Session;
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Log lines a second about responses that could not be made.
static BROKEN: LineRate = LineRate::new(1);

/// An error response.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub body: RefusalBody,
    retry_after: Option<u64>,
    headers: Box<HeaderMap>,
}

/// Body of an error response.
#[derive(Debug, Serialize)]
pub(super) struct RefusalBody {
    success: bool,
    pub message: String,
    /// The cause; in development only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let body = RefusalBody { success: false, message: message.into(), error: None };
        Self { status, body, retry_after: None, headers: Box::default() }
    }

    /// The request is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// An error of `/v1` in the words of these routes, with its cause in `development`.
    pub fn of(development: bool, error: &ApiError) -> Self {
        let problem = error.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = match problem.code {
            ErrorCode::Busy => "Too many requests are in flight, nothing was changed: try again",
            ErrorCode::Unavailable => "Service unavailable, nothing was changed: try again",
            ErrorCode::Fatal => "Service unavailable: this node has failed, and the outcome is unknown",
            ErrorCode::OutcomeUnknown | ErrorCode::OutcomeForgotten => {
                "Timeout: the outcome is unknown, the change may have happened or may still happen"
            }
            ErrorCode::CacheFull => "The cache is full, and its strategy evicts nothing",
            _ if status.is_server_error() => "Internal server error",
            // What is wrong with a request, its client may know.
            _ => problem.detail.as_str(),
        };
        let mut refusal = Self::new(status, message);
        refusal.body.error = development.then(|| problem.detail.clone());
        refusal.retry_after = error.retry_after_s();
        if problem.code == ErrorCode::RateLimited {
            refusal.headers = Box::new(error.headers().clone());
        }
        refusal
    }
}

impl Refusal {
    /// The response, with this body.
    pub fn with(&self, body: impl Serialize) -> Response {
        let mut response = (self.status, HeaderMap::clone(&self.headers), Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.with(&self.body)
    }
}

/// The response to a failed request, in the words of the API that the path belongs to.
pub(in crate::http) fn error_response(path: &str, state: &AppState, error: ApiError) -> Response {
    if path.starts_with("/api/") {
        Refusal::of(state.development, &error).into_response()
    } else {
        error.into_response()
    }
}

/// What a handler of these routes gets: its session, and the settings by which errors are worded.
pub(super) struct Context {
    pub state: AppState,
    pub session: Session,
}

impl FromRequestParts<AppState> for Context {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let session = Session::from_request_parts(parts, state).await;
        let session = session.map_err(|error| Refusal::of(state.development, &error))?;
        Ok(Self { state: state.clone(), session })
    }
}

impl Context {
    /// An error in the words of these routes.
    pub fn refuse(&self, error: impl Into<ApiError>) -> Refusal {
        Refusal::of(self.state.development, &error.into())
    }

    /// A response could not be made, which cannot happen.
    pub fn broken(&self, error: &dyn std::error::Error) -> Refusal {
        if let Some(omitted) = BROKEN.admit() {
            tracing::error!(
                error = truncate(&error.to_string(), 128),
                omitted,
                "an answer could not be made"
            );
        }
        let mut refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error");
        refusal.body.error = self.state.development.then(|| error.to_string());
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json, to_value};

    /// H2 in these words: whether it happened is never in doubt, and in production no cause is shown.
    #[test]
    fn every_failure_says_whether_it_happened() {
        for &code in ErrorCode::ALL {
            let error = ApiError::new(code, "the cause");
            let refusal = Refusal::of(false, &error);
            assert_eq!(refusal.status.as_u16(), code.status(), "{code}");
            let unknown = refusal.body.message.contains("outcome is unknown");
            assert_eq!(unknown, code.effect() == crate::api::Effect::Unknown, "{code}");
            let body: Value = to_value(&refusal.body).unwrap();
            assert_eq!((&body["success"], body.get("error")), (&json!(false), None), "{code}");
            assert_eq!(
                code.status() < 500 && code != ErrorCode::Busy && !unknown,
                refusal.body.message == "the cause",
                "{code}"
            );
            assert_eq!(Refusal::of(true, &error).body.error.as_deref(), Some("the cause"), "{code}");
        }
    }
}

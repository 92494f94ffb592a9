//! What the `/api` handlers share: the session, and failures as Express tells them. A failure keeps its HTTP status;
//! what a server error came from is told in development only.

use super::super::door::Door;
use super::super::line_rate::{LineRate, cut};
use super::super::respond::ApiError;
use super::settings::CompatSettings;
use crate::api::ErrorCode;
use crate::node::Session;
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What is told of answers that cannot be made, at most so often a second.
static BROKEN: LineRate = LineRate::new(1);

/// A failure, as it will be told.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub body: RefusalBody,
    retry_after: Option<u64>,
}

/// Body of a failure.
#[derive(Debug, Serialize)]
pub(super) struct RefusalBody {
    success: bool,
    pub message: String,
    /// What it came from; in development only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let body = RefusalBody { success: false, message: message.into(), error: None };
        Self { status, body, retry_after: None }
    }

    /// The request is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A failure of `/v1` in these words.
    pub fn of(settings: &CompatSettings, error: &ApiError) -> Self {
        let problem = error.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = match problem.code {
            ErrorCode::Busy => "Too many requests are in flight, nothing was changed: try again",
            ErrorCode::Unavailable => "Service unavailable, nothing was changed: try again",
            ErrorCode::Fatal => "Service unavailable: this node has failed, and the outcome is unknown",
            ErrorCode::OutcomeUnknown => {
                "Timeout: the outcome is unknown, the change may have happened or may still happen"
            }
            ErrorCode::CacheFull => "The cache is full, and its strategy evicts nothing",
            _ if status.is_server_error() => "Internal server error",
            // What is wrong with a request is for its client to know.
            _ => problem.detail.as_str(),
        };
        let mut refusal = Self::new(status, message);
        refusal.body.error = settings.development.then(|| problem.detail.clone());
        refusal.retry_after = problem.code.retry_after_s();
        refusal
    }
}

impl Refusal {
    /// The answer, with a body of its own.
    pub fn with(&self, body: impl Serialize) -> Response {
        let mut response = (self.status, Json(body)).into_response();
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

/// An error as the routes tell it that this path belongs to.
pub(in crate::http) fn in_its_words(path: &str, door: &Door, error: ApiError) -> Response {
    if path.starts_with("/api/") {
        Refusal::of(&door.compat, &error).into_response()
    } else {
        error.into_response()
    }
}

/// What a handler of these routes gets: its session, and the settings by which errors are worded.
pub(super) struct Context {
    pub door: Door,
    pub session: Session,
}

impl FromRequestParts<Door> for Context {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Refusal> {
        let session = Session::from_request_parts(parts, door).await;
        let session = session.map_err(|error| Refusal::of(&door.compat, &error))?;
        Ok(Self { door: door.clone(), session })
    }
}

impl Context {
    /// An error in the words of these routes.
    pub fn refuse(&self, error: impl Into<ApiError>) -> Refusal {
        Refusal::of(&self.door.compat, &error.into())
    }

    /// What cannot happen has happened.
    pub fn broken(&self, error: &dyn std::error::Error) -> Refusal {
        if let Some(left_out) = BROKEN.admit() {
            tracing::error!(error = cut(&error.to_string(), 128), left_out, "an answer could not be made");
        }
        let mut refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error");
        refusal.body.error = self.door.compat.development.then(|| error.to_string());
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json, to_value};

    /// H2 in these words: whether it happened is never in doubt, and production tells nothing else.
    #[test]
    fn every_failure_says_whether_it_happened() {
        let production = CompatSettings::default();
        let development = CompatSettings::of(None, Some("development")).unwrap();
        for &code in ErrorCode::ALL {
            let error = ApiError::new(code, "the cause");
            let refusal = Refusal::of(&production, &error);
            assert_eq!(refusal.status.as_u16(), code.status(), "{code}");
            let unknown = refusal.body.message.contains("outcome is unknown");
            assert_eq!(unknown, code.effect() == crate::api::Effect::Unknown, "{code}");
            let body: Value = to_value(&refusal.body).unwrap();
            assert_eq!((&body["success"], body.get("error")), (&json!(false), None), "{code}");
            assert_eq!(
                code.status() < 500 && code != ErrorCode::Busy,
                refusal.body.message == "the cause",
                "{code}"
            );
            assert_eq!(Refusal::of(&development, &error).body.error.as_deref(), Some("the cause"), "{code}");
        }
    }
}

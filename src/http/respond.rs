//! Answers: the headers that every one carries, and the one place where errors become responses.

use crate::api::{CONSISTENCY, Consistency, ErrorCode, INDEX, Problem, TERM};
use crate::cache::CommandError;
use crate::node::{NodeError, ReadAt, SessionError};
use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A failed request, as it will be told.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    headers: HeaderMap,
}

impl ApiError {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), headers: HeaderMap::new() }
    }

    /// What it will be told as.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Names the field at fault.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.problem.field = Some(field.into());
        self
    }

    /// Tells the key's revision.
    pub fn revision(mut self, revision: u64) -> Self {
        self.problem.revision = Some(revision);
        self
    }

    /// Names the position in a batch.
    pub fn op(mut self, position: usize) -> Self {
        self.problem.op = u32::try_from(position).ok();
        self
    }

    /// Adds where in history it was found out.
    pub fn at(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }
}

impl From<SessionError> for ApiError {
    fn from(SessionError { error, leader }: SessionError) -> Self {
        let mut problem = Problem::new(error.code(), error.to_string());
        problem.leader = leader.map(|leader| *leader);
        let mut headers = HeaderMap::new();
        if let NodeError::Refused { error, index, term } = error {
            headers.extend(at(index, term));
            match error {
                CommandError::PreconditionFailed { op, current } => {
                    problem.op = op;
                    problem.revision = current;
                    headers.extend(current.map(|revision| (header::ETAG, etag(revision))));
                }
                CommandError::Invalid { op, field, .. } => {
                    problem.op = op;
                    problem.field = Some(field.name().to_owned());
                }
                CommandError::TooLarge { op, .. }
                | CommandError::CacheFull { op }
                | CommandError::NotANumber { op }
                | CommandError::Overflow { op }
                | CommandError::InvalidBatch { op, .. } => problem.op = op,
                CommandError::IdempotencyKeyReused | CommandError::FeatureLevel { .. } => {}
            }
        }
        Self { problem: Box::new(problem), headers }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.problem.code.retry_after_s();
        let mut response = (status, self.headers, Json(self.problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A revision as an entity tag.
pub(super) fn etag(revision: u64) -> HeaderValue {
    number_in(format!("\"{revision}\""))
}

fn number_in(text: String) -> HeaderValue {
    // Digits and quotes are legal in any header.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Index and term of an answer.
pub(super) fn at(index: u64, term: u64) -> HeaderMap {
    HeaderMap::from_iter([
        (HeaderName::from_static(INDEX), HeaderValue::from(index)),
        (HeaderName::from_static(TERM), HeaderValue::from(term)),
    ])
}

/// What holds now, and may not a moment later.
pub(super) fn no_store() -> HeaderMap {
    HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))])
}

/// Pages of other sites get nothing of it, be it as a script or as an image, and no browser takes it for something else.
pub(super) fn keep_to_own_pages(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
}

/// Index, term and guarantee of a read.
pub(super) fn read_at<T>(read: &ReadAt<T>, consistency: Consistency) -> HeaderMap {
    let mut headers = at(read.index, read.term);
    headers.insert(HeaderName::from_static(CONSISTENCY), HeaderValue::from_static(consistency.as_str()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    keep_to_own_pages(&mut headers);
    headers
}

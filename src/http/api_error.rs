//! The one place where errors become responses.

use super::access::CHALLENGE;
use super::response_headers::{etag, position};
use crate::api::{ErrorCode, LockInfo, Problem};
use crate::cache::{Absence, CommandError};
use crate::front::Busy;
use crate::node::{NodeError, SessionError};
use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// A failed request: the body and the headers of its response.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    headers: HeaderMap,
}

impl ApiError {
    /// An error of this kind; `detail` is a sentence for people.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), headers: HeaderMap::new() }
    }

    /// The node does not have its cluster yet.
    pub fn waiting() -> Self {
        Self::new(ErrorCode::Unavailable, "this node has not found its cluster yet")
    }

    /// The client insists on the cluster's own values.
    pub fn detached() -> Self {
        let reason = "this node has left its cluster on purpose and goes on alone: what it has is not what the cluster has";
        Self::new(ErrorCode::Detached, reason)
    }

    /// The state machine's outcome is of another kind than the command. That cannot happen: an idempotency key that was
    /// first used for another kind of command is refused.
    pub fn unexpected_outcome() -> Self {
        Self::new(ErrorCode::OutcomeUnknown, "the state machine answered another kind of request")
    }

    /// The body of the response.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Names the field at fault.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.problem.field = Some(field.into());
        self
    }

    /// Adds the key's revision.
    pub fn revision(mut self, revision: u64) -> Self {
        self.problem.revision = Some(revision);
        self
    }

    /// Says what is known of a key that is absent.
    pub fn absent(mut self, absence: Absence) -> Self {
        self.problem.absent = Some(absence.into());
        self
    }

    /// Leaves out the name of the session that holds a lock.
    pub fn without_session_name(mut self) -> Self {
        let holder = self.problem.holder.take();
        self.problem.holder = holder.map(|holder| Box::new(holder.without_session_name()));
        self
    }

    /// Names the position in a batch.
    pub fn op(mut self, position: usize) -> Self {
        self.problem.op = u32::try_from(position).ok();
        self
    }

    /// Says after how long the client can try again.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let wait_ms = wait.as_nanos().div_ceil(1_000_000);
        self.problem.retry_after_ms = u64::try_from(wait_ms).ok();
        self
    }

    /// After how many seconds the client should try again, if the error passes by itself.
    pub fn retry_after_s(&self) -> Option<u64> {
        let known_ms = self.problem.retry_after_ms;
        known_ms.map(|ms| ms.div_ceil(1_000)).or(self.problem.code.retry_after_s())
    }

    /// The headers of the response.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Adds headers, such as the position in the log.
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        if self.headers.is_empty() {
            self.headers = headers;
        } else {
            self.headers.extend(headers);
        }
        self
    }
}

impl From<SessionError> for ApiError {
    fn from(SessionError { error, leader }: SessionError) -> Self {
        let mut problem = Problem::new(error.code(), error.to_string());
        problem.leader = leader.map(|leader| *leader);
        let mut headers = HeaderMap::new();
        if let NodeError::Refused { error, index, term } = error {
            headers.extend(position(index, term));
            match error {
                CommandError::PreconditionFailed { op, current, absence } => {
                    problem.op = op;
                    problem.absent = absence.map(Into::into);
                    problem.revision = current;
                    headers.extend(current.map(|revision| (header::ETAG, etag(revision))));
                }
                CommandError::LockHeld { lock, session_name } => {
                    problem.holder = Some(Box::new(LockInfo::new(&lock, session_name.as_str())));
                }
                CommandError::Invalid { op, field, .. } => {
                    problem.op = op;
                    problem.field = Some(field.name().to_owned());
                }
                CommandError::TooLarge { op, .. }
                | CommandError::CacheFull { op }
                | CommandError::NotANumber { op }
                | CommandError::Overflow { op }
                | CommandError::WrongKind { op }
                | CommandError::InvalidBatch { op, .. } => problem.op = op,
                CommandError::IdempotencyKeyReused
                | CommandError::OutcomeForgotten
                | CommandError::FeatureLevel { .. }
                | CommandError::MergeOutOfTurn { .. }
                | CommandError::AnotherMerge
                | CommandError::PlanOutdated
                | CommandError::NoSuchToken
                | CommandError::TokenExists
                | CommandError::TooManyTokens
                | CommandError::NoSuchSession
                | CommandError::TooManySessions
                | CommandError::LockNotHeld
                | CommandError::TooManyLocks
                | CommandError::GuardFailed { .. } => {}
            }
        }
        Self { problem: Box::new(problem), headers }
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        Self::new(ErrorCode::Busy, busy.0)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_s();
        let mut response = (status, self.headers, Json(self.problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

//! Where a browser's request comes from. A page of another site must not use what its reader's machine can reach:
//! browsers let any page open a WebSocket and post plain text anywhere, and say only in `Origin` whose page it is.

use super::respond::ApiError;
use crate::api::ErrorCode;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use futures::future::{Either, Ready, ready};
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Refuses a request that a page of another site makes. Programs send no `Origin`.
///
/// # Errors
/// `forbidden`.
pub(super) fn refuse_foreign(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    if site.is_some() && site == host {
        return Ok(());
    }
    let reason = "a page of another site may not do this";
    Err(ApiError::new(ErrorCode::Forbidden, reason).field("origin"))
}

/// Refuses what a page of another site would change. What it would read, its browser keeps from it.
#[derive(Clone)]
pub(super) struct RefuseForeignChanges;

/// A service behind that.
#[derive(Clone)]
pub(super) struct Guarded<S>(S);

impl<S> Layer<S> for RefuseForeignChanges {
    type Service = Guarded<S>;

    fn layer(&self, service: S) -> Guarded<S> {
        Guarded(service)
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for Guarded<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        match refuse_foreign(request.headers()) {
            Err(refusal) if !reads => Either::Left(ready(Ok(refusal.into_response()))),
            _ => Either::Right(self.0.call(request)),
        }
    }
}

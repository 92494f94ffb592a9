//! The layer around every route: it checks each request, counts and times it, and admits its answer.

use super::access;
use super::admin_log::noted;
use super::admission;
use super::api_error::ApiError;
use super::compat;
use super::cors;
use super::header_names::{CONSISTENCY, HISTORY};
use super::metered_body::MeteredBody;
use super::rate_limit::{self, Counted};
use super::state::AppState;
use crate::api::Consistency;
use crate::front::RequestKind;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{self, Context, Poll};
use std::time::Instant;
use tower::{Layer, Service};

/// A service whose requests are checked ([`admission`]), counted and timed.
#[derive(Clone)]
pub(super) struct Instrumented<S> {
    state: AppState,
    service: S,
}

/// Puts an [`Instrumented`] around each route.
#[derive(Clone)]
pub(super) struct Instrument(pub AppState);

impl<S> Layer<S> for Instrument {
    type Service = Instrumented<S>;

    fn layer(&self, service: S) -> Instrumented<S> {
        Instrumented { state: self.0.clone(), service }
    }
}

impl<S> Service<Request> for Instrumented<S>
where
    S: Service<Request, Response = Response, Error: Send, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = InstrumentedFuture<Answering<S>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let method = known_method(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let state = self.state.clone();
        // In this layer, because each further layer would cost every request some allocations.
        let checked = admission::check(&request, &state);
        let checked = checked.and_then(|()| rate_limit::of_address(&mut request, &state));
        let (checked, counted) = match checked {
            Ok(counted) => (Ok(()), counted),
            Err(error) => (Err(error), Counted::default()),
        };
        let answering = match checked {
            Ok(())
                if state.front.may_need_token()
                    || request.headers().contains_key(header::AUTHORIZATION)
                    || route.as_ref().is_some_and(|route| access::is_noted(route.as_str(), method)) =>
            {
                let service = self.service.clone();
                // The one that is ready must be the one that is called.
                let service = std::mem::replace(&mut self.service, service);
                Either::Left(Either::Left(authorized(service, request, route.clone(), state.clone()).boxed()))
            }
            Ok(()) => Either::Right(self.service.call(request)),
            Err(error) => Either::Left(Either::Right(ready(Ok(refusal(&request, &state, error))))),
        };
        InstrumentedFuture { answering, started, method, route, state, counted }
    }
}

/// A refusal, the service's answer, or that after a look at who asks.
type Answering<S> =
    Either<Either<BoxFuture<'static, Outcome<S>>, Ready<Outcome<S>>>, <S as Service<Request>>::Future>;
type Outcome<S> = Result<Response, <S as Service<Request>>::Error>;

/// The response to a request that does not reach its route.
fn refusal(request: &Request, state: &AppState, error: ApiError) -> Response {
    let mut response = compat::error_response(request.uri().path(), state, error);
    cors::show_refusal(&mut response, request.headers(), &state.sites.frontends);
    response
}

/// Calls the service if whoever asks may use the route.
async fn authorized<S: Service<Request, Response = Response>>(
    mut service: S,
    mut request: Request,
    route: Option<MatchedPath>,
    state: AppState,
) -> Outcome<S> {
    let route = route.as_ref().map(MatchedPath::as_str);
    let authorized = access::authorize(&mut request, route, &state).await;
    let (authorized, counted) = match authorized.and_then(|()| rate_limit::of_token(&mut request, &state)) {
        Ok(counted) => (Ok(()), counted),
        Err(error) => (Err(error), Counted::default()),
    };
    let mut noted = noted(&request, route, &state);
    let admitted = match (authorized, &mut noted) {
        (Ok(()), Some(noted)) => noted.write().await,
        (authorized, _) => authorized,
    };
    let answered = match admitted {
        Ok(()) => service.call(request).await.map(|response| show(&counted, response)),
        Err(error) => Ok(refusal(&request, &state, error)),
    };
    if let (Some(noted), Ok(response)) = (noted, &answered) {
        noted.answered(response.status());
    }
    answered
}

/// Says on the response what is left.
fn show(counted: &Counted, mut response: Response) -> Response {
    counted.show(response.headers_mut());
    response
}

pin_project! {
    /// A response that is being made.
    pub(super) struct InstrumentedFuture<F> {
        #[pin]
        answering: F,
        started: Instant,
        method: &'static str,
        route: Option<MatchedPath>,
        state: AppState,
        counted: Counted,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for InstrumentedFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = task::ready!(this.answering.poll(context));
        let route = this.route.as_ref().map_or("unmatched", MatchedPath::as_str);
        let result =
            result.map(|response| add_headers(admit(response, route, this.method, this.state), this.state));
        let result = result.map(|response| show(this.counted, response));
        if let Ok(response) = &result {
            let (took, status) = (this.started.elapsed(), response.status().as_u16());
            this.state.front.requests.note(route, this.method, status, took, || kind_of(route, this.method));
            tracing::debug!(method = this.method, route, status, ?took, "request");
        }
        Poll::Ready(result)
    }
}

/// Takes a large answer's part of the memory of all answers. Instead of one that does not fit, the client gets an error, if
/// its request had no effect.
fn admit(response: Response, route: &str, method: &str, state: &AppState) -> Response {
    // Streams have limits of their own.
    let Some(bytes) = response.body().size_hint().exact() else { return response };
    let (bytes, memory) = (bytes as usize, &state.front.answer_memory);
    let permit = match method {
        "GET" | "HEAD" => memory.reserve(bytes),
        _ => Ok(memory.take(bytes)),
    };
    match permit {
        Ok(None) => response,
        Ok(Some(permit)) => response.map(|body| Body::new(MeteredBody::new(body, permit))),
        Err(busy) => compat::error_response(route, state, ApiError::from(busy)),
    }
}

/// Says to which history the answer's indexes belong, and if it is not the cluster's; and what else every answer says.
fn add_headers(mut response: Response, state: &AppState) -> Response {
    if let Some(history) = state.history() {
        response.headers_mut().insert(HISTORY, history);
    }
    if state.is_detached() {
        let detached = HeaderValue::from_static(Consistency::Detached.as_str());
        response.headers_mut().insert(CONSISTENCY, detached);
    }
    if let Some(hsts) = &state.hsts {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    response
}

/// What the request is, for the totals.
fn kind_of(route: &str, method: &str) -> RequestKind {
    let about_keys = ["/v1/kv", "/v1/keys", "/v1/changes", "/v1/batch", "/api/cache"];
    match method {
        _ if route == "/v1/get" => RequestKind::Read,
        _ if !about_keys.iter().any(|start| route.starts_with(start)) => RequestKind::Other,
        "GET" | "HEAD" => RequestKind::Read,
        _ => RequestKind::Write,
    }
}

/// The method's name for metrics. Clients can invent methods; each would be a series of its own.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("OTHER")
}

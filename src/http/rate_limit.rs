//! Rate limits of requests: what each comes to, and how its response says so.
//!
//! `RateLimit-Policy` and `RateLimit` are those of the IETF's draft-ietf-httpapi-ratelimit-headers-10; the `/api` routes have
//! `X-RateLimit-*` as well, as their clients know them.

use super::api_error::ApiError;
use super::state::AppState;
use crate::api::ErrorCode;
use crate::cache::{Quota, TokenLimits};
use crate::front::{ClientAddress, Consumer, RateLimit, RateMode, Spent};
use crate::node::Principal;
use crate::replica::wall_ms;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// What nodes ask each other for, and what others ask to find out how the node is.
const FREE: [&str; 3] = ["/livez", "/readyz", "/v1/introduction"];

/// What a request has come to, of the limits that there are.
#[derive(Default)]
pub(super) struct Counted {
    spent: Vec<Spent>,
    /// Whether its client knows the headers of express-rate-limit, which counts addresses.
    is_express: bool,
}

impl Counted {
    /// Says on a response what is left.
    pub fn show(&self, headers: &mut HeaderMap) {
        add_headers(headers, &self.spent);
        if self.is_express {
            add_express_headers(headers, &self.spent);
        }
    }
}

/// Counts a request for the address that it comes from.
///
/// # Errors
/// `rate_limited`.
pub(super) fn of_address(request: &mut Request, state: &AppState) -> Result<Counted, ApiError> {
    let rates = &state.front.rates;
    if !rates.count_addresses() || FREE.contains(&request.uri().path()) {
        return Ok(Counted::default());
    }
    let client = request.extensions().get().copied().unwrap_or(ClientAddress::UNKNOWN);
    let settings = rates.settings();
    let limits =
        [(RateLimit::AddressRequests, settings.requests), (RateLimit::AddressBodyBytes, settings.body_bytes)];
    spend(request, state, Consumer::Address(client), limits)
}

/// Counts a request for the token that it shows, if that is known here. One that is not will be refused, or was made a moment ago.
///
/// # Errors
/// `rate_limited`.
pub(super) fn of_token(request: &mut Request, state: &AppState) -> Result<Counted, ApiError> {
    if !state.front.rates.count_tokens() || FREE.contains(&request.uri().path()) {
        return Ok(Counted::default());
    }
    let principal = request.extensions().get::<Principal>().cloned();
    let session = principal.and_then(|principal| state.session(principal));
    let Some((id, limits)) = session.and_then(|session| session.limits()) else {
        return Ok(Counted::default());
    };
    let TokenLimits { requests, body_bytes } = limits;
    let limits = [(RateLimit::TokenRequests, requests), (RateLimit::TokenBodyBytes, body_bytes)];
    spend(request, state, Consumer::Token(&id), limits)
}

/// Counts a request against each of these limits, up to the first that refuses it.
fn spend(
    request: &mut Request,
    state: &AppState,
    consumer: Consumer,
    limits: [(RateLimit, Option<Quota>); 2],
) -> Result<Counted, ApiError> {
    let rates = &state.front.rates;
    let is_address = matches!(consumer, Consumer::Address(_));
    let is_express = is_address && request.uri().path().starts_with("/api/");
    let mut counted = Counted { spent: Vec::new(), is_express };
    for (limit, quota) in limits {
        let Some(quota) = quota else { continue };
        let announced = request.body().size_hint().exact();
        if limit.is_of_bytes() && announced == Some(0) {
            continue;
        }
        let cost = if limit.is_of_bytes() { announced.unwrap_or(0) } else { 1 };
        let spent = rates.spend(limit, consumer, quota, cost);
        counted.spent.push(spent);
        match spent.usage.exceeded {
            Some(wait) if rates.settings().mode == RateMode::Enforce => {
                return Err(refusal(&counted, spent, wait));
            }
            _ => {}
        }
        if limit.is_of_bytes() && announced.is_none() {
            charge_as_it_comes(request, state, limit, consumer, quota);
        }
    }
    Ok(counted)
}

fn refusal(counted: &Counted, spent: Spent, wait: Duration) -> ApiError {
    let Spent { limit, quota, .. } = spent;
    let (whose, what) = match limit {
        RateLimit::AddressRequests => ("this address", "requests"),
        RateLimit::AddressBodyBytes => ("this address", "bytes in bodies"),
        RateLimit::TokenRequests => ("this token", "requests"),
        RateLimit::TokenBodyBytes => ("this token", "bytes in bodies"),
    };
    let reason =
        format!("{whose} may use {quota} {what} on this node: try again in {} s", whole_seconds(wait));
    let mut headers = HeaderMap::new();
    counted.show(&mut headers);
    ApiError::new(ErrorCode::RateLimited, reason).with_headers(headers).retry_after(wait)
}

fn add_headers(headers: &mut HeaderMap, all: &[Spent]) {
    for Spent { limit, quota, usage } in all {
        let name = limit.name();
        let unit = if limit.is_of_bytes() { ";qu=\"content-bytes\"" } else { "" };
        let mut policy = format!("\"{name}\";q={}{unit}", quota.count);
        // The draft knows whole seconds only.
        let _ = write!(policy, ";w={}", whole_seconds(Duration::from_millis(quota.window_ms)));
        let left = format!("\"{name}\";r={};t={}", usage.remaining, whole_seconds(usage.regained_in));
        for (header, text) in [(POLICY, policy), (LEFT, left)] {
            headers.extend(HeaderValue::try_from(text).ok().map(|value| (header, value)));
        }
    }
}

/// The same in the words of express-rate-limit, for the routes that have its clients.
fn add_express_headers(headers: &mut HeaderMap, all: &[Spent]) {
    let Some(Spent { quota, usage, .. }) = all.iter().find(|spent| !spent.limit.is_of_bytes()) else {
        return;
    };
    let reset = Duration::from_millis(wall_ms()) + usage.regained_in;
    let figures = [
        ("x-ratelimit-limit", quota.count),
        ("x-ratelimit-remaining", usage.remaining),
        ("x-ratelimit-reset", whole_seconds(reset)),
    ];
    for (name, figure) in figures {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(figure));
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A body whose length is not announced is charged piece by piece.
fn charge_as_it_comes(
    request: &mut Request,
    state: &AppState,
    limit: RateLimit,
    consumer: Consumer,
    quota: Quota,
) {
    let owner = match consumer {
        Consumer::Address(address) => Owner::Address(address),
        Consumer::Token(id) => Owner::Token(id.to_owned()),
    };
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = Body::new(ChargedBody { body, state: state.clone(), limit, owner, quota });
}

enum Owner {
    Address(ClientAddress),
    Token(String),
}

struct ChargedBody {
    body: Body,
    state: AppState,
    limit: RateLimit,
    owner: Owner,
    quota: Quota,
}

impl ChargedBody {
    fn charge(&self, bytes: usize) {
        let consumer = match &self.owner {
            Owner::Address(address) => Consumer::Address(*address),
            Owner::Token(id) => Consumer::Token(id),
        };
        self.state.front.rates.charge(self.limit, consumer, self.quota, bytes as u64);
    }
}

impl HttpBody for ChargedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(piece) = frame.data_ref()
        {
            self.charge(piece.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

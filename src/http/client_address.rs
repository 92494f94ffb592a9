//! The client's address, as a handler's argument.

use crate::front::ClientAddress;
use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::net::IpAddr;

/// The whole address that a client connects from.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerAddress(pub IpAddr);

/// Adds the addresses to a request whose handler limits something by address, or notes it. Most requests are for keys, and do not
/// pay for it.
pub(super) fn attach<B>(client: ClientAddress, address: IpAddr, request: &mut Request<B>) {
    let path = request.uri().path();
    let is_for_keys = path.starts_with("/v1/kv") || path == "/v1/batch" || path.starts_with("/api/cache");
    let is_limited = path == "/v1/watch" || path == "/v1/live" || path.starts_with("/socket.io");
    if !is_for_keys {
        request.extensions_mut().insert(PeerAddress(address.to_canonical()));
    }
    if is_limited {
        request.extensions_mut().insert(client);
    }
}

/// The address of the client of a request.
pub(super) fn client_of(parts: &Parts) -> ClientAddress {
    parts.extensions.get().copied().unwrap_or(ClientAddress::UNKNOWN)
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(client_of(parts))
    }
}

//! The client's address, as a handler's argument.

use crate::front::ClientAddress;
use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use std::convert::Infallible;

/// Adds the address to a request whose handler limits something by address. Other requests do not pay for it.
pub(super) fn attach<B>(client: ClientAddress, request: &mut Request<B>) {
    let path = request.uri().path();
    if path == "/v1/watch" || path == "/v1/live" || path.starts_with("/socket.io") {
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

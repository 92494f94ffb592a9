//! The client's address, as a handler's argument.

use super::state::AppState;
use crate::front::ClientAddress;
use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::net::IpAddr;

/// The whole address of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerAddress(pub IpAddr);

/// How the address of a connection's clients is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionAddress {
    /// Where the connection comes from.
    pub address: IpAddr,
    /// Whether a proxy is there, so that its requests say where they come from.
    pub is_proxy: bool,
}

impl ConnectionAddress {
    /// Adds the addresses to a request whose handler limits something by address, or notes it. Most requests are for keys, and pay
    /// for it only where all requests are limited.
    pub fn attach<B>(self, request: &mut Request<B>, state: &AppState) {
        let path = request.uri().path();
        let is_for_keys = path.starts_with("/v1/kv")
            || path == "/v1/batch"
            || path == "/v1/get"
            || path.starts_with("/api/cache");
        let is_limited = path == "/v1/watch" || path == "/v1/live" || path.starts_with("/socket.io");
        let is_limited = is_limited || state.front.rates.count_addresses();
        if is_for_keys && !is_limited {
            return;
        }
        let address = match self.is_proxy {
            true => state.trusted_proxies.client_behind(self.address, request.headers()),
            false => self.address,
        };
        if !is_for_keys {
            request.extensions_mut().insert(PeerAddress(address.to_canonical()));
        }
        if is_limited {
            request.extensions_mut().insert(ClientAddress::new(address));
        }
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

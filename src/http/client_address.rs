//! Who a client is, as far as that can be told: the address that it connects from. What is scarce is shared out by it, so that one
//! client does not take everything.

use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};

/// An address, or the network of one: whoever has an IPv6 address has a whole network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientAddress(IpAddr);

impl ClientAddress {
    pub fn new(address: IpAddr) -> Self {
        const NETWORK: u128 = !0 << 64;
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
            address => address,
        })
    }

    /// Goes with a request whose handler shares something out. Others do not pay for it.
    pub fn note<B>(self, request: &mut Request<B>) {
        let path = request.uri().path();
        if path == "/v1/watch" || path == "/v1/live" || path.starts_with("/socket.io") {
            request.extensions_mut().insert(self);
        }
    }

    /// Of the request that this is part of.
    pub fn of(parts: &Parts) -> Self {
        parts.extensions.get().copied().unwrap_or(Self(Ipv6Addr::UNSPECIFIED.into()))
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// What each client has of something scarce.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<ClientAddress, u32>);

impl Shares {
    /// The most that one client gets of so much: a quarter is for others.
    pub fn most(all: u32) -> u32 {
        all - all / 4
    }

    /// One more for this client; false when it has its share of so much.
    pub fn take(&mut self, client: ClientAddress, all: u32) -> bool {
        self.take_up_to(client, Self::most(all))
    }

    /// One more for this client; false when it has that many.
    pub fn take_up_to(&mut self, client: ClientAddress, most: u32) -> bool {
        let has = self.0.entry(client).or_default();
        let may = *has < most;
        *has += u32::from(may);
        may
    }

    /// One less.
    pub fn give_back(&mut self, client: ClientAddress) {
        if let Some(has) = self.0.get_mut(&client) {
            *has -= 1;
            if *has == 0 {
                self.0.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_three_quarters() {
        let client = |text: &str| ClientAddress::new(text.parse().unwrap());
        let mut shares = Shares::default();
        let taken = (0..8).filter(|_| shares.take(client("10.0.0.1"), 8)).count();
        assert_eq!(taken, 6);
        assert!(shares.take(client("10.0.0.2"), 8) && !shares.take(client("::ffff:10.0.0.1"), 8));
        shares.give_back(client("10.0.0.1"));
        assert!(shares.take(client("10.0.0.1"), 8));
        assert!(Shares::default().take(client("10.0.0.1"), 1));
        assert_eq!(client("2001:db8::1"), client("2001:db8::2:3"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        (0..6).for_each(|_| shares.give_back(client("10.0.0.1")));
        shares.give_back(client("10.0.0.2"));
        assert!(shares.0.is_empty());
    }
}

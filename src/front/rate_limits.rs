//! How much clients may ask of this node: by the address that they come from, and by the token that they show. Each node counts for
//! itself: a count of the whole cluster would cost every request a round trip.

use super::client_address::ClientAddress;
use super::line_rate::LineRate;
use super::meters::{Meters, Usage};
use crate::cache::Quota;
use crate::cache::limits::TOKENS_MAX;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Log lines a second about clients that exceed their limits.
static EXCEEDED: LineRate = LineRate::new(1);

/// Meters of addresses, one for each limit: 2 MiB.
const ADDRESSES: usize = 128 * 1024;

/// What is done about a client that exceeds a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RateMode {
    /// Nothing is counted.
    Off,
    /// It is counted, reported and let through: to find the right limits.
    Observe,
    /// Its requests are refused.
    #[default]
    Enforce,
}

/// What each address may use of this node, and what is done about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateSettings {
    pub mode: RateMode,
    /// Requests of an address; `None` is any number.
    pub requests: Option<Quota>,
    /// Bytes in their bodies; `None` is any number.
    pub body_bytes: Option<Quota>,
}

impl RateSettings {
    /// Whether anything is counted by address.
    fn count_addresses(&self) -> bool {
        self.mode != RateMode::Off && (self.requests.is_some() || self.body_bytes.is_some())
    }
}

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateLimit {
    AddressRequests,
    AddressBodyBytes,
    TokenRequests,
    TokenBodyBytes,
}

impl RateLimit {
    pub const ALL: [Self; 4] =
        [Self::AddressRequests, Self::AddressBodyBytes, Self::TokenRequests, Self::TokenBodyBytes];

    /// Its name in metrics and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressRequests => "address-requests",
            Self::AddressBodyBytes => "address-body-bytes",
            Self::TokenRequests => "token-requests",
            Self::TokenBodyBytes => "token-body-bytes",
        }
    }

    pub const fn is_of_bytes(self) -> bool {
        matches!(self, Self::AddressBodyBytes | Self::TokenBodyBytes)
    }
}

/// Whose use is counted.
#[derive(Debug, Clone, Copy)]
pub enum Consumer<'a> {
    Address(ClientAddress),
    /// By its id.
    Token(&'a str),
}

/// What a use has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub limit: RateLimit,
    pub quota: Quota,
    pub usage: Usage,
}

/// See the module.
#[derive(Debug)]
pub struct RateLimits {
    settings: RateSettings,
    started: Instant,
    addresses: Meters,
    tokens: Meters,
    /// Requests that exceeded each limit.
    exceeded: [AtomicU64; RateLimit::ALL.len()],
}

impl RateLimits {
    pub fn new(settings: RateSettings) -> Self {
        let addresses = if settings.count_addresses() { ADDRESSES } else { 0 };
        // Twice, because of each token requests and bytes are counted, and twice again, because sets fill unevenly.
        let tokens = if settings.mode == RateMode::Off { 0 } else { 4 * TOKENS_MAX };
        Self {
            settings,
            started: Instant::now(),
            addresses: Meters::new(addresses),
            tokens: Meters::new(tokens),
            exceeded: Default::default(),
        }
    }

    pub fn settings(&self) -> &RateSettings {
        &self.settings
    }

    /// Whether anything is counted by address.
    pub fn count_addresses(&self) -> bool {
        self.settings.count_addresses()
    }

    /// Whether anything is counted by token.
    pub fn count_tokens(&self) -> bool {
        self.settings.mode != RateMode::Off
    }

    /// Uses this much of a quota.
    pub fn spend(&self, limit: RateLimit, consumer: Consumer, quota: Quota, cost: u64) -> Spent {
        let now = self.started.elapsed();
        let usage = match consumer {
            Consumer::Address(address) => self.addresses.spend((limit, quota, address), quota, cost, now),
            Consumer::Token(id) => self.tokens.spend((limit, quota, id), quota, cost, now),
        };
        if usage.exceeded.is_some() {
            self.exceeded[limit as usize].fetch_add(1, Relaxed);
            if let Some(omitted) = EXCEEDED.admit() {
                let (limit, mode) = (limit.name(), self.settings.mode);
                tracing::warn!(?consumer, limit, %quota, ?mode, omitted, "a client exceeds a rate limit");
            }
        }
        Spent { limit, quota, usage }
    }

    /// Uses this much of a quota, whether anything is left or not: what was admitted turns out to be longer.
    pub fn charge(&self, limit: RateLimit, consumer: Consumer, quota: Quota, cost: u64) {
        let now = self.started.elapsed();
        match consumer {
            Consumer::Address(address) => self.addresses.charge((limit, quota, address), quota, cost, now),
            Consumer::Token(id) => self.tokens.charge((limit, quota, id), quota, cost, now),
        }
    }

    /// Requests that exceeded this limit.
    pub fn exceeded(&self, limit: RateLimit) -> u64 {
        self.exceeded[limit as usize].load(Relaxed)
    }

    /// How often an address was forgotten before it had regained all, because too many were counted at the same time.
    pub fn forgotten(&self) -> u64 {
        self.addresses.forgotten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_counted_by_itself() {
        let quota: Quota = "2/1h".parse().unwrap();
        let settings = RateSettings { requests: Some(quota), ..RateSettings::default() };
        let limits = RateLimits::new(settings);
        let here = Consumer::Address(ClientAddress::new([127, 0, 0, 1].into()));
        for limit in RateLimit::ALL {
            for consumer in [here, Consumer::Token("abcdefghij")] {
                let exceeds = || limits.spend(limit, consumer, quota, 1).usage.exceeded.is_some();
                assert_eq!([exceeds(), exceeds(), exceeds()], [false, false, true], "{limit:?}");
            }
            assert_eq!(limits.exceeded(limit), 2, "{limit:?}");
        }
        assert!(limits.count_addresses() && limits.count_tokens());
        let off = RateLimits::new(RateSettings { mode: RateMode::Off, ..settings });
        assert!(!off.count_addresses() && !off.count_tokens());
        let none = RateLimits::new(RateSettings::default());
        assert!(!none.count_addresses() && none.count_tokens(), "a token may have limits");
    }
}

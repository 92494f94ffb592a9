//! How much clients may use of a node: flags of `serve`.

use super::open_files::connections;
use crate::cache::Quota;
use crate::front::{FrontLimits, RateMode, RateSettings};
use crate::http::TrustedProxies;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::net::IpAddr;

/// What is done about a client that exceeds a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RateLimitMode {
    /// Nothing is counted
    Off,
    /// Count and report it, and answer all the same
    Observe,
    /// Answer with 429
    Enforce,
}

impl From<RateLimitMode> for RateMode {
    fn from(mode: RateLimitMode) -> Self {
        match mode {
            RateLimitMode::Off => Self::Off,
            RateLimitMode::Observe => Self::Observe,
            RateLimitMode::Enforce => Self::Enforce,
        }
    }
}

#[derive(Debug, Args)]
pub struct ServeLimitArgs {
    /// Client connections at a time
    #[arg(long, env = "LOCKSTEP_CONNECTIONS", default_value_t = 10_000)]
    pub connections: usize,
    /// Connections of one client address at a time [default: half of all, and all for programs on this machine]
    #[arg(long, env = "LOCKSTEP_CONNECTIONS_PER_ADDRESS", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_per_address: Option<u32>,
    /// Most requests of one client address in a time, as 100/15m [default: any number]
    #[arg(long, env = "LOCKSTEP_RATE_LIMIT", value_name = "COUNT/TIME")]
    pub rate_limit: Option<Quota>,
    /// Most bytes in the bodies of these requests, as 5000000/s [default: any number]
    #[arg(long, env = "LOCKSTEP_RATE_LIMIT_BODY_BYTES", value_name = "COUNT/TIME")]
    pub rate_limit_body_bytes: Option<Quota>,
    /// What is done about a client that exceeds these limits, or those of its token
    #[arg(long, env = "LOCKSTEP_RATE_LIMIT_MODE", value_enum, default_value = "enforce")]
    pub rate_limit_mode: RateLimitMode,
    /// Networks of proxies, separated by commas, as 10.0.0.0/24: where their requests come from is what X-Forwarded-For says
    #[arg(long, env = "LOCKSTEP_TRUSTED_PROXIES", value_name = "NETWORK", value_delimiter = ',',
          value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,
}

impl ServeLimitArgs {
    pub fn front(&self, value_bytes: u32) -> FrontLimits {
        let rates = RateSettings {
            mode: self.rate_limit_mode.into(),
            requests: self.rate_limit,
            body_bytes: self.rate_limit_body_bytes,
        };
        FrontLimits {
            value_bytes: value_bytes as usize,
            connections: connections(self.connections),
            connections_per_address: self.connections_per_address,
            rates,
            ..FrontLimits::default()
        }
    }

    pub fn trusted_proxies(&self) -> TrustedProxies {
        TrustedProxies::new(self.trusted_proxies.iter().copied())
    }
}

/// A network, or one address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "expected a network, as 10.0.0.0/24, or an address".into())
}

//! Arguments that several commands have, and how their values are parsed.

use super::exit::Usage;
use crate::api::Consistency;
use crate::cache::Policy;
use crate::client::{Client, ClientToken};
use crate::tls::ClientTls;
use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which nodes to talk to, and how to print.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Nodes to talk to, separated by commas
    #[arg(
        long,
        global = true,
        env = "LOCKSTEP_URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:5000"
    )]
    pub url: Vec<String>,
    /// Print one JSON object on the last line
    #[arg(long, global = true, env = "LOCKSTEP_JSON")]
    pub json: bool,
    /// Give up after this many milliseconds (`watch`: of looking for a node)
    #[arg(long, global = true, env = "LOCKSTEP_TIMEOUT_MS", default_value_t = 10_000)]
    pub timeout_ms: u64,
    /// A file with the token to show, which others cannot read
    #[arg(long, global = true, env = "LOCKSTEP_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Take what a node answers that has left its cluster on purpose, instead of going to another
    #[arg(long, global = true, env = "LOCKSTEP_ALLOW_DETACHED")]
    pub allow_detached: bool,
}

impl Target {
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The token to show.
    pub fn token(&self) -> Result<Option<ClientToken>> {
        read_token(self.token_file.as_deref())
    }

    /// A client of these nodes, instead of those at `--url`.
    pub fn client_of(&self, urls: &[String], limit: Duration) -> Result<Client> {
        Ok(Client::with_tls(urls, limit, &self.tls.files()).map_err(Usage)?.with_token(self.token()?))
    }
}

/// Certificates, for nodes that speak HTTPS.
#[derive(Debug, Clone, Args)]
pub struct TlsArgs {
    /// A file with the authorities that sign nodes' certificates [default: those of the system]
    #[arg(long, global = true, env = "LOCKSTEP_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A file with a certificate to show: a client's names a token
    #[arg(long, global = true, env = "LOCKSTEP_CERT_FILE", value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate, which others cannot read
    #[arg(long, global = true, env = "LOCKSTEP_KEY_FILE", value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
}

impl TlsArgs {
    pub fn files(&self) -> ClientTls {
        let own = self.cert_file.clone().zip(self.key_file.clone());
        ClientTls { ca: self.ca_file.clone(), own }
    }
}

/// The token in a file. An empty name is none.
fn read_token(file: Option<&Path>) -> Result<Option<ClientToken>> {
    let file = file.filter(|file| !file.as_os_str().is_empty());
    Ok(file
        .map(ClientToken::of_file)
        .transpose()
        .map_err(|reason| Usage(format!("--token-file: {reason}")))?)
}

/// Settings a new cluster starts with.
#[derive(Debug, Clone, Args)]
pub struct FirstSettings {
    /// Capacity in entries, for a new cluster (later: `lockstep config`) [default: 100000]
    #[arg(long, env = "LOCKSTEP_CAPACITY_ENTRIES")]
    pub capacity_entries: Option<u64>,
    /// Capacity in bytes, for a new cluster [default: 1073741824]
    #[arg(long, env = "LOCKSTEP_CAPACITY_BYTES")]
    pub capacity_bytes: Option<u64>,
    /// Eviction policy, for a new cluster: lru, lfu, s3fifo or noeviction [default: lru]
    #[arg(long, env = "LOCKSTEP_POLICY", value_parser = parse_policy)]
    pub policy: Option<Policy>,
    /// Default TTL of puts in milliseconds, for a new cluster
    #[arg(long, env = "LOCKSTEP_DEFAULT_TTL_MS")]
    pub default_ttl_ms: Option<u64>,
}

/// Timing of elections and snapshots; use the same values on every node.
#[derive(Debug, Clone, Args)]
pub struct TimingArgs {
    /// Milliseconds between a leader's heartbeats [default: 75]
    #[arg(long, env = "LOCKSTEP_HEARTBEAT_MS")]
    pub heartbeat_ms: Option<u64>,
    /// Shortest election timeout, in milliseconds; it grows with the round trips between nodes [default: 300]
    #[arg(long, env = "LOCKSTEP_ELECTION_MIN_MS")]
    pub election_min_ms: Option<u64>,
    /// Longest election timeout, in milliseconds [default: 5000]
    #[arg(long, env = "LOCKSTEP_ELECTION_MAX_MS")]
    pub election_max_ms: Option<u64>,
    /// Log entries between two snapshots [default: 100000]
    #[arg(long, env = "LOCKSTEP_SNAPSHOT_ENTRIES")]
    pub snapshot_entries: Option<u64>,
    /// Log entries kept after a snapshot covers them [default: 20000]
    #[arg(long, env = "LOCKSTEP_ENTRIES_KEPT")]
    pub entries_kept: Option<u64>,
}

/// A time to live, or none.
#[derive(Debug, Clone, Copy)]
pub struct TtlMs(pub Option<u64>);

pub(super) fn parse_ttl(text: &str) -> Result<TtlMs, String> {
    if text == "never" {
        return Ok(TtlMs(None));
    }
    text.parse().map(|ttl_ms| TtlMs(Some(ttl_ms))).map_err(|_| "expected milliseconds or never".into())
}

/// A time such as 90s, 30m, 6h or 1d: at least a second, and at most a year.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 24 * 3_600)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds).filter(|seconds| (1..=366 * 24 * 3_600).contains(seconds))
    });
    parsed.map(Duration::from_secs).ok_or_else(|| "expected a time such as 90s, 30m, 6h or 1d".into())
}

/// A limit of time, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleAuthLimit(pub Option<Duration>);

/// A time as of [`parse_interval`], or never. No limit is not written as 0, which somebody else may take for a short one.
pub(super) fn parse_limit(text: &str) -> Result<StaleAuthLimit, String> {
    let limit = if text == "never" { Ok(None) } else { parse_interval(text).map(Some) };
    limit.map(StaleAuthLimit).map_err(|_| "expected a time such as 90s, 5m or 1h, or never".into())
}

pub(super) fn parse_policy(text: &str) -> Result<Policy, String> {
    Policy::from_name(text).ok_or_else(|| "expected lru, lfu, s3fifo or noeviction".into())
}

pub(super) fn parse_consistency(text: &str) -> Result<Consistency, String> {
    match text {
        "linearizable" => Ok(Consistency::Linearizable),
        "lease" => Ok(Consistency::Lease),
        "stale" => Ok(Consistency::Stale),
        _ => Err("expected linearizable, lease or stale".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_time_or_never() {
        assert_eq!(parse_limit("5m"), Ok(StaleAuthLimit(Some(Duration::from_secs(300)))));
        assert_eq!(parse_limit("never"), Ok(StaleAuthLimit(None)));
        for text in ["0", "0s", "off", "none", "", "5"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interval_has_a_unit() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("30m", 1_800), ("6h", 21_600), ("366d", 31_622_400)]
        {
            assert_eq!(parse_interval(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "6", "h", "0h", "-1h", "1.5h", "6 h", "6hours", "367d", "18446744073709551615d"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}

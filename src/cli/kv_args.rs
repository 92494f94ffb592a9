//! The command line's grammar of what is done with keys.

use super::common_args::{Target, TtlMs, parse_consistency, parse_ttl};
use crate::api::Consistency;
use clap::Args;
use std::num::NonZeroUsize;

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The key
    pub key: String,
    /// Consistency of the read: linearizable, lease or stale
    #[arg(long, default_value = "linearizable", value_parser = parse_consistency)]
    pub consistency: Consistency,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct PutArgs {
    /// The key
    pub key: String,
    /// The value; `-` reads standard input
    #[arg(allow_negative_numbers = true)]
    pub value: String,
    /// TTL in milliseconds; `never` for none, even if the cluster has a default
    #[arg(long, value_parser = parse_ttl, allow_negative_numbers = true)]
    pub ttl_ms: Option<TtlMs>,
    /// Restart the TTL on every use
    #[arg(long, requires = "ttl_ms")]
    pub sliding: bool,
    /// Print the replaced value, unmodified
    #[arg(long)]
    pub previous: bool,
    /// Store only if the key is at this revision
    #[arg(long, conflicts_with = "if_absent")]
    pub if_revision: Option<u64>,
    /// Store only if the key does not exist
    #[arg(long)]
    pub if_absent: bool,
    /// Store only if the key exists
    #[arg(long, conflicts_with_all = ["if_revision", "if_absent"])]
    pub if_present: bool,
    /// Content type to store with the value
    #[arg(long)]
    pub content_type: Option<String>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct DelArgs {
    /// The key; with --prefix, every key that starts with it
    #[arg(required_unless_present = "all")]
    pub key: Option<String>,
    /// Remove only if the key is at this revision
    #[arg(long, conflicts_with = "prefix")]
    pub if_revision: Option<u64>,
    /// Print the removed value, unmodified
    #[arg(long, conflicts_with = "prefix")]
    pub previous: bool,
    /// Remove every key that starts with KEY
    #[arg(long)]
    pub prefix: bool,
    /// Remove all keys
    #[arg(long, conflicts_with_all = ["key", "prefix", "if_revision", "previous"])]
    pub all: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct IncrArgs {
    /// The key
    pub key: String,
    /// Number to add
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    pub by: i64,
    /// The same as an option
    #[arg(long = "by", value_name = "BY", conflicts_with = "by", allow_negative_numbers = true)]
    pub by_option: Option<i64>,
    /// Value of an absent counter before the addition
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub initial: i64,
    /// TTL of a counter that this creates, in milliseconds
    #[arg(long)]
    pub ttl_ms: Option<u64>,
    /// Restart that TTL on every use
    #[arg(long, requires = "ttl_ms")]
    pub sliding: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct KeysArgs {
    /// Only keys that start with this
    #[arg(default_value = "")]
    pub prefix: String,
    /// The same as an option
    #[arg(long = "prefix", value_name = "PREFIX", conflicts_with = "prefix")]
    pub prefix_option: Option<String>,
    /// Start after this key
    #[arg(long)]
    pub after: Option<String>,
    /// Most keys to print
    #[arg(long, default_value = "1000")]
    pub limit: NonZeroUsize,
    /// Consistency of the read: linearizable, lease or stale
    #[arg(long, default_value = "linearizable", value_parser = parse_consistency)]
    pub consistency: Consistency,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct BatchArgs {
    /// File with the request's JSON, {"ops": [...]}; `-` reads standard input
    pub file: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct ExpireArgs {
    /// The key
    pub key: String,
    /// TTL from now on, in milliseconds
    pub ttl_ms: u64,
    /// Restart it on every use
    #[arg(long)]
    pub sliding: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct PersistArgs {
    /// The key
    pub key: String,
    #[command(flatten)]
    pub target: Target,
}

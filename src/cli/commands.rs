//! The command line's grammar.

use super::bench::{BareArgs, BenchArgs};
use super::check_history::CheckHistoryArgs;
use super::kv_args::{
    BatchArgs, DelArgs, ExpireArgs, GetArgs, IncrArgs, KeysArgs, PersistArgs, PutArgs, TtlMs, parse_ttl,
};
use super::simulate::SimulateArgs;
use super::upgrade::UpgradeArgs;
use super::watch::WatchArgs;
use crate::api::Consistency;
use crate::cache::Policy;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// A Raft-replicated key-value cache whose nodes never disagree.
#[derive(Debug, Parser)]
#[command(
    name = "lockstep",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 success, 1 error, 2 wrong usage, 3 not found, 4 precondition failed,\n\
                  5 unavailable (nothing was done), 6 outcome unknown, 7 not linearizable,\n\
                  8 not decided whether it is.\n\
                  LOCKSTEP_LOG sets what is logged on standard error, e.g. LOCKSTEP_LOG=debug."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a local cluster in the foreground, one process a node
    Up(UpArgs),
    /// Run one node
    Serve(Box<ServeArgs>),
    /// Print a key's value
    Get(GetArgs),
    /// Store a value
    Put(PutArgs),
    /// Remove a key
    Del(DelArgs),
    /// Add to a counter
    Incr(IncrArgs),
    /// Give a key a time to live
    Expire(ExpireArgs),
    /// Take a key's time to live away
    Persist(PersistArgs),
    /// List keys
    Keys(KeysArgs),
    /// Carry out several operations, all or none
    Batch(BatchArgs),
    /// Print changes as they happen
    Watch(WatchArgs),
    /// Show a node and its cluster
    Status(StatusArgs),
    /// See and change the members of the cluster
    Member(MemberArgs),
    /// See and change the replicated settings
    Config(ConfigArgs),
    /// Show which release each member runs, and finish a rolling upgrade
    Upgrade(UpgradeArgs),
    /// Take, save and restore snapshots
    Snapshot(SnapshotArgs),
    /// Show a node's newest digests
    Digest(DigestArgs),
    /// Play an access trace as a cache-aside client
    Replay(ReplayArgs),
    /// Find out which policy and capacity suit an access trace, without a cluster
    ///
    /// Choose a policy and a capacity for your own cluster with a trace of your own requests: it is played
    /// through the cache itself, in this process, as by a client that stores each key it misses. On a cluster
    /// reads count for eviction once the log has told of them, which takes a while; so each policy is tried with
    /// several delays, and with writes only (as with `touch.enabled` false).
    Simulate(SimulateArgs),
    /// Judge recorded histories: is there an order of the operations that explains every answer?
    ///
    /// A history is a file of JSON lines: a header, then one operation a line, with when it was called and
    /// answered (docs/checker.md). Logs of Jepsen's test of an etcd register are read as well. Ends with 0 when
    /// all files are linearizable, with 7 when one is not, and with 8 when there was not enough time or memory.
    CheckHistory(CheckHistoryArgs),
    /// Put load on nodes, and measure it
    Bench(Box<BenchArgs>),
    /// Run a server that keeps nothing safe, to measure what HTTP alone costs
    #[command(hide = true)]
    BareServer(BareArgs),
}

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
}

impl Target {
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Settings a new cluster starts with.
#[derive(Debug, Clone, Args)]
pub struct FirstSettings {
    /// Most entries, for a new cluster (later: `lockstep config`) [default: 100000]
    #[arg(long, env = "LOCKSTEP_CAPACITY_ENTRIES")]
    pub capacity_entries: Option<u64>,
    /// Most bytes, for a new cluster [default: 1073741824]
    #[arg(long, env = "LOCKSTEP_CAPACITY_BYTES")]
    pub capacity_bytes: Option<u64>,
    /// Eviction policy, for a new cluster: lru, lfu, s3fifo or noeviction [default: lru]
    #[arg(long, env = "LOCKSTEP_POLICY", value_parser = parse_policy)]
    pub policy: Option<Policy>,
    /// Time to live of puts that name none, for a new cluster
    #[arg(long, env = "LOCKSTEP_DEFAULT_TTL_MS")]
    pub default_ttl_ms: Option<u64>,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// How many nodes a new cluster gets
    #[arg(long, env = "LOCKSTEP_NODES", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// HTTP port of the first node; the next ones follow, peers listen 1000 higher [default: 5000, or where the
    /// cluster in the data folder was]
    #[arg(long, env = "LOCKSTEP_PORT", value_parser = clap::value_parser!(u16).range(1..=64000))]
    pub port: Option<u16>,
    /// Where the nodes keep their data
    #[arg(long, env = "LOCKSTEP_DATA_DIR", default_value = ".lockstep")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub first: FirstSettings,
    /// Start a new cluster from this backup
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,
    /// Let nodes be cut off from their peers over HTTP, to try out partitions
    #[arg(long, env = "LOCKSTEP_FAULT_INJECTION")]
    pub fault_injection: bool,
    #[command(flatten)]
    pub timing: TimingArgs,
}

/// What steers elections and snapshots; give every node the same.
#[derive(Debug, Clone, Args)]
pub struct TimingArgs {
    /// Milliseconds between a leader's heartbeats [default: 75]
    #[arg(long, env = "LOCKSTEP_HEARTBEAT_MS")]
    pub heartbeat_ms: Option<u64>,
    /// Shortest election timeout, in milliseconds [default: 150]
    #[arg(long, env = "LOCKSTEP_ELECTION_MIN_MS")]
    pub election_min_ms: Option<u64>,
    /// Longest election timeout, in milliseconds [default: 300]
    #[arg(long, env = "LOCKSTEP_ELECTION_MAX_MS")]
    pub election_max_ms: Option<u64>,
    /// Log entries between two snapshots [default: 100000]
    #[arg(long, env = "LOCKSTEP_SNAPSHOT_ENTRIES")]
    pub snapshot_entries: Option<u64>,
    /// Log entries kept behind a snapshot [default: 20000]
    #[arg(long, env = "LOCKSTEP_ENTRIES_KEPT")]
    pub entries_kept: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where this node keeps its data
    #[arg(long, env = "LOCKSTEP_DATA_DIR", default_value = ".lockstep/node")]
    pub data_dir: PathBuf,
    /// Name to be known by
    #[arg(long, env = "LOCKSTEP_NAME")]
    pub name: Option<String>,
    /// Where to listen for clients, as host:port (PORT sets the port alone) [default: 127.0.0.1:5000]
    #[arg(long, env = "LOCKSTEP_HTTP")]
    pub http: Option<String>,
    /// Where to listen for peers, as host:port [default: the HTTP port + 1000]
    #[arg(long, env = "LOCKSTEP_PEER")]
    pub peer: Option<String>,
    /// Where clients reach this node, as a URL [default: the HTTP address]
    #[arg(long, env = "LOCKSTEP_ADVERTISE_HTTP")]
    pub advertise_http: Option<String>,
    /// Where peers reach this node, as host:port [default: the peer address]
    #[arg(long, env = "LOCKSTEP_ADVERTISE_PEER")]
    pub advertise_peer: Option<String>,
    /// HTTP URLs of the nodes that form a new cluster, separated by commas, this one among them or not
    /// (PEER_NODES is the same)
    #[arg(long, env = "LOCKSTEP_INITIAL_CLUSTER", value_delimiter = ',', conflicts_with = "join")]
    pub initial_cluster: Vec<String>,
    /// Join the cluster of the node behind this URL
    #[arg(long, env = "LOCKSTEP_JOIN", value_name = "URL")]
    pub join: Option<String>,
    /// Having joined, stay without a vote
    #[arg(long, env = "LOCKSTEP_LEARNER", requires = "join")]
    pub learner: bool,
    #[command(flatten)]
    pub first: FirstSettings,
    /// Largest value, in bytes
    #[arg(long, env = "LOCKSTEP_VALUE_BYTES_MAX", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub value_bytes_max: u32,
    /// Writes of this node's clients under way at a time; more are answered 429
    #[arg(long, env = "LOCKSTEP_WRITES_IN_FLIGHT", default_value_t = 8_192)]
    pub writes_in_flight: usize,
    /// How long a request may take
    #[arg(long, env = "LOCKSTEP_REQUEST_TIMEOUT_MS", default_value_t = 5_000)]
    pub request_timeout_ms: u64,
    /// Bytes of recent changes kept for those who watch
    #[arg(long, env = "LOCKSTEP_WATCH_BYTES", default_value_t = 32 * 1024 * 1024)]
    pub watch_bytes: usize,
    /// Connections of clients at a time
    #[arg(long, env = "LOCKSTEP_CONNECTIONS", default_value_t = 10_000)]
    pub connections: usize,
    /// Names that requests may be for, besides addresses, localhost, the nodes of --initial-cluster and what the members
    /// advertise, separated by commas
    #[arg(long, env = "LOCKSTEP_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Listen on addresses other machines can reach, though nobody is asked who they are
    #[arg(long, env = "LOCKSTEP_INSECURE")]
    pub insecure: bool,
    /// Let this node be cut off from its peers over HTTP, to try out partitions
    #[arg(long, env = "LOCKSTEP_FAULT_INJECTION")]
    pub fault_injection: bool,
    /// Tell a lie that the consistency tests must notice
    #[cfg(feature = "sabotage")]
    #[arg(long)]
    pub sabotage: Option<crate::sabotage::Sabotage>,
    #[command(flatten)]
    pub timing: TimingArgs,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct MemberArgs {
    #[command(subcommand)]
    pub command: Option<MemberCommand>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List the members (the default)
    List,
    /// Give a learner a vote
    Promote { id: u64 },
    /// Take a node out of the cluster
    Remove { id: u64 },
    /// Hand the lead over, to the most advanced voter or to a given one
    Transfer { to: Option<u64> },
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Most entries
    #[arg(long)]
    pub capacity_entries: Option<u64>,
    /// Most bytes
    #[arg(long)]
    pub capacity_bytes: Option<u64>,
    /// lru, lfu, s3fifo or noeviction
    #[arg(long, value_parser = parse_policy)]
    pub policy: Option<Policy>,
    /// Time to live of puts that name none; `never` takes it away
    #[arg(long, value_parser = parse_ttl)]
    pub default_ttl_ms: Option<TtlMs>,
    /// Whether reads count for eviction, and renew times to live that slide
    #[arg(long)]
    pub touch: Option<bool>,
    /// How long a node collects reads before it tells of them
    #[arg(long)]
    pub touch_interval_ms: Option<u64>,
    /// Most entries that are told of in an interval
    #[arg(long)]
    pub touch_max_per_flush: Option<u64>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    pub command: SnapshotCommand,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Have a node write a snapshot now
    Take,
    /// Save a fresh snapshot into a file, as a backup
    Save {
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Check a backup without using it
    Verify { file: PathBuf },
    /// Make a data folder of a new cluster, in a new incarnation, out of a backup
    Restore {
        file: PathBuf,
        /// The folder to make; it must not exist or be empty
        #[arg(long)]
        data_dir: PathBuf,
        /// Name of the new cluster's first node
        #[arg(long, default_value = "n1")]
        name: String,
        /// Where clients will reach it, as a URL
        #[arg(long)]
        http: String,
        /// Where peers will reach it, as host:port
        #[arg(long)]
        peer: String,
    },
}

#[derive(Debug, Args)]
pub struct DigestArgs {
    /// How many of the newest to print
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// An .xz file of big-endian 32-bit keys, or a text file with one key a line
    pub trace: PathBuf,
    /// Requests under way at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Leave out this many requests at the beginning
    #[arg(long, default_value_t = 0)]
    pub skip: usize,
    /// Stop after this many requests
    #[arg(long)]
    pub limit: Option<usize>,
    /// Bytes of the values that are stored on a miss
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// linearizable, lease or stale
    #[arg(long, default_value = "linearizable", value_parser = parse_consistency)]
    pub consistency: Consistency,
    #[command(flatten)]
    pub target: Target,
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

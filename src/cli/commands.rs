//! The command line's grammar.

use super::audit::AuditArgs;
use super::bench::{BaselineArgs, BenchArgs};
use super::cert::CertArgs;
use super::check_history::CheckHistoryArgs;
use super::common_args::{
    FirstSettings, StaleAuthLimit, Target, TimingArgs, TtlMs, parse_consistency, parse_limit, parse_policy,
    parse_ttl,
};
use super::detach::{AttachArgs, DetachArgs};
use super::doctor::DoctorArgs;
use super::fence::FenceArgs;
use super::generate::GenerateArgs;
use super::history::HistoryArgs;
use super::kv_args::{BatchArgs, DelArgs, ExpireArgs, GetArgs, IncrArgs, KeysArgs, PersistArgs, PutArgs};
use super::reconcile::ReconcileArgs;
use super::recover::RecoverArgs;
use super::serve_backups::ServeBackupArgs;
use super::serve_join::ServeJoinArgs;
use super::serve_jwt::ServeJwtArgs;
use super::serve_limits::ServeLimitArgs;
use super::serve_redis::ServeRedisArgs;
use super::serve_replace::ServeReplaceArgs;
use super::serve_tls::ServeTlsArgs;
use super::simulate::SimulateArgs;
use super::token::TokenArgs;
use super::upgrade::UpgradeArgs;
use super::watch::WatchArgs;
use crate::api::Consistency;
use crate::cache::Policy;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A Raft-replicated key-value cache whose nodes never disagree.
#[derive(Debug, Parser)]
#[command(
    name = "lockstep",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 success, 1 error, 2 wrong usage, 3 not found, 4 precondition failed,\n\
                  5 unavailable (nothing was done), 6 outcome unknown, 7 not linearizable,\n\
                  8 undecided whether it is linearizable, 9 conflicts are left to decide,\n\
                  10 refused because it would not be safe,\n\
                  11 no token, or one that does not allow it,\n\
                  12 doctor: only warnings, 13 doctor: something is bad.\n\
                  LOCKSTEP_LOG sets what is logged on standard error, e.g. LOCKSTEP_LOG=debug."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a local cluster in the foreground, one process per node
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
    /// Set the TTL of a key
    Expire(ExpireArgs),
    /// Remove the TTL of a key
    Persist(PersistArgs),
    /// List keys
    Keys(KeysArgs),
    /// Apply several operations atomically: all or none
    Batch(BatchArgs),
    /// Print changes as they happen
    Watch(WatchArgs),
    /// Show a node and its cluster
    Status(StatusArgs),
    /// Show and change the members of the cluster
    Member(MemberArgs),
    /// Show and change the replicated settings
    Config(ConfigArgs),
    /// Show which release each member runs, and finish a rolling upgrade
    Upgrade(UpgradeArgs),
    /// Take, save and restore snapshots
    Snapshot(SnapshotArgs),
    /// Show where logs come from, as a tree: the cluster's histories, and how far each node or backup is
    History(HistoryArgs),
    /// Go on after the loss of a majority
    ///
    /// First stop the survivors. `plan` chooses the one whose log goes on and says what may be lost; `apply` makes its folder
    /// the start of a new history and has the others join it. docs/divergence.md explains all of it.
    Recover(RecoverArgs),
    /// Stop a node's part in a history that was recovered elsewhere
    ///
    /// Nodes that return give way by themselves. Only where the old members still have a leader, a person has to choose.
    Fence(FenceArgs),
    /// Have a node leave its cluster on purpose: it goes on alone, with all that it has
    ///
    /// It takes reads and writes, and says on every answer that it is detached. `attach` brings its changes in and the node
    /// back. docs/divergence.md explains all of it.
    Detach(DetachArgs),
    /// Bring the changes of a detached node into its cluster, and the node back
    ///
    /// If that fails, or a person has to decide a conflict first, the node goes on alone.
    Attach(AttachArgs),
    /// Bring the changes of a side that went its own way back into the cluster
    ///
    /// After a restore, or when a majority was given up, the same keys may have changed on two sides. `plan` compares
    /// them and writes a file that says for each key what would be done and why; it changes nothing. Read it with
    /// `show`. docs/divergence.md explains all of it.
    Reconcile(Box<ReconcileArgs>),
    /// Say what is wrong with a cluster, or with the folder of a node that does not run, and what mends it
    ///
    /// Asks every member, and prints a line for each check: ok, warn, bad, or ? where an answer cannot be had. It changes
    /// nothing. Exits with 12 if there are only warnings, and with 13 if something is bad.
    Doctor(DoctorArgs),
    /// Show what operators did last: who asked for what, and from where
    Audit(AuditArgs),
    /// Make certificates for nodes and clients, and show them
    Cert(CertArgs),
    /// Make and end tokens: who may do what
    ///
    /// Once a cluster has a token, every request needs one. `serve --tokens` begins with one that may do everything.
    Token(TokenArgs),
    /// Show a node's newest digests
    Digest(DigestArgs),
    /// Play an access trace as a cache-aside client
    Replay(ReplayArgs),
    /// Find out which policy and capacity suit an access trace, without a cluster
    ///
    /// Plays a trace of your own requests through a cache in this process, like a client that stores each key that
    /// it misses. On a cluster, reads count for eviction only when a log entry reports them. So each policy is tried
    /// with several delays, and with writes only (as with `touch.enabled` false).
    Simulate(SimulateArgs),
    /// Check recorded histories for linearizability
    ///
    /// A history is linearizable if there is an order of its operations that explains every answer. A history file
    /// has JSON lines: a header, then one operation per line with the times of its call and its return
    /// (docs/checker.md). Logs of Jepsen's test of an etcd register are accepted too. Exits with 0 if all files are
    /// linearizable, with 7 if one is not, and with 8 if time or memory ran out.
    CheckHistory(CheckHistoryArgs),
    /// Put load on nodes and measure throughput and latency
    Bench(Box<BenchArgs>),
    /// Write what a package installs beside this program: manual pages, and completions for shells
    Generate(GenerateArgs),
    /// Run a server without replication or storage, to measure the cost of HTTP alone
    #[command(hide = true)]
    BaselineServer(BaselineArgs),
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Number of nodes of a new cluster
    #[arg(long, env = "LOCKSTEP_NODES", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// HTTP port of the first node; the other nodes use the following ports, and peer ports are 1000 higher
    /// [default: 5000, or the port of the cluster in the data folder]
    #[arg(long, env = "LOCKSTEP_PORT", value_parser = clap::value_parser!(u16).range(1..=64000))]
    pub port: Option<u16>,
    /// Folder for the nodes' data
    #[arg(long, env = "LOCKSTEP_DATA_DIR", default_value = ".lockstep")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub first: FirstSettings,
    /// Start a new cluster from this backup
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,
    /// Encrypt everything, with an authority and certificates that are made in `certs` in the data folder. A cluster that was
    /// started so stays so
    #[arg(long, env = "LOCKSTEP_UP_TLS")]
    pub tls: bool,
    /// Have every request show a token. One that may do everything is made in `root-token` in the data folder. A cluster that was
    /// started so stays so
    #[arg(long, env = "LOCKSTEP_UP_TOKENS")]
    pub tokens: bool,
    /// Port of the first node for Redis clients; the other nodes use the next ones that are free
    /// [default: 1379 above the HTTP port, which is 6379, or the next one that is free]
    #[arg(long, env = "LOCKSTEP_REDIS_PORT", value_parser = clap::value_parser!(u16).range(1..=64000))]
    pub redis_port: Option<u16>,
    /// Do not speak the Redis protocol
    #[arg(long, env = "LOCKSTEP_NO_REDIS", conflicts_with = "redis_port")]
    pub no_redis: bool,
    /// Allow partitions over HTTP: nodes can be cut off from their peers
    #[arg(long, env = "LOCKSTEP_FAULT_INJECTION")]
    pub fault_injection: bool,
    #[command(flatten)]
    pub timing: TimingArgs,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A TOML file with settings: the names of these flags, with underscores. A flag or a variable comes before it
    #[arg(long, env = "LOCKSTEP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file with variables, as NAME=value. One that is set comes before it, and it before --config [default: .env, if it is there]
    #[arg(long, env = "LOCKSTEP_ENV_FILE", value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Check the settings and the files that they name, say where each comes from, and stop
    #[arg(long)]
    pub check_config: bool,
    #[arg(skip)]
    pub origins: Vec<String>,
    /// How log lines look
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Folder for this node's data
    #[arg(long, env = "LOCKSTEP_DATA_DIR", default_value = ".lockstep/node")]
    pub data_dir: PathBuf,
    /// Name of this node [default: n and its number]
    #[arg(long, env = "LOCKSTEP_NAME")]
    pub name: Option<String>,
    /// Address to listen on for clients, as host:port (PORT sets only the port) [default: 127.0.0.1:5000]
    #[arg(long, env = "LOCKSTEP_HTTP")]
    pub http: Option<String>,
    /// Address to listen on for peers, as host:port [default: the HTTP port + 1000]
    #[arg(long, env = "LOCKSTEP_PEER")]
    pub peer: Option<String>,
    /// URL at which clients reach this node [default: the HTTP address]
    #[arg(long, env = "LOCKSTEP_ADVERTISE_HTTP")]
    pub advertise_http: Option<String>,
    /// Address at which peers reach this node, as host:port [default: the peer address]
    #[arg(long, env = "LOCKSTEP_ADVERTISE_PEER")]
    pub advertise_peer: Option<String>,
    /// HTTP URLs of the nodes that form a new cluster, separated by commas, with or without this one
    /// (PEER_NODES is the same)
    #[arg(long, env = "LOCKSTEP_INITIAL_CLUSTER", value_delimiter = ',', conflicts_with = "join")]
    pub initial_cluster: Vec<String>,
    /// Join the cluster of the node at this URL
    #[arg(long, env = "LOCKSTEP_JOIN", value_name = "URL")]
    pub join: Option<String>,
    /// Stay a learner after joining
    #[arg(long, env = "LOCKSTEP_LEARNER", requires = "join")]
    pub learner: bool,
    #[command(flatten)]
    pub replace: ServeReplaceArgs,
    #[command(flatten)]
    pub first: FirstSettings,
    /// Largest value, in bytes
    #[arg(long, env = "LOCKSTEP_VALUE_BYTES_MAX", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub value_bytes_max: u32,
    /// Writes in flight for this node's clients; more are answered with 429
    #[arg(long, env = "LOCKSTEP_WRITES_IN_FLIGHT", default_value_t = 8_192)]
    pub writes_in_flight: usize,
    /// How long a request may take, in milliseconds
    #[arg(long, env = "LOCKSTEP_REQUEST_TIMEOUT_MS", default_value_t = 5_000)]
    pub request_timeout_ms: u64,
    /// Bytes of recent changes kept for watchers
    #[arg(long, env = "LOCKSTEP_WATCH_BYTES", default_value_t = 32 * 1024 * 1024)]
    pub watch_bytes: usize,
    #[command(flatten)]
    pub client_limits: ServeLimitArgs,
    /// Host names that requests may use, separated by commas, in addition to IP addresses, localhost, the nodes of
    /// --initial-cluster and the names that members advertise
    #[arg(long, env = "LOCKSTEP_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Have browsers use nothing but HTTPS for this host, on all of its ports, for so many seconds: for nodes behind a proxy that
    /// speaks HTTPS
    #[arg(long, env = "LOCKSTEP_HSTS_MAX_AGE", value_name = "SECONDS")]
    pub hsts_max_age: Option<u64>,
    /// Have every request show a token, from the first one on. The node that leads first writes one that may do everything to
    /// `root-token` in its data folder. Once a cluster has a token, all of its nodes ask for one
    #[arg(long, env = "LOCKSTEP_TOKENS")]
    pub tokens: bool,
    /// The same, with the token in this file as the one that may do everything: the same on all nodes
    #[arg(long, env = "LOCKSTEP_ROOT_TOKEN_FILE", value_name = "FILE")]
    pub root_token_file: Option<PathBuf>,
    /// How long a node that has lost its majority answers by the tokens that it knows, as a number with s, m, h or d, or never:
    /// then there is no limit. It cannot know which were revoked since. For stale reads and watches
    #[arg(long, env = "LOCKSTEP_STALE_AUTH_LIMIT", value_name = "TIME", default_value = "5m", value_parser = parse_limit)]
    pub stale_auth_limit: StaleAuthLimit,
    /// A file with the token that this node shows where it joins a cluster, or comes back to it; others cannot read it
    #[arg(long, env = "LOCKSTEP_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub joining: ServeJoinArgs,
    #[command(flatten)]
    pub jwt: ServeJwtArgs,
    #[command(flatten)]
    pub tls: ServeTlsArgs,
    /// Let clients of other machines in without encryption or without tokens
    #[arg(long, env = "LOCKSTEP_INSECURE_CLIENTS")]
    pub insecure_clients: bool,
    /// Let peers of other machines in without encryption. Whoever can reach the port can then do everything
    #[arg(long, env = "LOCKSTEP_INSECURE_PEERS")]
    pub insecure_peers: bool,
    /// Answer /livez and /readyz at this address as well, without encryption and without a token
    #[arg(long, env = "LOCKSTEP_PROBE", value_name = "ADDRESS")]
    pub probe: Option<String>,
    /// And /metrics
    #[arg(long, env = "LOCKSTEP_PROBE_METRICS", requires = "probe")]
    pub probe_metrics: bool,
    #[command(flatten)]
    pub redis: ServeRedisArgs,
    /// Who wins where both sides changed a key, when this node was detached and comes back, and nobody says
    #[arg(long, env = "LOCKSTEP_ATTACH_POLICY", value_enum, default_value = "newest")]
    pub attach_policy: crate::reconcile::Policy,
    #[command(flatten)]
    pub backups: ServeBackupArgs,
    /// Allow partitions over HTTP: this node can be cut off from its peers
    #[arg(long, env = "LOCKSTEP_FAULT_INJECTION")]
    pub fault_injection: bool,
    /// Inject a fault that the consistency tests must detect
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
    /// Make a learner a voter
    Promote { id: u64 },
    /// Remove a node from the cluster
    Remove { id: u64 },
    /// Remove a node whose data folder is lost, so that it can come back with an empty one: see `serve --replace-lost`
    ///
    /// Refused if the leader has heard from it within the last 3 seconds, or no majority of the other voters answers.
    Replace {
        /// Its name, or its number
        name: String,
    },
    /// Transfer leadership to the most up-to-date voter, or to the given one
    Transfer { to: Option<u64> },
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Capacity in entries
    #[arg(long)]
    pub capacity_entries: Option<u64>,
    /// Capacity in bytes
    #[arg(long)]
    pub capacity_bytes: Option<u64>,
    /// Eviction policy: lru, lfu, s3fifo or noeviction
    #[arg(long, value_parser = parse_policy)]
    pub policy: Option<Policy>,
    /// Default TTL of puts in milliseconds; `never` removes it
    #[arg(long, value_parser = parse_ttl)]
    pub default_ttl_ms: Option<TtlMs>,
    /// Whether reads count for eviction and restart sliding TTLs
    #[arg(long)]
    pub touch: Option<bool>,
    /// How long a node collects reads before it reports them, in milliseconds
    #[arg(long)]
    pub touch_interval_ms: Option<u64>,
    /// Most entries reported in one interval
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
    /// Make a node write a snapshot now
    Take,
    /// Save a fresh snapshot to a file, as a backup
    Save {
        file: PathBuf,
        /// Overwrite an existing file
        #[arg(long)]
        force: bool,
    },
    /// Verify a backup without using it
    Verify { file: PathBuf },
    /// Create the data folder of a new cluster, with a new history, from a backup
    Restore {
        file: PathBuf,
        /// Folder to create; it must be empty or not exist
        #[arg(long)]
        data_dir: PathBuf,
        /// Name of the new cluster's first node
        #[arg(long, default_value = "n1")]
        name: String,
        /// URL at which clients will reach it
        #[arg(long)]
        http: String,
        /// Address at which peers will reach it, as host:port
        #[arg(long)]
        peer: String,
        /// Keep the tokens of the backup, also those that were revoked since. Otherwise they are dropped, and one that may do
        /// everything is written to `root-token` in the folder
        #[arg(long)]
        keep_tokens: bool,
    },
}

#[derive(Debug, Args)]
pub struct DigestArgs {
    /// Number of newest digests to print
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// An .xz file of big-endian 32-bit keys, or a text file with one key per line
    pub trace: PathBuf,
    /// Requests in flight at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Skip this many requests at the beginning
    #[arg(long, default_value_t = 0)]
    pub skip: usize,
    /// Stop after this many requests
    #[arg(long)]
    pub limit: Option<usize>,
    /// Size of the values stored on a miss, in bytes
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Consistency of reads: linearizable, lease or stale
    #[arg(long, default_value = "linearizable", value_parser = parse_consistency)]
    pub consistency: Consistency,
    #[command(flatten)]
    pub target: Target,
}

//! `lockstep serve`: one node.

use super::commands::ServeArgs;
use super::common_args::{FirstSettings, TimingArgs};
use super::exit::Usage;
use super::output::Output;
use super::serve_backups::make_backups;
use super::serve_join;
use super::serve_jwt;
use super::serve_redis::RedisPorts;
use super::serve_tls::{NodeTls, keep_current};
use super::service_manager;
use crate::api::RedisAddresses;
use crate::cache::{CacheConfig, ConfigChange};
use crate::client::read_token_file;
use crate::front::Front;
use crate::http::{AppState, CompatSettings, HttpServer, HttpSettings};
use crate::node::{
    Limits, Node, NodeOptions, Opened, Origin, Principal, RaftOptions, Release, RootToken, StartError,
};
use crate::resp::RespServer;
use crate::storage::OpenError;
use anyhow::{Context, Result, bail};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const HTTP_PORT: u16 = 5000;
/// How much higher the peers' port is than the clients', unless it is given.
const PEER_PORT_ABOVE: u16 = 1000;
/// How long a node that is opened again waits for its folder and its peer port: longer than requests take.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(30);
const REOPEN_PAUSE: Duration = Duration::from_millis(20);

/// Runs a node until it gets a signal to stop, or fails.
pub async fn serve(args: Box<ServeArgs>) -> Result<()> {
    serve_join::get_certificate(&args).await?;
    let tls = args.tls.open()?;
    let jwt = args.jwt.open(args.tokens || args.root_token_file.is_some())?;
    if args.check_config {
        return check(*args, tls);
    }
    // With certificates, or under a service manager, a hang-up means that files have changed.
    let reloads = !tls.certificates.is_empty() || jwt.is_some() || service_manager::is_there();
    let mut stop = if reloads { Stop::new()? } else { Stop::also_by_hang_up()? };
    #[cfg(feature = "sabotage")]
    if let Some(fault) = args.sabotage {
        tracing::warn!(?fault, "a fault is injected into this node, for tests");
        fault.choose();
    }
    // A file that may not grow is then an error of the write, like a full disk, and not the process's death.
    // SAFETY: ignoring a signal is sound at any time.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // Allocations of less than 2 MiB that are freed again soon are not worth clearing 2 MiB at a time.
    // SAFETY: it changes how this process gets memory from now on, nothing that it has.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
    let addresses = Addresses::of(&args)?;
    let http = TcpListener::bind(&addresses.http).await;
    let http = http.with_context(|| format!("cannot listen for clients on {}", addresses.http))?;
    let limits = args.client_limits.front(args.value_bytes_max);
    let mut settings = HttpSettings {
        allowed_hosts: allowed_hosts(&args.allowed_hosts)?,
        trusted_proxies: args.client_limits.trusted_proxies(),
        tls: tls.clients.clone(),
        jwt: jwt.clone(),
        introduces_to_nodes_only: tls.knows_nodes,
        joining: tls.joining.clone(),
        hsts_max_age: args.hsts_max_age,
        fault_injection: args.fault_injection,
        attach_policy: args.attach_policy,
        compat: compat_settings()?,
        ..HttpSettings::default()
    };
    settings.backups = args.backups.open()?;
    let probe = Probe::listen(&args).await?;
    let redis: RedisPorts = args.redis.listen(tls.clients.as_ref()).await?;
    let bound = http.local_addr()?;
    let redis_args = args.redis.clone();
    let mut options = options(*args, addresses, bound, tls)?;
    let http_url = reqwest::Url::parse(&options.http_advertise).ok();
    let host = http_url.as_ref().and_then(reqwest::Url::host_str);
    options.redis_advertise = redis.advertised(&redis_args, host);
    settings.allowed_hosts.extend(cluster_hosts(&options.origin));
    let http = http.into_std()?;
    let mut tasks = JoinSet::new();
    service_manager::keep_alive(&mut tasks);
    if reloads {
        tasks.spawn(keep_current(options.certificates.clone(), signal(SignalKind::hangup())?));
    }
    if let Some(jwt) = jwt.clone() {
        tasks.spawn(serve_jwt::keep_current(jwt, signal(SignalKind::hangup())?));
    }
    let mut opened = Opened::open(options.clone()).await?;
    let mut before: Option<Arc<Front>> = None;
    tracing::info!(http = %bound, "listening");
    loop {
        let front = Front::new(opened.bootstrap(), limits);
        // Each server has the listener for itself; whoever connects meanwhile waits.
        let listener = TcpListener::from_std(http.try_clone()?)?;
        let state = AppState::new(front.clone(), settings.clone());
        let mut server = HttpServer::start(listener, state.clone());
        if let Some(probe) = &probe {
            server = server.with_probes(probe.listener()?, state, probe.metrics);
        }
        let redis_server = redis.serve(&front, jwt.as_ref())?;
        service_manager::listening();
        let started = tokio::select! {
            started = opened.start() => started,
            () = stop.asked() => return Ok(()),
        };
        let node = started?;
        tracing::info!(id = node.id(), name = node.name(), "this node has its place in the cluster");
        front.open(node.clone());
        service_manager::serving();
        if let Some(before) = before.take() {
            before.succeed(node.detach_status());
        }

        tokio::select! {
            () = stop.asked() => {
                tracing::info!("stopping");
                service_manager::stopping();
                shut_down(&node, server, redis_server, &mut stop).await;
                return Ok(());
            }
            never = make_backups(settings.backups.as_ref(), &node) => match never {},
            () = node.reopens() => {
                node.drain().await;
                redis_server.retire();
                server.retire().await;
                front.close();
                node.stop().await;
                drop(node);
                opened = tokio::select! {
                    opened = reopen(&options) => opened?,
                    () = stop.asked() => return Ok(()),
                };
                before = Some(front);
            }
            reason = node.failed() => bail!("this node has failed and stops: {reason}"),
        }
    }
}

/// Checks the settings, and says where each comes from.
fn check(args: ServeArgs, tls: NodeTls) -> Result<()> {
    let addresses = Addresses::of(&args)?;
    let origins = args.origins.join("\n");
    allowed_hosts(&args.allowed_hosts)?;
    compat_settings()?;
    args.backups.check()?;
    // Where a name leads is known to those who start it.
    let bound = addresses.http.parse().unwrap_or(SocketAddr::from(([127, 0, 0, 1], HTTP_PORT)));
    options(args, addresses, bound, tls)?;
    Output { json: false }.print(&(), || format!("{origins}\nthe settings are good"))
}

/// Opens the node again that goes on with another log. Requests that are being answered may hold its folder, and its peer port,
/// for another moment.
async fn reopen(options: &NodeOptions) -> Result<Opened> {
    let until = Instant::now() + REOPEN_TIMEOUT;
    loop {
        match Opened::open(options.clone()).await {
            Err(StartError::Listen { .. } | StartError::Open(OpenError::InUse { .. }))
                if Instant::now() < until =>
            {
                sleep(REOPEN_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Hands over, lets requests finish, closes the data folder; a second signal cuts it short.
async fn shut_down(node: &Node, http: HttpServer, redis: RespServer, stop: &mut Stop) {
    let orderly = async {
        if redis.has_clients_to_move() {
            redis.move_clients(node.other_redis_addresses().await).await;
        }
        node.drain().await;
        tokio::join!(redis.stop(), http.stop());
        node.stop().await;
    };
    tokio::select! {
        () = orderly => {}
        () = stop.asked() => tracing::warn!("stopped at once"),
    }
}

/// The signals that end the program: interrupt and terminate, and for a node hang-up, which it gets when its terminal
/// closes.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

impl Stop {
    /// For a program that handles or ignores hang-up itself.
    pub fn new() -> Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hang_up: None })
    }

    /// Also ends the program when the terminal closes, unless hang-up is ignored, as with `nohup`.
    pub fn also_by_hang_up() -> Result<Self> {
        let hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { hang_up, ..Self::new()? })
    }

    /// Returns when somebody wants the program to end.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hung_up(&mut self.hang_up) => {}
        }
    }
}

fn ignores_hang_up() -> bool {
    // SAFETY: all zeros is a value of this struct, and sigaction only writes into it when it is given no new action.
    let now = unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut now);
        now
    };
    now.sa_sigaction == libc::SIG_IGN
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

struct Addresses {
    http: String,
    peer: Option<String>,
}

impl Addresses {
    fn of(args: &ServeArgs) -> Result<Self> {
        let port = match std::env::var("PORT") {
            Ok(text) if args.http.is_none() => {
                let port = text.parse::<u16>();
                port.map_err(|_| Usage(format!("PORT: `{text}` is no port; expected 0 to 65535")))?
            }
            _ => HTTP_PORT,
        };
        let http = args.http.clone().unwrap_or_else(|| format!("127.0.0.1:{port}"));
        let has_tokens = args.tokens || args.root_token_file.is_some();
        let clients_lack = match (args.tls.covers_clients(), has_tokens) {
            (true, true) => None,
            (true, false) => Some("--tokens"),
            (false, true) => Some("--tls-cert"),
            (false, false) => Some("--tls-cert and --tokens"),
        };
        let clients_lack = clients_lack.filter(|_| !args.insecure_clients);
        check_bind("--http", &http, clients_lack, "--insecure-clients")?;
        for (name, address, lacks) in args.redis.addresses(has_tokens) {
            check_bind(name, address, lacks.filter(|_| !args.insecure_clients), "--insecure-clients")?;
        }
        let peers_lack = (!args.tls.covers_peers()).then_some("--tls-cert with --tls-ca, or --peer-cert");
        let peers_lack = peers_lack.filter(|_| !args.insecure_peers);
        // Unless it is given, peers connect to the address of clients.
        check_bind("--peer", args.peer.as_ref().unwrap_or(&http), peers_lack, "--insecure-peers")?;
        Ok(Self { http, peer: args.peer.clone() })
    }
}

/// Other machines can reach a port only where it is protected, or with an option that says by name that it is not.
fn check_bind(name: &str, address: &str, lacks: Option<&str>, insecure: &str) -> Result<()> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    if port.parse::<u16>().is_err() {
        return Err(Usage(format!("{name}: `{address}` is no address; expected host:port")).into());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match lacks {
        Some(lacks) if !loopback => Err(Usage(format!(
            "{name}: other machines can reach {address}: protect it with {lacks} (docs/security.md), bind a loopback address, or \
             say {insecure}"
        ))
        .into()),
        _ => Ok(()),
    }
}

/// The port for probes.
struct Probe {
    listener: std::net::TcpListener,
    metrics: bool,
}

impl Probe {
    async fn listen(args: &ServeArgs) -> Result<Option<Self>> {
        let Some(address) = &args.probe else { return Ok(None) };
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen for probes on {address}"))?;
        tracing::info!(probes = %listener.local_addr()?, "listening");
        Ok(Some(Self { listener: listener.into_std()?, metrics: args.probe_metrics }))
    }

    /// Each server has the listener for itself.
    fn listener(&self) -> Result<TcpListener> {
        Ok(TcpListener::from_std(self.listener.try_clone()?)?)
    }
}

/// The names of `--allowed-hosts`.
fn allowed_hosts(names: &[String]) -> Result<Vec<String>> {
    let names = names.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let check = |name: &str| match name.chars().all(is_plain) {
        true => Ok(name.to_owned()),
        false => {
            Err(Usage(format!("--allowed-hosts: `{name}` is no name of a host; expected no port")).into())
        }
    };
    names.map(check).collect()
}

/// The token in the file of `--root-token-file`.
fn given_token(file: &Path) -> Result<Principal> {
    let named = |reason: String| Usage(format!("--root-token-file: {reason}"));
    let token = Principal::of_token(read_token_file(file).map_err(named)?.reveal());
    Ok(token.ok_or_else(|| {
        named(format!("{}: no token that `lockstep token generate` prints", file.display()))
    })?)
}

/// The host names in the URLs of the nodes that form the cluster. One of them is this node's.
fn cluster_hosts(origin: &Origin) -> Vec<String> {
    let Origin::Form { urls, .. } = origin else { return Vec::new() };
    let host = |url: &String| reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned);
    urls.iter().filter_map(host).collect()
}

fn options(args: ServeArgs, addresses: Addresses, bound: SocketAddr, tls: NodeTls) -> Result<NodeOptions> {
    let scheme = if tls.clients.is_some() { "https" } else { "http" };
    let peer_bind = match addresses.peer {
        Some(peer) => peer,
        None => {
            let port = bound.port().checked_add(PEER_PORT_ABOVE);
            let port = port.ok_or_else(|| Usage("--peer: the HTTP port is too high to add 1000".into()))?;
            SocketAddr::new(bound.ip(), port).to_string()
        }
    };
    let http_advertise = args.advertise_http.clone().unwrap_or_else(|| format!("{scheme}://{bound}"));
    let replace_lost = args.replace.checked(args.name.as_deref(), tls.peers.as_ref())?;
    // A node that founded the cluster has no other token, and joins it now.
    let root_token_file = args.root_token_file.as_ref().filter(|_| replace_lost.is_some());
    let token = args.token_file.as_ref().or(root_token_file).map(|file| read_token_file(file)).transpose();
    let token = token.map_err(|reason| Usage(format!("--token-file: {reason}")))?;
    let token = token.or(args.joining.token()?);
    let require_tokens = match &args.root_token_file {
        Some(file) => Some(RootToken::Given(given_token(file)?)),
        None => args.tokens.then_some(RootToken::Made),
    };
    Ok(NodeOptions {
        require_tokens,
        stale_auth_limit: args.stale_auth_limit.0,
        token,
        given: given_settings(&args.first)?,
        replace_lost,
        origin: origin(&args, scheme)?,
        data_dir: args.data_dir,
        name: args.name,
        peer_bind,
        peer_advertise: args.advertise_peer,
        http_advertise,
        redis_advertise: RedisAddresses::default(),
        raft: raft_options(&args.timing)?,
        limits: Limits {
            writes_in_flight: args.writes_in_flight,
            watch_bytes: args.watch_bytes,
            request: Duration::from_millis(args.request_timeout_ms.max(1)),
            ..Limits::default()
        },
        peer_tls: tls.peers,
        client_tls: tls.calls,
        certificates: tls.certificates,
        release: Release::THIS,
    })
}

fn origin(args: &ServeArgs, scheme: &str) -> Result<Origin> {
    if let Some(url) = &args.join {
        return Ok(Origin::Join { url: url.clone(), stay_learner: args.learner });
    }
    let config = first_settings(&args.first)?;
    let mut urls: Vec<String> = args.initial_cluster.clone();
    if urls.is_empty()
        && let Ok(peers) = std::env::var("PEER_NODES")
    {
        urls = peers.split(',').map(str::to_owned).collect();
    }
    let urls =
        urls.iter().map(|url| url.trim()).filter(|url| !url.is_empty()).map(|url| node_url(url, scheme));
    let urls = urls.collect::<Result<Vec<String>>>()?;
    Ok(if urls.is_empty() { Origin::Alone { config } } else { Origin::Form { urls, config } })
}

/// The URL of a node in a list. Other cache servers name nodes by host and port alone: then it speaks what this node speaks.
fn node_url(text: &str, scheme: &str) -> Result<String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let parsed = reqwest::Url::parse(&url);
    match parsed.is_ok_and(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host()) {
        true => Ok(url),
        false => {
            let expected = "expected http://host:port or https://host:port";
            Err(Usage(format!("the list of nodes: `{text}` is no URL; {expected}")).into())
        }
    }
}

/// What other cache servers read from the environment, too.
fn compat_settings() -> Result<CompatSettings> {
    let [frontend_url, node_env] = ["FRONTEND_URL", "NODE_ENV"].map(|name| std::env::var(name).ok());
    let settings = CompatSettings::of(frontend_url.as_deref(), node_env.as_deref());
    settings.map_err(|reason| Usage(format!("FRONTEND_URL: {reason}")).into())
}

/// The settings a new cluster starts with.
pub(super) fn first_settings(args: &FirstSettings) -> Result<CacheConfig> {
    let given = given_settings(args)?;
    let default = CacheConfig::default();
    let config = CacheConfig {
        capacity_entries: given.capacity_entries.unwrap_or(default.capacity_entries),
        capacity_bytes: given.capacity_bytes.unwrap_or(default.capacity_bytes),
        policy: given.policy.unwrap_or(default.policy),
        default_ttl_ms: given.default_ttl_ms.unwrap_or(default.default_ttl_ms),
        ..default
    };
    config.check().map_err(|error| Usage(error.to_string()))?;
    Ok(config)
}

/// The settings of the cluster that somebody named.
fn given_settings(args: &FirstSettings) -> Result<ConfigChange> {
    let mut capacity_entries = args.capacity_entries;
    if let (None, Ok(text)) = (capacity_entries, std::env::var("CACHE_CAPACITY")) {
        let capacity = text.parse();
        capacity_entries =
            Some(capacity.map_err(|_| Usage(format!("CACHE_CAPACITY: `{text}` is no number")))?);
    }
    Ok(ConfigChange {
        capacity_entries,
        capacity_bytes: args.capacity_bytes,
        policy: args.policy,
        default_ttl_ms: args.default_ttl_ms.map(Some),
        ..ConfigChange::default()
    })
}

fn raft_options(args: &TimingArgs) -> Result<RaftOptions> {
    let default = RaftOptions::default();
    let options = RaftOptions {
        heartbeat_ms: args.heartbeat_ms.unwrap_or(default.heartbeat_ms),
        election_min_ms: args.election_min_ms.unwrap_or(default.election_min_ms),
        election_max_ms: args.election_max_ms.unwrap_or(default.election_max_ms),
        snapshot_entries: args.snapshot_entries.unwrap_or(default.snapshot_entries),
        entries_kept: args.entries_kept.unwrap_or(default.entries_kept),
    };
    let fits = 0 < options.heartbeat_ms
        && options.heartbeat_ms <= options.election_min_ms / 2
        && options.election_min_ms <= options.election_max_ms / 2;
    if !fits {
        let wrong = "expected --heartbeat-ms from 1 to half of --election-min-ms, and that up to half of --election-max-ms";
        return Err(Usage(wrong.into()).into());
    }
    if options.snapshot_entries == 0 {
        return Err(Usage("--snapshot-entries: expected at least 1".into()).into());
    }
    Ok(options)
}

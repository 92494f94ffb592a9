//! `lockstep up`: a local cluster in the foreground, each node its own process.
//!
//! `<data-dir>/up.json` tells scripts what runs where, one node a line. SIGHUP starts again those nodes
//! that have died; SIGINT and SIGTERM stop all. A node beside whose data folder stands a file `<name>.left`
//! is not started any more: it was taken out of the cluster.

use super::commands::UpArgs;
use super::common_args::{FirstSettings, TimingArgs};
use super::exit::Usage;
use super::serve::{Stop, first_settings};
use super::snapshot::restore_file;
use super::up_log::{bound_log, tail};
use super::up_redis;
use super::up_secrets::Secrets;
use crate::client::Client;
use crate::node::ROOT_TOKEN_FILE;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// The first node's port, unless it is given.
const PORT: u16 = 5000;
/// How much higher the peers' ports are than the clients'.
pub(super) const PEER_PORT_ABOVE: u16 = 1000;
/// How long the cluster may take to become ready, and a node to stop.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Environment variables that are for a single node, and are not passed on.
const NOT_FOR_ALL: [&str; 26] = [
    "LOCKSTEP_REDIS",
    "LOCKSTEP_REDIS_SENTINEL",
    "LOCKSTEP_REDIS_TLS",
    "PORT",
    "PEER_NODES",
    "LOCKSTEP_HTTP",
    "LOCKSTEP_PEER",
    "LOCKSTEP_ADVERTISE_HTTP",
    "LOCKSTEP_ADVERTISE_PEER",
    "LOCKSTEP_INITIAL_CLUSTER",
    "LOCKSTEP_JOIN",
    "LOCKSTEP_LEARNER",
    "LOCKSTEP_NAME",
    "LOCKSTEP_BACKUP_DIR",
    "LOCKSTEP_CONFIG",
    "LOCKSTEP_ENV_FILE",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LOCKSTEP_PROBE",
    "LOCKSTEP_TLS_CERT",
    "LOCKSTEP_TLS_KEY",
    "LOCKSTEP_TLS_CA",
    "LOCKSTEP_PEER_CERT",
    "LOCKSTEP_PEER_KEY",
    "LOCKSTEP_PEER_CA",
];

/// Runs the cluster until it gets a signal to stop, or every node has died.
pub async fn up(args: UpArgs) -> Result<()> {
    let mut stop = Stop::new()?;
    let mut revive = signal(SignalKind::hangup())?;
    let folder = Folder::lock(&args.data_dir)?;
    let mut cluster = Cluster::plan(&args, folder)?;
    cluster.start_all()?;
    tokio::select! {
        ready = cluster.ready() => match ready?.as_slice() {
            [] => println!("cluster ready"),
            ended => println!("cluster ready, but without {}", ended.join(", ")),
        },
        () = stop.asked() => return cluster.stop().await,
    }
    cluster.greet();
    loop {
        tokio::select! {
            () = stop.asked() => return cluster.stop().await,
            _ = revive.recv() => cluster.start_all()?,
            () = sleep(POLL_INTERVAL) => {
                cluster.bound_logs();
                let died = cluster.note_deaths()?;
                if cluster.all_dead() {
                    bail!("every node has died; start again with the same command");
                }
                if died {
                    eprintln!("lockstep: `kill -HUP {}` starts nodes again that died", std::process::id());
                }
            }
        }
    }
}

/// The data folder, ours alone while this lives.
struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    fn lock(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let path = fs::canonicalize(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("up.lock"))?;
        // SAFETY: the descriptor is open for as long as `lock` lives.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            bail!("another `lockstep up` runs on {}", path.display());
        }
        Ok(Self { path, _lock: lock })
    }
}

struct Cluster {
    folder: Folder,
    secrets: Secrets,
    nodes: Vec<NodeProcess>,
    /// It ran before: then a node that does not start is a loss the others may bear.
    resumes: bool,
}

struct NodeProcess {
    name: String,
    http: String,
    peer: String,
    /// The URL for Redis clients, if it has one.
    redis: Option<String>,
    data_dir: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    exit: Option<ExitStatus>,
    /// Bytes the log held before this run.
    log_start: usize,
}

impl Cluster {
    fn plan(args: &UpArgs, folder: Folder) -> Result<Self> {
        first_settings(&args.first)?;
        let restored = folder.path.join("restored");
        let known = fs::read_to_string(&restored)
            .ok()
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or_else(|| count_nodes(&folder.path));
        if known > 0 && known != args.nodes && args.restore.is_none() {
            // The cluster that lives here has its own size.
            let shown = folder.path.display();
            eprintln!(
                "lockstep: {shown} holds a cluster of {known} nodes; add a node with cluster-scripts/join, or with --join"
            );
        }
        let count = if known > 0 { known } else { args.nodes };
        let earlier = if known > 0 { earlier_port(&folder.path) } else { None };
        let resumes = earlier.is_some();
        let port = args.port.or(earlier).unwrap_or(PORT);
        if let Some(earlier) = earlier.filter(|&earlier| earlier != port) {
            // Its members know each other by their addresses.
            let shown = folder.path.display();
            let reason = format!(
                "the cluster in {shown} keeps port {earlier}: start it without --port, or a new one with --data-dir"
            );
            return Err(Usage(reason).into());
        }
        let address = |i: u16, above: u16| format!("127.0.0.1:{}", port + above + i);
        // A backup may bring the first token with it.
        let scheme = Secrets::of(&folder.path, args.tls, false)?.scheme();
        let urls: Vec<String> = (0..count).map(|i| format!("{scheme}://{}", address(i, 0))).collect();
        let mut addresses = (0..count).flat_map(|i| [address(i, 0), address(i, PEER_PORT_ABOVE)]);
        if args.restore.is_some()
            && let Some(taken) = addresses.find(|address| TcpListener::bind(address).is_err())
        {
            bail!("cannot listen on {taken}; nothing was restored: choose other ports with --port");
        }
        if let Some(backup) = &args.restore {
            if known > 0 {
                let shown = folder.path.display();
                return Err(
                    Usage(format!("--restore: {shown} holds a cluster already; give a new folder")).into()
                );
            }
            // Aside, so that one that was interrupted is not taken for a node.
            let aside = folder.path.join("n1.restoring");
            if aside.exists() {
                fs::remove_dir_all(&aside).context("cannot remove what an interrupted restore left")?;
            }
            restore_file(backup, &aside, "n1", &urls[0], &address(0, PEER_PORT_ABOVE), false)?;
            fs::rename(&aside, folder.path.join("n1"))?;
            // From now on the other nodes join the first, however often this is interrupted.
            fs::write(&restored, format!("{count}\n")).context("cannot note that this is restored")?;
        }
        let restored = restored.exists();
        let root_token = folder.path.join("n1").join(ROOT_TOKEN_FILE);
        if restored && root_token.exists() {
            // Replacing it keeps who can read it.
            fs::copy(&root_token, folder.path.join(ROOT_TOKEN_FILE))
                .context("cannot copy the first token")?;
        }
        let secrets = Secrets::of(&folder.path, args.tls, args.tokens)?;
        let names: Vec<String> = (0..count).map(|i| format!("n{}", i + 1)).collect();
        let redis_ports = match args.no_redis {
            true => Vec::new(),
            false => up_redis::choose(&folder.path, &names, port, args.redis_port)?,
        };
        let node = |i: u16| -> Result<NodeProcess> {
            let (name, http, peer) = (format!("n{}", i + 1), address(i, 0), address(i, PEER_PORT_ABOVE));
            let data_dir = folder.path.join(&name);
            let mut arguments = vec!["serve".to_owned(), "--name".into(), name.clone()];
            arguments.extend(["--http".into(), http.clone(), "--peer".into(), peer.clone()]);
            arguments.extend(["--data-dir".into(), data_dir.display().to_string()]);
            match (restored, i) {
                (true, 1..) => {
                    arguments.extend(["--join".into(), urls[0].clone()]);
                    if root_token.exists() {
                        arguments.extend(["--token-file".into(), root_token.display().to_string()]);
                    }
                }
                _ => arguments.extend(["--initial-cluster".into(), urls.join(",")]),
            }
            let redis = redis_ports.get(usize::from(i)).map(|port| format!("127.0.0.1:{port}"));
            let (flag, redis_scheme) =
                if scheme == "https" { ("--redis-tls", "rediss") } else { ("--redis", "redis") };
            arguments.extend(redis.iter().flat_map(|address| [flag.to_owned(), address.clone()]));
            let redis = redis.map(|address| format!("{redis_scheme}://{address}"));
            if args.fault_injection {
                arguments.push("--fault-injection".into());
            }
            arguments.extend(secrets.arguments(&name)?);
            arguments.extend(first_arguments(&args.first));
            arguments.extend(timing_arguments(&args.timing));
            Ok(NodeProcess {
                name,
                http: format!("{scheme}://{http}"),
                peer,
                redis,
                data_dir,
                arguments,
                child: None,
                exit: None,
                log_start: 0,
            })
        };
        let nodes = (0..count).map(node).collect::<Result<Vec<NodeProcess>>>()?;
        for node in nodes.iter().filter(|node| !node.has_left()) {
            for (what, address) in [("clients", node.http_address()), ("peers", &node.peer)] {
                let taken = |error| {
                    let name = &node.name;
                    format!(
                        "{name} cannot listen for {what} on {address}: {error}; choose other ports with --port"
                    )
                };
                TcpListener::bind(address).map_err(|error| anyhow::anyhow!(taken(error)))?;
            }
        }
        Ok(Self { folder, secrets, nodes, resumes })
    }

    /// Starts the nodes that do not run, and says where they are.
    fn start_all(&mut self) -> Result<()> {
        let program = std::env::current_exe()?;
        self.note_deaths()?;
        if !self.folder.path.join("up.json").exists() {
            // Where the nodes are must be known even if this is interrupted.
            self.write_up_json()?;
        }
        for node in &mut self.nodes {
            if node.child.is_none() && !node.has_left() {
                let length = fs::metadata(node.log()).map_or(0, |log| log.len());
                node.log_start = usize::try_from(length).unwrap_or(0);
                node.child = Some(node.start(&program)?);
                node.exit = None;
            }
        }
        self.write_up_json()
    }

    /// One node a line, so that a shell script can read it too.
    fn write_up_json(&self) -> Result<()> {
        let node = |node: &NodeProcess| {
            json!({
                "name": node.name, "pid": node.child.as_ref().and_then(Child::id), "http": node.http,
                "peer": node.peer, "redis": node.redis, "data_dir": node.data_dir,
            })
            .to_string()
        };
        let here = self.nodes.iter().filter(|node| node.child.is_some() || !node.has_left());
        let nodes: Vec<String> = here.map(node).collect();
        let text = format!("{{\"pid\": {}, \"nodes\": [\n{}\n]}}\n", std::process::id(), nodes.join(",\n"));
        let path = self.folder.path.join("up.json");
        let aside = self.folder.path.join("up.json.new");
        fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path)).context("cannot write up.json")
    }

    /// Returns once every node is ready for clients, with the names of those that ended instead.
    async fn ready(&mut self) -> Result<Vec<String>> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut ended = Vec::new();
        'nodes: for position in 0..self.nodes.len() {
            if self.nodes[position].has_left() {
                continue;
            }
            let url = self.nodes[position].http.clone();
            let client = Client::with_tls(&[url], Duration::from_secs(2), &self.secrets.tls());
            let client = client.map_err(anyhow::Error::msg)?;
            while !client.ready().await {
                self.note_deaths()?;
                let node = &self.nodes[position];
                if let Some(exit) = node.exit {
                    let log = node.log();
                    let sentence = format!(
                        "{} ended ({exit}); the end of its log, {}:\n{}",
                        node.name,
                        log.display(),
                        tail(&log, node.log_start)
                    );
                    if !self.resumes || self.all_dead() {
                        bail!("{sentence}");
                    }
                    eprintln!("lockstep: {sentence}");
                    ended.push(node.name.clone());
                    continue 'nodes;
                }
                if Instant::now() >= deadline {
                    bail!(
                        "{} was not ready after {READY_TIMEOUT:?}; see {}",
                        node.name,
                        node.log().display()
                    );
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        Ok(ended)
    }

    fn bound_logs(&self) {
        self.nodes.iter().for_each(|node| bound_log(&node.log()));
    }

    fn greet(&self) {
        for node in self.nodes.iter().filter(|node| !node.has_left()) {
            let redis = node.redis.as_ref().map(|url| format!("  {url}")).unwrap_or_default();
            eprintln!("  {}  {}{redis}  data in {}", node.name, node.http, node.data_dir.display());
        }
        let joined =
            fs::read_dir(self.folder.path.join("joined")).is_ok_and(|mut nodes| nodes.next().is_some());
        if joined {
            eprintln!("  nodes that joined later are started by cluster-scripts/up");
        }
        for hint in self.secrets.hints() {
            eprintln!("  {hint}");
        }
        eprintln!("  logs beside the data folders; Ctrl-C stops all");
    }

    /// Tells of nodes that have ended since it was asked last, and whether there are any.
    fn note_deaths(&mut self) -> Result<bool> {
        let mut any = false;
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            if let Some(exit) = child.try_wait()? {
                let said = tail(&node.log(), node.log_start);
                let last = said.lines().next_back().map(|line| format!("; it said last: {line}"));
                eprintln!("lockstep: {} ended: {exit}{}", node.name, last.unwrap_or_default());
                node.exit = Some(exit);
                node.child = None;
                any = true;
            }
        }
        Ok(any)
    }

    fn all_dead(&self) -> bool {
        self.nodes.iter().all(|node| node.child.is_none())
    }

    /// Stops the nodes one after another: each leader hands over to one that is still there.
    async fn stop(mut self) -> Result<()> {
        for node in &mut self.nodes {
            let Some(mut child) = node.child.take() else { continue };
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                // SAFETY: the process is our child and has not been waited for.
                unsafe { libc::kill(pid, libc::SIGTERM) };
            }
            if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                eprintln!("lockstep: {} does not stop, killing it", node.name);
                child.kill().await?;
            }
        }
        Ok(())
    }
}

impl NodeProcess {
    fn log(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    /// Where it listens for clients.
    fn http_address(&self) -> &str {
        self.http.split_once("://").map_or(&self.http, |(_, address)| address)
    }

    fn has_left(&self) -> bool {
        self.data_dir.with_extension("left").exists()
    }

    fn start(&self, program: &Path) -> Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.with_context(|| format!("cannot write {}", self.log().display()))?;
        let mut command = Command::new(program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        for name in NOT_FOR_ALL {
            command.env_remove(name);
        }
        // What it reads is meant for one node.
        command.args(["--env-file", "/dev/null"]);
        let parent = std::process::id();
        // Ctrl-C reaches us alone, and we stop the nodes in order; if we are killed, they go too.
        command.process_group(0);
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                if libc::getppid() as u32 != parent {
                    return Err(std::io::Error::other("the parent is gone"));
                }
                Ok(())
            });
        }
        command.spawn().with_context(|| format!("cannot start {}", self.name))
    }
}

/// How many nodes the folder has from an earlier run, including those that left.
fn count_nodes(folder: &Path) -> u16 {
    let known = |i: &u16| folder.join(format!("n{i}")).is_dir() || folder.join(format!("n{i}.left")).exists();
    // A folder that was lost does not make the cluster smaller.
    let named = earlier_nodes(folder).into_iter().map(|(number, _)| number).max();
    (1..=9).rfind(known).max(named).unwrap_or(0)
}

/// The port of the first node of an earlier run, by whichever node `up.json` names first.
fn earlier_port(folder: &Path) -> Option<u16> {
    let (number, port) = earlier_nodes(folder).into_iter().next()?;
    port.checked_sub(number.checked_sub(1)?)
}

/// Numbers and HTTP ports of the nodes that `up.json` names.
fn earlier_nodes(folder: &Path) -> Vec<(u16, u16)> {
    let number_and_port = |node: &serde_json::Value| {
        let number = node["name"].as_str()?.strip_prefix('n')?.parse().ok()?;
        let port = node["http"].as_str()?.rsplit_once(':')?.1.parse().ok()?;
        Some((number, port))
    };
    let text = fs::read_to_string(folder.join("up.json")).unwrap_or_default();
    let up: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    up["nodes"].as_array().into_iter().flatten().filter_map(number_and_port).collect()
}

fn first_arguments(first: &FirstSettings) -> Vec<String> {
    let policy =
        first.policy.and_then(|policy| serde_json::to_value(policy).ok()?.as_str().map(str::to_owned));
    flags([
        ("--capacity-entries", first.capacity_entries.map(|n| n.to_string())),
        ("--capacity-bytes", first.capacity_bytes.map(|n| n.to_string())),
        ("--default-ttl-ms", first.default_ttl_ms.map(|n| n.to_string())),
        ("--policy", policy),
    ])
}

fn timing_arguments(timing: &TimingArgs) -> Vec<String> {
    flags([
        ("--heartbeat-ms", timing.heartbeat_ms.map(|n| n.to_string())),
        ("--election-min-ms", timing.election_min_ms.map(|n| n.to_string())),
        ("--election-max-ms", timing.election_max_ms.map(|n| n.to_string())),
        ("--snapshot-entries", timing.snapshot_entries.map(|n| n.to_string())),
        ("--entries-kept", timing.entries_kept.map(|n| n.to_string())),
    ])
}

fn flags<const N: usize>(given: [(&str, Option<String>); N]) -> Vec<String> {
    given.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
}

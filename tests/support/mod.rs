//! Real nodes for tests: processes on loopback, started, killed, paused and asked over HTTP.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod encrypted;
pub mod gauges;
pub mod ports;
pub mod wall_clock;

pub use ports::free_port;
use reqwest::{Client, Method, Response};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_lockstep");

/// Three clusters at a time: they wait more than they compute, and more of them on two cores would time each other out.
static CLUSTERS: Semaphore = Semaphore::const_new(3);

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of processes in a folder of its own; all end with it.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub http: Client,
    pub dir: TempDir,
    _turn: SemaphorePermit<'static>,
}

/// One process.
pub struct Node {
    pub name: String,
    pub http: String,
    pub peer: String,
    pub data_dir: PathBuf,
    arguments: Vec<String>,
    /// What is started.
    pub program: PathBuf,
    /// Set for the process, besides what this one has.
    pub environment: Vec<(String, String)>,
    /// Files that the process may open, where that is not what this one may.
    pub files_max: Option<u64>,
    /// Started so that a hang-up means nothing to it, as by `nohup`.
    pub ignores_hang_up: bool,
    child: Option<Child>,
}

/// Two free ports for one node.
pub fn addresses() -> (String, String) {
    (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()))
}

impl Node {
    /// A node that is not started yet.
    pub fn new(dir: &Path, name: &str, extra: &[&str]) -> Self {
        let (http, peer) = addresses();
        let data_dir = dir.join(name);
        let mut arguments: Vec<String> =
            ["serve", "--name", name, "--http", &http, "--peer", &peer, "--data-dir"]
                .map(str::to_owned)
                .to_vec();
        arguments.push(data_dir.display().to_string());
        arguments.extend(extra.iter().map(|text| (*text).to_owned()));
        Self {
            name: name.into(),
            http: format!("http://{http}"),
            peer,
            data_dir,
            arguments,
            program: PathBuf::from(PROGRAM),
            environment: Vec::new(),
            files_max: None,
            ignores_hang_up: false,
            child: None,
        }
    }

    /// From its next start on it does without this argument, which has no value.
    pub fn drop_argument(&mut self, argument: &str) {
        self.arguments.retain(|other| other != argument);
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|text| (*text).to_owned()));
        self
    }

    pub fn add_arguments(&mut self, arguments: &[String]) {
        self.arguments.extend_from_slice(arguments);
    }

    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub fn replace_arguments(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
    }

    pub fn log_path(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log: File =
            OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().cloned());
        let (files_max, ignores_hang_up) = (self.files_max, self.ignores_hang_up);
        // SAFETY: prctl, signal and setrlimit may be called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // Whatever the tests themselves were started by.
                libc::signal(libc::SIGHUP, if ignores_hang_up { libc::SIG_IGN } else { libc::SIG_DFL });
                if let Some(files) = files_max {
                    let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
                    libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
                }
                // A test that is killed takes its nodes along.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        self.child = Some(command.spawn().expect("the program starts"));
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("it runs").id()).expect("a pid")
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Whether the process has not ended by itself.
    pub fn still_runs(&mut self) -> bool {
        self.child.as_mut().expect("it was started").try_wait().expect("its state").is_none()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
        if signal == libc::SIGSTOP {
            self.wait_until_stopped();
        }
    }

    /// Its threads go on for a moment after the signal.
    fn wait_until_stopped(&self) {
        let id = libc::id_t::try_from(self.pid()).expect("an id");
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the process is our child and has not been waited for, and `info` is as large as is written.
        let stopped =
            unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), libc::WSTOPPED | libc::WNOWAIT) };
        assert_eq!(stopped, 0, "{}", std::io::Error::last_os_error());
    }

    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.take().expect("it runs").wait().expect("its end")
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.as_mut().expect("it runs").try_wait().expect("its state") {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end:\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn is_setting(name: &str) -> bool {
    name.starts_with("LOCKSTEP_")
        || ["PORT", "PEER_NODES", "CACHE_CAPACITY", "FRONTEND_URL", "NODE_ENV"].contains(&name)
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Cluster {
    /// An empty folder and the right to run nodes.
    pub async fn empty() -> Self {
        Self::empty_in(&std::env::temp_dir()).await
    }

    /// The same, with the folder in this one.
    pub async fn empty_in(parent: &Path) -> Self {
        let turn = CLUSTERS.acquire().await.expect("it is never closed");
        let http = lockstep::client::plain_http().timeout(PATIENCE).build().expect("a client");
        let dir = tempfile::tempdir_in(parent).expect("a folder");
        Self { nodes: Vec::new(), http, dir, _turn: turn }
    }

    /// So many nodes that know each other, started and ready. `extra` goes to each.
    pub async fn start(count: usize, extra: &[&str]) -> Self {
        Self::start_in(&std::env::temp_dir(), count, extra).await
    }

    /// Three nodes that are ready, and their ports for Redis clients.
    pub async fn with_redis() -> (Self, Vec<u16>) {
        let mut cluster = Self::stopped(3, &[]).await;
        let ports: Vec<u16> = cluster.nodes.iter().map(|_| free_port()).collect();
        for (node, port) in cluster.nodes.iter_mut().zip(&ports) {
            node.add_arguments(&["--redis".to_owned(), format!("127.0.0.1:{port}")]);
            node.start();
        }
        cluster.all_ready().await;
        (cluster, ports)
    }

    /// The same, with their folders in this one.
    pub async fn start_in(parent: &Path, count: usize, extra: &[&str]) -> Self {
        let mut cluster = Self::stopped_in(parent, count, extra).await;
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.all_ready().await;
        cluster
    }

    /// The same, not started yet.
    pub async fn stopped(count: usize, extra: &[&str]) -> Self {
        Self::stopped_in(&std::env::temp_dir(), count, extra).await
    }

    /// Nodes that are not started yet, with their folders in this one.
    pub async fn stopped_in(parent: &Path, count: usize, extra: &[&str]) -> Self {
        Self::empty_in(parent).await.with_nodes(count, extra)
    }

    fn with_nodes(mut self, count: usize, extra: &[&str]) -> Self {
        let nodes: Vec<Node> =
            (1..=count).map(|i| Node::new(self.dir.path(), &format!("n{i}"), extra)).collect();
        let urls: Vec<&str> = nodes.iter().map(|node| node.http.as_str()).collect();
        let list = urls.join(",");
        self.nodes = nodes.into_iter().map(|node| node.with(&["--initial-cluster", &list])).collect();
        self
    }

    pub async fn all_ready(&self) {
        for node in self.nodes.iter().filter(|node| node.runs()) {
            self.ready(node).await;
        }
    }

    pub async fn ready(&self, node: &Node) {
        let deadline = Instant::now() + PATIENCE;
        while self.status_code(&node.http, "/readyz").await != Some(200) {
            assert!(Instant::now() < deadline, "{} does not become ready:\n{}", node.name, self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The ends of all nodes' logs.
    fn logs(&self) -> String {
        let end = |node: &Node| {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            format!("== {}\n{}\n", node.name, lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        self.nodes.iter().map(end).collect()
    }

    async fn status_code(&self, url: &str, path: &str) -> Option<u16> {
        let request = self.http.get(format!("{url}{path}")).timeout(Duration::from_secs(3));
        request.send().await.ok().map(|response| response.status().as_u16())
    }

    /// One node's view of everything.
    pub async fn status(&self, node: &Node) -> Value {
        let response = self.http.get(format!("{}/v1/status", node.http)).send().await.expect("an answer");
        response.json().await.expect("a status")
    }

    /// Position of the leader, once the running nodes agree on one that runs.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no leader");
            let mut seen = Vec::new();
            for node in self.nodes.iter().filter(|node| node.runs()) {
                seen.push(self.status(node).await["leader"]["name"].as_str().map(str::to_owned));
            }
            if let Some(Some(name)) = seen.first().filter(|first| seen.iter().all(|other| other == *first))
                && let Some(found) = self.nodes.iter().position(|node| node.runs() && node.name == *name)
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A running node that does not lead.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.nodes.len()).find(|&i| i != leader && self.nodes[i].runs()).expect("a follower")
    }

    pub async fn request(
        &self,
        method: Method,
        node: &Node,
        path: &str,
        body: impl Into<String>,
    ) -> Response {
        let request = self.http.request(method, format!("{}{path}", node.http)).body(body.into());
        request.send().await.expect("an answer")
    }

    /// Writes; true when it was acknowledged, false when it surely or possibly was not done.
    pub async fn put(&self, node: &Node, key: &str, value: &str, limit: Duration) -> bool {
        let request =
            self.http.put(format!("{}/v1/kv/{key}", node.http)).body(value.to_owned()).timeout(limit);
        request.send().await.is_ok_and(|response| response.status().is_success())
    }

    /// Writes until it is acknowledged.
    pub async fn put_surely(&self, node: &Node, key: &str, value: &str) {
        until(&format!("{key} is written"), || self.put(node, key, value, Duration::from_secs(5))).await;
    }

    /// A linearizable read: the value, or the status of a refusal.
    pub async fn get(&self, node: &Node, key: &str) -> Result<String, u16> {
        let response = self.http.get(format!("{}/v1/kv/{key}", node.http)).send().await.map_err(|_| 0_u16)?;
        let status = response.status().as_u16();
        if status == 200 { Ok(response.text().await.map_err(|_| 0_u16)?) } else { Err(status) }
    }

    /// R4: at equal index, equal digests. Waits until all running nodes share an index.
    pub async fn digests_agree(&self) {
        until("the nodes' newest digests meet at one index", || async {
            let mut all: Vec<Vec<(u64, String)>> = Vec::new();
            for node in self.nodes.iter().filter(|node| node.runs()) {
                let body: Value =
                    self.request(Method::GET, node, "/v1/digest", "").await.json().await.expect("json");
                let pair = |d: &Value| {
                    (d["index"].as_u64().expect("u64"), d["digest"].as_str().expect("hex").to_owned())
                };
                all.push(body["digests"].as_array().expect("a list").iter().map(pair).collect());
            }
            let (first, rest) = all.split_first().expect("a node");
            for other in rest {
                for (index, digest) in first {
                    if let Some((_, theirs)) = other.iter().find(|(i, _)| i == index) {
                        assert_eq!(digest, theirs, "digests differ at index {index}");
                    }
                }
            }
            let newest = |digests: &Vec<(u64, String)>| digests.last().map(|(index, _)| *index);
            rest.iter().all(|other| newest(other) == newest(first))
        })
        .await;
    }

    /// R3 on one node: purged <= snapshot <= applied <= committed <= last log index.
    pub async fn positions_are_ordered(&self, node: &Node) {
        let status = self.status(node).await;
        let names = ["purged_index", "snapshot_index", "applied_index", "committed_index", "last_log_index"];
        // Taken one after another while the node works, so only the order of reading is sure to be kept.
        let positions: Vec<u64> = names.iter().map(|name| status[name].as_u64().expect("a number")).collect();
        assert!(positions[0] <= positions[1], "{names:?} {positions:?}");
        assert!(positions[1] <= positions[3] && positions[3] <= positions[4], "{names:?} {positions:?}");
    }
}

/// Looks again and again until it holds, and fails the test after [`PATIENCE`].
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the program to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

//! Starting a system, putting load on it, stopping it.

use super::http::{ask, is_ready};
use super::process::{Process, command, find, output};
use super::redis;
use super::relay::Relay;
use super::rows::{Level, Setup, System, Work};
use crate::disk::Disk;
use crate::etcd;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a system may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// How much longer a measurement may take than its load: filling keys in, starting and stopping nodes.
const SLACK: Duration = Duration::from_secs(120);
/// How long it may take to store millions of entries.
const FILL_LIMIT: Duration = Duration::from_secs(600);
/// How long the memory may take to settle: snapshots end, and the allocators give back what is free.
const SETTLE: Duration = Duration::from_secs(10);
const NODES: u16 = 3;

/// The programs, as far as they are here.
pub struct Tools {
    pub lockstep: PathBuf,
    /// This program: it also puts the load on.
    pub rivals: PathBuf,
    /// The folder with another build of both.
    pub before: Option<PathBuf>,
    pub etcd: Option<PathBuf>,
    /// The server and its benchmark.
    pub redis: Option<(PathBuf, PathBuf)>,
}

impl Tools {
    /// # Errors
    /// Lockstep itself is missing, or another build of it that is asked for.
    pub fn find(lockstep: &Path, before: Option<&Path>) -> Result<Self> {
        if !lockstep.is_file() {
            bail!("there is no program {}", lockstep.display());
        }
        let before = before.map(std::fs::canonicalize).transpose().context("no folder for --before")?;
        if let Some(folder) = &before
            && !folder.join("lockstep").is_file()
        {
            bail!("there is no program lockstep in {}", folder.display());
        }
        let redis = find("redis-server").zip(find("redis-benchmark"));
        let rivals = std::env::current_exe().context("this program does not know where it is")?;
        let lockstep = std::fs::canonicalize(lockstep)?;
        Ok(Self { lockstep, rivals, before, etcd: find("etcd"), redis })
    }

    /// Why a system cannot be measured here.
    pub fn missing(&self, system: System) -> Option<String> {
        let reason = match system {
            System::Etcd if self.etcd.is_none() => "etcd is not installed: apt-get install etcd-server",
            System::Redis if self.redis.is_none() => {
                "Redis is not installed: apt-get install redis-server redis-tools"
            }
            System::EmbeddedBefore if !self.rivals_of(system).is_file() => {
                "the folder of --before has no program rivals"
            }
            System::Hiqlite if !cfg!(feature = "hiqlite") => "hiqlite could not be built here",
            _ => return None,
        };
        Some(reason.to_owned())
    }

    fn lockstep_of(&self, system: System) -> PathBuf {
        match (system, &self.before) {
            (System::Before, Some(folder)) => folder.join("lockstep"),
            _ => self.lockstep.clone(),
        }
    }

    fn rivals_of(&self, system: System) -> PathBuf {
        match (system, &self.before) {
            (System::EmbeddedBefore, Some(folder)) => folder.join("rivals"),
            _ => self.rivals.clone(),
        }
    }
}

/// How the load is put on, the same for all.
#[derive(Debug, Clone)]
pub struct Settings {
    pub seconds: f64,
    pub warm_up: f64,
    pub disk: Disk,
    /// Ports are looked for from here on.
    pub port: u16,
}

/// A system that runs, alone on the machine. Ends when it is dropped.
pub struct Running<'a> {
    setup: Setup,
    tools: &'a Tools,
    settings: &'a Settings,
    processes: Vec<Process>,
    /// One in front of each member, unless the link is loopback.
    relays: Vec<Relay>,
    /// URLs, or for Redis the primary's port.
    urls: Vec<String>,
    ports: Vec<u16>,
    /// How long it took from the start of the first process until all served.
    formed_after: Duration,
    /// Whether all keys are there.
    filled: bool,
    /// Last, so that nobody writes there any more.
    folder: TempDir,
}

impl<'a> Running<'a> {
    /// Starts a system and waits until it can serve.
    ///
    /// # Errors
    /// A sentence with what it said last.
    pub async fn start(setup: Setup, tools: &'a Tools, settings: &'a Settings) -> Result<Self> {
        let folder = settings.disk.folder()?;
        let data = folder.path().to_owned();
        let mut running = Self {
            setup,
            tools,
            settings,
            processes: Vec::new(),
            relays: Vec::new(),
            urls: Vec::new(),
            ports: Vec::new(),
            formed_after: Duration::ZERO,
            filled: false,
            folder,
        };
        let started = Instant::now();
        match setup.system {
            System::Lockstep | System::Before => running.start_lockstep(&data).await?,
            System::Baseline => running.start_baseline(&data).await?,
            System::Etcd => running.start_etcd(&data).await?,
            System::Redis => running.start_redis(&data).await?,
            // They live in the process that puts the load on.
            System::Embedded | System::EmbeddedBefore | System::Hiqlite | System::Openraft => {}
        }
        running.formed_after = started.elapsed();
        Ok(running)
    }

    /// A relay in front of each member; the members listen from `members` on, the relays from `relays` on. Returns the
    /// ports at which members reach each other.
    fn relays(&mut self, members: u16, relays: u16) -> Result<Vec<u16>> {
        let link = self.setup.link;
        if link.is_loopback() {
            return Ok((0..NODES).map(|i| members + i).collect());
        }
        for i in 0..NODES {
            self.relays.push(Relay::start(relays + i, members + i, link)?);
        }
        Ok((0..NODES).map(|i| relays + i).collect())
    }

    async fn start_lockstep(&mut self, data: &Path) -> Result<()> {
        let port = free_block(self.settings.port, &[0, 1, 2, 3, 4, 5, 6, 7, 8])?;
        let reached = self.relays(port + NODES, port + 2 * NODES)?;
        self.urls = (0..NODES).map(|i| format!("http://127.0.0.1:{}", port + i)).collect();
        let cluster = self.urls.join(",");
        for (i, reached) in (0..NODES).zip(reached) {
            let address = |port: u16| format!("127.0.0.1:{port}");
            let mut node = command(&self.tools.lockstep_of(self.setup.system));
            node.arg("serve").arg("--data-dir").arg(data.join(format!("n{i}")));
            node.args(["--http", &address(port + i), "--peer", &address(port + NODES + i)]);
            node.args(["--advertise-peer", &address(reached), "--initial-cluster", &cluster]);
            let log = data.join(format!("n{i}.log"));
            self.processes.push(Process::start(&format!("lockstep serve {i}"), node, log)?);
        }
        let deadline = Instant::now() + READY_LIMIT;
        let mut ready = 0;
        while ready < self.urls.len() {
            self.all_run()?;
            match is_ready(&self.urls[ready]).await {
                Ok(()) => ready += 1,
                Err(error) if Instant::now() > deadline => return Err(error.context("a node is not ready")),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        Ok(())
    }

    async fn start_baseline(&mut self, data: &Path) -> Result<()> {
        let port = free_block(self.settings.port, &[0])?;
        self.urls = vec![format!("http://127.0.0.1:{port}")];
        let mut baseline = command(&self.tools.lockstep);
        baseline.args(["baseline-server", "--port", &port.to_string()]);
        self.processes.push(Process::start("lockstep baseline-server", baseline, data.join("baseline.log"))?);
        self.await_line("baseline server ready").await
    }

    async fn start_etcd(&mut self, data: &Path) -> Result<()> {
        let program = self.tools.etcd.as_ref().context("etcd is not installed")?;
        let port = free_block(self.settings.port, &[0, 1, 2, 3, 4, 5, 6, 7, 8])?;
        let reached = self.relays(port + NODES, port + 2 * NODES)?;
        let client = |i: u16| format!("http://127.0.0.1:{}", port + i);
        let peer = |i: u16| format!("http://127.0.0.1:{}", port + NODES + i);
        let reached = |i: u16| format!("http://127.0.0.1:{}", reached[usize::from(i)]);
        let members: Vec<String> = (0..NODES).map(|i| format!("m{i}={}", reached(i))).collect();
        let members = members.join(",");
        for i in 0..NODES {
            let name = format!("m{i}");
            // Its defaults, but for addresses; and it is not to write about what it does.
            let mut member = command(program);
            member.arg("--name").arg(&name).arg("--data-dir").arg(data.join(&name));
            member.args(["--listen-client-urls", &client(i), "--advertise-client-urls", &client(i)]);
            member.args(["--listen-peer-urls", &peer(i), "--initial-advertise-peer-urls", &reached(i)]);
            member.args(["--initial-cluster", &members, "--initial-cluster-state", "new"]);
            member.args(["--logger", "zap", "--log-level", "error"]);
            let log = data.join(format!("{name}.log"));
            self.processes.push(Process::start(&format!("etcd {name}"), member, log)?);
        }
        self.urls = (0..NODES).map(client).collect();
        let deadline = Instant::now() + READY_LIMIT;
        let mut ready = 0;
        while ready < self.urls.len() {
            self.all_run()?;
            match etcd::leads(&self.urls[ready]).await {
                Ok(_) => ready += 1,
                Err(error) if Instant::now() > deadline => return Err(error.context("etcd is not ready")),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        Ok(())
    }

    async fn start_redis(&mut self, data: &Path) -> Result<()> {
        let (server, _) = self.tools.redis.as_ref().context("Redis is not installed")?;
        let port = free_block(self.settings.port, &[0, 1, 2])?;
        self.ports = (0..NODES).map(|i| port + i).collect();
        for i in 0..NODES {
            let dir = data.join(format!("r{i}"));
            std::fs::create_dir_all(&dir)?;
            let mut node = command(server);
            node.args(["--bind", "127.0.0.1", "--port", &(port + i).to_string(), "--dir"]).arg(&dir);
            node.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
            if i > 0 {
                node.args(["--replicaof", "127.0.0.1", &port.to_string()]);
            }
            let log = data.join(format!("r{i}.log"));
            self.processes.push(Process::start(&format!("redis-server {i}"), node, log)?);
        }
        let deadline = Instant::now() + READY_LIMIT;
        while !redis::has_replicas(port, NODES - 1).await {
            self.all_run()?;
            if Instant::now() > deadline {
                bail!("the replicas did not connect to the primary within {READY_LIMIT:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn all_run(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::still_runs)
    }

    async fn await_line(&mut self, start: &str) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let process = self.processes.last_mut().context("nothing was started")?;
            if process.log().lines().any(|line| line.starts_with(start)) {
                return Ok(());
            }
            process.still_runs()?;
            if Instant::now() > deadline {
                bail!("no `{start}` within {READY_LIMIT:?}: {}", process.log());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Puts load on and returns what was measured.
    ///
    /// # Errors
    /// It could not be measured.
    pub async fn measure(&mut self, work: Work) -> Result<Value> {
        match work {
            Work::Form => return Ok(took(self.formed_after)),
            Work::Failover => return self.fail_over().await.map(took),
            Work::Hold { entries } => return self.hold(entries).await,
            _ => {}
        }
        let report = match self.setup.system {
            System::Lockstep | System::Before | System::Baseline => self.bench(work).await?,
            System::Etcd => self.load_etcd(work).await?,
            System::Redis => self.load_redis(work).await?,
            System::Embedded | System::EmbeddedBefore => self.in_process("embedded", work).await?,
            System::Hiqlite => self.in_process("hiqlite", work).await?,
            System::Openraft => self.in_process("openraft", work).await?,
        };
        self.all_run()?;
        Ok(report)
    }

    /// Stores so many entries of 16 and 128 bytes, and looks at the memory of the processes.
    async fn hold(&mut self, entries: u32) -> Result<Value> {
        match self.setup.system {
            System::Lockstep | System::Before => {
                let room = format!("{{\"capacity_entries\":{}}}", 2 * entries);
                ask(&self.urls[0], "PUT /v1/config", &room).await?;
                let mut fill = command(&self.tools.lockstep_of(self.setup.system));
                fill.args(["bench", "get", "--url", &self.urls[0], "--connections", "1", "--json"]);
                fill.args(["--keys", &entries.to_string(), "--seconds", "0.1", "--warm-up", "0"]);
                self.run_for(fill, FILL_LIMIT).await?;
            }
            System::Redis => redis::fill(*self.ports.first().context("Redis does not run")?, entries).await?,
            _ => bail!("not for this system"),
        }
        tokio::time::sleep(SETTLE).await;
        self.all_run()?;
        let (mut resident, mut peak) = (0.0_f64, 0.0_f64);
        for process in &self.processes {
            let (now, most) = process.resident_mb()?;
            (resident, peak) = (resident.max(now), peak.max(most));
        }
        Ok(serde_json::json!({ "entries": entries, "resident_mb": resident, "resident_peak_mb": peak }))
    }

    /// Kills the leader and writes to another member.
    async fn fail_over(&mut self) -> Result<Duration> {
        let mut leader = None;
        for (number, url) in self.urls.iter().enumerate() {
            let leads = match self.setup.system {
                System::Etcd => etcd::leads(url).await?,
                _ => ask(url, "GET /v1/status", "").await?.contains("\"role\":\"leader\",\"leader\""),
            };
            leader = leads.then_some(number).or(leader);
        }
        let leader = leader.context("nobody leads")?;
        let killed = Instant::now();
        self.processes.remove(leader).kill();
        self.urls.remove(leader);
        let url = &self.urls[0];
        let deadline = killed + READY_LIMIT;
        // A write that is sent while nobody leads may be lost: etcd answers it after seven seconds. A client that is in a
        // hurry sends another one.
        let patience = Duration::from_millis(500) + 5 * self.setup.link.round_trip();
        loop {
            let writing = async {
                match self.setup.system {
                    System::Etcd => etcd::write(url, "failover").await,
                    _ => ask(url, "PUT /v1/kv/failover", "written").await.map(drop),
                }
            };
            let written = tokio::time::timeout(patience, writing).await;
            match written.context("no answer in time").flatten() {
                Ok(()) => return Ok(killed.elapsed()),
                Err(error) if Instant::now() > deadline => return Err(error.context("nobody takes over")),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn bench(&mut self, work: Work) -> Result<Value> {
        // Another build is asked by its own load generator: this one might not understand its answers.
        let mut bench = command(&self.tools.lockstep_of(self.setup.system));
        bench.arg("bench");
        let (kind, clients, leader) = match work {
            Work::Put { clients, leader } => ("put", clients, leader),
            Work::Get { clients, leader, .. } => ("get", clients, leader),
            Work::Batch { clients, .. } => ("batch", clients, true),
            Work::Write { .. } | Work::Form | Work::Failover | Work::Hold { .. } => {
                bail!("not for `lockstep bench`")
            }
        };
        let to = match (self.setup.system, leader) {
            (System::Baseline, _) => "server",
            (_, true) => "leader",
            (_, false) => "followers",
        };
        bench.args([kind, "--to", to, "--url", &self.urls.join(",")]);
        bench.args(["--connections", &clients.to_string(), "--json"]);
        self.add_times(&mut bench);
        match work {
            Work::Batch { each, .. } => {
                bench.args(["--batch", &each.to_string()]);
            }
            Work::Get { level, .. } => {
                bench.args(["--consistency", level.name()]);
                if self.filled {
                    bench.arg("--no-fill");
                }
            }
            _ => {}
        }
        let report = self.run(bench).await?;
        self.filled |= matches!(work, Work::Get { .. });
        Ok(report)
    }

    async fn load_etcd(&mut self, work: Work) -> Result<Value> {
        let (kind, clients, leader) = match work {
            Work::Put { clients, leader } => ("put", clients, leader),
            Work::Get { clients, level: Level::Linearizable, leader } => ("get", clients, leader),
            _ => bail!("not for etcd"),
        };
        let mut load = command(&self.tools.rivals);
        load.args(["etcd", kind, "--endpoints", &self.urls.join(","), "--clients", &clients.to_string()]);
        load.args(["--to", if leader { "leader" } else { "followers" }, "--json"]);
        self.add_times(&mut load);
        if kind == "get" && self.filled {
            load.arg("--no-fill");
        }
        let report = self.run(load).await?;
        self.filled |= kind == "get";
        Ok(report)
    }

    async fn load_redis(&mut self, work: Work) -> Result<Value> {
        let (_, benchmark) = self.tools.redis.as_ref().context("Redis is not installed")?;
        let Work::Batch { clients, each } = work else { bail!("not for Redis") };
        let port = *self.ports.first().context("Redis does not run")?;
        redis::load(benchmark, port, clients, each, self.settings).await
    }

    async fn in_process(&mut self, name: &str, work: Work) -> Result<Value> {
        let Work::Write { callers, flush } = work else { bail!("not for a library") };
        let mut load = command(&self.tools.rivals_of(self.setup.system));
        load.args([name, "--callers", &callers.to_string(), "--json"]);
        self.add_times(&mut load);
        if self.setup.system != System::Openraft {
            load.arg("--data-dir").arg(self.folder.path());
        }
        if self.setup.system == System::Hiqlite {
            load.args(["--flush", flush.name()]);
        }
        self.run(load).await
    }

    fn add_times(&self, load: &mut Command) {
        let Settings { seconds, warm_up, .. } = self.settings;
        load.args(["--seconds", &seconds.to_string(), "--warm-up", &warm_up.to_string()]);
    }

    /// Runs a load generator; its report is on the last line.
    async fn run(&self, load: Command) -> Result<Value> {
        let limit = Duration::from_secs_f64(self.settings.seconds + self.settings.warm_up) + SLACK;
        self.run_for(load, limit).await
    }

    async fn run_for(&self, load: Command, limit: Duration) -> Result<Value> {
        let text = output(load, limit).await?;
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("not a report: {last}"))
    }

    /// Stops all processes and removes what they wrote.
    pub async fn stop(mut self) {
        for process in self.processes.drain(..) {
            process.stop().await;
        }
    }
}

/// A duration as a report.
fn took(took: Duration) -> Value {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    serde_json::json!({ "requests": 1, "latency_us": { "p50": micros, "p99": micros } })
}

/// The first port at or above `from` such that all at these distances are free.
fn free_block(from: u16, distances: &[u16]) -> Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let fits = |port: &u16| distances.iter().all(|distance| port.checked_add(*distance).is_some_and(is_free));
    (from..u16::MAX).find(fits).with_context(|| format!("no free ports from {from} on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_ports_are_left_out() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("it is bound").port();
        let found = free_block(port, &[0]).expect("another is free");
        assert!(found > port);
        assert!(free_block(u16::MAX - 1, &[0, 10]).is_err(), "there are no ports beyond the last");
    }
}

//! Real nodes behind proxies: started, killed, paused, joined and removed.

use super::network::{End, Kind, Network, Proxy};
use crate::support::{Node, wall_clock};
use lockstep::api::Status;
use reqwest::Client;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// How long a healed cluster may take until all its nodes serve. A node that waits for silent peers takes 5 s.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// How the nodes of a cluster are started.
#[derive(Debug, Clone)]
pub struct Shape {
    pub nodes: usize,
    /// Log entries between two snapshots, and kept behind one.
    pub snapshot_entries: u64,
    pub entries_kept: u64,
    pub capacity_entries: Option<u64>,
    /// More arguments for every node.
    pub extra: Vec<String>,
    /// Arguments for one node only, the first.
    pub first: Vec<String>,
}

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub name: String,
    /// The node's number in the cluster.
    pub id: End,
    /// Through its proxy, as clients do.
    pub url: String,
    /// The same for Redis clients: a host and a port.
    pub redis: String,
    /// Past the proxy, for those who only watch.
    pub direct: String,
}

/// The nodes that clients may ask. Clones share the list.
#[derive(Clone, Default)]
pub struct Directory(Arc<RwLock<Vec<Address>>>);

impl Directory {
    pub fn all(&self) -> Vec<Address> {
        self.0.read().expect("no panic while held").clone()
    }

    pub fn any(&self, random: &mut fastrand::Rng) -> Address {
        let all = self.0.read().expect("no panic while held");
        all[random.usize(..all.len())].clone()
    }

    fn set(&self, all: Vec<Address>) {
        *self.0.write().expect("no panic while held") = all;
    }
}

/// One node and what stands in front of it.
pub struct Member {
    pub node: Node,
    pub id: End,
    pub paused: bool,
    clients: Proxy,
    redis: Proxy,
    peers: Proxy,
}

impl Member {
    pub fn runs(&self) -> bool {
        self.node.runs()
    }

    pub fn kill(&mut self) {
        self.node.kill();
        self.peers.close();
        self.paused = false;
    }

    /// For a process that has ended by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let status = self.node.ended().await;
        self.peers.close();
        self.paused = false;
        status
    }

    pub async fn start(&mut self) {
        self.peers.open().await;
        self.node.start();
    }

    pub fn pause(&mut self) {
        self.node.signal(libc::SIGSTOP);
        self.paused = true;
    }

    pub fn resume(&mut self) {
        self.node.signal(libc::SIGCONT);
        self.paused = false;
    }

    fn address(&self) -> Address {
        Address {
            name: self.node.name.clone(),
            id: self.id,
            url: format!("http://{}", self.clients.address),
            redis: self.redis.address.clone(),
            direct: self.node.http.clone(),
        }
    }
}

/// A cluster under test. Members that were removed for good are dropped from the list, not from the folder.
pub struct Cluster {
    pub members: Vec<Member>,
    pub network: Network,
    pub directory: Directory,
    pub shape: Shape,
    pub http: Client,
    pub moves_clocks: bool,
    /// Set once something is wrong for good: then nobody need be waited for.
    pub hopeless: Arc<AtomicBool>,
    folder: PathBuf,
    named: usize,
}

impl Cluster {
    /// Starts a cluster in `folder` and waits until all of it serves.
    pub async fn start(folder: &Path, shape: Shape, network: Network) -> Result<Self, String> {
        let http = lockstep::client::plain_http().timeout(Duration::from_secs(2)).build().expect("a client");
        let mut cluster = Self {
            members: Vec::new(),
            network,
            directory: Directory::default(),
            http,
            moves_clocks: wall_clock::library().is_some(),
            hopeless: Arc::default(),
            folder: folder.to_owned(),
            named: 0,
            shape,
        };
        for position in 0..cluster.shape.nodes {
            let extra = if position == 0 { cluster.shape.first.clone() } else { Vec::new() };
            let member = cluster.new_member(&extra).await;
            cluster.members.push(member);
        }
        let urls: Vec<String> = cluster.members.iter().map(|member| member.address().url).collect();
        for member in &mut cluster.members {
            let mut first = vec!["--initial-cluster".to_owned(), urls.join(",")];
            if let Some(entries) = cluster.shape.capacity_entries {
                first.extend(["--capacity-entries".into(), entries.to_string()]);
            }
            member.node.add_arguments(&first);
            member.start().await;
        }
        cluster.all_ready().await?;
        for position in 0..cluster.members.len() {
            cluster.learn_id(position).await?;
        }
        cluster.publish();
        Ok(cluster)
    }

    /// A node with a name that was never used, not started yet.
    async fn new_member(&mut self, extra: &[String]) -> Member {
        self.named += 1;
        let name = format!("n{}", self.named);
        let (entries, kept) = (self.shape.snapshot_entries.to_string(), self.shape.entries_kept.to_string());
        let mut node = Node::new(&self.folder, &name, &["--request-timeout-ms", "1500", "--fault-injection"]);
        let clients = Proxy::start(&self.network, Kind::Clients, &node.http["http://".len()..]).await;
        let redis_address = format!("127.0.0.1:{}", crate::support::free_port());
        let redis = Proxy::start(&self.network, Kind::Redis, &redis_address).await;
        let peers = Proxy::start(&self.network, Kind::Peers, &node.peer).await;
        let mut arguments: Vec<String> = vec![
            "--advertise-http".into(),
            format!("http://{}", clients.address),
            "--advertise-peer".into(),
            peers.address.clone(),
            "--redis".into(),
            redis_address,
            "--snapshot-entries".into(),
            entries,
            "--entries-kept".into(),
            kept,
        ];
        arguments.extend(self.shape.extra.iter().cloned());
        arguments.extend_from_slice(extra);
        node.add_arguments(&arguments);
        if let Some(library) = wall_clock::library() {
            wall_clock::install(&mut node, library);
        }
        Member { node, id: 0, paused: false, clients, redis, peers }
    }

    /// Adds a node under a fresh name and number; waits until it serves and votes.
    ///
    /// # Errors
    /// A sentence: the cluster would not take it in time. Its process is ended; the cluster may list it.
    pub async fn join(&mut self) -> Result<usize, String> {
        let mut member = self.new_member(&[]).await;
        let through = self.members.iter().find(|member| member.runs() && !member.paused);
        let url = through.ok_or("nobody to join through")?.address().url;
        member.node.add_arguments(&["--join".into(), url]);
        member.start().await;
        self.members.push(member);
        let position = self.members.len() - 1;
        let joined = async {
            self.ready(position).await?;
            self.learn_id(position).await?;
            self.is_voter(position).await
        };
        match joined.await {
            Ok(()) => {
                self.publish();
                Ok(position)
            }
            Err(error) => {
                self.members.pop();
                Err(error)
            }
        }
    }

    /// Takes a node out of the membership through any other one, then ends it.
    ///
    /// # Errors
    /// A sentence; the node may have been removed.
    pub async fn remove(&mut self, position: usize) -> Result<(), String> {
        let id = self.members[position].id;
        let deadline = Instant::now() + RECOVERY_LIMIT;
        while !self.remove_once(position, id).await {
            if Instant::now() > deadline {
                return Err(format!("node {id} could not be removed"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut member = self.members.remove(position);
        if member.runs() {
            member.kill();
        }
        self.publish();
        Ok(())
    }

    /// Whether the node is out of the membership now.
    async fn remove_once(&self, position: usize, id: End) -> bool {
        let others = self.members.iter().enumerate().filter(|(i, m)| *i != position && m.runs() && !m.paused);
        for (_, other) in others {
            let answer = self.http.delete(format!("{}/v1/members/{id}", other.node.http)).send().await;
            // 404: an earlier try, whose answer was lost, removed it.
            if answer.is_ok_and(|answer| answer.status().is_success() || answer.status().as_u16() == 404) {
                return true;
            }
        }
        false
    }

    /// Hands the lead to some other voter.
    pub async fn transfer(&self) -> Result<(), String> {
        let leader = self.leader().await.ok_or("no leader")?;
        let url = format!("{}/v1/leader", self.members[leader].node.http);
        let answer = self.http.post(url).json(&json!({})).send().await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("status {}", answer.status())) }
    }

    /// What a node says of itself, past the proxies.
    pub async fn status(&self, position: usize) -> Option<Status> {
        let member = self.members.get(position).filter(|member| member.runs() && !member.paused)?;
        let url = format!("{}/v1/status", member.node.http);
        self.http.get(url).send().await.ok()?.json().await.ok()
    }

    /// Position of the node that leads in the highest term, if any says that it does.
    pub async fn leader(&self) -> Option<usize> {
        let mut newest = None;
        for position in 0..self.members.len() {
            if let Some(status) = self.status(position).await
                && status.role == "leader"
                && newest.is_none_or(|(term, _)| status.term > term)
            {
                newest = Some((status.term, position));
            }
        }
        newest.map(|(_, position)| position)
    }

    /// The leader, waiting for one.
    pub async fn wait_for_leader(&self) -> Option<usize> {
        let deadline = Instant::now() + Duration::from_secs(4);
        while Instant::now() < deadline {
            if let Some(leader) = self.leader().await {
                return Some(leader);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// Everything that was broken on purpose is whole again, and every node serves.
    ///
    /// # Errors
    /// A sentence: a node does not serve in time.
    pub async fn heal(&mut self, forget: bool) -> Result<(), String> {
        self.network.heal(forget);
        for member in &mut self.members {
            if self.moves_clocks {
                wall_clock::throw(&member.node, "+0");
            }
            if member.paused {
                member.resume();
            }
            if !member.runs() {
                member.start().await;
            }
        }
        self.all_ready().await
    }

    pub async fn all_ready(&mut self) -> Result<(), String> {
        for position in 0..self.members.len() {
            self.ready(position).await?;
        }
        Ok(())
    }

    async fn ready(&mut self, position: usize) -> Result<(), String> {
        let deadline = Instant::now() + RECOVERY_LIMIT;
        let url = format!("{}/readyz", self.members[position].node.http);
        loop {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let node = &mut self.members[position].node;
            if !node.still_runs() {
                return Err(format!("{} ended:\n{}", node.name, tail(&node.log())));
            }
            if Instant::now() > deadline || self.hopeless.load(Ordering::Acquire) {
                return Err(format!("{} does not serve:\n{}", node.name, tail(&node.log())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn learn_id(&mut self, position: usize) -> Result<(), String> {
        let status = self.status(position).await.ok_or("a node that serves tells no status")?;
        let member = &mut self.members[position];
        member.id = status.node.id;
        member.clients.belongs_to(member.id);
        member.redis.belongs_to(member.id);
        member.peers.belongs_to(member.id);
        Ok(())
    }

    async fn is_voter(&self, position: usize) -> Result<(), String> {
        let deadline = Instant::now() + RECOVERY_LIMIT;
        loop {
            if let Some(status) = self.status(position).await
                && status.members.iter().any(|member| member.id == status.node.id && member.voter)
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} never got a vote", self.members[position].node.name));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until all nodes have applied the same index; what they say of themselves there.
    ///
    /// # Errors
    /// A sentence: they never meet.
    pub async fn still(&self) -> Result<Vec<Status>, String> {
        let deadline = Instant::now() + RECOVERY_LIMIT;
        loop {
            let mut all = Vec::new();
            for position in 0..self.members.len() {
                all.extend(self.status(position).await);
            }
            // One at a time is asked, and a tick may come in between.
            let is_whole = all.len() == self.members.len();
            if is_whole && all.windows(2).all(|pair| pair[0].applied_index == pair[1].applied_index) {
                return Ok(all);
            }
            if Instant::now() > deadline {
                let indexes: Vec<u64> = all.iter().map(|status| status.applied_index).collect();
                return Err(format!("the nodes do not meet at one index: {indexes:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn publish(&self) {
        self.directory.set(self.members.iter().map(Member::address).collect());
    }
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

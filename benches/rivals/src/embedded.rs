//! Three nodes of Lockstep in this process, written to through the embedding API.

use crate::disk::Disk;
use crate::load::{Caller, Load, run};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use lockstep::cache::{CacheConfig, Command, Condition, Key, Op, Ttl, Value};
use lockstep::front::{Front, FrontLimits};
use lockstep::http::{AppState, HttpServer, HttpSettings};
use lockstep::node::{Node, NodeOptions, Opened, Origin};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const NODES: usize = 3;
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct EmbeddedArgs {
    /// Tasks that write, each with one write under way
    #[arg(long, default_value_t = 64)]
    pub callers: usize,
    #[command(flatten)]
    pub disk: Disk,
    #[command(flatten)]
    pub load: Load,
}

/// Writes through the leader and reports.
///
/// # Errors
/// The cluster does not form.
pub async fn embedded(args: &EmbeddedArgs) -> Result<serde_json::Value> {
    let folder = args.disk.folder()?;
    let cluster = Cluster::start(folder.path()).await?;
    let leader = cluster.leader().await?;
    let before = leader.term();
    let keys: Result<Arc<[Key]>, _> = args.load.key_names().map(|name| Key::new(&name)).collect();
    let (keys, value) = (keys?, args.load.value());
    let caller = || Writer { node: leader.clone(), keys: keys.clone(), value: value.clone() };
    let measured = run(&args.load, (0..args.callers).map(|_| caller()).collect()).await;
    // A new leader in the middle makes the rest of the writes go over the peer link: the reader should know.
    let led_throughout = leader.term() == before && leader.status().await.role == "leader";
    let more = json!({
        "system": "lockstep, embedded", "nodes": NODES, "callers": args.callers, "durable": true,
        "led_throughout": led_throughout,
    });
    cluster.stop().await;
    Ok(measured.report("put", &args.load, more))
}

struct Writer {
    node: Node,
    keys: Arc<[Key]>,
    value: Bytes,
}

impl Caller for Writer {
    async fn ask(&mut self, key: usize) -> Result<(), String> {
        let value = Value { bytes: self.value.clone(), content_type: None };
        let put = Op::Put {
            key: self.keys[key].clone(),
            value,
            ttl: Ttl::Never,
            condition: Condition::Always,
            previous: false,
        };
        match self.node.write(Command::One(put)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Nodes that found each other. They talk over loopback, as they would over a network.
struct Cluster {
    nodes: Vec<Node>,
    servers: Vec<HttpServer>,
}

impl Cluster {
    async fn start(folder: &Path) -> Result<Self> {
        // Nodes introduce themselves to each other over HTTP; afterwards nobody uses it here.
        let mut listeners = Vec::new();
        for _ in 0..NODES {
            listeners.push(TcpListener::bind("127.0.0.1:0").await?);
        }
        let urls: Result<Vec<String>> =
            listeners.iter().map(|listener| Ok(format!("http://{}", listener.local_addr()?))).collect();
        let urls = urls?;
        let starting = listeners.into_iter().zip(1..).map(|(listener, number)| {
            let (urls, name) = (urls.clone(), format!("n{number}"));
            let data_dir = folder.join(&name);
            Box::pin(async move {
                let options = NodeOptions {
                    name: Some(name),
                    http_advertise: format!("http://{}", listener.local_addr()?),
                    origin: Origin::Form { urls, config: CacheConfig::default() },
                    ..NodeOptions::alone(data_dir)
                };
                let opened = Opened::open(options).await?;
                let front = Front::new(opened.bootstrap(), FrontLimits::default());
                let state = AppState::new(front.clone(), HttpSettings::default());
                let server = HttpServer::start(listener, state);
                let node = opened.start().await?;
                front.open(node.clone());
                anyhow::Ok((node, server))
            })
        });
        let started = tokio::time::timeout(READY_LIMIT, try_join_all(starting));
        let started = started.await.context("the nodes did not find each other in time")??;
        let (nodes, servers) = started.into_iter().unzip();
        Ok(Self { nodes, servers })
    }

    /// The leader, once it can serve.
    async fn leader(&self) -> Result<Node> {
        let deadline = Instant::now() + READY_LIMIT;
        while Instant::now() < deadline {
            for node in &self.nodes {
                let leads = node.leader().is_some_and(|leader| leader.id == node.id());
                if leads && node.ready().await.is_ok() {
                    return Ok(node.clone());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("no leader after {READY_LIMIT:?}")
    }

    async fn stop(self) {
        join_all(self.nodes.iter().map(|node| Box::pin(node.stop()))).await;
        join_all(self.servers.into_iter().map(HttpServer::stop)).await;
    }
}

//! Three nodes of hiqlite's cache in this process, written to through its client.

use crate::disk::Disk;
use crate::load::{Caller, Load, run};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use futures::future::try_join_all;
use hiqlite::{CacheVariants, Client, LogSync, Node, NodeConfig, start_node_with_cache};
use serde_json::json;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NODES: u64 = 3;
const READY_LIMIT: Duration = Duration::from_secs(60);

/// When its log is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flush {
    /// Before a write is answered, as Lockstep does
    Immediate,
    /// Every 200 ms, as hiqlite does unless told otherwise: a power cut takes answered writes away
    Interval,
    /// Never: the log is memory
    Memory,
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct HiqliteArgs {
    /// Tasks that write, each with one write under way
    #[arg(long, default_value_t = 64)]
    pub callers: usize,
    /// When the log is flushed
    #[arg(long, default_value = "immediate")]
    pub flush: Flush,
    #[command(flatten)]
    pub disk: Disk,
    #[command(flatten)]
    pub load: Load,
}

/// Writes through the leader and reports.
///
/// # Errors
/// The cluster does not form.
pub async fn hiqlite(args: &HiqliteArgs) -> Result<serde_json::Value> {
    let folder = args.disk.folder()?;
    let clients = Box::pin(start(folder.path(), args.flush)).await?;
    let leader = leader(&clients).await?;
    let keys: Arc<[String]> = args.load.key_names().collect();
    let value = args.load.value().to_vec();
    let caller = || Writer { client: leader.clone(), keys: keys.clone(), value: value.clone() };
    let measured = run(&args.load, (0..args.callers).map(|_| caller()).collect()).await;
    let flush = args.flush.to_possible_value().map(|value| value.get_name().to_owned());
    let more = json!({
        "system": "hiqlite", "nodes": NODES, "callers": args.callers, "durable": args.flush == Flush::Immediate,
        "flush": flush, "led_throughout": leader.is_leader_cache().await,
    });
    // Its own shutdown waits for half a minute for others to notice; the process ends with this report.
    Ok(measured.report("put", &args.load, more))
}

/// Its cache needs a list of names for caches.
#[derive(Debug, Clone, Copy)]
enum Cache {
    Bench,
}

impl CacheVariants for Cache {
    fn hiqlite_cache_index(&self) -> usize {
        *self as usize
    }

    fn hiqlite_cache_variants() -> &'static [(usize, &'static str)] {
        &[(Self::Bench as usize, "Bench")]
    }
}

struct Writer {
    client: Client,
    keys: Arc<[String]>,
    value: Vec<u8>,
}

impl Caller for Writer {
    async fn ask(&mut self, key: usize) -> Result<(), String> {
        let (key, value) = (self.keys[key].clone(), self.value.clone());
        self.client.put_bytes(Cache::Bench, key, value, None).await.map_err(|error| error.to_string())
    }
}

async fn start(folder: &Path, flush: Flush) -> Result<Vec<Client>> {
    // It takes no port 0: these were free a moment ago.
    let listeners: Result<Vec<TcpListener>, _> =
        (0..2 * NODES).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let addresses: Result<Vec<String>, _> =
        listeners?.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect();
    let addresses: Vec<String> = addresses.map_err(|error: std::io::Error| error)?;
    let nodes: Vec<Node> = (1..=NODES)
        .zip(addresses.chunks(2))
        .map(|(id, pair)| Node { id, addr_raft: pair[0].clone(), addr_api: pair[1].clone() })
        .collect();
    let mut starting = Vec::new();
    for id in 1..=NODES {
        let data_dir = folder.join(format!("n{id}"));
        std::fs::create_dir_all(&data_dir)?;
        let data_dir = data_dir.to_str().context("the folder's name is no text")?.to_owned();
        let config = NodeConfig {
            node_id: id,
            nodes: nodes.clone(),
            listen_addr_api: "127.0.0.1".into(),
            listen_addr_raft: "127.0.0.1".into(),
            data_dir: data_dir.into(),
            wal_sync: match flush {
                Flush::Immediate => LogSync::Immediate,
                Flush::Interval | Flush::Memory => LogSync::IntervalMillis(200),
            },
            cache_storage_disk: flush != Flush::Memory,
            secret_raft: "only for measuring".into(),
            secret_api: "only for measuring".into(),
            ..NodeConfig::default()
        };
        starting.push(tokio::spawn(start_node_with_cache::<Cache>(config)));
    }
    let started = tokio::time::timeout(READY_LIMIT, try_join_all(starting));
    let started = started.await.context("the nodes did not start in time")??;
    started.into_iter().map(|client| client.map_err(|error| anyhow::anyhow!("{error}"))).collect()
}

/// The client of the node that leads, once all vote.
async fn leader(clients: &[Client]) -> Result<Client> {
    let deadline = Instant::now() + READY_LIMIT;
    while Instant::now() < deadline {
        let mut whole = 0;
        let mut leader = None;
        for client in clients {
            // Nodes become voters one after another; with fewer, writes would wait for fewer disks.
            if let Ok(metrics) = client.metrics_cache().await {
                let voters = metrics.membership_config.membership().voter_ids().count();
                whole += usize::from(voters == clients.len());
            }
            if client.is_leader_cache().await {
                leader = Some(client);
            }
        }
        if let (Some(leader), true) = (leader, whole == clients.len()) {
            return Ok(leader.clone());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("no leader after {READY_LIMIT:?}")
}

//! openraft with nothing around it: log, state machine and network are memory. What is left is what consensus itself
//! costs, so no program on top of this openraft can write faster on this machine.

mod log;
mod machine;
mod network;

use crate::load::{Caller, Load, run};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use log::Log;
use machine::Machine;
use network::Networks;
use openraft::async_runtime::WatchReceiver;
use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const NODES: u64 = 3;
const READY_LIMIT: Duration = Duration::from_secs(30);

openraft::declare_raft_types!(
    /// The same choices as Lockstep's, with a smaller command.
    pub Types:
        D = Put,
        R = (),
        NodeId = u64,
        Node = (),
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type Raft = openraft::Raft<Types, Machine>;

/// The only command there is. Cheap to clone: nothing is ever encoded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Put {
    pub key: Bytes,
    pub value: Bytes,
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.value.len())
    }
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct AloneArgs {
    /// Tasks that write, each with one write under way
    #[arg(long, default_value_t = 64)]
    pub callers: usize,
    #[command(flatten)]
    pub load: Load,
}

/// Writes through the leader and reports.
///
/// # Errors
/// No leader is elected.
pub async fn alone(args: &AloneArgs) -> Result<serde_json::Value> {
    let nodes = start().await?;
    let leader = leader(&nodes).await?;
    let before = leader.metrics().borrow_watched().current_term;
    let keys: Arc<[Bytes]> = args.load.key_names().map(Bytes::from).collect();
    let value = args.load.value();
    let caller = || Writer { raft: leader.clone(), keys: keys.clone(), value: value.clone() };
    let measured = run(&args.load, (0..args.callers).map(|_| caller()).collect()).await;
    let led_throughout = leader.is_leader() && leader.metrics().borrow_watched().current_term == before;
    let more = json!({
        "system": "openraft alone", "nodes": NODES, "callers": args.callers, "durable": false,
        "led_throughout": led_throughout,
    });
    for raft in nodes.values() {
        raft.shutdown().await?;
    }
    Ok(measured.report("put", &args.load, more))
}

struct Writer {
    raft: Raft,
    keys: Arc<[Bytes]>,
    value: Bytes,
}

impl Caller for Writer {
    async fn ask(&mut self, key: usize) -> Result<(), String> {
        let put = Put { key: self.keys[key].clone(), value: self.value.clone() };
        self.raft.client_write(put).await.map(drop).map_err(|error| error.to_string())
    }
}

async fn start() -> Result<BTreeMap<u64, Raft>> {
    // Lockstep's own settings, where they matter for writes.
    let config = Config {
        cluster_name: "alone".into(),
        heartbeat_interval: 75,
        election_timeout_min: 150,
        election_timeout_max: 300,
        enable_pre_vote: Some(true),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(100_000),
        max_in_snapshot_log_to_keep: 20_000,
        purge_batch_size: 1_024,
        replication_lag_threshold: 120_000,
        max_payload_entries: 1_024,
        ..Config::default()
    };
    let config = Arc::new(config.validate()?);
    let networks = Networks::default();
    let mut nodes = BTreeMap::new();
    for id in 1..=NODES {
        let raft = Raft::new(id, config.clone(), networks.clone(), Log::default(), Machine::default()).await;
        nodes.insert(id, raft.context("openraft does not start")?);
    }
    networks.connect(nodes.clone());
    let members: BTreeMap<u64, ()> = nodes.keys().map(|&id| (id, ())).collect();
    nodes[&1].initialize(members).await.context("openraft takes no members")?;
    Ok(nodes)
}

/// The leader, once it has committed something in its term.
async fn leader(nodes: &BTreeMap<u64, Raft>) -> Result<Raft> {
    let looking = async {
        loop {
            for raft in nodes.values() {
                if raft.ensure_linearizable(openraft::ReadPolicy::ReadIndex).await.is_ok() {
                    return raft.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(READY_LIMIT, looking).await {
        Ok(leader) => Ok(leader),
        Err(_) => bail!("no leader after {READY_LIMIT:?}"),
    }
}

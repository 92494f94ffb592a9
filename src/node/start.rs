//! A node's life cycle: open the data folder, establish its identity in a cluster, run, and stop. Also the node's
//! public interface.

use super::addresses::{check_name, check_peer, check_url};
use super::admin::{AdminDone, AdminRequest};
use super::admission::Admission;
use super::audit::{self, Audit};
use super::background;
use super::bootstrap::Bootstrap;
use super::error::{NodeError, StartError};
use super::handler::PeerHandler;
use super::identity::Identity;
use super::inner::{Inner, Running};
use super::memory::{self, MemoryPart};
use super::nodes::NodeStatusCache;
use super::options::{Limits, NodeOptions, Origin};
use super::read::ReadAt;
use super::read_index::ReadIndexQueue;
use super::read_samples;
use super::rejoin::Rejoin;
use super::samples::Samples;
use super::supersession::{self, Supersession};
use super::touches::{self, Touches};
use super::warnings::OtherClusters;
use super::write::{WriteRequest, Written};
use super::write_gate::{WriteGate, open_gate};
use super::{campaign::campaign, heartbeats::send_heartbeats};
use crate::api::{
    AddMember, CacheReport, Consistency, Digests, Joined, Leader, LineageReport, Members, NodeName, Status,
};
use crate::cache::{Found, Key};
use crate::lineage::Lineage;
use crate::peer::{Links, Listener, Net, NodeId, PeerServer};
use crate::raft::{self, Consensus, offload};
use crate::replica::{ApplyStats, ChangeLog, Member};
use crate::storage::{FlushStats, LogOptions, LogStore, Snapshots};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a leader that stops tries to hand leadership over.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);

/// A running node. Clones share it. Call [`Node::stop`] at the end.
#[derive(Clone)]
pub struct Node {
    pub(super) inner: Arc<Inner>,
}

/// An opened data folder and a bound peer port. Everything that can be checked without other nodes has been checked.
pub struct Opened {
    pub(super) options: NodeOptions,
    pub(super) resources: Resources,
    identity: Option<Identity>,
    /// The cluster that its node joins, if the folder says so.
    pub(super) rejoin: Option<Rejoin>,
    pub(super) bootstrap: Bootstrap,
}

/// What a node needs: its storage, and its network.
pub struct Resources {
    pub store: LogStore,
    pub snapshots: Snapshots,
    pub listener: Listener,
    /// The address at which peers reach the listener.
    pub peer_address: String,
    pub net: Net,
}

impl Opened {
    /// Opens the data folder and binds the peer port.
    ///
    /// # Errors
    /// [`StartError`]: the folder is damaged, in use, or another program has the port.
    pub async fn open(mut options: NodeOptions) -> Result<Self, StartError> {
        let dir = options.data_dir.clone();
        // The log grows on while a snapshot is written.
        let journal_bytes = options.limits.longest_log() / 2 * 3;
        let opening = move || -> Result<(LogStore, Snapshots), StartError> {
            let store = LogStore::open(&dir, LogOptions { journal_bytes, ..LogOptions::default() })?;
            // The body is checked when it is loaded, a moment later.
            let snapshots = Snapshots::open_unread(dir.join("snapshots"))?;
            Ok((store, snapshots))
        };
        let opened = offload(opening).await;
        let (store, snapshots) = opened.map_err(|error| StartError::Raft(error.to_string()))??;
        let identity = Identity::load(&store)?;
        let rejoin = match identity {
            None => Rejoin::load(&options.data_dir)?,
            Some(_) => {
                Rejoin::remove(&options.data_dir);
                None
            }
        };
        // Port 0 selects a free port at the first start only. After that the other members know the port.
        let any = options.peer_bind.ends_with(":0") && options.peer_advertise.is_none();
        let known = identity.as_ref().map(|identity| &identity.peer);
        let bind = match known.or(rejoin.as_ref().map(|rejoin| &rejoin.peer)) {
            Some(known) if any => known.clone(),
            _ => options.peer_bind.clone(),
        };
        let listen = |error| StartError::Listen { address: bind.clone(), error };
        let listener = TcpListener::bind(&bind).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?.to_string();
        let peer_address = options.peer_advertise.clone().unwrap_or(bound);
        let resources =
            Resources { store, snapshots, listener: listener.into(), peer_address, net: Net::Tcp };
        if let Some(Rejoin { url, name, voter, .. }) = rejoin.clone() {
            options.name.get_or_insert(name);
            options.origin = Origin::Join { url, stay_learner: !voter };
        }
        let opened = Self::on(options, resources)?;
        Ok(Self { rejoin, ..opened })
    }

    /// Like [`Opened::open`], on storage and a network that the caller provides, which may be simulated.
    ///
    /// # Errors
    /// [`StartError`]: the storage belongs to another node, or has no identity and is not empty.
    pub fn on(options: NodeOptions, resources: Resources) -> Result<Self, StartError> {
        let Resources { store, snapshots, peer_address, .. } = &resources;
        let checked = options.name.as_deref().map_or(Ok(()), check_name);
        let checked =
            checked.and_then(|()| check_url(&options.http_advertise)).and_then(|()| check_peer(peer_address));
        checked.map_err(StartError::Options)?;
        let identity = Identity::load(store)?;
        refuse_leftovers(identity.is_some(), store, snapshots)?;
        // The other members dial the address in the membership, so this node must be there.
        let known = identity.as_ref().map(|identity| &identity.peer);
        if let Some(known) = known.filter(|known| *known != peer_address) {
            return Err(StartError::Moved { known: known.clone(), given: peer_address.clone() });
        }
        let bootstrap = Bootstrap::new(&options, store, peer_address, identity.as_ref());
        Ok(Self { options, resources, identity, rejoin: None, bootstrap })
    }

    /// What other nodes can ask about this one, before and after it belongs to a cluster.
    pub fn bootstrap(&self) -> Bootstrap {
        self.bootstrap.clone()
    }

    /// Establishes this node's identity and starts it. Waits for other nodes without a time limit.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Node, StartError> {
        let is_new = self.identity.is_none();
        let identity = match self.identity.clone() {
            Some(mut identity) => {
                self.refuse_another_cluster(&identity).await?;
                if let Some(name) = self.options.name.clone().filter(|name| *name != identity.name) {
                    identity.name = name;
                    identity.save(&self.resources.store)?;
                }
                identity
            }
            None => {
                let identity = self.establish_identity().await?;
                if identity.peer != self.resources.peer_address {
                    return Err(StartError::Moved {
                        known: identity.peer,
                        given: self.resources.peer_address,
                    });
                }
                identity.save(&self.resources.store)?;
                if self.rejoin.is_some() {
                    Rejoin::remove(&self.options.data_dir);
                }
                identity
            }
        };
        self.bootstrap.belongs_to(&identity);
        let Self { options, resources: Resources { store, snapshots, listener, net, .. }, .. } = self;
        let links = Links::default();
        if let Some(successor) = &identity.superseded_by {
            links.sever();
            tracing::error!("{}", successor.sentence());
        }
        let (raft_options, me) = (options.raft.clone(), identity.peer_identity(options.release.protocols));
        let resources = raft::Resources {
            log: store.clone(),
            snapshots: snapshots.clone(),
            lineage: Arc::new(identity.lineage.clone()),
            net,
            links: links.clone(),
            change_log: Arc::new(ChangeLog::new(options.limits.watch_bytes)),
            feature_level: options.release.feature_level,
        };
        // Before the snapshot is restored, which takes seconds: nodes of an earlier history must be told at once.
        let handler = Arc::new(PeerHandler::new());
        let _peer_server = PeerServer::start(listener, me.clone(), links.clone(), handler.clone());
        let consensus = Consensus::start(me, &raft_options, resources).await;
        let consensus = consensus.map_err(StartError::Raft)?;
        if let Some(founding) = &identity.founding {
            let members = founding.members.iter().map(|m| {
                let (name, http, peer, store_uuid) =
                    (m.name.clone(), m.http.clone(), m.peer.clone(), m.store_uuid.clone());
                (m.id, Member { name, http, peer, store_uuid })
            });
            consensus.initialize(members.collect()).await.map_err(StartError::Raft)?;
        }
        let (read_index, rounds) = ReadIndexQueue::new();
        let supersession = Supersession::new(identity.superseded_by.clone(), is_new);
        let write_gate = WriteGate::new(identity.voters_awaited);
        let inner = Arc::new(Inner {
            admission: Admission::new(&options.limits),
            identity,
            options,
            consensus,
            store,
            snapshots,
            read_index,
            touches: Touches::default(),
            audit: Audit::default(),
            other_clusters: OtherClusters::default(),
            supersession,
            write_gate,
            membership_lock: tokio::sync::Mutex::default(),
            node_status_cache: NodeStatusCache::default(),
            samples: Samples::default(),
            links: links.clone(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            drains: Notify::new(),
            running: Mutex::new(None),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(rounds.run(Arc::downgrade(&inner)));
        tasks.spawn(send_heartbeats(Arc::downgrade(&inner)));
        tasks.spawn(supersession::ask_first(Arc::downgrade(&inner)));
        tasks.spawn(open_gate(Arc::downgrade(&inner)));
        tasks.spawn(campaign(Arc::downgrade(&inner)));
        tasks.spawn(background::sync_clock(Arc::downgrade(&inner)));
        tasks.spawn(background::propose_ticks(Arc::downgrade(&inner)));
        tasks.spawn(background::propose_first_settings(Arc::downgrade(&inner)));
        tasks.spawn(background::warn_of_other_settings(Arc::downgrade(&inner)));
        tasks.spawn(background::update_own_record(Arc::downgrade(&inner)));
        tasks.spawn(background::compact_log(Arc::downgrade(&inner)));
        tasks.spawn(background::request_promotion(Arc::downgrade(&inner)));
        tasks.spawn(background::finish_membership_changes(Arc::downgrade(&inner)));
        tasks.spawn(audit::audit_loop(Arc::downgrade(&inner)));
        tasks.spawn(touches::flush_loop(Arc::downgrade(&inner)));
        tasks.spawn(read_samples::estimate_loop(Arc::downgrade(&inner)));
        handler.open(Arc::downgrade(&inner));
        *inner.running.lock().expect("no panic while held") = Some(Running { _peer_server, _tasks: tasks });
        Ok(Node { inner })
    }
}

/// Refuses a data folder that has a log or a snapshot but no identity. An interrupted restore leaves such a folder, or
/// somebody has changed it; it must not be mistaken for that of a new node.
fn refuse_leftovers(has_identity: bool, store: &LogStore, snapshots: &Snapshots) -> Result<(), StartError> {
    let log = store.state();
    let holds = log.vote.is_some()
        || log.last_index.is_some()
        || log.purged.is_some()
        || snapshots.current().is_some();
    if holds && !has_identity {
        let reason =
            "it holds a log or a snapshot and does not say of which node; remove the folder and start again";
        return Err(StartError::Identity(reason.into()));
    }
    Ok(())
}

impl Node {
    /// Opens the data folder, establishes this node's identity in its cluster, and starts it.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        Opened::open(options).await?.start().await
    }

    /// Writes through the log, wherever the leader is.
    ///
    /// # Errors
    /// [`NodeError`]; its [`NodeError::effect`] says whether it may have happened.
    pub async fn write(&self, request: impl Into<WriteRequest>) -> Result<Written, NodeError> {
        self.inner.write(request.into()).await
    }

    /// Reads a key; that counts as a use of it.
    ///
    /// # Errors
    /// [`NodeError`]; an older value is never returned instead.
    pub async fn get(&self, key: &Key, consistency: Consistency) -> Result<ReadAt<Option<Found>>, NodeError> {
        let ReadAt { value, index, term, now_ms } = self.inner.get_seen(key, consistency, None, None).await?;
        Ok(ReadAt { value: value.map(|seen| seen.found), index, term, now_ms })
    }

    /// Adds a new node as a learner.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn add_member(&self, request: AddMember) -> Result<Joined, NodeError> {
        match self.inner.admin(AdminRequest::Add(request.into())).await? {
            AdminDone::Joined(joined) => Ok(joined),
            AdminDone::Changed | AdminDone::Members(_) | AdminDone::FeatureLevel(_) => {
                Err(NodeError::OutcomeUnknown("the leader answered another question".into()))
            }
        }
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn promote_member(&self, id: NodeId) -> Result<(), NodeError> {
        self.inner.admin(AdminRequest::Promote { id }).await.map(drop)
    }

    /// Removes a member; a leader hands leadership over first.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn remove_member(&self, id: NodeId) -> Result<(), NodeError> {
        self.inner.admin(AdminRequest::Remove { id }).await.map(drop)
    }

    /// Transfers leadership; to the most up-to-date voter if `to` is `None`.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<(), NodeError> {
        self.inner.admin(AdminRequest::Transfer { to }).await.map(drop)
    }

    pub async fn status(&self) -> Status {
        self.inner.status().await
    }

    /// This node's report on the cache.
    pub async fn cache_report(&self) -> CacheReport {
        let shadow = self.inner.leader_report().await.shadow;
        self.inner.consensus.replica().with_cache(|cache| self.inner.cache_report(cache, shadow))
    }

    pub async fn members(&self) -> Members {
        self.inner.members().await
    }

    pub fn leader(&self) -> Option<Leader> {
        self.inner.leader()
    }

    pub fn digests(&self) -> Digests {
        self.inner.digests()
    }

    /// Whether clients should be sent here.
    ///
    /// # Errors
    /// [`NodeError`] says what is missing.
    pub async fn ready(&self) -> Result<(), NodeError> {
        self.inner.ready().await
    }

    pub fn id(&self) -> NodeId {
        self.inner.identity.node_id
    }

    pub fn name(&self) -> &str {
        &self.inner.identity.name
    }

    /// A member's name; `node` and its number if it has left, or is not known here yet.
    pub fn member_name(&self, id: NodeId) -> String {
        let members = self.inner.consensus.status().members;
        let member = members.into_iter().find(|member| member.id == id);
        member.map_or_else(|| format!("node {id}"), |member| member.member.name)
    }

    /// The cluster and its histories. Indexes of different histories cannot be compared.
    pub fn lineage(&self) -> &Lineage {
        &self.inner.identity.lineage
    }

    /// Where this node's log comes from.
    pub fn lineage_report(&self) -> LineageReport {
        let replica = self.inner.consensus.replica();
        let terms = replica.terms();
        LineageReport {
            node: Some(NodeName { id: self.id(), name: self.name().to_owned() }),
            lineage: self.lineage().clone(),
            applied_index: replica.applied_index(),
            last_log_index: self.inner.consensus.status().last_log_index,
            term_starts: terms.iter().collect(),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// The number and times of the log's flushes.
    pub fn flushes(&self) -> FlushStats {
        self.inner.store.fsync_stats()
    }

    /// A typical round trip between this node and a majority, and the election timeout that follows from it.
    pub fn round_trip(&self) -> (Duration, Duration) {
        let timing = self.inner.consensus.timing();
        (timing.round_trip(), timing.election_timeout())
    }

    /// How long log entries took to apply.
    pub fn apply_stats(&self) -> ApplyStats {
        self.inner.consensus.replica().apply_stats()
    }

    /// The memory that this node takes, by what holds it.
    pub fn memory(&self) -> Vec<MemoryPart> {
        memory::parts(&self.inner)
    }

    /// About how many bytes the log's entries have.
    pub fn log_bytes(&self) -> u64 {
        self.inner.store.log_bytes()
    }

    /// Raft's term, as this node knows it.
    pub fn term(&self) -> u64 {
        self.inner.consensus.term()
    }

    /// The index at which this node was found to differ from the others. The node is out of service then.
    pub fn differs_at(&self) -> Option<u64> {
        self.inner.audit.differs_at()
    }

    /// Makes this node differ from the others, to test the audit.
    #[doc(hidden)]
    pub fn corrupt(&self) {
        self.inner.consensus.replica().corrupt();
    }

    /// Raft on this node, for tests that look inside.
    #[doc(hidden)]
    pub fn consensus(&self) -> &Consensus {
        &self.inner.consensus
    }

    /// Ends this node's part in its history, if a member says that it goes on in a recovered one without this node.
    ///
    /// # Errors
    /// [`NodeError`]: nobody says so, or it cannot be written down.
    pub async fn fence(&self) -> Result<(), NodeError> {
        self.inner.fence().await
    }

    /// The switch that cuts this node off from its peers.
    pub fn links(&self) -> &Links {
        &self.inner.links
    }

    /// Returns once the node has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.inner.consensus.stopped().await
    }

    /// Stops accepting writes from clients, and hands leadership over if this node leads.
    pub async fn drain(&self) {
        if self.inner.draining.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.drains.notify_waiters();
        let others = self.inner.consensus.status().members.iter().any(|m| m.voter && m.id != self.id());
        if others && self.inner.consensus.is_leader() {
            let deadline = Instant::now() + TRANSFER_TIMEOUT;
            let handing_over = self.inner.transfer(None, deadline);
            if let Ok(Err(error)) = tokio::time::timeout_at(deadline, handing_over).await {
                tracing::info!(?error, "stopping without handing over");
            }
        }
    }

    /// Drains, stops Raft and the peer server, and closes the data folder. The node stays a member.
    pub async fn stop(&self) {
        self.drain().await;
        let running = self.inner.running.lock().expect("no panic while held").take();
        drop(running);
        self.inner.consensus.shutdown().await;
        let store = self.inner.store.clone();
        let _ = offload(move || store.close()).await;
    }
}

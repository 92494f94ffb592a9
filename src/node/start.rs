//! A node's life: open the data folder, find its place in a cluster, take part, stop.

use super::addresses::{check_name, check_peer, check_url};
use super::admin::{AdminDone, AdminRequest};
use super::admission::Admission;
use super::audit::{self, Audit};
use super::background;
use super::error::{NodeError, StartError};
use super::formation::Formation;
use super::handler::PeerHandler;
use super::identity::Identity;
use super::nodes::Gathered;
use super::options::{Limits, NodeOptions};
use super::peers::Peers;
use super::read::ReadAt;
use super::read_index::ReadIndexQueue;
use super::read_samples;
use super::samples::Samples;
use super::touches::{self, Touches};
use super::warnings::OtherClusters;
use super::write::{WriteRequest, Written};
use crate::api::{AddMember, CacheReport, Consistency, Digests, Joined, Leader, Members, Status};
use crate::cache::{Found, Key};
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

/// How long a stopping leader tries to hand over.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(3);

/// A running node. Clones are the same node. Call [`Node::stop`] when done with it.
#[derive(Clone)]
pub struct Node {
    pub(super) inner: Arc<Inner>,
}

/// What all use cases share.
pub(super) struct Inner {
    pub identity: Identity,
    pub options: NodeOptions,
    pub consensus: Consensus,
    pub store: LogStore,
    pub snapshots: Snapshots,
    pub peers: Peers,
    pub admission: Admission,
    pub read_index: ReadIndexQueue,
    pub touches: Touches,
    pub audit: Audit,
    pub other_clusters: OtherClusters,
    /// Held by the leader while it takes a node in, so that one that asks twice gets one number.
    pub adding: tokio::sync::Mutex<()>,
    pub links: Links,
    pub gathered: Gathered,
    pub samples: Samples,
    pub started: Instant,
    draining: AtomicBool,
    /// Tells those who wait that `draining` was set.
    pub drains: Notify,
    running: Mutex<Option<Running>>,
}

/// What ends with the node.
struct Running {
    _peer_server: PeerServer,
    _tasks: JoinSet<()>,
}

/// An opened data folder and a bound peer port: everything that can be refused at once has been checked.
pub struct Opened {
    pub(super) options: NodeOptions,
    pub(super) resources: Resources,
    identity: Option<Identity>,
    pub(super) formation: Formation,
}

/// What a node stands on: its disk, and its way to the others.
pub struct Resources {
    pub store: LogStore,
    pub snapshots: Snapshots,
    pub listener: Listener,
    /// Where the others reach the listener.
    pub peer_address: String,
    pub net: Net,
}

impl Opened {
    /// Opens the data folder and binds the peer port.
    ///
    /// # Errors
    /// [`StartError`]: the folder is damaged, in use, or another program has the port.
    pub async fn open(options: NodeOptions) -> Result<Self, StartError> {
        let dir = options.data_dir.clone();
        let opening = move || -> Result<(LogStore, Snapshots), StartError> {
            let store = LogStore::open(&dir, LogOptions::default())?;
            let snapshots = Snapshots::open(dir.join("snapshots"))?;
            Ok((store, snapshots))
        };
        let opened = offload(opening).await;
        let (store, snapshots) = opened.map_err(|error| StartError::Raft(error.to_string()))??;
        let identity = Identity::load(&store)?;
        // "Any port" is for the first start; from then on the others know this one.
        let any = options.peer_bind.ends_with(":0") && options.peer_advertise.is_none();
        let bind = match &identity {
            Some(identity) if any => identity.peer.clone(),
            _ => options.peer_bind.clone(),
        };
        let listen = |error| StartError::Listen { address: bind.clone(), error };
        let listener = TcpListener::bind(&bind).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?.to_string();
        let peer_address = options.peer_advertise.clone().unwrap_or(bound);
        let resources =
            Resources { store, snapshots, listener: listener.into(), peer_address, net: Net::Tcp };
        Self::on(options, resources)
    }

    /// On a resources that somebody else has prepared, which may be a simulated one.
    ///
    /// # Errors
    /// [`StartError`]: the resources is another node's, or nobody's and not empty.
    pub fn on(options: NodeOptions, resources: Resources) -> Result<Self, StartError> {
        let Resources { store, snapshots, peer_address, .. } = &resources;
        let checked = options.name.as_deref().map_or(Ok(()), check_name);
        let checked =
            checked.and_then(|()| check_url(&options.http_advertise)).and_then(|()| check_peer(peer_address));
        checked.map_err(StartError::Options)?;
        let identity = Identity::load(store)?;
        refuse_leftovers(identity.is_some(), store, snapshots)?;
        // Where the other members look for this node is in the membership; elsewhere nobody would find it.
        let known = identity.as_ref().map(|identity| &identity.peer);
        if let Some(known) = known.filter(|known| *known != peer_address) {
            return Err(StartError::Moved { known: known.clone(), given: peer_address.clone() });
        }
        let formation = Formation::new(&options, store, peer_address, identity.as_ref());
        Ok(Self { options, resources, identity, formation })
    }

    /// What other nodes are told while this one looks for its cluster, and afterwards.
    pub fn formation(&self) -> Formation {
        self.formation.clone()
    }

    /// Finds this node's place and takes part. Waits for the other nodes for as long as it takes.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Node, StartError> {
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
                let identity = self.find_place().await?;
                if identity.peer != self.resources.peer_address {
                    return Err(StartError::Moved {
                        known: identity.peer,
                        given: self.resources.peer_address,
                    });
                }
                identity.save(&self.resources.store)?;
                identity
            }
        };
        self.formation.belongs_to(&identity);
        let Self { options, resources: Resources { store, snapshots, listener, net, .. }, .. } = self;
        let links = Links::default();
        let (raft_options, me) = (options.raft.clone(), identity.peer_identity(options.release.protocols));
        let resources = raft::Resources {
            log: store.clone(),
            snapshots: snapshots.clone(),
            lineage: identity.lineage(),
            net,
            links: links.clone(),
            change_log: Arc::new(ChangeLog::new(options.limits.watch_bytes)),
            feature_level: options.release.feature_level,
        };
        let consensus = Consensus::start(me.clone(), &raft_options, resources).await;
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
        let inner = Arc::new(Inner {
            admission: Admission::new(&options.limits),
            identity,
            options,
            consensus,
            store,
            snapshots,
            peers: Peers::default(),
            read_index,
            touches: Touches::default(),
            audit: Audit::default(),
            other_clusters: OtherClusters::default(),
            adding: tokio::sync::Mutex::default(),
            gathered: Gathered::default(),
            samples: Samples::default(),
            links: links.clone(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            drains: Notify::new(),
            running: Mutex::new(None),
        });
        let handler = Arc::new(PeerHandler(Arc::downgrade(&inner)));
        let mut tasks = JoinSet::new();
        tasks.spawn(rounds.run(Arc::downgrade(&inner)));
        tasks.spawn(background::keep_clock(Arc::downgrade(&inner)));
        tasks.spawn(background::keep_ticking(Arc::downgrade(&inner)));
        tasks.spawn(background::give_first_settings(Arc::downgrade(&inner)));
        tasks.spawn(background::tell_of_other_settings(Arc::downgrade(&inner)));
        tasks.spawn(background::keep_own_record(Arc::downgrade(&inner)));
        tasks.spawn(background::keep_log_short(Arc::downgrade(&inner)));
        tasks.spawn(background::ask_for_vote(Arc::downgrade(&inner)));
        tasks.spawn(background::finish_changes(Arc::downgrade(&inner)));
        tasks.spawn(audit::keep_comparing(Arc::downgrade(&inner)));
        tasks.spawn(touches::keep_telling(Arc::downgrade(&inner)));
        tasks.spawn(read_samples::keep_estimating(Arc::downgrade(&inner)));
        let _peer_server = PeerServer::start(listener, me, links, handler);
        *inner.running.lock().expect("no panic while held") = Some(Running { _peer_server, _tasks: tasks });
        Ok(Node { inner })
    }
}

/// A folder that is nobody's holds nothing: a log or a snapshot without an identity is what an interrupted
/// restore leaves, or a folder that was tampered with, and must not be taken for a new node's.
fn refuse_leftovers(is_somebodys: bool, store: &LogStore, snapshots: &Snapshots) -> Result<(), StartError> {
    let log = store.state();
    let holds = log.vote.is_some()
        || log.last_index.is_some()
        || log.purged.is_some()
        || snapshots.current().is_some();
    if holds && !is_somebodys {
        let reason =
            "it holds a log or a snapshot and does not say of which node; remove the folder and start again";
        return Err(StartError::Identity(reason.into()));
    }
    Ok(())
}

impl Node {
    /// Opens the data folder, finds this node's place in its cluster and takes part.
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
    /// [`NodeError`]; there is no answer from an older state.
    pub async fn get(&self, key: &Key, consistency: Consistency) -> Result<ReadAt<Option<Found>>, NodeError> {
        let ReadAt { value, index, term, now_ms } = self.inner.get_seen(key, consistency, None, None).await?;
        Ok(ReadAt { value: value.map(|seen| seen.found), index, term, now_ms })
    }

    /// Takes a new node in, as a learner.
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

    /// Takes a node out of the cluster; a leader hands over first.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn remove_member(&self, id: NodeId) -> Result<(), NodeError> {
        self.inner.admin(AdminRequest::Remove { id }).await.map(drop)
    }

    /// Hands the lead over; to the most advanced voter when `to` is `None`.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<(), NodeError> {
        self.inner.admin(AdminRequest::Transfer { to }).await.map(drop)
    }

    pub async fn status(&self) -> Status {
        self.inner.status().await
    }

    /// What this node can tell about the cache.
    pub async fn cache_report(&self) -> CacheReport {
        let shadow = self.inner.leaders_view().await.shadow;
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

    /// A member's name; one that has left, or is not known here yet, is called by its number.
    pub fn member_name(&self, id: NodeId) -> String {
        let members = self.inner.consensus.status().members;
        let member = members.into_iter().find(|member| member.id == id);
        member.map_or_else(|| format!("node {id}"), |member| member.member.name)
    }

    /// The cluster's id and incarnation.
    pub fn lineage(&self) -> (String, u64) {
        (self.inner.identity.cluster_id.clone(), self.inner.identity.incarnation())
    }

    /// The name of the history that indexes belong to: a restore from a backup begins another.
    pub fn history(&self) -> &str {
        self.inner.identity.history()
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// How the log's flushes went.
    pub fn flushes(&self) -> FlushStats {
        self.inner.store.fsync_stats()
    }

    /// How long log entries took to apply.
    pub fn apply_stats(&self) -> ApplyStats {
        self.inner.consensus.replica().apply_stats()
    }

    /// Bytes of the entries in the log, about.
    pub fn log_bytes(&self) -> u64 {
        self.inner.store.log_bytes()
    }

    /// Raft's term, as this node knows it.
    pub fn term(&self) -> u64 {
        self.inner.consensus.term()
    }

    /// The index at which this node was found to differ from the others; it is out of service then.
    pub fn differs_at(&self) -> Option<u64> {
        self.inner.audit.differs_at()
    }

    /// Makes this node differ from the others, for tests of their comparison.
    #[doc(hidden)]
    pub fn corrupt(&self) {
        self.inner.consensus.replica().corrupt();
    }

    /// What is behind the use cases, for tests that look inside.
    #[doc(hidden)]
    pub fn consensus(&self) -> &Consensus {
        &self.inner.consensus
    }

    /// The switch that cuts this node off from its peers.
    pub fn links(&self) -> &Links {
        &self.inner.links
    }

    /// Returns once the node has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.inner.consensus.stopped().await
    }

    /// Takes no new writes from clients, and hands the lead over if this node has it.
    pub async fn drain(&self) {
        if self.inner.draining.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.drains.notify_waiters();
        let others = self.inner.consensus.status().members.iter().any(|m| m.voter && m.id != self.id());
        if others && self.inner.consensus.is_leader() {
            let deadline = Instant::now() + HAND_OVER_LIMIT;
            let handing_over = self.inner.transfer(None, deadline);
            if let Ok(Err(error)) = tokio::time::timeout_at(deadline, handing_over).await {
                tracing::info!(?error, "stopping without handing over");
            }
        }
    }

    /// Hands over, leaves the cluster's conversation and closes the data folder.
    pub async fn stop(&self) {
        self.drain().await;
        let running = self.inner.running.lock().expect("no panic while held").take();
        drop(running);
        self.inner.consensus.shutdown().await;
        let store = self.inner.store.clone();
        let _ = offload(move || store.close()).await;
    }
}

impl Inner {
    pub(super) fn refuse_when_draining(&self) -> Result<(), NodeError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(NodeError::Unavailable("this node is stopping".into()));
        }
        Ok(())
    }
}

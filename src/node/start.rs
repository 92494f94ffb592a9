//! The start of a node: open the data folder, establish its identity in a cluster, run.

use super::addresses::{check_name, check_peer, check_url};
use super::admission::Admission;
use super::audit::{self, Audit};
use super::background;
use super::bootstrap::Bootstrap;
use super::departure::{Departure, close_own_fork, go_on_leaving};
use super::detached_folder::{detach_folder, has_left};
use super::error::StartError;
use super::freshness::{Freshness, keep_in_touch};
use super::handler::PeerHandler;
use super::identity::{Identity, KeptIdentity};
use super::inner::{Inner, Running};
use super::leadership::LastSupporters;
use super::nodes::NodeStatusCache;
use super::options::{NodeOptions, Origin};
use super::own_writes::OwnWrites;
use super::range_digest::READING_MAX;
use super::read_index::ReadIndexQueue;
use super::read_samples;
use super::rejoin::Rejoin;
use super::root_token::keep_tokens;
use super::samples::Samples;
use super::silence::Silence;
use super::supersession::{self, Supersession};
use super::touches::{self, Touches};
use super::warnings::OtherClusters;
use super::write_gate::{WriteGate, open_gate};
use super::{campaign::campaign, heartbeats::send_heartbeats};
use crate::peer::{Links, Listener, Net, PeerServer};
use crate::raft::{self, Consensus, offload};
use crate::replica::{ChangeLog, Member};
use crate::storage::{LogOptions, LogStore, Snapshots};
use crate::tls::PeerTls;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

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
        let open = move || -> Result<(LogStore, Snapshots), StartError> {
            let store = LogStore::open(&dir, LogOptions { journal_bytes, ..LogOptions::default() })?;
            // The body is checked when it is loaded, a moment later.
            let snapshots = Snapshots::open_unread(dir.join("snapshots"))?;
            Ok((store, snapshots))
        };
        let dir = options.data_dir.clone();
        let opening = move || -> Result<(LogStore, Snapshots), StartError> {
            let (store, snapshots) = open()?;
            let Some(identity) = Identity::load(&store)? else { return Ok((store, snapshots)) };
            let Some(left) = has_left(&identity) else { return Ok((store, snapshots)) };
            detach_folder(&dir, identity, left, store, &snapshots)?;
            open()
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
        let net = options.peer_tls.clone().map_or(Net::Tcp, Net::Tls);
        let listener = Listener::tcp(listener, options.peer_tls.clone());
        let resources = Resources { store, snapshots, listener, peer_address, net };
        if let Some(Rejoin { url, name, voter, .. }) = rejoin.clone() {
            options.name.get_or_insert(name);
            options.origin = Origin::Join { url, stay_learner: !voter };
        }
        if let Some([only]) =
            options.peer_tls.as_ref().map(PeerTls::own_certificate).as_ref().map(|own| &own.nodes[..])
        {
            options.name.get_or_insert_with(|| only.clone());
        }
        let name = options.name.as_ref().or(identity.as_ref().map(|identity| &identity.name));
        if let Some(name) = name {
            // Before anything says that this is its name.
            options.refuse_another_certificate(name)?;
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
        self.options.refuse_another_certificate(&identity.name)?;
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
        let peer_server = PeerServer::start(listener, me.clone(), links.clone(), handler.clone());
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
        let (departure, started) = (Departure::new(identity.leaving.as_ref()), Instant::now());
        let inner = Arc::new(Inner {
            admission: Admission::new(&options.limits),
            kept_identity: KeptIdentity::new(identity.clone(), store.clone()),
            identity,
            options,
            consensus,
            store,
            snapshots,
            read_index,
            last_supporters: LastSupporters::default(),
            touches: Touches::default(),
            audit: Audit::default(),
            other_clusters: OtherClusters::default(),
            supersession,
            write_gate,
            departure,
            membership_lock: tokio::sync::Mutex::default(),
            silence: Silence::new(Duration::from_millis(raft_options.heartbeat_ms)),
            node_status_cache: NodeStatusCache::default(),
            samples: Samples::default(),
            range_digests: Semaphore::new(READING_MAX),
            freshness: Freshness::new(started),
            own_writes: OwnWrites::default(),
            links: links.clone(),
            started,
            draining: AtomicBool::new(false),
            drains: Notify::new(),
            running: Mutex::new(None),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(rounds.run(Arc::downgrade(&inner)));
        tasks.spawn(send_heartbeats(Arc::downgrade(&inner)));
        tasks.spawn(supersession::ask_first(Arc::downgrade(&inner)));
        tasks.spawn(open_gate(Arc::downgrade(&inner)));
        tasks.spawn(go_on_leaving(Arc::downgrade(&inner)));
        tasks.spawn(close_own_fork(Arc::downgrade(&inner)));
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
        tasks.spawn(keep_tokens(Arc::downgrade(&inner)));
        tasks.spawn(keep_in_touch(Arc::downgrade(&inner)));
        tasks.spawn(touches::flush_loop(Arc::downgrade(&inner)));
        tasks.spawn(read_samples::estimate_loop(Arc::downgrade(&inner)));
        handler.open(Arc::downgrade(&inner));
        *inner.running.lock().expect("no panic while held") = Some(Running { peer_server, _tasks: tasks });
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

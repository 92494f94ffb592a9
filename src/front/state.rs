//! The state that front doors share. A listener is open before the node has its cluster, so that nodes can find each other;
//! until then there are no sessions.

use super::answer_memory::AnswerMemory;
use super::body_memory::BodyMemory;
use super::connection_slots::ConnectionSlots;
use super::limits::FrontLimits;
use super::rate_limits::RateLimits;
use super::redis_clients::RedisClients;
use super::request_stats::RequestStats;
use super::watchers::Watchers;
use crate::api::{DetachStatus, NodeInfo};
use crate::lineage::Lineage;
use crate::node::{Bootstrap, Node, Principal, ProcessMemory, Session};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;
use tokio::sync::SetOnce;
use tokio::time::sleep;

/// How long what has begun may hold a node that was let go of.
const HELD_TIMEOUT: Duration = Duration::from_secs(5);

/// Shared by all front doors of a node.
pub struct Front {
    pub limits: FrontLimits,
    pub requests: RequestStats,
    pub connections: ConnectionSlots,
    pub rates: RateLimits,
    pub body_memory: BodyMemory,
    pub answer_memory: AnswerMemory,
    pub watchers: Watchers,
    pub redis_clients: Arc<RedisClients>,
    bootstrap: Bootstrap,
    node: RwLock<Option<Node>>,
    /// The lineage of the node, once it has its cluster.
    lineage: SetOnce<Lineage>,
    /// How the node is that was opened on the same folder after this one had to go.
    successor: SetOnce<DetachStatus>,
    /// Set when whoever still holds the node that was let go of has to let go of it, too.
    held_too_long: SetOnce<()>,
    base_memory: OnceLock<u64>,
}

impl Front {
    /// Without a node: every request for data is refused until [`Front::open`].
    pub fn new(bootstrap: Bootstrap, limits: FrontLimits) -> Arc<Self> {
        Arc::new(Self {
            requests: RequestStats::default(),
            connections: ConnectionSlots::new(limits.connections, limits.connections_per_address),
            rates: RateLimits::new(limits.rates),
            body_memory: BodyMemory::new(limits.body_memory),
            answer_memory: AnswerMemory::new(limits.answer_memory),
            watchers: Watchers::new(limits.connections),
            redis_clients: Arc::default(),
            limits,
            bootstrap,
            node: RwLock::new(None),
            lineage: SetOnce::new(),
            successor: SetOnce::new(),
            held_too_long: SetOnce::new(),
            base_memory: OnceLock::new(),
        })
    }

    /// From now on requests go to this node. Only the first call has an effect.
    pub fn open(&self, node: Node) {
        self.base_memory.get_or_init(|| {
            let named: u64 = node.memory().iter().map(|part| part.bytes).sum();
            ProcessMemory::now().map_or(0, |memory| memory.anonymous.saturating_sub(named))
        });
        let lineage = node.lineage().clone();
        *self.node.write().expect("no panic while held") = Some(node);
        let _ = self.lineage.set(lineage);
    }

    /// Lets go of the node: its folder is about to be opened anew. From now on every request for data is refused, and those that have
    /// begun have five seconds.
    pub fn close(self: &Arc<Self>) {
        *self.node.write().expect("no panic while held") = None;
        let front = self.clone();
        tokio::spawn(async move {
            sleep(HELD_TIMEOUT).await;
            let _ = front.held_too_long.set(());
        });
    }

    /// Returns when a connection that may hold the node has to end, because the node was let go of: its folder cannot be opened as
    /// long as one does, however slowly its client reads.
    pub async fn held_too_long(&self) {
        self.held_too_long.wait().await;
    }

    fn node(&self) -> Option<Node> {
        self.node.read().expect("no panic while held").clone()
    }

    /// Bytes that the process had allocated when the node had started, beyond what the node says that it holds: Raft's
    /// tables, threads, buffers, and what the allocator keeps. 0 where the system does not say.
    pub fn base_memory(&self) -> u64 {
        self.base_memory.get().copied().unwrap_or(0)
    }

    /// A session for this principal, once the node has its cluster.
    pub fn session(&self, principal: Principal) -> Option<Session> {
        self.node().map(|node| node.session(principal))
    }

    /// Whether requests need a token.
    pub fn needs_token(&self) -> bool {
        self.node.read().expect("no panic while held").as_ref().is_some_and(Node::needs_token)
    }

    /// Whether requests need a token, or the node is not sure that they need none.
    pub fn may_need_token(&self) -> bool {
        self.node.read().expect("no panic while held").as_ref().is_none_or(Node::may_need_token)
    }

    /// The cluster and its histories, once the node has its cluster.
    pub fn lineage(&self) -> Option<&Lineage> {
        self.lineage.get()
    }

    /// The node had to go on with another log, and was opened again. Only the first call has an effect.
    pub fn succeed(&self, successor: DetachStatus) {
        let _ = self.successor.set(successor);
    }

    /// Waits until the node has been opened again, because it goes on with another log.
    pub async fn successor(&self) -> DetachStatus {
        self.successor.wait().await.clone()
    }

    /// Waits until the node has its cluster; `None` if it has been let go of since.
    pub async fn opened(&self) -> Option<Node> {
        self.lineage.wait().await;
        self.node()
    }

    /// What this node says about itself to other nodes, also before it has its cluster.
    pub fn node_info(&self) -> NodeInfo {
        self.bootstrap.node_info()
    }

    /// The URLs at which this node and the other members can be reached by clients.
    pub fn advertised_urls(&self) -> impl Iterator<Item = String> {
        let others = self.node().map(|node| node.http_addresses()).unwrap_or_default();
        std::iter::once(self.node_info().http).chain(others)
    }
}

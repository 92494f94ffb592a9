//! What handlers share. The listener is open before the node has its cluster, so that nodes can find each
//! other; until then every other request is told to come back.

use super::HttpLimits;
use super::body_memory::BodyMemory;
use super::compat::CompatSettings;
use super::metrics::Requests;
use super::origin;
use super::respond::ApiError;
use super::watchers::Watchers;
use crate::api::{ErrorCode, Introduction};
use crate::node::{Admin, Formation, Node, Principal, Session};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a name is taken for this node's without asking again.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Shared by all handlers. Clones are the same door; every request takes some.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

/// What is behind a door.
pub struct Shared {
    formation: Formation,
    node: watch::Sender<Option<Node>>,
    pub(super) limits: HttpLimits,
    pub(super) requests: Requests,
    pub(super) watchers: Watchers,
    pub(super) body_memory: BodyMemory,
    /// For the `/api` routes.
    pub(super) compat: CompatSettings,
    /// How often a client had this node catch up: pages are told the state then, too.
    pub(super) syncs: watch::Sender<u64>,
    /// Names that this node is known by, besides those that members advertise.
    hosts: OnceLock<Vec<String>>,
    /// The name that was found to be one last, and when.
    known_host: RwLock<Option<(Instant, String)>>,
    /// Whether the routes that break things on purpose exist.
    pub(super) fault_injection: bool,
}

impl Deref for Door {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Door {
    /// `compat` is what the environment says about the `/api` routes.
    pub fn new(
        formation: Formation,
        limits: HttpLimits,
        fault_injection: bool,
        compat: CompatSettings,
    ) -> Self {
        Self(Arc::new(Shared {
            formation,
            node: watch::Sender::new(None),
            watchers: Watchers::new(limits.connections),
            body_memory: BodyMemory::new(limits.body_memory),
            limits,
            requests: Requests::default(),
            compat,
            syncs: watch::Sender::default(),
            hosts: OnceLock::new(),
            known_host: RwLock::default(),
            fault_injection,
        }))
    }

    /// Has requests answered that are for these hosts, besides addresses, `localhost` and what members advertise. Said once.
    pub fn answer_to(&self, hosts: Vec<String>) {
        let _ = self.0.hosts.set(hosts);
    }

    /// Whether this node is known by this name. Members come and go, so what was found out is good for a moment.
    pub(super) fn is_known_as(&self, host: &str) -> bool {
        let is_it = |(at, known): &(Instant, String)| known == host && at.elapsed() < KNOWN_FOR;
        if self.0.known_host.read().expect("no panic while held").as_ref().is_some_and(is_it) {
            return true;
        }
        let is_known = self.finds_host(host);
        if is_known {
            let found = Some((Instant::now(), host.to_owned()));
            *self.0.known_host.write().expect("no panic while held") = found;
        }
        is_known
    }

    fn finds_host(&self, host: &str) -> bool {
        let is_it = |url: &str| origin::host_of(url).is_some_and(|known| known.eq_ignore_ascii_case(host));
        let told = self.0.hosts.get();
        told.is_some_and(|told| told.iter().any(|known| known.eq_ignore_ascii_case(host)))
            || self.0.compat.is_frontend_host(host)
            || is_it(&self.introduction().http)
            || self
                .node
                .borrow()
                .as_ref()
                .is_some_and(|node| node.http_addresses().iter().any(|url| is_it(url)))
    }

    /// From now on requests go to this node.
    pub fn open(&self, node: Node) {
        self.node.send_replace(Some(node));
    }

    pub(super) fn introduction(&self) -> Introduction {
        self.formation.introduction()
    }

    /// A session for this principal, once the node has a cluster.
    pub(super) fn session(&self, principal: Principal) -> Option<Session> {
        self.node.borrow().as_ref().map(|node| node.session(principal))
    }

    /// The same, waiting for that.
    pub(super) async fn opened(&self) -> Node {
        let mut node = self.node.subscribe();
        loop {
            if let Some(node) = node.borrow_and_update().clone() {
                return node;
            }
            // The sender is ours.
            let _ = node.changed().await;
        }
    }
}

/// The session of a request: 503 until the node has its cluster. Every handler gets it here, so this is where a request
/// will say who asks.
impl FromRequestParts<Door> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, door: &Door) -> Result<Self, ApiError> {
        let waiting = || ApiError::new(ErrorCode::Unavailable, "this node has not found its cluster yet");
        door.session(Principal::Anyone).ok_or_else(waiting)
    }
}

/// The operator's side of that session.
impl FromRequestParts<Door> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, ApiError> {
        Ok(Session::from_request_parts(parts, door).await?.admin())
    }
}

//! What handlers share. The listener is open before the node has its cluster, so that nodes can find each
//! other; until then every other request is told to come back.

use super::HttpLimits;
use super::guide::GuideSettings;
use super::history::Samples;
use super::metrics::Requests;
use super::respond::ApiError;
use super::watch::Watchers;
use crate::api::{ErrorCode, Introduction};
use crate::node::{Formation, Node};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Shared by all handlers. Clones are the same door.
#[derive(Clone)]
pub struct Door {
    formation: Formation,
    node: Arc<watch::Sender<Option<Node>>>,
    pub(super) limits: HttpLimits,
    pub(super) requests: Arc<Requests>,
    pub(super) watchers: Watchers,
    /// The last hour, for `/v1/history`.
    pub(super) samples: Samples,
    /// Bytes that request bodies may take together.
    pub(super) body_memory: Arc<Semaphore>,
    /// For the `/api` routes.
    pub(super) guide: Arc<GuideSettings>,
    /// Whether the routes that break things on purpose exist.
    pub(super) fault_injection: bool,
}

impl Door {
    pub fn new(formation: Formation, limits: HttpLimits, fault_injection: bool) -> Self {
        let node = Arc::new(watch::Sender::new(None));
        let watchers = Watchers::new(limits.connections);
        let body_memory = Arc::new(Semaphore::new(limits.body_memory));
        let (requests, samples) = (Arc::default(), Samples::default());
        let guide = Arc::default();
        Self { formation, node, limits, requests, watchers, samples, body_memory, guide, fault_injection }
    }

    /// The same, with what the environment says about the `/api` routes.
    pub fn with_guide(self, settings: GuideSettings) -> Self {
        Self { guide: Arc::new(settings), ..self }
    }

    /// From now on requests go to this node.
    pub fn open(&self, node: Node) {
        self.node.send_replace(Some(node));
    }

    pub(super) fn introduction(&self) -> Introduction {
        self.formation.introduction()
    }

    /// The node, once it has a cluster.
    pub(super) fn node(&self) -> Option<Node> {
        self.node.borrow().clone()
    }
}

/// The node as a handler's argument: 503 until there is one.
pub(super) struct Ready(pub Node);

impl FromRequestParts<Door> for Ready {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, door: &Door) -> Result<Self, ApiError> {
        let waiting = || ApiError::new(ErrorCode::Unavailable, "this node has not found its cluster yet");
        door.node().map(Ready).ok_or_else(waiting)
    }
}

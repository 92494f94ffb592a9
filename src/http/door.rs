//! What handlers share. The listener is open before the node has its cluster, so that nodes can find each
//! other; until then every other request is told to come back.

use super::HttpLimits;
use super::guide::GuideSettings;
use super::history::Samples;
use super::metrics::Requests;
use super::respond::ApiError;
use super::watchers::Watchers;
use crate::api::{ErrorCode, Introduction};
use crate::node::{Formation, Node};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

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
    /// The last hour, for `/v1/history`.
    pub(super) samples: Samples,
    /// Bytes that request bodies may take together.
    pub(super) body_memory: Arc<Semaphore>,
    /// For the `/api` routes.
    pub(super) guide: GuideSettings,
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
    /// `guide` is what the environment says about the `/api` routes.
    pub fn new(
        formation: Formation,
        limits: HttpLimits,
        fault_injection: bool,
        guide: GuideSettings,
    ) -> Self {
        Self(Arc::new(Shared {
            formation,
            node: watch::Sender::new(None),
            watchers: Watchers::new(limits.connections),
            body_memory: Arc::new(Semaphore::new(limits.body_memory)),
            limits,
            requests: Requests::default(),
            samples: Samples::default(),
            guide,
            fault_injection,
        }))
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

//! Handles the requests of peers, by method.

use super::admin::answer_admin;
use super::audit::answer_digests;
use super::forward::{answer_read_index, answer_write};
use super::inner::Inner;
use super::leadership::answer_support;
use super::nodes::answer_report;
use super::samples::answer_samples;
use super::touches::answer_touches;
use crate::peer::{Handler, Method, NodeId, Refusal};
use crate::replica::to_bytes;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::{mpsc, watch};

/// What a request is for.
enum Purpose {
    /// Raft's decisions. Open to all, because Raft must accept leaders that this node does not know yet; but a node that was
    /// given up in a recovery must learn of it before it takes part in any.
    Raft,
    /// What the cluster does for its clients and operators: for members only.
    Cluster,
    /// The log time, and whether the caller is a member: open to all, at any time.
    Orientation,
}

fn purpose(method: Method) -> Purpose {
    match method {
        Method::Append
        | Method::Vote
        | Method::PreVote
        | Method::TransferLeader
        | Method::SnapshotBegin
        | Method::SnapshotChunk
        | Method::SnapshotEnd
        | Method::Support => Purpose::Raft,
        Method::Write
        | Method::ReadIndex
        | Method::Admin
        | Method::Touches
        | Method::Report
        | Method::Samples => Purpose::Cluster,
        Method::Clock | Method::Digests => Purpose::Orientation,
    }
}

/// Passes requests of peers to the node, once it has started and while it exists.
pub(super) struct PeerHandler(watch::Sender<Option<Weak<Inner>>>);

impl PeerHandler {
    /// For a node that is about to start.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The node has started.
    pub fn open(&self, inner: Weak<Inner>) {
        self.0.send_replace(Some(inner));
    }

    fn node(&self) -> Option<Arc<Inner>> {
        self.0.borrow().as_ref().and_then(Weak::upgrade)
    }
}

impl Handler for PeerHandler {
    fn ready(&self) -> BoxFuture<'static, ()> {
        let mut started = self.0.subscribe();
        // It fails when the node did not start; the connection ends then.
        Box::pin(async move { drop(started.wait_for(Option::is_some).await) })
    }

    fn name_of(&self, id: NodeId) -> Option<String> {
        Some(self.node()?.consensus.member(id)?.name)
    }

    fn refused_earlier_history(&self) {
        if let Some(inner) = self.node() {
            inner.supersession.record_call();
        }
    }

    fn refused_other_cluster(&self) {
        if let Some(inner) = self.node() {
            inner.other_clusters.record_call();
        }
    }

    fn call(&self, from: NodeId, method: Method, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let node = self.node();
        Box::pin(async move {
            let inner = node.ok_or("the node is stopping")?;
            match purpose(method) {
                Purpose::Raft => inner.supersession.allows_part().await?,
                Purpose::Cluster if !inner.consensus.has_member(from) => {
                    return Err(format!(
                        "node {from} is no member of this cluster, as far as this node knows"
                    ));
                }
                Purpose::Cluster | Purpose::Orientation => {}
            }
            match method {
                Method::Write => answer_write(&inner, from, body).await,
                Method::ReadIndex => answer_read_index(&inner, from, body).await,
                Method::Clock => Ok(to_bytes(&inner.consensus.clock().now_ms())),
                Method::Admin => answer_admin(&inner, body).await,
                Method::Digests => answer_digests(&inner, from, &body),
                Method::Report => answer_report(&inner, &body).await,
                Method::Samples => answer_samples(&inner, &body),
                Method::Support => answer_support(&inner, &body).await,
                Method::TransferLeader if inner.draining.load(Ordering::Acquire) => {
                    Err("the node is about to stop".into())
                }
                Method::Touches => answer_touches(&inner, from, &body),
                Method::Append
                | Method::Vote
                | Method::PreVote
                | Method::TransferLeader
                | Method::SnapshotBegin
                | Method::SnapshotChunk
                | Method::SnapshotEnd => inner.consensus.inbound().call(from, method, body).await,
            }
        })
    }

    fn appends(&self, _from: NodeId, requests: mpsc::Receiver<Bytes>) -> BoxStream<'static, Bytes> {
        let node = self.node();
        let answers = async move {
            match node {
                Some(inner) if inner.supersession.allows_part().await.is_ok() => {
                    inner.consensus.inbound().appends(requests)
                }
                _ => stream::empty().boxed(),
            }
        };
        stream::once(answers).flatten().boxed()
    }
}

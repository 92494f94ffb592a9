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
use futures::stream::BoxStream;
use std::sync::Weak;
use tokio::sync::mpsc;

/// Whether only members may use a method. Raft's own requests are open, because Raft must accept leaders that this node
/// does not know yet, and so are those for the log time and for whether the caller is a member.
fn is_for_members_only(method: Method) -> bool {
    match method {
        Method::Write
        | Method::ReadIndex
        | Method::Admin
        | Method::Touches
        | Method::Report
        | Method::Samples => true,
        Method::Append
        | Method::Vote
        | Method::PreVote
        | Method::TransferLeader
        | Method::SnapshotBegin
        | Method::SnapshotChunk
        | Method::SnapshotEnd
        | Method::Clock
        | Method::Digests
        | Method::Support => false,
    }
}

/// Passes requests of peers to the node while it exists.
pub(super) struct PeerHandler(pub Weak<Inner>);

impl Handler for PeerHandler {
    fn is_member(&self, id: NodeId) -> bool {
        self.0.upgrade().is_some_and(|inner| inner.consensus.has_member(id))
    }

    fn refused_earlier_history(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.supersession.record_call();
        }
    }

    fn refused_other_cluster(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.other_clusters.record_call();
        }
    }

    fn call(&self, from: NodeId, method: Method, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let inner = inner.upgrade().ok_or("the node is stopping")?;
            if is_for_members_only(method) && !inner.consensus.has_member(from) {
                return Err(format!("node {from} is no member of this cluster, as far as this node knows"));
            }
            // A node that was given up must learn of it before it votes.
            if matches!(method, Method::Vote | Method::PreVote | Method::TransferLeader) {
                inner.supersession.asked().await;
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
        match self.0.upgrade() {
            Some(inner) => inner.consensus.inbound().appends(requests),
            None => futures::stream::empty().boxed(),
        }
    }
}

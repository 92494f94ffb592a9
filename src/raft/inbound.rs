//! Passes the Raft requests of peers to openraft.

use super::codec::decode_append;
use super::contact::Contact;
use super::machine::{FileMeta, Machine, Snapshot, SnapshotData};
use super::network::{AppendReply, SnapshotBegin, SnapshotReply};
use super::offload::offload;
use super::transfers::Transfers;
use super::types::{Types, Vote};
use super::wire::{WireTransferRequest, WireTransferResponse, WireVoteRequest, WireVoteResponse};
use crate::log_limit::LogLimit;
use crate::peer::{Method, NodeId, Refusal};
use crate::replica::{from_postcard, to_bytes};
use crate::storage::Snapshots;
use bytes::{Buf, Bytes};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The transfers end of Raft's messages. Cheap to clone.
#[derive(Clone)]
pub struct Inbound {
    raft: Raft<Types, Machine>,
    snapshots: Snapshots,
    contact: Contact,
    transfers: Transfers,
    refusals: Arc<LogLimit>,
}

/// How much higher a peer's term may be than ours. Each election raises the term by one, so a cluster does not get this
/// far while one of its nodes is away. The highest possible term would prevent all later elections.
const TERM_LEAP_MAX: u64 = 1 << 32;
/// How long a leader may have this node wait for the rest of the log before it takes over.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

fn refuse(error: impl std::fmt::Display) -> Refusal {
    error.to_string()
}

/// Refuses a vote with an implausibly high term.
///
/// # Errors
/// A sentence for the peer.
pub(super) fn check_term(mine: &Vote, theirs: &Vote) -> Result<(), Refusal> {
    let (mine, theirs) = (mine.leader_id().term, theirs.leader_id().term);
    if theirs > mine.saturating_add(TERM_LEAP_MAX) {
        return Err(format!("term {theirs} is not plausible after term {mine}"));
    }
    Ok(())
}

impl Inbound {
    pub(super) fn new(raft: Raft<Types, Machine>, snapshots: Snapshots, contact: Contact) -> Self {
        Self { raft, snapshots, contact, transfers: Transfers::default(), refusals: Arc::default() }
    }

    /// Answers one Raft request.
    ///
    /// # Errors
    /// A sentence for the peer; nothing was done.
    pub async fn call(&self, from: NodeId, method: Method, body: Bytes) -> Result<Bytes, Refusal> {
        match method {
            Method::Append => self.append(body).await,
            Method::Vote => self.vote(body).await,
            Method::PreVote => self.pre_vote(&body),
            Method::TransferLeader => self.transfer_leader(body).await,
            Method::SnapshotBegin => self.snapshot_begin(from, body).await,
            Method::SnapshotChunk => self.snapshot_chunk(from, body).await,
            Method::SnapshotEnd => self.snapshot_end(from).await,
            Method::Write
            | Method::ReadIndex
            | Method::Clock
            | Method::Admin
            | Method::Digests
            | Method::Touches
            | Method::Report
            | Method::Samples
            | Method::Support => Err("not Raft's to answer".into()),
        }
    }

    /// Answers append requests in order. The stream ends at the first request that is not stored.
    pub fn appends(&self, requests: mpsc::Receiver<Bytes>) -> BoxStream<'static, Bytes> {
        let this = self.clone();
        let decoded = stream::unfold((requests, this), |(mut requests, this)| async move {
            let body = requests.recv().await?;
            match this.decode_append(body) {
                Ok(request) => Some((request, (requests, this))),
                Err(error) => {
                    if let Some(omitted) = this.refusals.pass(&error) {
                        tracing::warn!(error, omitted, "refused a peer's append request");
                    }
                    None
                }
            }
        });
        let answers = self.raft.stream_append(decoded);
        let bytes = answers.scan((), |(), result| {
            std::future::ready(result.ok().map(|result| to_bytes(&AppendReply::from(result))))
        });
        Box::pin(bytes)
    }

    fn decode_append(&self, body: Bytes) -> Result<AppendEntriesRequest<Types>, Refusal> {
        let request = decode_append(body).map_err(refuse)?;
        check_term(&self.my_vote(), &request.vote)?;
        Ok(request)
    }

    async fn append(&self, body: Bytes) -> Result<Bytes, Refusal> {
        let request = self.decode_append(body)?;
        let prev = request.prev_log_id;
        let last = request.entries.last().map(openraft::entry::RaftEntry::log_id).or(prev);
        let response = self.raft.append_entries(request).await.map_err(refuse)?;
        Ok(to_bytes(&AppendReply::from(response.into_stream_result(prev, last))))
    }

    async fn vote(&self, body: Bytes) -> Result<Bytes, Refusal> {
        let request = self.decode_vote("a vote request", &body)?;
        let is_transfer = request.leadership_transfer;
        // Whether this node still hears from its leader is for `Contact` to say. openraft goes by a timeout that does not
        // follow the network, but not when a leader hands over.
        let request = VoteRequest { leadership_transfer: true, ..request };
        let raft = self.raft.clone();
        let voting = async move { raft.vote(request).await };
        let response = match self.contact.vote(is_transfer, voting).await {
            Some(response) => WireVoteResponse::from(response.map_err(refuse)?),
            None => self.vote_response(false),
        };
        Ok(to_bytes(&response))
    }

    /// Says whether this node would vote for a candidate. Its vote stays as it is.
    fn pre_vote(&self, body: &[u8]) -> Result<Bytes, Refusal> {
        let request = self.decode_vote("a pre-vote request", body)?;
        let has_our_log = request.last_log_id >= self.raft.data_metrics().borrow_watched().last_log;
        Ok(to_bytes(&self.vote_response(has_our_log && self.contact.would_vote_for(&request.into()))))
    }

    fn vote_response(&self, granted: bool) -> WireVoteResponse {
        WireVoteResponse { vote: self.my_vote().into(), granted, last_log_id: None }
    }

    fn decode_vote(&self, what: &'static str, body: &[u8]) -> Result<VoteRequest<Types>, Refusal> {
        let request: WireVoteRequest = from_postcard(what, body).map_err(refuse)?;
        let request = VoteRequest::from(request);
        check_term(&self.my_vote(), &request.vote)?;
        Ok(request)
    }

    async fn transfer_leader(&self, body: Bytes) -> Result<Bytes, Refusal> {
        let request: WireTransferRequest = from_postcard("a transfer request", &body).map_err(refuse)?;
        let patience = Duration::from_millis(request.patience_ms).min(PATIENCE_MAX);
        let request = TransferLeaderRequest::from(request);
        check_term(&self.my_vote(), request.from_leader())?;
        // A leader proposes nothing while it hands over. If this node has more, that is over, and an election would only
        // disturb it.
        if self.raft.data_metrics().borrow_watched().last_log > request.last_log_id().copied() {
            return Err("the request to take over is an old one".into());
        }
        let response = timeout(patience, self.raft.handle_transfer_leader(request)).await;
        let response = response.map_err(|_| "this node does not have the whole log yet".to_owned())?;
        let response = response.map_err(refuse)?;
        Ok(to_bytes(&WireTransferResponse::from(response)))
    }

    fn my_vote(&self) -> Vote {
        self.raft.metrics().borrow_watched().vote
    }

    async fn snapshot_begin(&self, from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        let begin: SnapshotBegin = from_postcard("a snapshot's beginning", &body).map_err(refuse)?;
        let (mine, theirs) = (self.my_vote(), begin.vote.into());
        check_term(&mine, &theirs)?;
        if mine <= theirs {
            let file = self.snapshots.receive().map_err(refuse)?;
            self.transfers.begin(from, theirs, begin.bytes, file);
        }
        Ok(to_bytes(&SnapshotReply { vote: mine.into() }))
    }

    async fn snapshot_chunk(&self, from: NodeId, mut body: Bytes) -> Result<Bytes, Refusal> {
        if body.len() < 8 {
            return Err("a snapshot chunk is too short".into());
        }
        let offset = body.get_u64();
        self.transfers.write(from, offset, body).await?;
        Ok(to_bytes(&SnapshotReply { vote: self.my_vote().into() }))
    }

    async fn snapshot_end(&self, from: NodeId) -> Result<Bytes, Refusal> {
        let (vote, file) = self.transfers.end(from)?;
        let received = offload(move || file.finish()).await.map_err(refuse)?.map_err(refuse)?;
        let meta = FileMeta::decode(received.meta()).map_err(refuse)?.raft;
        // openraft panics on a snapshot that is newer than its sender's term.
        if meta.last_log_id.is_some_and(|last| last.committed_leader_id().term > vote.leader_id().term) {
            return Err("the snapshot is newer than its sender's term".into());
        }
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(received) };
        let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(refuse)?;
        Ok(to_bytes(&SnapshotReply { vote: response.vote.into() }))
    }
}

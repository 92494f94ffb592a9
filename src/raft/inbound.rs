//! Passes the Raft requests of peers to openraft.

use super::codec::decode_append;
use super::contact::Contact;
use super::machine::{FileMeta, Machine, Snapshot, SnapshotData};
use super::network::{AppendReply, SnapshotBegin, SnapshotReply};
use super::offload::offload;
use super::types::{Types, Vote};
use super::wire::{WireTransferRequest, WireTransferResponse, WireVoteRequest, WireVoteResponse};
use crate::log_limit::LogLimit;
use crate::peer::{Method, NodeId, Refusal};
use crate::replica::{from_postcard, to_bytes};
use crate::storage::{IncomingSnapshot, Snapshots};
use bytes::{Buf, Bytes};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

/// The transfers end of Raft's messages. Cheap to clone.
#[derive(Clone)]
pub struct Inbound {
    raft: Raft<Types, Machine>,
    snapshots: Snapshots,
    contact: Contact,
    /// The snapshot that each leader is sending. A new transfer replaces one that was broken off.
    transfers: Arc<Mutex<Transfers>>,
    refusals: Arc<LogLimit>,
}

type Transfers = HashMap<NodeId, Transfer>;

/// A transfer that receives nothing for this long is dropped, and its file removed. A sender starts over if a chunk is
/// not accepted within seconds, so it does not return to such a transfer. In between it may wait for its own disk.
const TRANSFER_IDLE_MAX: Duration = Duration::from_secs(60);

struct Transfer {
    /// Distinguishes this transfer from one that replaced it.
    id: uuid::Uuid,
    vote: Vote,
    bytes: u64,
    received: u64,
    /// When it started, or its newest chunk was written.
    last_progress: Instant,
    /// `None` while a chunk is being written.
    file: Option<IncomingSnapshot>,
}

/// How much higher a peer's term may be than ours. Each election raises the term by one, so a cluster does not get this
/// far while one of its nodes is away. The highest possible term would prevent all later elections.
const TERM_LEAP_MAX: u64 = 1 << 32;

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

/// Drops a transfer that was broken off. Returns when the transfer ends.
async fn drop_when_idle(transfers: Weak<Mutex<Transfers>>, from: NodeId, id: uuid::Uuid) {
    let mut until = Instant::now() + TRANSFER_IDLE_MAX;
    loop {
        sleep_until(until).await;
        let Some(transfers) = transfers.upgrade() else { return };
        let mut transfers = transfers.lock().await;
        let Some(transfer) = transfers.get(&from).filter(|transfer| transfer.id == id) else { return };
        until = transfer.last_progress + TRANSFER_IDLE_MAX;
        if Instant::now() >= until {
            tracing::debug!(from, received = transfer.received, "a snapshot was broken off");
            transfers.remove(&from);
            return;
        }
    }
}

impl Inbound {
    pub(super) fn new(raft: Raft<Types, Machine>, snapshots: Snapshots, contact: Contact) -> Self {
        Self { raft, snapshots, contact, transfers: Arc::default(), refusals: Arc::default() }
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
        let request = TransferLeaderRequest::from(request);
        check_term(&self.my_vote(), request.from_leader())?;
        let response = self.raft.handle_transfer_leader(request).await.map_err(refuse)?;
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
            let id = uuid::Uuid::new_v4();
            let transfer = Transfer {
                id,
                vote: theirs,
                bytes: begin.bytes,
                received: 0,
                last_progress: Instant::now(),
                file: Some(file),
            };
            // There is one leader at a time, so an earlier leader's transfer is no longer useful.
            let mut transfers = self.transfers.lock().await;
            transfers.clear();
            transfers.insert(from, transfer);
            drop(transfers);
            tokio::spawn(drop_when_idle(Arc::downgrade(&self.transfers), from, id));
        }
        Ok(to_bytes(&SnapshotReply { vote: mine.into() }))
    }

    async fn snapshot_chunk(&self, from: NodeId, mut body: Bytes) -> Result<Bytes, Refusal> {
        if body.len() < 8 {
            return Err("a snapshot chunk is too short".into());
        }
        let offset = body.get_u64();
        let (id, mut file) = {
            let mut transfers = self.transfers.lock().await;
            let transfer = transfers.get_mut(&from).ok_or("no snapshot was begun")?;
            let fits = offset == transfer.received && offset + body.len() as u64 <= transfer.bytes;
            if !fits {
                let expected = transfer.received;
                return Err(format!("a snapshot chunk is at {offset}, {expected} was expected"));
            }
            (transfer.id, transfer.file.take().ok_or("a chunk of this snapshot is still being written")?)
        };
        let length = body.len() as u64;
        let writing = move || file.write(&body).map(|()| file);
        let file = offload(writing).await.map_err(refuse)?.map_err(refuse)?;
        let mut transfers = self.transfers.lock().await;
        if let Some(transfer) = transfers.get_mut(&from).filter(|transfer| transfer.id == id) {
            transfer.received += length;
            transfer.last_progress = Instant::now();
            transfer.file = Some(file);
        }
        Ok(to_bytes(&SnapshotReply { vote: self.my_vote().into() }))
    }

    async fn snapshot_end(&self, from: NodeId) -> Result<Bytes, Refusal> {
        let transfer = self.transfers.lock().await.remove(&from).ok_or("no snapshot was begun")?;
        if transfer.received != transfer.bytes {
            return Err(format!(
                "{} of the snapshot's {} bytes were received",
                transfer.received, transfer.bytes
            ));
        }
        let file = transfer.file.ok_or("a chunk of this snapshot is still being written")?;
        let received = offload(move || file.finish()).await.map_err(refuse)?.map_err(refuse)?;
        let meta = FileMeta::decode(received.meta()).map_err(refuse)?.raft;
        // openraft panics on a snapshot that is newer than its sender's term.
        if meta
            .last_log_id
            .is_some_and(|last| last.committed_leader_id().term > transfer.vote.leader_id().term)
        {
            return Err("the snapshot is newer than its sender's term".into());
        }
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(received) };
        let response = self.raft.install_full_snapshot(transfer.vote, snapshot).await.map_err(refuse)?;
        Ok(to_bytes(&SnapshotReply { vote: response.vote.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    /// Its file uses disk space, so it is removed with the transfer.
    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_was_broken_off_is_dropped() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let snapshots = Snapshots::open(folder.path()).expect("a new folder opens");
        let files = || std::fs::read_dir(folder.path()).expect("a folder").count();
        let transfers: Arc<Mutex<Transfers>> = Arc::default();
        let ids = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)];
        let begin = async |id| {
            let file = Some(snapshots.receive().expect("a file"));
            let vote = Vote::new(1, 7);
            let transfer = Transfer { id, vote, bytes: 9, received: 0, last_progress: Instant::now(), file };
            transfers.lock().await.insert(7, transfer);
            tokio::spawn(drop_when_idle(Arc::downgrade(&transfers), 7, id));
        };
        begin(ids[0]).await;
        let before = files();
        sleep(TRANSFER_IDLE_MAX / 2).await;
        transfers.lock().await.get_mut(&7).expect("in progress").last_progress = Instant::now();
        sleep(TRANSFER_IDLE_MAX * 3 / 4).await;
        assert_eq!((files(), transfers.lock().await.len()), (before, 1), "it goes on");
        // A transfer that replaces it has its own timeout.
        begin(ids[1]).await;
        sleep(TRANSFER_IDLE_MAX * 3 / 4).await;
        assert_eq!((files(), transfers.lock().await[&7].id), (before, ids[1]));
        sleep(TRANSFER_IDLE_MAX / 2).await;
        assert_eq!((files(), transfers.lock().await.len()), (before - 1, 0));
    }
}

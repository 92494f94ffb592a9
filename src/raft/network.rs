//! openraft's network: sends each of its requests to a peer, as a frame on the right lane.

use super::codec::encode_append;
use super::commit_coalescing::coalesce_commits;
use super::inbound::check_term;
use super::machine::{Snapshot, SnapshotData};
use super::offload::offload;
use super::proposal_batcher::PendingProposals;
use super::types::{Types, Vote};
use super::wire::{WireVote, WireVoteRequest, WireVoteResponse, log_id};
use crate::peer::{
    Lane, Links, Method, Net, NodeId, PeerClient, PeerError, PeerIdentity, Remote, RoundTrips,
};
use crate::replica::{LogPosition, Member, from_postcard, to_bytes};
use crate::storage::SnapshotFile;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{FutureExt, Stream, StreamExt, stream};
use openraft::RPCTypes;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most append requests in flight to one follower, and about how many bytes of them. On a link with a long round trip,
/// many small ones are.
const APPENDS_IN_FLIGHT: usize = 64;
const APPEND_BYTES_IN_FLIGHT: usize = 16 << 20;
/// Timeout of an append request. A follower answers after its flush, and a flush can be slow.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeouts of one chunk of a snapshot, and of the installation at the end.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a snapshot sent at a time.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Chunks in flight: fewer than a peer reads before it has written the first (`Lane::bytes_in_progress_max`), because one
/// that is ahead waits for it.
const CHUNKS_IN_FLIGHT: usize = 6;

/// Starts to send a snapshot. The response is a [`SnapshotReply`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotBegin {
    pub vote: WireVote,
    pub bytes: u64,
}

/// A follower's response to each step of a snapshot. If its vote is higher than the leader's, the leader stops.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotReply {
    pub vote: WireVote,
}

/// A follower's response to an append request.
#[derive(Debug, Serialize, Deserialize)]
pub enum AppendReply {
    Stored(Option<LogPosition>),
    Conflict(LogPosition),
    HigherVote(WireVote),
}

impl From<StreamAppendResult<Types>> for AppendReply {
    fn from(result: StreamAppendResult<Types>) -> Self {
        match result {
            Ok(last) => Self::Stored(log_id(last)),
            Err(StreamAppendError::Conflict(at)) => Self::Conflict(at.into()),
            Err(StreamAppendError::HigherVote(vote)) => Self::HigherVote(vote.into()),
        }
    }
}

impl AppendReply {
    /// Refuses a response with a term that is implausibly far above that of the request.
    fn check(self, sent: &Vote) -> Result<Self, RPCError<Types>> {
        if let Self::HigherVote(theirs) = &self {
            check_term(sent, &(*theirs).into())
                .map_err(|sentence| RPCError::Network(NetworkError::from_string(sentence)))?;
        }
        Ok(self)
    }
}

impl From<AppendReply> for StreamAppendResult<Types> {
    fn from(reply: AppendReply) -> Self {
        match reply {
            AppendReply::Stored(last) => Ok(log_id(last)),
            AppendReply::Conflict(at) => Err(StreamAppendError::Conflict(at.into())),
            AppendReply::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote.into())),
        }
    }
}

/// Creates a [`Network`] for each peer and purpose.
#[derive(Clone)]
pub struct Networks {
    me: PeerIdentity,
    net: Net,
    links: Links,
    round_trips: RoundTrips,
    shared: Arc<Mutex<HashMap<(NodeId, Lane), PeerClient>>>,
    pending_proposals: PendingProposals,
    told_commit: Arc<AtomicU64>,
}

impl Networks {
    pub fn new(me: PeerIdentity, net: Net, links: Links, pending_proposals: PendingProposals) -> Self {
        let (round_trips, shared) = (RoundTrips::default(), Arc::default());
        Self { me, net, links, round_trips, shared, pending_proposals, told_commit: Arc::default() }
    }

    /// The highest committed index that another node may know from this one. It may have applied that before this node has.
    pub fn told_commit(&self) -> u64 {
        self.told_commit.load(Ordering::Acquire)
    }

    /// How long requests to the other nodes take.
    pub fn round_trips(&self) -> &RoundTrips {
        &self.round_trips
    }

    /// The connection to a peer that all share who need this lane. To dial another one would take several round trips, for
    /// example when a new leader sends its first entries.
    pub fn shared(&self, target: NodeId, member: &Member, lane: Lane) -> PeerClient {
        let mut shared = self.shared.lock().expect("no panic while held");
        // Raft keeps the clients that it was given, and does not ask for others when a member gets another name.
        shared
            .iter()
            .filter(|((node, _), _)| *node == target)
            .for_each(|(_, client)| client.rename(&member.name));
        let known = shared.get(&(target, lane)).filter(|client| client.address() == member.peer);
        if let Some(client) = known {
            return client.clone();
        }
        let (me, net, links) = (self.me.clone(), self.net.clone(), self.links.clone());
        let round_trips = self.round_trips.clone();
        let remote = Remote { id: target, name: member.name.clone(), address: member.peer.clone() };
        let client = PeerClient::new(me, remote, lane, net, links, round_trips);
        shared.insert((target, lane), client.clone());
        client
    }

    /// Forgets the connections and round trips to nodes that are no longer members.
    pub fn retain(&self, is_member: impl Fn(NodeId) -> bool) {
        self.shared.lock().expect("no panic while held").retain(|(node, _), _| is_member(*node));
        self.round_trips.retain(is_member);
    }

    fn network(&self, target: u64, member: &Member, bulk: Lane) -> Network {
        Network {
            me: self.me.node_id,
            target,
            control: self.shared(target, member, Lane::Control),
            bulk: self.shared(target, member, bulk),
            appends_on_control: bulk == Lane::Control,
            round_trips: self.round_trips.clone(),
            pending_proposals: self.pending_proposals.clone(),
            told_commit: self.told_commit.clone(),
        }
    }
}

impl RaftNetworkFactory<Types> for Networks {
    type Network = Network;

    async fn new_client(&mut self, target: u64, member: &Member) -> Network {
        self.network(target, member, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Network {
        self.network(target, member, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Network {
        self.network(target, member, Lane::Snapshot)
    }
}

/// One peer, for one purpose.
pub struct Network {
    me: u64,
    target: u64,
    control: PeerClient,
    bulk: PeerClient,
    appends_on_control: bool,
    round_trips: RoundTrips,
    pending_proposals: PendingProposals,
    told_commit: Arc<AtomicU64>,
}

impl Network {
    /// The bytes of an append request that is about to be sent.
    fn encode_append(&self, request: &AppendEntriesRequest<Types>) -> Bytes {
        if let Some(commit) = request.leader_commit {
            self.told_commit.fetch_max(commit.index(), Ordering::AcqRel);
        }
        encode_append(request)
    }

    /// Three round trips more than on loopback: the connection may have to be made first.
    fn append_timeout(&self) -> Duration {
        APPEND_TIMEOUT + 3 * self.round_trips.median(self.target).unwrap_or_default()
    }

    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, RPCError<Types>> {
        let answer = self.control.call(method, body, limit).await;
        let bytes = answer.map_err(|error| self.rpc_error(error, method, limit))?;
        from_postcard("a peer's answer", &bytes).map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }

    async fn ask_vote(
        &self,
        method: Method,
        request: VoteRequest<Types>,
        limit: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let sent = request.vote;
        let answer: WireVoteResponse =
            self.ask(method, to_bytes(&WireVoteRequest::from(request)), limit).await?;
        let answer = VoteResponse::from(answer);
        check_term(&sent, &answer.vote)
            .map_err(|sentence| RPCError::Network(NetworkError::from_string(sentence)))?;
        Ok(answer)
    }

    fn rpc_error(&self, error: PeerError, method: Method, timeout: Duration) -> RPCError<Types> {
        match error {
            // openraft pauses before it tries an unreachable peer again.
            PeerError::Unreachable(_)
            | PeerError::NotListening(_)
            | PeerError::OtherCluster(_)
            | PeerError::OtherHistory(_)
            | PeerError::Refused(_) => RPCError::Unreachable(Unreachable::new(&error)),
            PeerError::Lost => RPCError::Network(NetworkError::new(&error)),
            PeerError::TimedOut => {
                let action = match method {
                    Method::Vote | Method::PreVote => RPCTypes::Vote,
                    Method::SnapshotBegin | Method::SnapshotChunk | Method::SnapshotEnd => {
                        RPCTypes::InstallSnapshot
                    }
                    _ => RPCTypes::AppendEntries,
                };
                RPCError::Timeout(Timeout { action, id: self.me, target: self.target, timeout })
            }
        }
    }

    async fn snapshot_step(
        &self,
        method: Method,
        body: Bytes,
        limit: Duration,
        sent: Vote,
    ) -> Result<Vote, StreamingError<Types>> {
        let answer = self.bulk.call(method, body, limit).await;
        let bytes = answer.map_err(|error| match self.rpc_error(error, method, limit) {
            RPCError::Timeout(error) => StreamingError::Timeout(error),
            RPCError::Unreachable(error) => StreamingError::Unreachable(error),
            RPCError::Network(error) => StreamingError::Network(error),
            RPCError::RemoteError(_) => StreamingError::Network(NetworkError::from_string("remote error")),
        })?;
        let reply: SnapshotReply = from_postcard("a snapshot answer", &bytes)
            .map_err(|error| StreamingError::Network(NetworkError::new(&error)))?;
        let theirs = reply.vote.into();
        check_term(&sent, &theirs)
            .map_err(|sentence| StreamingError::Network(NetworkError::from_string(sentence)))?;
        Ok(theirs)
    }

    /// Sends a chunk of the file; the follower's vote.
    async fn send_chunk(
        &self,
        vote: Vote,
        file: &SnapshotFile,
        offset: u64,
    ) -> Result<Vote, StreamingError<Types>> {
        let reader = file.clone();
        let chunk = offload(move || reader.raw_chunk(offset, CHUNK_BYTES)).await;
        let chunk = match chunk {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Err(StreamingError::Network(NetworkError::new(&error))),
            Err(error) => return Err(StreamingError::Network(NetworkError::new(&error))),
        };
        let mut body = BytesMut::with_capacity(8 + chunk.len());
        body.put_u64(offset);
        body.put_slice(&chunk);
        self.snapshot_step(Method::SnapshotChunk, body.freeze(), CHUNK_TIMEOUT, vote).await
    }

    /// Sends the file in chunks, several at a time. Stops early if the follower's vote is higher than the leader's.
    async fn send_snapshot(
        &self,
        vote: Vote,
        file: &SnapshotFile,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let begin = to_bytes(&SnapshotBegin { vote: vote.into(), bytes: file.bytes });
        // Nothing was said on this lane since the last snapshot: if the connection is dead, that is noticed soon.
        let begin_timeout = self.append_timeout();
        let mut theirs = self.snapshot_step(Method::SnapshotBegin, begin, begin_timeout, vote).await?;
        let offsets = stream::iter((0..file.bytes).step_by(CHUNK_BYTES));
        let answers = offsets.map(|offset| self.send_chunk(vote, file, offset)).buffered(CHUNKS_IN_FLIGHT);
        let mut answers = std::pin::pin!(answers);
        while theirs <= vote
            && let Some(answer) = answers.next().await
        {
            theirs = answer?;
        }
        if theirs <= vote {
            theirs = self.snapshot_step(Method::SnapshotEnd, Bytes::new(), INSTALL_TIMEOUT, vote).await?;
        }
        Ok(SnapshotResponse::new(theirs))
    }
}

impl RaftNetworkV2<Types> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let reply: AppendReply =
            self.ask(Method::Append, self.encode_append(&request), option.soft_ttl()).await?;
        Ok(StreamAppendResult::<Types>::from(reply.check(&request.vote)?).into())
    }

    /// Heartbeats are sent one at a time, on the control lane. Log entries are pipelined: the next request is sent
    /// while the follower still flushes earlier ones. Responses come in order.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        if self.appends_on_control {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        let this: &'s Self = self;
        let bytes_in_flight = Arc::new(Semaphore::new(APPEND_BYTES_IN_FLIGHT));
        #[expect(
            clippy::async_yields_async,
            reason = "requests are sent in order, responses awaited concurrently"
        )]
        let sent = coalesce_commits(input, self.pending_proposals.clone()).then(move |request| {
            let bytes_in_flight = bytes_in_flight.clone();
            async move {
                let (vote, body) = (request.vote, this.encode_append(&request));
                let bytes = u32::try_from(body.len().min(APPEND_BYTES_IN_FLIGHT)).unwrap_or(u32::MAX);
                let room = bytes_in_flight.acquire_many_owned(bytes).await;
                let deadline = Instant::now() + this.append_timeout();
                let pending = this.bulk.send(Method::Append, body, deadline).await;
                // The response is awaited later, while the next request is being sent.
                async move {
                    let _room = room;
                    #[cfg(feature = "sabotage")]
                    if crate::sabotage::Sabotage::EarlyAck.is_chosen() {
                        return early_ack(pending, request).await.map(|bytes| (bytes, vote));
                    }
                    let bytes = pending?.answer(deadline).await?;
                    Ok::<_, PeerError>((bytes, vote))
                }
            }
        });
        let answers = sent.buffered(APPENDS_IN_FLIGHT).map(move |answer| {
            let (bytes, vote) =
                answer.map_err(|error| this.rpc_error(error, Method::Append, this.append_timeout()))?;
            let reply: AppendReply = from_postcard("an append answer", &bytes)
                .map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
            Ok(StreamAppendResult::<Types>::from(reply.check(&vote)?))
        });
        // The responses after the first failure have no meaning.
        let until_failure = answers.scan(false, |failed, item| {
            let give = (!*failed).then_some(item);
            *failed = matches!(give, Some(Err(_) | Ok(Err(_))));
            std::future::ready(give)
        });
        let stream: BoxStream<'s, _> = Box::pin(until_failure);
        async move { Ok(stream) }.boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Method::Vote, request, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Method::PreVote, request, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let SnapshotData::Current(file) = snapshot.snapshot else {
            return Err(StreamingError::Network(NetworkError::from_string(
                "only an installed snapshot is sent",
            )));
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, &file) => sent,
        }
    }
}

/// A fault for the consistency tests: pretends that a peer that does not answer within 20 ms has stored everything.
#[cfg(feature = "sabotage")]
async fn early_ack(
    pending: Result<crate::peer::Pending, PeerError>,
    request: AppendEntriesRequest<Types>,
) -> Result<Bytes, PeerError> {
    let limit = Instant::now() + Duration::from_millis(20);
    if let Ok(pending) = pending
        && let Ok(answer) = pending.answer(limit).await
    {
        return Ok(answer);
    }
    let last = request.entries.last().map(openraft::entry::RaftEntry::log_id).or(request.prev_log_id);
    Ok(to_bytes(&AppendReply::Stored(log_id(last))))
}

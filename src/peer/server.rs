//! The answering side: accepts peers, checks their handshake and hands requests to a [`Handler`].

use super::client::write_frames;
use super::frame::{
    NoAnswer, Outgoing, Reply, Request, decode_request, frame, read_content, read_handshake, read_length,
};
use super::handshake::{Hello, Lane, PeerIdentity, Welcome};
use super::net::{Incoming, ReadHalf, Stream};
use super::slots::Slots;
use super::{FrameError, Links, Listener, Method, NodeId};
use crate::log_limit::LogLimit;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

/// How long a caller may take for its handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(1);
/// Most connections that have not shown who they are.
const STRANGERS_MAX: usize = 64;
/// Most requests of one connection that are worked on at a time.
const REQUESTS_IN_FLIGHT_MAX: usize = 1_024;
/// Most append requests of one connection that wait for their flush.
const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// Longer frames are few at a time; no heartbeat or vote is one.
const LONG_FRAME_BYTES: usize = 1024 * 1024;

/// What is said of appends behind one that was refused.
const AFTER_REFUSAL: &str = "an append before this one was refused";

/// Why a request was not carried out, in a sentence. Nothing was done.
pub type Refusal = String;

/// What a node does with its peers' requests.
pub trait Handler: Send + Sync + 'static {
    /// Whether a node belongs to the cluster, as far as this one knows: one that is behind does not know the newest.
    fn is_member(&self, id: NodeId) -> bool;

    /// Hears that a node of another cluster called and was refused. Anybody can call so.
    fn refused_other_cluster(&self) {}

    /// Answers one request.
    fn call(&self, from: NodeId, method: Method, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>>;

    /// Answers append requests in their order. The answers may end before the requests do: what was not
    /// answered was not done.
    fn appends(&self, from: NodeId, requests: mpsc::Receiver<Bytes>) -> BoxStream<'static, Bytes>;
}

/// A running listener; dropping it closes the listener and every connection.
pub struct PeerServer {
    _tasks: JoinSet<()>,
}

impl PeerServer {
    /// Starts to accept peers.
    pub fn start(
        listener: impl Into<Listener>,
        me: PeerIdentity,
        links: Links,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener.into(), me, links, handler));
        Self { _tasks: tasks }
    }
}

async fn accept(mut listener: Listener, me: PeerIdentity, links: Links, handler: Arc<dyn Handler>) {
    let slots = Arc::new((Slots::of_connections(), Slots::of_long_frames()));
    let refusals = Arc::new(LogLimit::default());
    // Connections end with this task, that is with the server.
    let mut connections = JoinSet::new();
    // Those that have not shown who they are, oldest first. When they are too many the oldest goes: a member
    // needs a moment, and strangers who just hold on must not keep it out.
    let mut strangers: VecDeque<(AbortHandle, Arc<AtomicBool>)> = VecDeque::new();
    loop {
        while connections.try_join_next().is_some() {}
        strangers.retain(|(task, known)| !task.is_finished() && !known.load(Ordering::Acquire));
        if strangers.len() >= STRANGERS_MAX
            && let Some((oldest, _)) = strangers.pop_front()
        {
            oldest.abort();
        }
        let incoming = match listener.accept().await {
            Ok(incoming) => incoming,
            Err(error) => {
                if let Some(omitted) = refusals.pass("accept") {
                    tracing::warn!(%error, omitted, "cannot accept a peer");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (me, links, handler) = (me.clone(), links.clone(), handler.clone());
        let (slots, refusals) = (slots.clone(), refusals.clone());
        let known = Arc::new(AtomicBool::new(false));
        let shown = known.clone();
        let task = connections.spawn(async move {
            if let Err(error) = serve(incoming, me, links, handler, &slots, &refusals, &shown).await {
                tracing::debug!(%error, "peer connection ended");
            }
        });
        strangers.push_back((task, known));
    }
}

async fn serve(
    incoming: Incoming,
    me: PeerIdentity,
    links: Links,
    handler: Arc<dyn Handler>,
    (slots, long_frames): &(Slots, Slots),
    refusals: &LogLimit,
    known: &AtomicBool,
) -> Result<(), FrameError> {
    let Stream { read, mut write } = incoming.stream()?;
    let mut read = BufReader::with_capacity(64 * 1024, read);
    links.whole().await;
    let turns = links.turns();

    let content = tokio::time::timeout(HANDSHAKE_LIMIT, read_handshake(&mut read))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let Some(content) = content else { return Ok(()) };
    let hello = Hello::decode(&content);
    let welcome = match &hello {
        Ok(hello) => hello.check(&me),
        Err(sentence) => Welcome::Refused(sentence.clone()),
    };
    if welcome == Welcome::OtherCluster {
        handler.refused_other_cluster();
    }
    write.write_all(&frame(&welcome.encode())).await?;
    let (hello, protocol) = match (hello, welcome) {
        (Ok(hello), Welcome::Accepted { protocol }) => (hello, protocol),
        (_, refusal) => {
            let sentence = refusal.to_string();
            if let Some(omitted) = refusals.pass(&sentence) {
                tracing::warn!(sentence, omitted, "refused a peer");
            }
            return Ok(());
        }
    };
    let caller = Caller { from: hello.from(), lane: hello.lane(), protocol };
    let displaced = slots.enter(caller.member(&*handler));

    known.store(true, Ordering::Release);
    let (replies, queued) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
    let frames = async {
        tokio::select! {
            result = read_requests(read, caller, &links, handler, long_frames, replies) => result,
            _ = write_frames(write, queued, &links) => Ok(()),
        }
    };
    tokio::select! {
        biased;
        () = links.broken(turns) => Ok(()),
        _ = displaced => Ok(()),
        result = frames => result,
    }
}

/// Who is at the other end of a connection, and how it speaks.
#[derive(Clone, Copy)]
struct Caller {
    from: NodeId,
    lane: Lane,
    protocol: u8,
}

impl Caller {
    /// The member that calls, if it is one.
    fn member(self, handler: &dyn Handler) -> Option<NodeId> {
        handler.is_member(self.from).then_some(self.from)
    }
}

/// Reads requests until the peer closes. Appends keep their order; others are worked on side by side.
async fn read_requests(
    mut read: BufReader<ReadHalf>,
    caller: Caller,
    links: &Links,
    handler: Arc<dyn Handler>,
    long_frames: &Slots,
    replies: mpsc::Sender<Outgoing>,
) -> Result<(), FrameError> {
    let slots = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX));
    let Caller { from, lane, protocol } = caller;
    let bytes = Arc::new(Semaphore::new(lane.bytes_at_work_max()));
    let mut working = JoinSet::new();
    let mut appends = Appends::default();
    while let Some(length) = read_length(lane.frame_bytes_max(), &mut read).await? {
        // What is at work is bounded before more is taken in; until then the caller's bytes wait on its side.
        let weight = u32::try_from(length).unwrap_or(u32::MAX);
        let Ok(weight) = bytes.clone().acquire_many_owned(weight).await else { return Ok(()) };
        let content = if length <= LONG_FRAME_BYTES {
            read_content(length, &mut read).await?
        } else {
            let displaced = long_frames.enter(caller.member(&*handler));
            tokio::select! {
                biased;
                content = read_content(length, &mut read) => content?,
                _ = displaced => return Ok(()),
            }
        };
        let request = match decode_request(protocol, content) {
            // A later version asks for what this one does not know: it is told so, and the rest goes on.
            Err(error @ FrameError::UnknownMethod { id, .. }) => {
                let reply = Reply { id, body: Err(NoAnswer::Refused(error.to_string())) };
                let _ = replies.send(reply.into_frame(protocol)).await;
                continue;
            }
            request => request?,
        };
        if links.is_cut() {
            continue;
        }
        if lane == Lane::Append && request.method == Method::Append {
            appends.push(request, weight, caller, &handler, &replies).await;
            continue;
        }
        while working.try_join_next().is_some() {}
        let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
        let answer = handler.call(from, request.method, request.body);
        let replies = replies.clone();
        working.spawn(async move {
            let reply = Reply { id: request.id, body: answer.await.map_err(NoAnswer::Refused) };
            let _ = replies.send(reply.into_frame(protocol)).await;
            // Kept until the answer is on its way: a peer that asks and does not read gets no more tasks.
            drop((slot, weight));
        });
    }
    Ok(())
}

/// One run of ordered appends: requests go in by a channel, answers come out of a stream. When the stream
/// ends early, what is left is refused and the next request starts a new run.
#[derive(Default)]
struct Appends {
    run: Option<AppendRun>,
}

/// Ids that wait for their answer and what their requests weigh, oldest first.
type Expected = VecDeque<(u64, OwnedSemaphorePermit)>;

struct AppendRun {
    requests: mpsc::Sender<Bytes>,
    /// `None` once the run has ended.
    waiting: Arc<Mutex<Option<Expected>>>,
}

impl Appends {
    async fn push(
        &mut self,
        request: Request,
        weight: OwnedSemaphorePermit,
        caller: Caller,
        handler: &Arc<dyn Handler>,
        replies: &mpsc::Sender<Outgoing>,
    ) {
        if self.run.as_ref().is_none_or(AppendRun::ended) {
            self.run = Some(AppendRun::start(caller, handler, replies.clone()));
        }
        let Some(run) = &self.run else { return };
        if run.expect(request.id, weight) && run.requests.send(request.body).await.is_ok() {
            return;
        }
        // The run ended meanwhile; if it still knew the id, it has refused it itself.
        let reply = Reply { id: request.id, body: Err(NoAnswer::Refused(AFTER_REFUSAL.into())) };
        let _ = replies.send(reply.into_frame(caller.protocol)).await;
        self.run = None;
    }
}

impl AppendRun {
    fn start(caller: Caller, handler: &Arc<dyn Handler>, replies: mpsc::Sender<Outgoing>) -> Self {
        let Caller { from, protocol, .. } = caller;
        let (requests, receiver) = mpsc::channel(APPENDS_IN_FLIGHT_MAX);
        let waiting = Arc::new(Mutex::new(Some(VecDeque::new())));
        let mut answers = handler.appends(from, receiver);
        let ids = waiting.clone();
        tokio::spawn(async move {
            while let Some(body) = answers.next().await {
                let id = ids.lock().expect("no panic while held").as_mut().and_then(VecDeque::pop_front);
                let Some((id, _weight)) = id else { break };
                if replies.send(Reply { id, body: Ok(body) }.into_frame(protocol)).await.is_err() {
                    break;
                }
            }
            let left = ids.lock().expect("no panic while held").take();
            for (id, _weight) in left.into_iter().flatten() {
                let refusal = Err(NoAnswer::Refused(AFTER_REFUSAL.into()));
                let _ = replies.send(Reply { id, body: refusal }.into_frame(protocol)).await;
            }
        });
        Self { requests, waiting }
    }

    fn ended(&self) -> bool {
        self.waiting.lock().expect("no panic while held").is_none()
    }

    /// Notes an id as waiting; false when the run has ended.
    fn expect(&self, id: u64, weight: OwnedSemaphorePermit) -> bool {
        match self.waiting.lock().expect("no panic while held").as_mut() {
            Some(ids) => {
                ids.push_back((id, weight));
                true
            }
            None => false,
        }
    }
}

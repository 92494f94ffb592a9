//! The serving side: accepts peers, checks their handshake, and passes their requests to a [`Handler`].

use super::connection::write_frames;
use super::frame::{
    ALL_OTHERS, NoAnswer, Outgoing, Reply, Request, decode_request, frame, read_content, read_handshake,
    read_length,
};
use super::handshake::{Hello, Lane, PeerIdentity, Welcome};
use super::net::{Incoming, ReadHalf, Stream, WriteHalf};
use super::slots::Slots;
use super::{FrameError, Links, Listener, Method, NodeId};
use crate::log_limit::LogLimit;
use crate::tls::Certificate;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Timeout of a caller's handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Most connections without a completed handshake.
const UNIDENTIFIED_MAX: usize = 64;
/// Most requests of one connection in progress.
const REQUESTS_IN_FLIGHT_MAX: usize = 1_024;
/// Most append requests of one connection that wait for their flush.
const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// Frames longer than this many bytes are limited in number. Heartbeats and votes are never that long.
const LONG_FRAME_BYTES: usize = 1024 * 1024;

/// How long a server that stops waits until requests are answered, and until their callers have read that.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Why it carries out no others.
const STOPS: &str = "the node is about to stop";

/// The answer to appends that follow one that was refused.
const AFTER_REFUSAL: &str = "an append before this one was refused";

/// Why a request was not carried out, in a sentence. Nothing was done.
pub type Refusal = String;

/// Handles the requests of peers.
pub trait Handler: Send + Sync + 'static {
    /// Returns once requests can be handled. Until then callers that are let in wait; others are refused at once.
    fn ready(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    /// The name of a member, as far as this node knows: a node that is behind does not know the newest members.
    fn name_of(&self, id: NodeId) -> Option<String>;

    /// Called when a caller with the id of another cluster was refused. Anybody can cause that.
    fn refused_other_cluster(&self) {}

    /// A node of a history before this one's last was refused.
    fn refused_earlier_history(&self) {}

    /// Answers one request.
    fn call(&self, from: NodeId, method: Method, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>>;

    /// Answers append requests in order. The answers may end before the requests do: a request without an answer was
    /// not carried out.
    fn appends(&self, from: NodeId, requests: mpsc::Receiver<Bytes>) -> BoxStream<'static, Bytes>;
}

/// A running listener; dropping it closes the listener and every connection.
pub struct PeerServer {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// What the connections of a server share.
struct Shared {
    me: PeerIdentity,
    links: Links,
    handler: Arc<dyn Handler>,
    connections: Slots,
    long_frames: Slots,
    refusals: LogLimit,
    /// Whether forwarded requests are taken. Whoever may take one holds a receiver.
    takes_forwarded: watch::Sender<bool>,
}

impl PeerServer {
    /// Starts to accept peers.
    pub fn start(
        listener: impl Into<Listener>,
        me: PeerIdentity,
        links: Links,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let shared = Arc::new(Shared {
            me,
            links,
            handler,
            connections: Slots::of_connections(),
            long_frames: Slots::of_long_frames(),
            refusals: LogLimit::default(),
            takes_forwarded: watch::Sender::new(true),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener.into(), shared.clone()));
        Self { shared, _tasks: tasks }
    }

    /// Ends the connections on which peers forward the requests of their clients. Those under way are answered, if that takes no
    /// longer than two seconds; of all others the peers learn that nothing was done. What Raft needs to decide those under way goes
    /// on until the server is dropped.
    pub fn end_forwarding(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.shared.clone();
        async move {
            shared.takes_forwarded.send_replace(false);
            if timeout(STOP_TIMEOUT, shared.takes_forwarded.closed()).await.is_err() {
                tracing::info!("some requests of peers were not answered before the node stopped");
            }
        }
    }
}

async fn accept(mut listener: Listener, shared: Arc<Shared>) {
    // The connections end with this task, and so with the server.
    let mut connections = JoinSet::new();
    // Connections without a completed handshake, oldest first. If there are too many, the oldest is closed: callers
    // that only hold a connection must not keep out a member, which needs a moment for its handshake.
    let mut unidentified: VecDeque<(AbortHandle, Arc<AtomicBool>)> = VecDeque::new();
    loop {
        while connections.try_join_next().is_some() {}
        unidentified.retain(|(task, identified)| !task.is_finished() && !identified.load(Ordering::Acquire));
        if unidentified.len() >= UNIDENTIFIED_MAX
            && let Some((oldest, _)) = unidentified.pop_front()
        {
            oldest.abort();
        }
        let incoming = match listener.accept().await {
            Ok(incoming) => incoming,
            Err(error) => {
                if let Some(omitted) = shared.refusals.pass("accept") {
                    tracing::warn!(%error, omitted, "cannot accept a peer");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let shared = shared.clone();
        let identified = Arc::new(AtomicBool::new(false));
        let is_identified = identified.clone();
        let task = connections.spawn(async move {
            if let Err(error) = serve(incoming, &shared, &is_identified).await {
                tracing::debug!(%error, "peer connection ended");
            }
        });
        unidentified.push_back((task, identified));
    }
}

async fn serve(incoming: Incoming, shared: &Shared, identified: &AtomicBool) -> Result<(), FrameError> {
    let Shared { me, links, handler, refusals, .. } = shared;
    links.connected().await;
    let epoch = links.epoch();
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);

    let connecting = timeout(HANDSHAKE_TIMEOUT, incoming.stream()).await.map_err(late)?;
    let (Stream { read, mut write }, certificate) = match connecting {
        Ok(connected) => connected,
        Err(error) => {
            if let Some(omitted) = refusals.pass("tls") {
                tracing::warn!(%error, omitted, "refused a caller of the peer port: the TLS handshake failed");
            }
            return Ok(());
        }
    };
    let mut read = BufReader::with_capacity(64 * 1024, read);
    let content = timeout(HANDSHAKE_TIMEOUT, read_handshake(&mut read)).await.map_err(late)??;
    let Some(content) = content else { return Ok(()) };
    let hello = Hello::decode(&content);
    let mut welcome = match &hello {
        Ok(hello) => hello.check(me),
        Err(sentence) => Welcome::Refused(sentence.clone()),
    };
    match (&hello, &welcome) {
        (_, Welcome::OtherCluster) => handler.refused_other_cluster(),
        (Ok(hello), Welcome::OtherHistory(_)) if hello.is_of_earlier_history(&me.lineage) => {
            handler.refused_earlier_history();
        }
        _ => {}
    }
    if let (Ok(hello), Welcome::Accepted { .. }) = (&hello, &welcome) {
        handler.ready().await;
        // Now the handler knows the members.
        if let Some(sentence) = unproven(hello, certificate.as_ref(), &**handler) {
            welcome = Welcome::Refused(sentence);
        }
    }
    let forwarding = Forwarding::on(hello.as_ref().map_or(Lane::Control, Hello::lane), shared);
    if forwarding.has_ended() {
        welcome = Welcome::Refused(STOPS.into());
    }
    write.write_all(&frame(&welcome.encode())).await?;
    write.flush().await?;
    let (hello, protocol) = match (hello, welcome) {
        (Ok(hello), Welcome::Accepted { protocol }) => (hello, protocol),
        _ if forwarding.has_ended() => return Ok(()),
        (_, refusal) => {
            let sentence = refusal.to_string();
            if let Some(omitted) = refusals.pass(&sentence) {
                tracing::warn!(sentence, omitted, "refused a peer");
            }
            return Ok(());
        }
    };
    let caller = Caller { from: hello.from(), lane: hello.lane(), protocol };
    let displaced = shared.connections.acquire(caller.member(&**handler));

    identified.store(true, Ordering::Release);
    let frames = serve_frames(read, write, caller, forwarding, shared);
    tokio::select! {
        biased;
        () = links.was_cut(epoch) => Ok(()),
        _ = displaced => Ok(()),
        result = frames => result,
    }
}

/// Why a caller is not the node that it says it is. A node that this one does not know yet can be any node: it comes from an
/// authority that is believed.
fn unproven(hello: &Hello, certificate: Option<&Certificate>, handler: &dyn Handler) -> Option<String> {
    let (certificate, name) = (certificate?, handler.name_of(hello.from())?);
    (!certificate.is_of_node(&name)).then(|| {
        let (id, shown) = (hello.from(), certificate.nodes.join(", "));
        format!("the caller says it is node {id}, which is {name}, and its certificate is of {shown}")
    })
}

/// The node at the other end of a connection, as its handshake says.
#[derive(Clone, Copy)]
struct Caller {
    from: NodeId,
    lane: Lane,
    protocol: u8,
}

impl Caller {
    /// The caller's number, if it is a member.
    fn member(self, handler: &dyn Handler) -> Option<NodeId> {
        handler.name_of(self.from).map(|_| self.from)
    }
}

/// Whether a connection may take forwarded requests, and still does. The server waits for its end.
struct Forwarding(Option<watch::Receiver<bool>>);

impl Forwarding {
    fn on(lane: Lane, shared: &Shared) -> Self {
        Self((lane == Lane::Forward).then(|| shared.takes_forwarded.subscribe()))
    }

    fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|takes| !*takes.borrow())
    }

    /// Returns once none are taken any more; never on another lane.
    async fn ends(&mut self) {
        match &mut self.0 {
            // The sender lives as long as the connection.
            Some(takes) => drop(takes.wait_for(|takes| !takes).await),
            None => std::future::pending().await,
        }
    }
}

/// Answers requests until the peer closes the connection, or the server takes no more.
async fn serve_frames(
    mut read: BufReader<ReadHalf>,
    write: WriteHalf,
    caller: Caller,
    mut forwarding: Forwarding,
    shared: &Shared,
) -> Result<(), FrameError> {
    let (replies, queued) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
    let mut writing = pin!(write_frames(write, queued, &shared.links));
    let mut in_progress = JoinSet::new();
    tokio::select! {
        biased;
        () = forwarding.ends() => {}
        result = read_requests(&mut read, caller, shared, &mut in_progress, &replies) => return result,
        _ = &mut writing => return Ok(()),
    }
    let answering = async {
        while let Some(answered) = in_progress.join_next().await {
            // It panicked, so nobody knows what it has done.
            answered.map_err(io::Error::other)?;
        }
        let refusal = Reply { id: ALL_OTHERS, body: Err(NoAnswer::Refused(STOPS.into())) };
        let _ = replies.send(refusal.into_frame(caller.protocol)).await;
        drop(replies);
        Ok::<_, FrameError>(())
    };
    tokio::try_join!(answering, async { Ok(writing.await) })?;
    // The peer closes the connection when it has read that. Closed here, with requests in it that nobody has read, it would lose
    // what was written.
    let mut unread = tokio::io::sink();
    tokio::io::copy_buf(&mut read, &mut unread).await?;
    Ok(())
}

/// Reads requests until the peer closes the connection. Appends are handled in order, other requests concurrently.
async fn read_requests(
    read: &mut BufReader<ReadHalf>,
    caller: Caller,
    shared: &Shared,
    in_progress: &mut JoinSet<()>,
    replies: &mpsc::Sender<Outgoing>,
) -> Result<(), FrameError> {
    let Shared { links, handler, long_frames, .. } = shared;
    let slots = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX));
    let Caller { from, lane, protocol } = caller;
    let bytes = Arc::new(Semaphore::new(lane.bytes_in_progress_max()));
    let mut appends = Appends::default();
    while let Some(length) = read_length(lane.frame_bytes_max(), read).await? {
        // The bytes in progress are bounded before the frame is read. Until then it waits on the caller's side.
        let weight = u32::try_from(length).unwrap_or(u32::MAX);
        let Ok(weight) = bytes.clone().acquire_many_owned(weight).await else { return Ok(()) };
        let content = if length <= LONG_FRAME_BYTES {
            read_content(length, read).await?
        } else {
            let displaced = long_frames.acquire(caller.member(&**handler));
            tokio::select! {
                biased;
                content = read_content(length, read) => content?,
                _ = displaced => return Ok(()),
            }
        };
        let request = match decode_request(protocol, content) {
            // A later version may send a method that this one does not know: refuse it, and keep the connection.
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
            appends.push(request, weight, caller, handler, replies).await;
            continue;
        }
        while let Some(answered) = in_progress.try_join_next() {
            // One that panicked has no answer, and whoever waits for it learns that in this way.
            answered.map_err(io::Error::other)?;
        }
        let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
        let answer = handler.call(from, request.method, request.body);
        let replies = replies.clone();
        in_progress.spawn(async move {
            let reply = Reply { id: request.id, body: answer.await.map_err(NoAnswer::Refused) };
            let _ = replies.send(reply.into_frame(protocol)).await;
            // Held until the reply is queued, so that a peer that sends requests and reads no replies gets no more
            // tasks.
            drop((slot, weight));
        });
    }
    Ok(())
}

/// The appends of one connection. They are handled in runs: requests go into a channel, and answers come out of a
/// stream. When the stream ends early, the remaining requests are refused, and the next request starts a new run.
#[derive(Default)]
struct Appends {
    run: Option<AppendRun>,
}

/// The ids of requests that wait for their answers, each with its permit, oldest first.
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
        // The run has ended meanwhile. If it still knew the id, it has refused the request itself, and this reply is
        // ignored.
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

    /// Adds an id that waits for its answer; false when the run has ended.
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

//! The calling side: one connection per lane. It is dialled when it is first needed, and closed when the peer stops
//! answering.

use super::frame::{
    NoAnswer, Outgoing, Reply, Request, decode_reply, frame, read_frame, read_welcome, write_outgoing,
};
use super::handshake::{Hello, Lane, PeerIdentity, Welcome};
use super::net::{ReadHalf, Stream, WriteHalf};
use super::round_trips::{RoundTrips, is_answered_at_once};
use super::{FrameError, Links, Method, Net, NodeId};
use crate::lineage::Lineage;
use crate::log_limit::{LogLimit, clipped};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// Timeout of a dial, handshake included.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// After a call has timed out, the connection is closed once it has received nothing for this long although an answer
/// was due. Shorter would hurt healthy peers: one may pause for a second, for example on a disk that flushes slowly,
/// and closing the connection ends all calls of the lane. Longer would let a dead connection fail calls for much longer
/// than an election takes.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Most frames queued for one connection's writer. A sender waits when the queue is full.
const QUEUE_FRAMES: usize = 256;

/// After two failures in a row a peer is dialled again after four times this pause, and the pause doubles with each
/// further failure, up to the maximum. Both are short compared with an election, so that a node that returns is noticed
/// soon.
const DIAL_PAUSE: Duration = Duration::from_millis(20);
const DIAL_PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long to wait before dialling a peer again after so many failures in a row.
fn pause_after(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => DIAL_PAUSE.saturating_mul(1 << more.min(10)).min(DIAL_PAUSE_MAX),
    }
}

/// Why there is no answer from a peer. `Unreachable`, `NotListening`, `OtherCluster`, `OtherHistory` and `Refused` mean
/// that it did nothing. After `Lost` or `TimedOut` it may have carried out the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("cannot reach the peer: {0}")]
    Unreachable(String),
    /// The machine answers, but nothing listens at the address.
    #[error("the peer does not run: {0}")]
    NotListening(String),
    /// A node of another cluster listens at this address.
    #[error("the node at {0} belongs to another cluster")]
    OtherCluster(String),
    /// The node's log belongs to another history of the cluster, the last one of this lineage.
    #[error("the node belongs to history {} of the cluster ({})", .0.current().number, .0.current().id)]
    OtherHistory(Arc<Lineage>),
    #[error("the peer refused: {0}")]
    Refused(String),
    #[error("the connection to the peer was lost")]
    Lost,
    #[error("the peer did not answer in time")]
    TimedOut,
}

/// One lane to one peer. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct PeerClient {
    shared: Arc<Shared>,
}

/// A node to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub id: NodeId,
    /// What its certificate must name, on a network with certificates.
    pub name: String,
    pub address: String,
}

struct Shared {
    me: PeerIdentity,
    target: NodeId,
    address: String,
    /// The name of the node now.
    name: Mutex<String>,
    lane: Lane,
    net: Net,
    links: Links,
    round_trips: RoundTrips,
    too_long: LogLimit,
    /// Held while dialling, so that many callers share one attempt.
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// When and why the last attempt failed.
    failure: Option<(Instant, PeerError)>,
    /// Failed attempts in a row.
    failures: u32,
}

impl Slot {
    fn open(&self) -> Option<Arc<Connection>> {
        let connection = self.connection.clone()?;
        connection.close_if_silent();
        (!connection.closed.load(Ordering::Acquire)).then_some(connection)
    }
}

struct Connection {
    /// The agreed version of the protocol.
    protocol: u8,
    queue: mpsc::Sender<Outgoing>,
    calls: Mutex<PendingCalls>,
    next_id: AtomicU64,
    closed: AtomicBool,
    /// Dropped with the connection; ends its two tasks.
    close: Mutex<Option<oneshot::Sender<()>>>,
}

type CallResult = Result<Bytes, PeerError>;

#[derive(Default)]
struct PendingCalls {
    answers: HashMap<u64, oneshot::Sender<CallResult>>,
    /// Since when an answer has been due and nothing has been received.
    silent_since: Option<Instant>,
    /// Whether a call has timed out since then.
    timed_out: bool,
}

impl PendingCalls {
    fn add(&mut self, id: u64, sender: oneshot::Sender<CallResult>) {
        self.answers.insert(id, sender);
        self.silent_since.get_or_insert_with(Instant::now);
    }

    /// Records that an answer was received. Returns the channel of its caller, if it still waits.
    fn received(&mut self, id: u64) -> Option<oneshot::Sender<CallResult>> {
        let sender = self.answers.remove(&id);
        self.silent_since = (!self.answers.is_empty()).then(Instant::now);
        self.timed_out = false;
        sender
    }

    fn is_silent(&self) -> bool {
        self.timed_out && self.silent_since.is_some_and(|since| since.elapsed() >= SILENCE_MAX)
    }
}

impl PeerClient {
    pub fn new(
        me: PeerIdentity,
        remote: Remote,
        lane: Lane,
        net: Net,
        links: Links,
        round_trips: RoundTrips,
    ) -> Self {
        let Remote { id: target, name, address } = remote;
        let (too_long, slot) = (LogLimit::default(), tokio::sync::Mutex::default());
        let shared = Shared {
            me,
            target,
            address,
            name: Mutex::new(name),
            lane,
            net,
            links,
            round_trips,
            too_long,
            slot,
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The node has this name from now on.
    pub fn rename(&self, name: &str) {
        let mut known = self.shared.name.lock().expect("no panic while held");
        if *known != name {
            name.clone_into(&mut known);
        }
    }

    /// Dials, unless there is a connection.
    pub async fn connect(&self) {
        // Whoever needs it learns why there is none.
        let connecting = async {
            self.shared.links.connected().await;
            self.shared.connection().await
        };
        let _ = timeout(DIAL_TIMEOUT, connecting).await;
    }

    /// Sends a request and waits for the answer, for at most `timeout`.
    ///
    /// # Errors
    /// [`PeerError`] says whether the peer may have acted.
    pub async fn call(&self, method: Method, body: Bytes, timeout: Duration) -> CallResult {
        let deadline = Instant::now() + timeout;
        let pending = self.send(method, body, deadline).await?;
        let sent = Instant::now();
        let answer = pending.answer(deadline).await?;
        // On other lanes it may have waited behind bulk data.
        if self.shared.lane == Lane::Control && is_answered_at_once(method) {
            self.shared.round_trips.note(self.shared.target, sent.elapsed());
        }
        Ok(answer)
    }

    /// Sends a request. Returns once it is in the connection's queue. Requests sent one after another arrive in that
    /// order as long as none fails.
    ///
    /// # Errors
    /// [`PeerError`]; nothing was sent.
    pub async fn send(&self, method: Method, body: Bytes, deadline: Instant) -> Result<Pending, PeerError> {
        if !Request::fits(&body) {
            // A retry does not help, so an operator has to look at it.
            let (bytes, peer) = (body.len(), self.shared.target);
            if let Some(omitted) = self.shared.too_long.pass("") {
                tracing::error!(
                    bytes,
                    peer,
                    omitted,
                    "a request does not fit into a frame and cannot be sent"
                );
            }
            return Err(PeerError::Unreachable(format!(
                "a request of {bytes} bytes does not fit into a frame"
            )));
        }
        let sending = async {
            self.shared.links.connected().await;
            let connection = self.shared.connection().await?;
            let id = connection.next_id.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            connection.calls.lock().expect("no panic while held").add(id, sender);
            // From here on, a caller that gives up drops `pending`, which deregisters the call.
            let pending = Pending { id, connection, receiver };
            let frame = Request { id, method, body }.into_frame(pending.connection.protocol);
            match timeout_at(deadline, pending.connection.queue.send(frame)).await {
                Ok(Ok(())) => Ok(pending),
                Ok(Err(_)) => {
                    pending.connection.close("the connection ended");
                    Err(PeerError::Unreachable("the connection ended".into()))
                }
                // The peer reads nothing.
                Err(_) => {
                    pending.connection.timed_out();
                    Err(PeerError::Unreachable("no room on the connection in time".into()))
                }
            }
        };
        match timeout_at(deadline, sending).await {
            Ok(result) => result,
            Err(_) => Err(PeerError::Unreachable("no connection in time".into())),
        }
    }
}

/// A request in flight.
pub struct Pending {
    id: u64,
    connection: Arc<Connection>,
    receiver: oneshot::Receiver<CallResult>,
}

impl Pending {
    /// Waits for the answer. If this call times out, the others continue, unless the connection has been silent for
    /// [`SILENCE_MAX`].
    ///
    /// # Errors
    /// [`PeerError`] says whether the peer may have acted.
    pub async fn answer(mut self, deadline: Instant) -> CallResult {
        match timeout_at(deadline, &mut self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(PeerError::Lost),
            Err(_) => {
                self.connection.timed_out();
                Err(PeerError::TimedOut)
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Ok(mut calls) = self.connection.calls.lock() {
            calls.answers.remove(&self.id);
        }
    }
}

impl Connection {
    /// Records that a call got no answer in time.
    fn timed_out(&self) {
        self.calls.lock().expect("no panic while held").timed_out = true;
        self.close_if_silent();
    }

    /// Closes a connection that seems dead, so that the next call dials again instead of failing on it.
    fn close_if_silent(&self) {
        if self.calls.lock().expect("no panic while held").is_silent() {
            self.close("the peer stopped answering");
        }
    }

    fn close(&self, why: &str) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            tracing::debug!(why, "peer connection closed");
        }
        self.close.lock().expect("no panic while held").take();
        // Do this even if it was closed before: a request may have been added since.
        let answers = std::mem::take(&mut self.calls.lock().expect("no panic while held").answers);
        for (_, sender) in answers {
            let _ = sender.send(Err(PeerError::Lost));
        }
    }
}

impl Shared {
    async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, PeerError> {
        // Taken before the lock: the task that holds the lock may be dialling, and this caller shares its result.
        let asked = Instant::now();
        if let Some(connection) = self.slot.lock().await.open() {
            return Ok(connection);
        }
        // On a task of its own: a caller with a short deadline must not cancel the dial that other callers wait for.
        let shared = self.clone();
        let dialled = tokio::spawn(async move { shared.dial_once(asked).await });
        dialled.await.unwrap_or_else(|error| Err(PeerError::Unreachable(error.to_string())))
    }

    /// Dials, unless another caller did so after `asked`; then returns that result.
    async fn dial_once(&self, asked: Instant) -> Result<Arc<Connection>, PeerError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        let pause = pause_after(slot.failures);
        if let Some((_, error)) = slot.failure.as_ref().filter(|(at, _)| *at >= asked || at.elapsed() < pause)
        {
            return Err(error.clone());
        }
        let late = || Err(PeerError::Unreachable(format!("{}: no connection in time", self.address)));
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, self.dial()).await.unwrap_or_else(|_| late());
        slot.connection = dialled.as_ref().ok().cloned();
        slot.failure = dialled.as_ref().err().map(|error| (Instant::now(), error.clone()));
        slot.failures = if dialled.is_ok() { 0 } else { slot.failures.saturating_add(1) };
        dialled
    }

    async fn dial(&self) -> Result<Arc<Connection>, PeerError> {
        let epoch = self.links.epoch();
        let unreachable = |e: std::io::Error| PeerError::Unreachable(format!("{}: {e}", self.address));
        let name = self.name.lock().expect("no panic while held").clone();
        let dialled = self.net.dial(&self.address, &name).await;
        let Stream { read, mut write } = dialled.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                PeerError::NotListening(format!("{}: {error}", self.address))
            }
            _ => unreachable(error),
        })?;
        let mut read = BufReader::with_capacity(64 * 1024, read);

        let hello = Hello::new(&self.me, self.target, self.lane);
        write.write_all(&frame(&hello.encode())).await.map_err(unreachable)?;
        write.flush().await.map_err(unreachable)?;
        let welcome = match read_welcome(&mut read).await {
            Ok(Some(content)) => Welcome::decode(&content).map_err(PeerError::Refused)?,
            Ok(None) => return Err(PeerError::Unreachable("closed during the handshake".into())),
            Err(e) => return Err(PeerError::Unreachable(e.to_string())),
        };
        let protocol = match welcome {
            Welcome::Accepted { protocol } if self.me.protocols.contains(protocol) => protocol,
            Welcome::Accepted { protocol } => {
                let sentence =
                    format!("it speaks version {protocol} of the peer protocol, which was not offered");
                return Err(PeerError::Refused(sentence));
            }
            Welcome::OtherCluster => return Err(PeerError::OtherCluster(self.address.clone())),
            Welcome::OtherHistory(lineage) => return Err(PeerError::OtherHistory(lineage.into())),
            Welcome::Refused(sentence) => return Err(PeerError::Refused(clipped(&sentence))),
        };

        let (queue, queued) = mpsc::channel(QUEUE_FRAMES);
        let (close, closing) = oneshot::channel();
        let connection = Arc::new(Connection {
            protocol,
            queue,
            calls: Mutex::default(),
            next_id: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            close: Mutex::new(Some(close)),
        });
        tokio::spawn(run(
            Arc::downgrade(&connection),
            read,
            write,
            queued,
            closing,
            (self.links.clone(), epoch),
            protocol,
        ));
        Ok(connection)
    }
}

/// Sends and receives frames until the connection ends. It holds the connection only weakly, so that the task ends when
/// nobody uses the connection any more.
async fn run(
    connection: Weak<Connection>,
    read: BufReader<ReadHalf>,
    write: WriteHalf,
    queued: mpsc::Receiver<Outgoing>,
    closing: oneshot::Receiver<()>,
    (links, epoch): (Links, u64),
    protocol: u8,
) {
    let frames = async {
        tokio::select! {
            why = write_frames(write, queued, &links) => why,
            why = read_replies(&connection, protocol, read, &links) => why,
            _ = closing => "closed here".to_owned(),
        }
    };
    let why = tokio::select! {
        // Polled first, so that frames held back during a cut are not sent after it.
        biased;
        () = links.was_cut(epoch) => "the links were cut".to_owned(),
        why = frames => why,
    };
    if let Some(connection) = connection.upgrade() {
        connection.close(&why);
    }
}

/// Writes queued frames, as many at a time as there are.
pub(super) async fn write_frames(
    mut write: WriteHalf,
    mut queued: mpsc::Receiver<Outgoing>,
    links: &Links,
) -> String {
    let (mut batch, mut joined) = (Vec::new(), Vec::new());
    loop {
        if queued.recv_many(&mut batch, QUEUE_FRAMES).await == 0 {
            return "nobody sends any more".into();
        }
        links.connected().await;
        if let Err(e) = write_outgoing(&mut write, &mut batch, &mut joined).await {
            return e.to_string();
        }
    }
}

async fn read_replies(
    connection: &Weak<Connection>,
    protocol: u8,
    mut read: BufReader<ReadHalf>,
    links: &Links,
) -> String {
    loop {
        let reply: Result<Option<Reply>, FrameError> = match read_frame(&mut read).await {
            Ok(Some(content)) => decode_reply(protocol, content).map(Some),
            Ok(None) => Ok(None),
            Err(e) => Err(e),
        };
        match reply {
            Ok(Some(_)) if links.is_cut() => {}
            Ok(Some(Reply { id, body })) => {
                let Some(connection) = connection.upgrade() else { return "nobody waits any more".into() };
                let sender = connection.calls.lock().expect("no panic while held").received(id);
                if let Some(sender) = sender {
                    let _ = sender.send(body.map_err(|error| match error {
                        NoAnswer::Refused(sentence) => PeerError::Refused(clipped(&sentence)),
                        NoAnswer::TooLong => PeerError::Lost,
                    }));
                }
            }
            Ok(None) => return "the peer closed the connection".into(),
            Err(e) => return e.to_string(),
        }
    }
}

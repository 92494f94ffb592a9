//! The calling side: one connection a lane, dialled when first needed, dropped when it stops answering.

use super::frame::{
    NoAnswer, Outgoing, Reply, Request, decode_reply, frame, read_frame, read_handshake, write_outgoing,
};
use super::handshake::{Hello, Lane, PeerIdentity, Welcome};
use super::net::{ReadHalf, Stream, WriteHalf};
use super::{FrameError, Links, Method, Net, NodeId};
use crate::log_limit::{LogLimit, clipped};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// How long dialling may take, handshake included.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// A connection on which a call timed out is closed once nothing was received on it for this long although an answer was
/// due. A sound peer may pause for a second, say on a disk that flushes slowly, and all calls of the lane end with the
/// connection. A dead one must not take the calls of much more than an election.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Frames that may wait for one connection's writer; more make the sender wait.
const QUEUE_FRAMES: usize = 256;

/// A peer that was not reached twice in a row is dialled again after four times this, and after twice as long each time, up
/// to the most.
/// Short beside an election, so that a node that comes back is not missed for long.
const DIAL_PAUSE: Duration = Duration::from_millis(20);
const DIAL_PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long a peer is not dialled after so many failures in a row.
fn pause_after(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => DIAL_PAUSE.saturating_mul(1 << more.min(10)).min(DIAL_PAUSE_MAX),
    }
}

/// Why a peer gave no answer. `Unreachable`, `NotThere`, `OtherCluster` and `Refused` mean that it did nothing; after
/// `Lost` or `TimedOut` it may have done what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("cannot reach the peer: {0}")]
    Unreachable(String),
    /// Its machine answers, and nobody listens there.
    #[error("the peer does not run: {0}")]
    NotThere(String),
    /// Another node listens at its address; this is the address.
    #[error("the node at {0} belongs to another cluster")]
    OtherCluster(String),
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

struct Shared {
    me: PeerIdentity,
    target: NodeId,
    address: String,
    lane: Lane,
    net: Net,
    links: Links,
    too_long: LogLimit,
    /// Held while dialling, so that many callers share one attempt.
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// When the last attempt failed, and why.
    failure: Option<(Instant, PeerError)>,
    /// Attempts that failed one after another.
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
    /// The version of the protocol that both sides agreed on.
    protocol: u8,
    queue: mpsc::Sender<Outgoing>,
    waiting: Mutex<Waiting>,
    next_id: AtomicU64,
    closed: AtomicBool,
    /// Dropped with the connection; ends its two tasks.
    close: Mutex<Option<oneshot::Sender<()>>>,
}

type Answer = Result<Bytes, PeerError>;

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// Since when an answer has been due and nothing was received.
    silent_since: Option<Instant>,
    /// Whether a call has timed out in that time.
    timed_out: bool,
}

impl Waiting {
    fn ask(&mut self, id: u64, sender: oneshot::Sender<Answer>) {
        self.answers.insert(id, sender);
        self.silent_since.get_or_insert_with(Instant::now);
    }

    /// Notes that an answer was received. Returns who waits for it, if anybody still does.
    fn received(&mut self, id: u64) -> Option<oneshot::Sender<Answer>> {
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
        target: NodeId,
        address: String,
        lane: Lane,
        net: Net,
        links: Links,
    ) -> Self {
        let (too_long, slot) = (LogLimit::default(), tokio::sync::Mutex::default());
        Self { shared: Arc::new(Shared { me, target, address, lane, net, links, too_long, slot }) }
    }

    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Asks and waits for the answer, for `limit` at most.
    ///
    /// # Errors
    /// [`PeerError`] says whether the peer may have acted.
    pub async fn call(&self, method: Method, body: Bytes, limit: Duration) -> Answer {
        let deadline = Instant::now() + limit;
        self.send(method, body, deadline).await?.answer(deadline).await
    }

    /// Sends a request and returns once it is in the connection's queue; requests sent one after another
    /// arrive in that order as long as none fails.
    ///
    /// # Errors
    /// [`PeerError`]; nothing was sent.
    pub async fn send(&self, method: Method, body: Bytes, deadline: Instant) -> Result<Pending, PeerError> {
        if !Request::fits(&body) {
            // Trying again does not help, so somebody has to look at it.
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
            self.shared.links.whole().await;
            let connection = self.shared.connection().await?;
            let id = connection.next_id.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            connection.waiting.lock().expect("no panic while held").ask(id, sender);
            // From here on, whoever gives up takes its waiting place along.
            let pending = Pending { id, connection, receiver };
            let frame = Request { id, method, body }.into_frame(pending.connection.protocol);
            match timeout_at(deadline, pending.connection.queue.send(frame)).await {
                Ok(Ok(())) => Ok(pending),
                Ok(Err(_)) => {
                    pending.connection.close("the connection ended");
                    Err(PeerError::Unreachable("the connection ended".into()))
                }
                // The peer takes nothing.
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

/// A request on its way.
pub struct Pending {
    id: u64,
    connection: Arc<Connection>,
    receiver: oneshot::Receiver<Answer>,
}

impl Pending {
    /// Waits for the answer. Other calls go on when this one times out, unless the connection has been silent for
    /// [`SILENCE_MAX`].
    ///
    /// # Errors
    /// [`PeerError`] says whether the peer may have acted.
    pub async fn answer(mut self, deadline: Instant) -> Answer {
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
        if let Ok(mut waiting) = self.connection.waiting.lock() {
            waiting.answers.remove(&self.id);
        }
    }
}

impl Connection {
    /// Notes that a call got no answer in time.
    fn timed_out(&self) {
        self.waiting.lock().expect("no panic while held").timed_out = true;
        self.close_if_silent();
    }

    /// Closes a connection that is taken for dead, so that the next call dials anew: it would fail every call to come.
    fn close_if_silent(&self) {
        if self.waiting.lock().expect("no panic while held").is_silent() {
            self.close("the peer stopped answering");
        }
    }

    fn close(&self, why: &str) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            tracing::debug!(why, "peer connection closed");
        }
        self.close.lock().expect("no panic while held").take();
        // Closing again is not idle: a request may have joined the queue since.
        let answers = std::mem::take(&mut self.waiting.lock().expect("no panic while held").answers);
        for (_, sender) in answers {
            let _ = sender.send(Err(PeerError::Lost));
        }
    }
}

impl Shared {
    async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, PeerError> {
        // Before waiting for the lock: whoever holds it may be dialling for us, too.
        let asked = Instant::now();
        if let Some(connection) = self.slot.lock().await.open() {
            return Ok(connection);
        }
        // On a task of its own: a caller with a short deadline must not break off what the next one needs.
        let shared = self.clone();
        let dialled = tokio::spawn(async move { shared.dial_once(asked).await });
        dialled.await.unwrap_or_else(|error| Err(PeerError::Unreachable(error.to_string())))
    }

    /// Dials, unless somebody else did since `asked`; then their result is ours.
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
        let dialled = tokio::time::timeout(DIAL_LIMIT, self.dial()).await.unwrap_or_else(|_| late());
        slot.connection = dialled.as_ref().ok().cloned();
        slot.failure = dialled.as_ref().err().map(|error| (Instant::now(), error.clone()));
        slot.failures = if dialled.is_ok() { 0 } else { slot.failures.saturating_add(1) };
        dialled
    }

    async fn dial(&self) -> Result<Arc<Connection>, PeerError> {
        let turns = self.links.turns();
        let unreachable = |e: std::io::Error| PeerError::Unreachable(format!("{}: {e}", self.address));
        let dialled = self.net.dial(&self.address).await;
        let Stream { read, mut write } = dialled.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                PeerError::NotThere(format!("{}: {error}", self.address))
            }
            _ => unreachable(error),
        })?;
        let mut read = BufReader::with_capacity(64 * 1024, read);

        let hello = Hello::new(&self.me, self.target, self.lane);
        write.write_all(&frame(&hello.encode())).await.map_err(unreachable)?;
        let welcome = match read_handshake(&mut read).await {
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
            Welcome::Refused(sentence) => return Err(PeerError::Refused(clipped(&sentence))),
        };

        let (queue, queued) = mpsc::channel(QUEUE_FRAMES);
        let (close, closing) = oneshot::channel();
        let connection = Arc::new(Connection {
            protocol,
            queue,
            waiting: Mutex::default(),
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
            (self.links.clone(), turns),
            protocol,
        ));
        Ok(connection)
    }
}

/// Moves frames until the connection ends, for whatever reason. It holds the connection only weakly: once
/// nobody else does, there is nothing left to do.
async fn run(
    connection: Weak<Connection>,
    read: BufReader<ReadHalf>,
    write: WriteHalf,
    queued: mpsc::Receiver<Outgoing>,
    closing: oneshot::Receiver<()>,
    (links, turns): (Links, u64),
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
        // First, so that healed links let nothing go on that was held back.
        biased;
        () = links.broken(turns) => "the links were cut".to_owned(),
        why = frames => why,
    };
    if let Some(connection) = connection.upgrade() {
        connection.close(&why);
    }
}

/// Writes what is queued, as many frames at a time as are there.
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
        links.whole().await;
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
                let sender = connection.waiting.lock().expect("no panic while held").received(id);
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

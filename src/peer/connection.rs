//! A connection on the calling side: requests go out, and each answer finds its caller, in any order.

use super::frame::{
    ALL_OTHERS, NoAnswer, Outgoing, Reply, Request, decode_reply, read_frame, write_outgoing,
};
use super::net::{ReadHalf, WriteHalf};
use super::{FrameError, Links, Method, PeerError};
use crate::log_limit::clipped;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// After a call has timed out, the connection is closed once it has received nothing for this long although an answer
/// was due. Shorter would hurt healthy peers: one may pause for a second, for example on a disk that flushes slowly,
/// and closing the connection ends all calls of the lane. Longer would let a dead connection fail calls for much longer
/// than an election takes.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Most frames queued for one connection's writer. A sender waits when the queue is full.
const QUEUE_FRAMES: usize = 256;

pub(super) struct Connection {
    /// The agreed version of the protocol.
    protocol: u8,
    queue: mpsc::Sender<Outgoing>,
    calls: Mutex<PendingCalls>,
    next_id: AtomicU64,
    closed: AtomicBool,
    /// Dropped with the connection; ends its two tasks.
    close: Mutex<Option<oneshot::Sender<()>>>,
}

pub(super) type CallResult = Result<Bytes, PeerError>;

#[derive(Default)]
struct PendingCalls {
    answers: HashMap<u64, oneshot::Sender<CallResult>>,
    /// Since when an answer has been due and nothing has been received.
    silent_since: Option<Instant>,
    /// Whether a call has timed out since then.
    timed_out: bool,
    /// Why the peer carries out nothing else that it is asked on this connection, once it has said so.
    refusal: Option<String>,
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
    /// Sends and receives on this stream, whose handshake is over, until nobody uses the connection any more. `links` are those of
    /// this epoch.
    pub fn open(read: BufReader<ReadHalf>, write: WriteHalf, protocol: u8, links: (Links, u64)) -> Arc<Self> {
        let (queue, queued) = mpsc::channel(QUEUE_FRAMES);
        let (close, closing) = oneshot::channel();
        let connection = Arc::new(Self {
            protocol,
            queue,
            calls: Mutex::default(),
            next_id: AtomicU64::new(ALL_OTHERS + 1),
            closed: AtomicBool::new(false),
            close: Mutex::new(Some(close)),
        });
        tokio::spawn(run(Arc::downgrade(&connection), read, write, queued, closing, links, protocol));
        connection
    }

    /// Whether requests can be sent. One that seems dead is closed.
    pub fn is_open(&self) -> bool {
        self.close_if_silent();
        !self.closed.load(Ordering::Acquire)
    }

    /// Sends a request. Returns once it is in the queue.
    ///
    /// # Errors
    /// [`PeerError`]; nothing was sent.
    pub async fn send(
        self: Arc<Self>,
        method: Method,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Pending, PeerError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.calls.lock().expect("no panic while held").add(id, sender);
        // From here on, a caller that gives up drops `pending`, which deregisters the call.
        let pending = Pending { id, connection: self, receiver };
        let Self { queue, protocol, .. } = &*pending.connection;
        match timeout_at(deadline, queue.send(Request { id, method, body }.into_frame(*protocol))).await {
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
    }

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
        let (answers, refusal) = {
            let mut calls = self.calls.lock().expect("no panic while held");
            (std::mem::take(&mut calls.answers), calls.refusal.clone())
        };
        let error = refusal.map_or(PeerError::Lost, PeerError::Refused);
        for (_, sender) in answers {
            let _ = sender.send(Err(error.clone()));
        }
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
            // The other side learns that nothing follows.
            let _ = write.shutdown().await;
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
            Ok(Some(Reply { id: ALL_OTHERS, body: Err(NoAnswer::Refused(sentence)) })) => {
                let sentence = clipped(&sentence);
                if let Some(connection) = connection.upgrade() {
                    connection.calls.lock().expect("no panic while held").refusal = Some(sentence.clone());
                }
                return sentence;
            }
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

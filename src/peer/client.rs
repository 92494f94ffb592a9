//! The calling side: one connection per lane. It is dialled when it is first needed, and closed when the peer stops
//! answering.

use super::connection::{CallResult, Connection, Pending};
use super::frame::{Request, frame, read_welcome};
use super::handshake::{Hello, Lane, PeerIdentity, Welcome};
use super::net::Stream;
use super::round_trips::{RoundTrips, is_answered_at_once};
use super::{Links, Method, Net, NodeId, PeerError};
use crate::log_limit::{LogLimit, clipped};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout, timeout_at};

/// Timeout of a dial, handshake included.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

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
        connection.is_open().then_some(connection)
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
            self.shared.connection().await?.send(method, body, deadline).await
        };
        match timeout_at(deadline, sending).await {
            Ok(result) => result,
            Err(_) => Err(PeerError::Unreachable("no connection in time".into())),
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

        Ok(Connection::open(read, write, protocol, (self.links.clone(), epoch)))
    }
}

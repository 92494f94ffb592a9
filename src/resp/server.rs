//! The listener for Redis clients, and the connections that it accepts.

use super::client::Client;
use super::connection::Connection;
use super::state::Shared;
use crate::api::RedisAddresses;
use crate::front::{ConnectionSlot, Front, LineRate};
use crate::jwt::JwtVerifier;
use crate::node::Principal;
use crate::tls::ServerTls;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a client can accept nothing of what is sent to it.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TLS handshake can take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections may take to finish what they have begun when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long clients that are told where to go on may take to leave.
const MOVE_TIMEOUT: Duration = Duration::from_secs(4);
const BACKLOG: i32 = 4_096;

/// Log lines a second about connections that are not accepted.
static REFUSALS: LineRate = LineRate::new(1);

/// What listens for clients.
pub struct RespPort {
    pub listener: TcpListener,
    /// What encrypts the connections; plain text if `None`.
    pub tls: Option<ServerTls>,
    /// For a Sentinel port: the port that it names as the master's.
    pub master: Option<u16>,
}

/// A running server of the Redis protocol.
pub struct RespServer {
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl RespServer {
    /// Starts to serve on all of these ports.
    pub fn start(ports: Vec<RespPort>, front: &Arc<Front>, jwt: Option<&JwtVerifier>) -> Self {
        let closing = watch::Sender::new(false);
        let shared = Arc::new(Shared::new(front.clone(), jwt.cloned()));
        let mut accepting = JoinSet::new();
        for port in ports {
            accepting.spawn(accept(port, shared.clone(), closing.subscribe()));
        }
        Self { shared, closing, accepting }
    }

    /// This node is about to stop: tells clients that want to know where to go on, and waits until they have left, or for a few seconds.
    pub async fn move_clients(&self, others: Vec<RedisAddresses>) {
        self.shared.moving.send_replace(Some(others));
        if timeout(MOVE_TIMEOUT, self.shared.moving.closed()).await.is_err() {
            tracing::info!("some Redis clients have not gone on at another node");
        }
    }

    /// Whether a client wants to be told.
    pub fn has_clients_to_move(&self) -> bool {
        self.shared.moving.receiver_count() > 0
    }

    /// Closes the listeners and ends what holds the node, which is about to stop. Whoever has asked is answered in the background.
    pub fn retire(mut self) {
        self.closing.send_replace(true);
        self.accepting.detach_all();
    }

    /// Closes the listeners, lets commands that have arrived finish, and returns.
    pub async fn stop(mut self) {
        self.closing.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
        if timeout(STOP_TIMEOUT, self.closing.closed()).await.is_err() {
            tracing::info!("some Redis clients did not read their replies before the server stopped");
        }
    }
}

/// Serves each connection until the server closes.
async fn accept(port: RespPort, shared: Arc<Shared>, mut closing: watch::Receiver<bool>) {
    let RespPort { listener, tls, master } = port;
    if let Err(error) = SockRef::from(&listener).listen(BACKLOG) {
        tracing::debug!(%error, "cannot set how many connections can wait");
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely there are no file descriptors left. That passes when connections end.
                if let Some(omitted) = REFUSALS.admit() {
                    tracing::warn!(%error, omitted, "cannot accept a connection");
                }
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        close_when_stuck(&stream);
        match shared.front.connections.take(address.ip(), false) {
            Ok(slot) => {
                let serving =
                    serve(stream, address, tls.clone(), master, slot, shared.clone(), closing.clone());
                tokio::spawn(serving);
            }
            Err(_) => {
                if let Some(omitted) = REFUSALS.admit() {
                    let client = address.ip();
                    tracing::warn!(%client, omitted, "no connection is left for a Redis client");
                }
                tokio::spawn(refuse(stream, tls.is_some()));
            }
        }
    }
}

/// Tells a client that there are too many.
async fn refuse(mut stream: TcpStream, is_encrypted: bool) {
    if !is_encrypted {
        let told = stream.write_all(b"-ERR max number of clients reached\r\n");
        let _ = timeout(Duration::from_secs(1), told).await;
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<ServerTls>,
    master: Option<u16>,
    slot: ConnectionSlot,
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
) {
    let front = shared.front.clone();
    tokio::select! {
        () = serve_client(stream, address, tls, master, shared, closing) => {}
        () = front.held_too_long() => {}
    }
    drop(slot);
}

async fn serve_client(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<ServerTls>,
    master: Option<u16>,
    shared: Arc<Shared>,
    mut closing: watch::Receiver<bool>,
) {
    let own = stream.local_addr().ok();
    let port = own.map_or(0, |address| address.port());
    // Whoever has reached this address can reach the other port there, too.
    let master = own.zip(master).map(|(own, port)| SocketAddr::new(own.ip(), port));
    let registered = shared.front.redis_clients.register(address, port);
    match tls {
        None => {
            let client = Client::new(shared, registered, Principal::Anyone);
            let client = match master {
                Some(master) => client.of_sentinel(master),
                None => client,
            };
            Connection::new(stream, client, closing).serve().await;
        }
        Some(tls) => {
            let shaking = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
            let shaken = tokio::select! {
                shaken = shaking => shaken,
                // It has asked for nothing yet.
                _ = closing.wait_for(|closing| *closing) => return,
            };
            match shaken {
                Ok(Ok((stream, certificate))) => {
                    let named =
                        certificate.and_then(|owner| owner.client.as_deref().map(Principal::of_certificate));
                    let client =
                        Client::new(shared, registered, named.unwrap_or(Principal::Anyone)).over_tls();
                    // What encrypts it is large.
                    Connection::new(Box::new(stream), client, closing).serve().await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake failed"),
                Err(_) => tracing::debug!("the TLS handshake took too long"),
            }
        }
    }
}

/// Has the kernel close a connection whose client reads nothing, or has vanished.
fn close_when_stuck(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // A client that waits sends nothing, so only this finds out that its machine is gone.
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(300));
    if let Err(error) = socket.set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "cannot have the system look after a connection");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_user_timeout(Some(SEND_TIMEOUT)) {
        tracing::debug!(%error, "cannot set how long a client can read nothing");
    }
}

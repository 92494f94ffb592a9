//! The accept loop. It exists because axum's sets no timeouts, so a slow client would hold its connection for ever.

use super::client_address::ConnectionAddress;
use super::connection_guard::{ConnectionGuard, GuardedStream};
use super::handshake::shake_hands;
use super::probe_connections::ProbeConnections;
use super::state::AppState;
use crate::front::{ClientAddress, LineRate, NoSlot};
use crate::tls::{Certificate, ServerTls};
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_util::either::Either;
use tower::Service;

const BUFFER_BYTES: usize = 128 * 1024;

/// Log lines a second about connections that are not accepted.
static REFUSALS: LineRate = LineRate::new(1);

/// A connection that was accepted.
pub(super) struct Accepted {
    pub address: ConnectionAddress,
    pub guard: ConnectionGuard,
    /// Whether there was no slot for it, or its port is for nothing else.
    pub is_for_probes: bool,
    /// The owner of the certificate that the client has shown.
    pub certificate: Option<Arc<Certificate>>,
}

/// What listens for connections.
pub(super) struct Port {
    pub listener: TcpListener,
    /// What encrypts them.
    pub tls: Option<ServerTls>,
    /// Whether they are all for probes. Then they take no slots.
    pub is_for_probes: bool,
}

/// Serves each connection with the service that `service_of` makes for it, until `stopped`.
pub(super) async fn accept<S>(
    port: Port,
    state: AppState,
    service_of: impl Fn(&Accepted) -> S + Send + Sync + 'static,
    mut stopped: oneshot::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let Port { listener, tls, is_for_probes } = port;
    let service_of = Arc::new(service_of);
    let limits = state.limits.clone();
    let mut probes = ProbeConnections::default();
    let closing = watch::Sender::new(());
    let http = http1(limits.head_timeout);
    let mut probe_http = http1(limits.probe_head_timeout);
    probe_http.keep_alive(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely there are no file descriptors left. That passes when connections end.
                if let Some(omitted) = REFUSALS.admit() {
                    tracing::warn!(%error, omitted, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let client = ClientAddress::new(address.ip());
        let address = ConnectionAddress {
            address: address.ip(),
            is_proxy: state.trusted_proxies.contain(address.ip()),
        };
        let slot = match is_for_probes {
            true => None,
            false => Some(state.front.connections.take(address.address, address.is_proxy)),
        };
        if let Some(Err(why)) = &slot
            && let Some(omitted) = REFUSALS.admit()
        {
            let max = state.front.limits.connections;
            match why {
                NoSlot::AllTaken => {
                    tracing::warn!(max, omitted, "all connections are taken: more are for probes only");
                }
                NoSlot::ShareTaken => {
                    let (client, max) = (address.address, state.front.connections.max_of_one());
                    tracing::warn!(%client, max, omitted, "a client has all connections that one can have: more are for probes only");
                }
            }
        }
        let slot = slot.and_then(Result::ok);
        if slot.is_none() && !probes.make_room(client, limits.probe_connections) {
            continue;
        }
        let _ = stream.set_nodelay(true);
        close_when_stuck(&stream, limits.send_timeout);
        let guard = ConnectionGuard::new();
        let is_for_probes = slot.is_none();
        let stream = GuardedStream::new(stream, guard.clone(), slot, &limits);
        let http = if is_for_probes { probe_http.clone() } else { http.clone() };
        let (service_of, tls, timeout) = (service_of.clone(), tls.clone(), limits.handshake_timeout);
        let mut closes = closing.subscribe();
        let serving = tokio::spawn(async move {
            let shaken = match tls {
                None => Ok((Either::Left(stream), None)),
                Some(tls) => {
                    let shaking = tokio::time::timeout(timeout, shake_hands(stream, &tls));
                    tokio::select! {
                        shaken = shaking => shaken.unwrap_or_else(|_| Err(late())),
                        // It has asked for nothing yet.
                        _ = closes.changed() => return,
                    }
                }
            };
            let (stream, certificate) = match shaken {
                Ok(shaken) => shaken,
                Err(error) => {
                    tracing::debug!(%error, "the TLS handshake failed");
                    return;
                }
            };
            let accepted = Accepted { address, guard, is_for_probes, certificate };
            let service = TowerToHyperService::new(service_of(&accepted));
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            tokio::pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                _ = closes.changed() => {
                    // The request in progress is finished, and no other is accepted.
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        biased;
                        ended = connection => ended,
                        // It took too long. It must not hold the node any longer.
                        _ = closes.changed() => return,
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        });
        if is_for_probes {
            probes.add(client, serving.abort_handle());
        }
    }
    drop(listener);
    closing.send_replace(());
    if tokio::time::timeout(limits.shutdown_timeout, closing.closed()).await.is_err() {
        tracing::info!("some requests did not finish before the server stopped");
        closing.send_replace(());
    }
}

fn late() -> std::io::Error {
    std::io::ErrorKind::TimedOut.into()
}

/// HTTP/1.1 with this timeout for the head of a request and for an idle connection.
fn http1(head_timeout: Duration) -> Builder {
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).keep_alive(true);
    // For the head of a request, and for responses that a slow client does not read.
    http.max_buf_size(BUFFER_BYTES);
    http
}

/// Has the kernel close a connection whose client reads nothing, or has vanished.
fn close_when_stuck(stream: &TcpStream, after: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(after)) {
        tracing::debug!(%error, "cannot set how long a client can read nothing");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, after);
}

//! The accept loop. It exists because axum's sets no timeouts, so a slow client would hold its connection for ever.

use super::connection_guard::{ConnectionGuard, GuardedStream};
use super::probe_connections::ProbeConnections;
use super::state::AppState;
use crate::front::{ClientAddress, LineRate, NoSlot};
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tower::Service;

const BUFFER_BYTES: usize = 128 * 1024;

/// Log lines a second about connections that are not accepted.
static REFUSALS: LineRate = LineRate::new(1);

/// A connection that was accepted.
pub(super) struct Accepted {
    pub client: ClientAddress,
    pub guard: ConnectionGuard,
    /// Whether there was no slot for it.
    pub is_for_probes: bool,
}

/// Serves each connection with the service that `service_of` makes for it, until `stopped`.
pub(super) async fn accept<S>(
    listener: TcpListener,
    state: AppState,
    service_of: impl Fn(&Accepted) -> S,
    mut stopped: oneshot::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
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
        let slot = state.front.connections.take(address.ip());
        if let Err(why) = &slot {
            if let Some(omitted) = REFUSALS.admit() {
                let max = state.front.limits.connections;
                match why {
                    NoSlot::AllTaken => {
                        tracing::warn!(max, omitted, "all connections are taken: more are for probes only");
                    }
                    NoSlot::ShareTaken => {
                        let client = address.ip();
                        tracing::warn!(%client, max, omitted, "a client has half of all connections: more are for probes only");
                    }
                }
            }
            if !probes.make_room(client, limits.probe_connections) {
                continue;
            }
        }
        let _ = stream.set_nodelay(true);
        close_when_stuck(&stream, limits.send_timeout);
        let accepted = Accepted { client, guard: ConnectionGuard::new(), is_for_probes: slot.is_err() };
        let stream = TokioIo::new(GuardedStream::new(stream, accepted.guard.clone(), slot.ok(), &limits));
        let http = if accepted.is_for_probes { &probe_http } else { &http };
        let service = TowerToHyperService::new(service_of(&accepted));
        let connection = http.serve_connection(stream, service).with_upgrades();
        let mut closes = closing.subscribe();
        let serving = tokio::spawn(async move {
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
        if accepted.is_for_probes {
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

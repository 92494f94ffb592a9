//! The listener's own loop: axum's sets no timers, so a slow client would hold its connection for ever.

use super::allowance::{Allowance, Allowed};
use super::door::Door;
use super::routes::router;
use super::{guide, history};
use axum::Router;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

const BUFFER_BYTES: usize = 128 * 1024;

/// Bounds on what clients may ask of the listener.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// How long a client may take for a request's head, and how long a connection may idle.
    pub head: Duration,
    /// How long a client may pause within a request's body.
    pub body_pause: Duration,
    /// Largest value.
    pub value_bytes: usize,
    /// Largest body of a batch.
    pub batch_bytes: usize,
    /// How long a client may take none of what is sent to it.
    pub send_pause: Duration,
    /// Bytes that request bodies may take together; more are answered 429.
    pub body_memory: usize,
    /// How long requests may go on after the listener closes.
    pub shutdown: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head: Duration::from_secs(30),
            body_pause: Duration::from_secs(10),
            value_bytes: 1024 * 1024,
            batch_bytes: 4 * 1024 * 1024,
            send_pause: Duration::from_secs(30),
            body_memory: 256 * 1024 * 1024,
            shutdown: Duration::from_secs(5),
        }
    }
}

/// A running HTTP server.
pub struct HttpServer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// End with the server.
    _tasks: JoinSet<()>,
}

impl HttpServer {
    /// Starts to answer.
    pub fn start(listener: TcpListener, door: Door) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (socket_io, pages) = guide::socket_io(&door);
        let mut tasks = JoinSet::new();
        tasks.spawn(history::keep_sampling(door.clone()));
        tasks.spawn(guide::keep_telling(pages, door.clone()));
        let service = router(door.clone(), socket_io);
        let task = tokio::spawn(accept(listener, door, service, stopped));
        Self { stop, task, _tasks: tasks }
    }

    /// Closes the listener, lets requests finish, and returns.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, door: Door, service: Router, mut stopped: oneshot::Receiver<()>) {
    let limits = door.limits.clone();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let closing = watch::Sender::new(());
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).keep_alive(true);
    // What is kept of a request's head, and of answers that a slow client does not take.
    http.max_buf_size(BUFFER_BYTES);
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            _ = &mut stopped => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: it passes when connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        cut_off_when_stuck(&stream, limits.send_pause);
        let allowance = Allowance::unlimited();
        let (limited, lifted) = (allowance.clone(), allowance.clone());
        let prepare = move |mut request: Request<Incoming>| {
            guide::limit_socket(&request, &limited);
            guide::take_slash_away(&mut request);
            request
        };
        let service = service.clone().map_request(prepare).map_response(move |response: Response| {
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                lifted.lift();
            }
            response
        });
        let stream = TokioIo::new(Allowed::new(stream, allowance));
        let connection = http.serve_connection(stream, TowerToHyperService::new(service)).with_upgrades();
        let mut closes = closing.subscribe();
        tokio::spawn(async move {
            let _slot = slot;
            tokio::pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                _ = closes.changed() => {
                    // What is being answered is finished, and nothing more is taken.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    closing.send_replace(());
    if tokio::time::timeout(limits.shutdown, closing.closed()).await.is_err() {
        tracing::info!("some requests did not finish before the server stopped");
    }
}

/// Has the system end a connection whose client takes nothing, or is gone without a word.
fn cut_off_when_stuck(stream: &TcpStream, after: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(after)) {
        tracing::debug!(%error, "cannot set how long a client may take nothing");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, after);
}

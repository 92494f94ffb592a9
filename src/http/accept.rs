//! The listener's own loop: axum's sets no timers, so a slow client would hold its connection for ever.

use super::door::Door;
use super::routes::router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

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
            body_memory: 256 * 1024 * 1024,
            shutdown: Duration::from_secs(5),
        }
    }
}

/// A running HTTP server.
pub struct HttpServer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Starts to answer.
    pub fn start(listener: TcpListener, door: Door) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(listener, door, stopped));
        Self { stop, task }
    }

    /// Closes the listener, lets requests finish, and returns.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, door: Door, mut stopped: oneshot::Receiver<()>) {
    let limits = door.limits.clone();
    let service = router(door);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).keep_alive(true);
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
        let service = TowerToHyperService::new(service.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.shutdown, graceful.shutdown()).await.is_err() {
        tracing::info!("some requests did not finish before the server stopped");
    }
}

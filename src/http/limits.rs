//! Bounds on what clients may ask of the listener.

use std::time::Duration;

/// The slowest client that is waited for: so many bytes a second, besides the time that it has anyway.
const BYTES_A_SECOND_MIN: usize = 16 * 1024;

/// Bounds on what clients may ask of the listener.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections at a time, those included that have become WebSockets.
    pub connections: usize,
    /// Connections beyond them, on which only probes are answered; the oldest of the client with most of them gives way to
    /// one more.
    pub probe_connections: usize,
    /// How long a connection beyond them may idle, or take for its request's head.
    pub probe_head: Duration,
    /// How long a client may take for a request's head, and how long a connection may idle.
    pub head: Duration,
    /// How long a client may pause within a request's body.
    pub body_pause: Duration,
    /// How long a request's whole body may take, or a WebSocket's message to its client; larger ones may take longer.
    pub transfer: Duration,
    /// Largest value.
    pub value_bytes: usize,
    /// Largest body of a batch.
    pub batch_bytes: usize,
    /// How long a client may take none of what is sent to it.
    pub send_pause: Duration,
    /// Bytes that request bodies may take together; more are answered 429.
    pub body_memory: usize,
    /// How long, and how many bytes of it, the rest of a body is read that was refused before its end. A client that sends
    /// first and reads later hears of the refusal that way.
    pub linger: Duration,
    /// See `linger`.
    pub linger_bytes: usize,
    /// How often a Socket.IO page is asked whether it is there, and how long it may take to answer.
    pub page_ping: Duration,
    /// See `page_ping`.
    pub page_pong: Duration,
    /// How long requests may go on after the listener closes.
    pub shutdown: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            probe_connections: 64,
            probe_head: Duration::from_secs(2),
            head: Duration::from_secs(30),
            body_pause: Duration::from_secs(10),
            transfer: Duration::from_secs(30),
            value_bytes: 1024 * 1024,
            batch_bytes: 4 * 1024 * 1024,
            send_pause: Duration::from_secs(30),
            body_memory: 256 * 1024 * 1024,
            linger: Duration::from_secs(5),
            linger_bytes: 16 * 1024 * 1024,
            page_ping: Duration::from_secs(25),
            page_pong: Duration::from_secs(20),
            shutdown: Duration::from_secs(5),
        }
    }
}

impl HttpLimits {
    /// How long so many bytes may take on their way from or to a client.
    pub(super) fn time_for(&self, bytes: usize) -> Duration {
        self.transfer + Duration::from_secs((bytes / BYTES_A_SECOND_MIN) as u64)
    }
}

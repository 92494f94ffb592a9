//! Limits of the HTTP listener.

use std::time::Duration;

/// The slowest transfer that is waited for, in bytes a second, beyond the time that each transfer has.
const BYTES_PER_SECOND_MIN: usize = 16 * 1024;

/// Limits of the HTTP listener; [`crate::front::FrontLimits`] has those of all front doors together.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections beyond all slots, on which only probes are answered. For one more, the oldest connection of the client
    /// that has most of them is closed.
    pub probe_connections: usize,
    /// How long such a connection can idle, or take for the head of its request.
    pub probe_head_timeout: Duration,
    /// How long a client can take for a TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client can take for the head of a request, and how long a connection can idle.
    pub head_timeout: Duration,
    /// How long a client can pause within the body of a request.
    pub body_pause_timeout: Duration,
    /// How long the whole body of a request can take, or a WebSocket message to a client. Larger ones can take longer.
    pub transfer_timeout: Duration,
    /// Largest body of a batch, in bytes.
    pub batch_bytes: usize,
    /// How long a client can accept nothing of what is sent to it.
    pub send_timeout: Duration,
    /// After a body was refused before its end, its rest is read this long, up to `linger_bytes`. Otherwise a client that
    /// sends first and reads later would not get the response.
    pub linger_timeout: Duration,
    /// See `linger_timeout`.
    pub linger_bytes: usize,
    /// Time between two pings to a Socket.IO page.
    pub page_ping_interval: Duration,
    /// How long a Socket.IO page can take to answer a ping.
    pub page_pong_timeout: Duration,
    /// How long requests can continue after the listener was closed.
    pub shutdown_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            probe_connections: 64,
            probe_head_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            body_pause_timeout: Duration::from_secs(10),
            transfer_timeout: Duration::from_secs(30),
            batch_bytes: 4 * 1024 * 1024,
            send_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(5),
            linger_bytes: 16 * 1024 * 1024,
            page_ping_interval: Duration::from_secs(25),
            page_pong_timeout: Duration::from_secs(20),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

impl HttpLimits {
    /// How long the transfer of this many bytes from or to a client can take.
    pub(super) fn transfer_timeout(&self, bytes: usize) -> Duration {
        self.transfer_timeout + Duration::from_secs((bytes / BYTES_PER_SECOND_MIN) as u64)
    }
}

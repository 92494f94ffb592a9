//! Options of peer sockets.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Most connections that wait to be accepted, as far as the system allows it. The library's default is 128; a member
/// that does not fit tries again only after a second.
const BACKLOG: i32 = 4_096;

/// Raises the backlog, because many peers may connect at the same time.
pub(super) fn raise_backlog(listener: &TcpListener) {
    if let Err(error) = SockRef::from(listener).listen(BACKLOG) {
        tracing::debug!(%error, "cannot set the backlog of the peer port");
    }
}

/// Sends frames without delay. Keepalive detects within half a minute a peer whose machine died without closing the
/// connection, even on the side that only receives.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (idle, between) = (Duration::from_secs(10), Duration::from_secs(5));
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(between).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

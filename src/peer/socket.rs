//! Settings of a peer socket.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Callers that wait until they are accepted, as far as the system allows it. The library lets 128 wait; a member beyond
/// them would try again after a second.
const WAITING_MAX: i32 = 4_096;

/// Many callers may come at once.
pub(super) fn let_many_wait(listener: &TcpListener) {
    if let Err(error) = SockRef::from(listener).listen(WAITING_MAX) {
        tracing::debug!(%error, "cannot set how many peers may wait");
    }
}

/// Frames leave at once; and a peer whose machine died without closing is noticed within half a minute, even
/// by the side that only listens.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (idle, between) = (Duration::from_secs(10), Duration::from_secs(5));
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(between).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

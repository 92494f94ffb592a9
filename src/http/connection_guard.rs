//! Limits of a connection below the protocol that it speaks.
//!
//! The Socket.IO library accepts WebSocket messages of any length, and waits for ever for a page that has begun to upgrade
//! to a WebSocket. Pages send little, and the library pings those that it knows. So the bytes that a page sends are counted
//! below the library, and a WebSocket over which nothing is sent for too long is closed.
//!
//! A connection that ends in the middle of a request's body is not closed at once. If it were, the kernel would reset it
//! because of the unread bytes, and a client that sends first and reads later would never see the response.

use super::HttpLimits;
use super::flow_window::FlowWindow;
use crate::front::ConnectionSlot;
use std::any::Any;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

const UNLIMITED: u64 = u64::MAX;
/// Bytes that are read at a time to be discarded.
const DISCARD_BYTES: usize = 16 * 1024;

/// The limits that hold for a connection now. Clones share them.
#[derive(Clone)]
pub(super) struct ConnectionGuard(Arc<State>);

struct State {
    /// Bytes that the client may still send; unlimited at first.
    read_quota: AtomicU64,
    /// Whether the newest request has a body that was not read to its end.
    unread: AtomicBool,
    /// Whether no other request may be read after the newest one.
    last: AtomicBool,
    /// Instead of the quota: how much may wait here to be dealt with.
    flow: OnceLock<Arc<FlowWindow>>,
    /// Dropped with the connection.
    held: Mutex<Option<Box<dyn Any + Send>>>,
}

impl ConnectionGuard {
    pub fn new() -> Self {
        let read_quota = AtomicU64::new(UNLIMITED);
        let (unread, last) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(State { read_quota, unread, last, flow: OnceLock::new(), held: Mutex::new(None) }))
    }

    /// From now on the client may send `bytes`, and something must be sent to it now and then.
    pub fn limit(&self, bytes: u64) {
        self.0.read_quota.fetch_min(bytes, Relaxed);
    }

    /// From now on there is no limit for all that the client sends, but one for what waits to be dealt with. Only the first call
    /// has an effect.
    pub fn let_flow(&self, window: Arc<FlowWindow>) {
        let _ = self.0.flow.set(window);
    }

    /// Removes the limit, and drops what is held.
    pub fn lift(&self) {
        if self.is_limited() {
            self.0.read_quota.store(UNLIMITED, Relaxed);
            self.release();
        }
    }

    /// Holds something until the connection ends.
    pub fn hold(&self, held: impl Any + Send) {
        *self.0.held.lock().expect("no panic while held") = Some(Box::new(held));
    }

    /// Notes whether the newest request has a body that was not read to its end.
    pub fn note_unread(&self, unread: bool) {
        self.0.unread.store(unread, Relaxed);
    }

    /// Notes whether the connection is closed after the newest request, because it is not sure where its body ends.
    pub fn note_last(&self, last: bool) {
        self.0.last.store(last, Relaxed);
    }

    pub fn is_last(&self) -> bool {
        self.0.last.load(Relaxed)
    }

    fn release(&self) {
        self.0.held.lock().expect("no panic while held").take();
    }

    fn is_limited(&self) -> bool {
        self.0.read_quota.load(Relaxed) != UNLIMITED
    }

    /// Takes bytes from the quota.
    ///
    /// # Errors
    /// The quota is used up.
    fn spend(&self, bytes: usize) -> io::Result<()> {
        // One task reads a connection.
        let left = self.0.read_quota.load(Relaxed);
        if left == UNLIMITED {
            return Ok(());
        }
        let rest = left.checked_sub(bytes as u64);
        self.0.read_quota.store(rest.unwrap_or(0), Relaxed);
        rest.map(drop)
            .ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionAborted, "the client sent too much"))
    }
}

/// A connection with its guard and its slot.
pub(super) struct GuardedStream<S> {
    stream: S,
    guard: ConnectionGuard,
    _slot: Option<ConnectionSlot>,
    /// How long a limited connection can last without anything being sent over it.
    quiet_timeout: Duration,
    sent: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    linger: Linger,
}

/// How the end of a connection is delayed.
struct Linger {
    timeout: Duration,
    bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> GuardedStream<S> {
    pub fn new(stream: S, guard: ConnectionGuard, slot: Option<ConnectionSlot>, limits: &HttpLimits) -> Self {
        let linger = Linger { timeout: limits.linger_timeout, bytes: limits.linger_bytes, timer: None };
        let quiet_timeout = limits.page_ping_interval + limits.page_pong_timeout;
        Self { stream, guard, _slot: slot, quiet_timeout, sent: Instant::now(), timer: None, linger }
    }

    /// What is below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn note_written(&mut self, bytes: usize) {
        if self.timer.is_some() {
            self.sent = Instant::now();
        }
        if let Some(flow) = self.guard.0.flow.get() {
            flow.note_written(bytes);
        }
    }

    /// Ready once nothing was sent for too long.
    fn poll_quiet(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            // The limit is new.
            self.sent = Instant::now();
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.quiet_timeout)));
        loop {
            ready!(timer.as_mut().poll(context));
            let due = self.sent + self.quiet_timeout;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl<S> Drop for GuardedStream<S> {
    fn drop(&mut self) {
        self.guard.release();
    }
}

impl<S: AsyncRead + Unpin> GuardedStream<S> {
    /// Reads for a while, and discards what arrives.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Linger { timeout, bytes, timer } = &mut self.linger;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(*timeout)));
        loop {
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut space = [MaybeUninit::uninit(); DISCARD_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 || count > *bytes {
                return Poll::Ready(());
            }
            *bytes -= count;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let has_room = self.guard.0.flow.get().is_none_or(|flow| flow.has_room(context));
        let read =
            if has_room { Pin::new(&mut self.stream).poll_read(context, buffer) } else { Poll::Pending };
        if !self.guard.is_limited() {
            self.timer = None;
            return read;
        }
        if self.poll_quiet(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing was sent for too long",
            )));
        }
        ready!(read)?;
        if let Some(flow) = self.guard.0.flow.get() {
            return Poll::Ready(flow.note_read(buffer.filled().len() - before));
        }
        Poll::Ready(self.guard.spend(buffer.filled().len() - before))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.note_written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.note_written(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.timer.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.guard.0.unread.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_discard(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    fn limits() -> HttpLimits {
        HttpLimits { linger_bytes: 100, ..HttpLimits::default() }
    }

    #[tokio::test]
    async fn bytes_beyond_the_quota_are_not_read() {
        let guard = ConnectionGuard::new();
        let mut stream = GuardedStream::new(&[7_u8; 100][..], guard.clone(), None, &limits());
        let mut bytes = [0; 40];
        stream.read_exact(&mut bytes).await.unwrap();
        guard.limit(50);
        guard.limit(1_000);
        stream.read_exact(&mut bytes).await.unwrap();
        let refused = stream.read_exact(&mut bytes[..20]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionAborted);
        stream.read_exact(&mut bytes[..1]).await.expect_err("it stays so");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_connection_over_which_nothing_is_sent_is_closed() {
        let (stream, mut client) = duplex(1_000);
        let guard = ConnectionGuard::new();
        let mut stream = GuardedStream::new(stream, guard.clone(), None, &limits());
        let quiet = stream.quiet_timeout;
        let mut bytes = [0; 1];
        assert!(timeout(quiet * 2, stream.read(&mut bytes)).await.is_err(), "there is no limit yet");
        guard.limit(1_000);
        for _ in 0..3 {
            assert!(timeout(quiet * 2 / 3, stream.read(&mut bytes)).await.is_err(), "it is in time");
            stream.write_all(b"ping").await.unwrap();
        }
        // What the client sends makes no difference.
        let begun = Instant::now();
        let given_up = loop {
            client.write_all(b"x").await.unwrap();
            match timeout(quiet / 10, stream.read(&mut bytes)).await {
                Ok(Ok(_)) => tokio::time::advance(quiet / 10).await,
                Ok(Err(error)) => break error,
                Err(_) => {}
            }
        };
        assert_eq!(given_up.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= quiet + quiet / 5, "after {:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_is_read_for_a_while() {
        for (sent, left) in [(100, 0), (101, 0)] {
            let (stream, mut client) = duplex(1_000);
            let guard = ConnectionGuard::new();
            guard.note_unread(true);
            let mut stream = GuardedStream::new(stream, guard, None, &limits());
            client.write_all(&vec![0; sent]).await.unwrap();
            let begun = Instant::now();
            stream.shutdown().await.unwrap();
            // So many bytes are no reason to close before the time is up.
            let waited = if sent == 100 { limits().linger_timeout } else { Duration::ZERO };
            assert_eq!((begun.elapsed(), client.read(&mut [0; 1]).await.unwrap()), (waited, left));
        }
    }

    #[test]
    fn what_is_held_is_dropped_with_the_connection() {
        let held = Arc::new(());
        let guard = ConnectionGuard::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let stream = runtime.block_on(async { GuardedStream::new(&b""[..], guard.clone(), None, &limits()) });
        guard.hold(held.clone());
        drop(stream);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

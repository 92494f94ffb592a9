//! What a connection may still do, whatever speaks over it.
//!
//! The library that speaks Socket.IO takes WebSocket messages of any length, and waits for ever for a page that has begun
//! to change over to a WebSocket. Pages send it little, and it sends a ping now and then to those that it knows. So what
//! a page brings altogether is counted below the library, and a WebSocket that nothing is sent over for too long is given up.
//!
//! A connection that ends in the middle of a request's body is not closed at once. What the system has received of it and
//! nobody read would make it take back the answer, which a client that sends first and reads later would never see.

use super::HttpLimits;
use super::places::Place;
use std::any::Any;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

const UNLIMITED: u64 = u64::MAX;
/// Read at a time of what is thrown away.
const DISCARD_BYTES: usize = 16 * 1024;

/// What holds for a connection now. Clones are the same.
#[derive(Clone)]
pub(super) struct Guard(Arc<State>);

struct State {
    /// Bytes that it may still bring; without a limit at first.
    left: AtomicU64,
    /// Whether a body came with the newest request whose end was not seen.
    unread: AtomicBool,
    /// Given back with the connection.
    held: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Guard {
    pub fn new() -> Self {
        let left = AtomicU64::new(UNLIMITED);
        Self(Arc::new(State { left, unread: AtomicBool::new(false), held: Mutex::new(None) }))
    }

    /// From now on it may bring so many bytes, and something must be sent over it now and then.
    pub fn limit(&self, bytes: u64) {
        self.0.left.fetch_min(bytes, Relaxed);
    }

    /// There is no limit any more, and nothing is held for it.
    pub fn lift(&self) {
        if self.is_limited() {
            self.0.left.store(UNLIMITED, Relaxed);
            self.release();
        }
    }

    /// Keeps something for as long as the connection lasts.
    pub fn hold(&self, held: impl Any + Send) {
        *self.0.held.lock().expect("no panic while held") = Some(Box::new(held));
    }

    /// Whether the newest request has a body that is not read to its end.
    pub fn note_unread(&self, unread: bool) {
        self.0.unread.store(unread, Relaxed);
    }

    fn release(&self) {
        self.0.held.lock().expect("no panic while held").take();
    }

    fn is_limited(&self) -> bool {
        self.0.left.load(Relaxed) != UNLIMITED
    }

    /// # Errors
    /// When it is used up.
    fn spend(&self, bytes: usize) -> io::Result<()> {
        // One task reads a connection.
        let left = self.0.left.load(Relaxed);
        if left == UNLIMITED {
            return Ok(());
        }
        let rest = left.checked_sub(bytes as u64);
        self.0.left.store(rest.unwrap_or(0), Relaxed);
        rest.map(drop)
            .ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionAborted, "the client sent too much"))
    }
}

/// A connection with its guard, and its place among those that there may be.
pub(super) struct Guarded<S> {
    stream: S,
    guard: Guard,
    _place: Option<Place>,
    /// How long a limited connection may go without anything being sent over it.
    quiet: Duration,
    sent: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    linger: Linger,
}

/// The end of a connection.
struct Linger {
    limit: Duration,
    bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub fn new(stream: S, guard: Guard, place: Option<Place>, limits: &HttpLimits) -> Self {
        let linger = Linger { limit: limits.linger, bytes: limits.linger_bytes, timer: None };
        let quiet = limits.page_ping + limits.page_pong;
        Self { stream, guard, _place: place, quiet, sent: Instant::now(), timer: None, linger }
    }

    /// Ready when nothing was sent for too long.
    fn poll_quiet(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            // The limit is new.
            self.sent = Instant::now();
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.quiet)));
        loop {
            ready!(timer.as_mut().poll(context));
            let due = self.sent + self.quiet;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        self.guard.release();
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads on for a while, and throws away what comes.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Linger { limit, bytes, timer } = &mut self.linger;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(*limit)));
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

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
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
        Poll::Ready(self.guard.spend(buffer.filled().len() - before))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        if self.timer.is_some() {
            self.sent = Instant::now();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        if self.timer.is_some() {
            self.sent = Instant::now();
        }
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
    async fn what_goes_beyond_the_allowance_is_not_read() {
        let guard = Guard::new();
        let mut stream = Guarded::new(&[7_u8; 100][..], guard.clone(), None, &limits());
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
    async fn a_limited_connection_that_is_sent_nothing_is_given_up() {
        let (stream, mut client) = duplex(1_000);
        let guard = Guard::new();
        let mut stream = Guarded::new(stream, guard.clone(), None, &limits());
        let quiet = stream.quiet;
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
            let guard = Guard::new();
            guard.note_unread(true);
            let mut stream = Guarded::new(stream, guard, None, &limits());
            client.write_all(&vec![0; sent]).await.unwrap();
            let begun = Instant::now();
            stream.shutdown().await.unwrap();
            // So many bytes are no reason to close before the time is up.
            let waited = if sent == 100 { limits().linger } else { Duration::ZERO };
            assert_eq!((begun.elapsed(), client.read(&mut [0; 1]).await.unwrap()), (waited, left));
        }
    }

    #[test]
    fn what_is_held_is_given_back_with_the_connection() {
        let held = Arc::new(());
        let guard = Guard::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let stream = runtime.block_on(async { Guarded::new(&b""[..], guard.clone(), None, &limits()) });
        guard.hold(held.clone());
        drop(stream);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

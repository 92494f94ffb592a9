//! How much a connection may still bring.
//!
//! The library that speaks Socket.IO takes WebSocket messages of any length. Pages send it little, so what they bring
//! altogether is counted below it, and a connection that has brought too much is cut; its page connects again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a connection may still bring; without a limit at first. Clones are the same allowance.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Arc<AtomicU64>);

const UNLIMITED: u64 = u64::MAX;

impl Allowance {
    pub fn unlimited() -> Self {
        Self(Arc::new(AtomicU64::new(UNLIMITED)))
    }

    /// From now on there are at most so many.
    pub fn limit(&self, bytes: u64) {
        self.0.fetch_min(bytes, Relaxed);
    }

    /// There is no limit any more.
    pub fn lift(&self) {
        if self.0.load(Relaxed) != UNLIMITED {
            self.0.store(UNLIMITED, Relaxed);
        }
    }

    /// # Errors
    /// When it is used up.
    fn spend(&self, bytes: usize) -> io::Result<()> {
        // One task reads a connection.
        let left = self.0.load(Relaxed);
        if left == UNLIMITED {
            return Ok(());
        }
        let rest = left.checked_sub(bytes as u64);
        self.0.store(rest.unwrap_or(0), Relaxed);
        match rest {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client sent too much")),
        }
    }
}

/// A connection that spends an allowance.
pub(super) struct Allowed<S> {
    stream: S,
    allowance: Allowance,
}

impl<S> Allowed<S> {
    pub fn new(stream: S, allowance: Allowance) -> Self {
        Self { stream, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Allowed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.allowance.spend(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Allowed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_goes_beyond_the_allowance_is_not_read() {
        let allowance = Allowance::unlimited();
        let mut stream = Allowed::new(&[7_u8; 100][..], allowance.clone());
        let mut bytes = [0; 40];
        stream.read_exact(&mut bytes).await.unwrap();
        allowance.limit(50);
        allowance.limit(1_000);
        stream.read_exact(&mut bytes).await.unwrap();
        let refused = stream.read_exact(&mut bytes[..20]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionAborted);
        stream.read_exact(&mut bytes[..1]).await.expect_err("it stays so");
    }
}

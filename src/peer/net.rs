//! How bytes get from node to node: over TCP, or over what a simulation puts in its place.

use super::socket::{let_many_wait, tune};
use futures::future::BoxFuture;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Where a node's calls go out.
#[derive(Clone, Default)]
pub enum Net {
    #[default]
    Tcp,
    Simulated(Arc<dyn Dial>),
}

/// What a simulated network does when a node dials.
pub trait Dial: Send + Sync {
    /// A connection to whoever listens at `address`; an error of kind `ConnectionRefused` says that nobody does.
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Stream>>;
}

impl Net {
    pub(super) async fn dial(&self, address: &str) -> io::Result<Stream> {
        match self {
            Self::Tcp => TcpStream::connect(address).await.and_then(Stream::tcp),
            Self::Simulated(net) => net.dial(address).await,
        }
    }
}

/// Where a node's peers come in.
pub enum Listener {
    Tcp(TcpListener),
    Simulated(mpsc::UnboundedReceiver<Stream>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        let_many_wait(&listener);
        Self::Tcp(listener)
    }
}

impl Listener {
    pub(super) async fn accept(&mut self) -> io::Result<Incoming> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Incoming::Tcp(stream)),
            Self::Simulated(streams) => match streams.recv().await {
                Some(stream) => Ok(Incoming::Simulated(stream)),
                None => std::future::pending().await,
            },
        }
    }
}

/// A caller's connection, its socket not tuned yet.
pub(super) enum Incoming {
    Tcp(TcpStream),
    Simulated(Stream),
}

impl Incoming {
    pub(super) fn stream(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => Stream::tcp(stream),
            Self::Simulated(stream) => Ok(stream),
        }
    }
}

/// A connection: its two directions, which go their own ways.
pub struct Stream {
    pub read: ReadHalf,
    pub write: WriteHalf,
}

impl Stream {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        tune(&stream)?;
        let (read, write) = stream.into_split();
        Ok(Self { read: ReadHalf::Tcp(read), write: WriteHalf::Tcp(write) })
    }
}

/// What the peer says.
pub enum ReadHalf {
    Tcp(OwnedReadHalf),
    Simulated(Box<dyn AsyncRead + Send + Unpin>),
}

/// What the peer hears.
pub enum WriteHalf {
    Tcp(OwnedWriteHalf),
    Simulated(Box<dyn AsyncWrite + Send + Unpin>),
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(context, buffer),
            Self::Simulated(half) => Pin::new(half).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write(context, bytes),
            Self::Simulated(half) => Pin::new(half).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_flush(context),
            Self::Simulated(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_shutdown(context),
            Self::Simulated(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}

//! The network below the connections: TCP, or a simulated one.

use super::socket::{raise_backlog, tune};
use futures::future::BoxFuture;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The network on which a node dials its peers.
#[derive(Clone, Default)]
pub enum Net {
    #[default]
    Tcp,
    Simulated(Arc<dyn Dial>),
}

/// Dials on a simulated network.
pub trait Dial: Send + Sync {
    /// Connects to the listener at `address`. An error of kind `ConnectionRefused` means that nothing listens there.
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

/// Accepts connections of a node's peers.
pub enum Listener {
    Tcp(TcpListener),
    Simulated(mpsc::UnboundedReceiver<Stream>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        raise_backlog(&listener);
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

/// An accepted connection, whose socket has no options set yet.
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

/// A connection, split into its two directions.
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

/// The direction from the peer to this node.
pub enum ReadHalf {
    Tcp(OwnedReadHalf),
    Simulated(Box<dyn AsyncRead + Send + Unpin>),
}

/// The direction from this node to the peer.
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

//! The network below the connections: TCP, with or without TLS, or a simulated one.

use super::socket::{raise_backlog, tune};
use crate::tls::{Certificate, PeerStream, PeerTls};
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
    /// TCP, encrypted. Both sides show who they are.
    Tls(PeerTls),
    Simulated(Arc<dyn Dial>),
}

/// Dials on a simulated network.
pub trait Dial: Send + Sync {
    /// Connects to the listener at `address`. An error of kind `ConnectionRefused` means that nothing listens there.
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Stream>>;
}

impl Net {
    /// Connects to the node with this name at this address.
    pub(super) async fn dial(&self, address: &str, name: &str) -> io::Result<Stream> {
        match self {
            Self::Tcp => TcpStream::connect(address).await.and_then(Stream::tcp),
            Self::Tls(tls) => {
                let stream = TcpStream::connect(address).await?;
                tune(&stream)?;
                let stream = tls.dial(stream, name).await.map_err(|error| not_connected(&error))?;
                Ok(Stream::tls(stream))
            }
            Self::Simulated(net) => net.dial(address).await,
        }
    }
}

/// A handshake that failed. The machine answers, so it is not that nobody listens.
fn not_connected(error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, format!("the TLS handshake failed: {error}"))
}

/// Accepts connections of a node's peers.
pub enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, PeerTls),
    Simulated(mpsc::UnboundedReceiver<Stream>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::tcp(listener, None)
    }
}

impl Listener {
    /// The same listener, with TLS if it is given.
    pub fn tcp(listener: TcpListener, tls: Option<PeerTls>) -> Self {
        raise_backlog(&listener);
        match tls {
            Some(tls) => Self::Tls(listener, tls),
            None => Self::Tcp(listener),
        }
    }

    pub(super) async fn accept(&mut self) -> io::Result<Incoming> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Incoming::Tcp(stream)),
            Self::Tls(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                Ok(Incoming::Tls(stream, tls.clone()))
            }
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
    Tls(TcpStream, PeerTls),
    Simulated(Stream),
}

impl Incoming {
    /// The connection, and the owner of the certificate that the caller has shown. `None` on a network without certificates.
    pub(super) async fn stream(self) -> io::Result<(Stream, Option<Certificate>)> {
        match self {
            Self::Tcp(stream) => Ok((Stream::tcp(stream)?, None)),
            Self::Tls(stream, tls) => {
                tune(&stream)?;
                let (stream, owner) = tls.accept(stream).await?;
                Ok((Stream::tls(stream), Some(owner)))
            }
            Self::Simulated(stream) => Ok((stream, None)),
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

    fn tls(stream: PeerStream) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self { read: ReadHalf::Tls(read), write: WriteHalf::Tls(write) }
    }
}

/// The direction from the peer to this node.
pub enum ReadHalf {
    Tcp(OwnedReadHalf),
    Tls(tokio::io::ReadHalf<PeerStream>),
    Simulated(Box<dyn AsyncRead + Send + Unpin>),
}

/// The direction from this node to the peer.
pub enum WriteHalf {
    Tcp(OwnedWriteHalf),
    Tls(tokio::io::WriteHalf<PeerStream>),
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
            Self::Tls(half) => Pin::new(half).poll_read(context, buffer),
            Self::Simulated(half) => Pin::new(half).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write(context, bytes),
            Self::Tls(half) => Pin::new(half).poll_write(context, bytes),
            Self::Simulated(half) => Pin::new(half).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_flush(context),
            Self::Tls(half) => Pin::new(half).poll_flush(context),
            Self::Simulated(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_shutdown(context),
            Self::Tls(half) => Pin::new(half).poll_shutdown(context),
            Self::Simulated(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}

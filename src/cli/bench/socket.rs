//! A connection to a server, encrypted or not, with what is read and written.

use super::connection::Broken;
use super::target::{Encryption, Server};
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// Bytes that are read at a time: at first, and of a large value.
const READ_BYTES: usize = 4 * 1024;
pub const READ_BYTES_MAX: usize = 256 * 1024;

/// See the module.
pub struct Socket {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    pub outgoing: Vec<u8>,
    pub incoming: Vec<u8>,
}

impl Socket {
    pub async fn open(server: &Server) -> Result<Self, Broken> {
        let stream = TcpStream::connect(&server.addresses[..]).await?;
        stream.set_nodelay(true)?;
        let stream = match &server.tls {
            None => Either::Left(stream),
            Some(Encryption { config, host }) => {
                let connector = TlsConnector::from(config.clone());
                Either::Right(Box::new(connector.connect(host.clone(), stream).await?))
            }
        };
        Ok(Self { stream, outgoing: Vec::new(), incoming: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends what is to go out.
    pub async fn send(&mut self) -> Result<(), Broken> {
        self.stream.write_all(&self.outgoing).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads more, at least a byte.
    pub async fn read(&mut self) -> Result<(), Broken> {
        match self.stream.read_buf(&mut self.incoming).await? {
            0 => Err(Broken::Closed),
            _ => Ok(()),
        }
    }

    /// Waits; `None` when the server closes the connection meanwhile.
    pub async fn idle<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        let (mut wait, mut byte) = (pin!(wait), [0]);
        tokio::select! {
            biased;
            done = &mut wait => Some(done),
            // Nothing is on its way, so what can be read is the end, or should not be there.
            _ = self.stream.read(&mut byte) => None,
        }
    }
}

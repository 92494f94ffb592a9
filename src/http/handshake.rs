//! The TLS handshake of a client's connection.

use super::connection_guard::GuardedStream;
use crate::tls::{Certificate, ServerTls};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// What the first byte of every TLS connection is: the type of a record with a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// What a client is told that speaks plain HTTP.
const NOT_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 46\r\nConnection: close\r\n\r\n\
    this port speaks HTTPS: ask with https://host\n";

/// A connection as it is served, with or without TLS.
pub(super) type Stream = Either<GuardedStream<TcpStream>, Box<TlsStream<GuardedStream<TcpStream>>>>;

/// Shakes hands. Also returns the owner of the certificate that the client has shown.
///
/// # Errors
/// There is no connection, for example because the client speaks plain HTTP, which it is told.
pub(super) async fn shake_hands(
    mut stream: GuardedStream<TcpStream>,
    tls: &ServerTls,
) -> io::Result<(Stream, Option<Arc<Certificate>>)> {
    let mut first = [0];
    let read = stream.get_ref().peek(&mut first).await?;
    if read == 1 && first[0] != HANDSHAKE {
        stream.write_all(NOT_PLAIN).await?;
        // What the client has sent is read, or it might not see what it is told.
        let mut head = [0; 4_096];
        let _ = stream.read(&mut head).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks plain HTTP"));
    }
    let (stream, certificate) = tls.accept(stream).await?;
    Ok((Either::Right(Box::new(stream)), certificate.map(Arc::new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_speaks_plain_http_is_told_in_http() {
        let text = std::str::from_utf8(NOT_PLAIN).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}

//! One connection to a server, with one request under way at a time.
//!
//! It speaks no more HTTP/1.1 than nodes do: bodies have a length that is told before. A client that speaks all of it
//! takes more of the machine that it shares with what it measures.

use super::requests::Request;
use super::target::{Encryption, Server};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use std::io::Write;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// Most bytes of an answer's head, and of what a refusal says.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 64;
/// Bytes that are read at a time: at first, and of a large value.
const READ_BYTES: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the answer is no HTTP/1.1: {0}")]
    Garbled(#[from] httparse::Error),
    #[error("the answer {0}")]
    Unreadable(&'static str),
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

/// An answer's status, and what a refusal says.
pub struct Answer {
    pub status: StatusCode,
    pub refusal: Bytes,
}

pub struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    /// Of every request: what follows its path.
    after_path: Vec<u8>,
    limit: Duration,
    is_open: bool,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Connection {
    /// Connects. That, and each request, may take as long as `limit`.
    pub async fn open(server: &Server, limit: Duration) -> Result<Self, Broken> {
        let connect = TcpStream::connect(&server.addresses[..]);
        let stream = tokio::time::timeout(limit, connect).await.map_err(|_| Broken::Late(limit))??;
        stream.set_nodelay(true)?;
        let stream = match &server.tls {
            None => Either::Left(stream),
            Some(Encryption { config, host }) => {
                let connector = TlsConnector::from(config.clone());
                let shaking = connector.connect(host.clone(), stream);
                let shaken =
                    tokio::time::timeout(limit, shaking).await.map_err(|_| Broken::Late(limit))??;
                Either::Right(Box::new(shaken))
            }
        };
        let mut after_path = format!(" HTTP/1.1\r\nHost: {}\r\n", server.authority).into_bytes();
        if let Some(token) = &server.token {
            after_path.extend_from_slice(b"Authorization: ");
            after_path.extend_from_slice(token.header_bytes());
            after_path.extend_from_slice(b"\r\n");
        }
        let (outgoing, incoming) = (Vec::new(), Vec::with_capacity(READ_BYTES));
        Ok(Self { stream, after_path, limit, is_open: true, outgoing, incoming })
    }

    /// Whether it can carry another request.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, Broken> {
        let limit = self.limit;
        let answer = tokio::time::timeout(limit, self.exchange(request)).await;
        let answer = answer.unwrap_or(Err(Broken::Late(limit)));
        // After an error nobody knows what would be read next.
        self.is_open &= answer.is_ok();
        answer
    }

    async fn exchange(&mut self, request: &Request) -> Result<Answer, Broken> {
        self.write(request)?;
        self.stream.write_all(&self.outgoing).await?;
        self.stream.flush().await?;
        self.incoming.clear();
        let head = loop {
            self.read().await?;
            if let Some(head) = Head::parse(&self.incoming)? {
                break head;
            }
            if self.incoming.len() > HEAD_BYTES_MAX {
                return Err(Broken::Unreadable("has an endless head"));
            }
        };
        self.is_open = !head.closes;
        let refusal = if head.status.is_success() {
            self.skip(&head).await?;
            Bytes::new()
        } else {
            self.keep(&head).await?
        };
        Ok(Answer { status: head.status, refusal })
    }

    fn write(&mut self, request: &Request) -> std::io::Result<()> {
        let Request { method, path, body } = request;
        let out = &mut self.outgoing;
        out.clear();
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(path);
        out.extend_from_slice(&self.after_path);
        if *method != Method::GET {
            write!(out, "Content-Length: {}\r\n", body.len())?;
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        Ok(())
    }

    /// Reads more, at least a byte.
    async fn read(&mut self) -> Result<(), Broken> {
        match self.stream.read_buf(&mut self.incoming).await? {
            0 => Err(Broken::Closed),
            _ => Ok(()),
        }
    }

    /// Reads a body that nobody wants to see.
    async fn skip(&mut self, head: &Head) -> Result<(), Broken> {
        let mut left = head.body_left(self.incoming.len())?;
        while left > 0 {
            self.incoming.clear();
            self.incoming.reserve(left.min(READ_BYTES_MAX));
            self.read().await?;
            left = left.checked_sub(self.incoming.len()).ok_or(TOO_LONG)?;
        }
        Ok(())
    }

    /// Reads a body that is short.
    async fn keep(&mut self, head: &Head) -> Result<Bytes, Broken> {
        if head.body > REFUSAL_BYTES_MAX {
            return Err(Broken::Unreadable("is an endless refusal"));
        }
        while head.body_left(self.incoming.len())? > 0 {
            self.read().await?;
        }
        Ok(Bytes::copy_from_slice(&self.incoming[head.bytes..]))
    }

    /// Waits; `None` when the server closes the connection meanwhile.
    pub async fn idle<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        let (mut wait, mut byte) = (pin!(wait), [0]);
        tokio::select! {
            biased;
            done = &mut wait => Some(done),
            // Nothing is on its way, so what can be read is the end, or should not be there.
            _ = self.stream.read(&mut byte) => {
                self.is_open = false;
                None
            }
        }
    }
}

const TOO_LONG: Broken = Broken::Unreadable("is longer than it says");

/// What an answer's head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: StatusCode,
    /// Of the head, and of the body behind it.
    bytes: usize,
    body: usize,
    /// The connection carries no other request.
    closes: bool,
}

impl Head {
    /// `None` while there is more to come.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Broken> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(bytes) = response.parse(bytes)? else { return Ok(None) };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Broken::Unreadable("has no status"))?;
        let (mut body, mut closes) = (None, response.version == Some(0));
        for header in &*response.headers {
            let is = |name| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                body = std::str::from_utf8(header.value).ok().and_then(|length| length.trim().parse().ok());
            } else if is("transfer-encoding") {
                return Err(Broken::Unreadable("comes in chunks, which is not supported here"));
            } else if is("connection") {
                closes |= header.value.eq_ignore_ascii_case(b"close");
            }
        }
        let body = match status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => 0,
            _ => body.ok_or(Broken::Unreadable("does not tell its length"))?,
        };
        Ok(Some(Self { status, bytes, body, closes }))
    }

    /// How much of the body is to come after so many bytes of the answer.
    fn body_left(&self, read: usize) -> Result<usize, Broken> {
        self.bytes.checked_add(self.body).and_then(|all| all.checked_sub(read)).ok_or(TOO_LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_understood_whole_or_not_yet() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: keep-alive\r\n\r\nhello";
        for end in 0..answer.len() - 5 {
            assert_eq!(Head::parse(&answer.as_bytes()[..end]).unwrap(), None);
        }
        let head = Head::parse(answer.as_bytes()).unwrap().unwrap();
        let expected = Head { status: StatusCode::OK, bytes: answer.len() - 5, body: 5, closes: false };
        assert_eq!(head, expected);
        assert_eq!(head.body_left(answer.len() - 2).unwrap(), 2);
        assert!(head.body_left(answer.len() + 1).is_err(), "longer than it says");
        let about = |answer: &str| {
            let head = Head::parse(answer.as_bytes()).unwrap().unwrap();
            (head.status.as_u16(), head.body, head.closes)
        };
        assert_eq!(about("HTTP/1.1 204 No Content\r\n\r\n"), (204, 0, false));
        assert_eq!(about("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), (304, 0, false));
        assert_eq!(
            about("HTTP/1.1 429 Busy\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n"),
            (429, 0, true)
        );
        assert_eq!(about("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"), (200, 1, true));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (answer, why) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "comes in chunks"),
            ("HTTP/1.1 200 OK\r\n\r\n", "does not tell its length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "does not tell its length"),
            ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "is no HTTP/1.1"),
        ] {
            let error = Head::parse(answer.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }
}

//! One connection to a server, with one request under way at a time, whatever protocol it speaks.

use super::requests::Request;
use super::socket::Socket;
use super::target::{Protocol, Server};
use super::{http_exchange, redis_exchange};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::timeout;

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
    #[error("the server says {0}")]
    Refused(String),
}

/// What became of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Reads of keys that are not there.
    pub misses: u64,
    /// The codes of what was refused.
    pub refused: Vec<String>,
}

/// See the module.
pub struct Connection {
    socket: Socket,
    limit: Duration,
    is_open: bool,
    /// Of every HTTP request: what follows its path.
    after_path: Bytes,
}

impl Connection {
    /// Connects. That, and each request, may take as long as `limit`.
    pub async fn open(server: &Server, limit: Duration) -> Result<Self, Broken> {
        let opening = async {
            let mut socket = Socket::open(server).await?;
            let after_path = match &server.protocol {
                Protocol::Http { after_path } => after_path.clone(),
                Protocol::Redis { greeting: None } => Bytes::new(),
                Protocol::Redis { greeting: Some(greeting) } => {
                    let Answer { refused, .. } = redis_exchange::exchange(&mut socket, greeting).await?;
                    match refused.into_iter().next() {
                        None => Bytes::new(),
                        Some(code) => return Err(Broken::Refused(code)),
                    }
                }
            };
            Ok(Self { socket, limit, is_open: true, after_path })
        };
        timeout(limit, opening).await.unwrap_or(Err(Broken::Late(limit)))
    }

    /// Whether it can carry another request.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, Broken> {
        let (limit, socket) = (self.limit, &mut self.socket);
        let asking = async {
            match request {
                Request::Http(request) => http_exchange::exchange(socket, request, &self.after_path).await,
                Request::Redis(request) => Ok((redis_exchange::exchange(socket, request).await?, true)),
            }
        };
        let answered = timeout(limit, asking).await.unwrap_or(Err(Broken::Late(limit)));
        // After an error nobody knows what would be read next.
        self.is_open = matches!(answered, Ok((_, true)));
        Ok(answered?.0)
    }

    /// Waits; `None` when the server closes the connection meanwhile.
    pub async fn idle<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        let waited = self.socket.idle(wait).await;
        self.is_open &= waited.is_some();
        waited
    }
}

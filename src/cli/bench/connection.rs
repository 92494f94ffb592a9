//! One connection to a server, with one request under way at a time. hyper's side of it runs in the task
//! that asks: a task of its own would have to be woken for each request and each answer.

use super::requests::Request;
use super::target::Server;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// Most bytes of a refusal that are read; what it says is short.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("{0}")]
    Connect(std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("a refusal with more than {PROBLEM_BYTES_MAX} bytes")]
    Endless,
}

/// An answer's status, and what a refusal says.
pub struct Answer {
    pub status: StatusCode,
    pub refusal: Bytes,
}

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    host: HeaderValue,
    limit: Duration,
    ended: bool,
}

impl Connection {
    /// Connects. That, and each request, may take as long as `limit`.
    pub async fn open(server: &Server, limit: Duration) -> Result<Self, Broken> {
        let connect = TcpStream::connect(&server.addresses[..]);
        let stream = tokio::time::timeout(limit, connect).await.map_err(|_| Broken::Late(limit))?;
        let stream = stream.map_err(Broken::Connect)?;
        stream.set_nodelay(true).map_err(Broken::Connect)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        let host = server.host.clone();
        Ok(Self { sender, driver: Box::pin(driver), host, limit, ended: false })
    }

    /// Whether it can carry another request.
    pub fn is_open(&self) -> bool {
        !self.ended && !self.sender.is_closed()
    }

    /// Takes it for ended: after an error nobody knows what would be read from it.
    pub fn give_up(&mut self) {
        self.ended = true;
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: Request) -> Result<Answer, Broken> {
        let Self { sender, driver, host, limit, ended } = self;
        let request = outgoing(request, host.clone());
        let mut exchange = pin!(async {
            sender.ready().await?;
            read(sender.send_request(request).await?).await
        });
        let both = std::future::poll_fn(|context| {
            // hyper reads a head, and once that was taken, the body: two rounds are a whole answer.
            for _ in 0..2 {
                if !*ended {
                    *ended = driver.as_mut().poll(context).is_ready();
                }
                if let Poll::Ready(answer) = exchange.as_mut().poll(context) {
                    return Poll::Ready(answer);
                }
                if *ended {
                    return Poll::Ready(Err(Broken::Closed));
                }
            }
            Poll::Pending
        });
        match tokio::time::timeout(*limit, both).await {
            Ok(answer) => answer,
            Err(_) => Err(Broken::Late(*limit)),
        }
    }

    /// Waits; `None` when the server closes the connection meanwhile.
    pub async fn idle<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        let mut wait = pin!(wait);
        std::future::poll_fn(|context| {
            if !self.ended {
                self.ended = self.driver.as_mut().poll(context).is_ready();
            }
            if self.ended { Poll::Ready(None) } else { wait.as_mut().poll(context).map(Some) }
        })
        .await
    }
}

/// A request as hyper takes it.
fn outgoing(request: Request, host: HeaderValue) -> hyper::Request<Full<Bytes>> {
    let mut outgoing = hyper::Request::new(Full::new(request.body));
    *outgoing.method_mut() = request.method;
    *outgoing.uri_mut() =
        Uri::from_maybe_shared(request.path).expect("letters, digits and dashes make a path");
    outgoing.headers_mut().insert(HOST, host);
    outgoing
}

/// Reads a whole answer; only a refusal's body is kept.
async fn read(response: Response<Incoming>) -> Result<Answer, Broken> {
    let (head, mut body) = response.into_parts();
    let mut refusal = Bytes::new();
    if head.status.is_success() {
        while let Some(frame) = body.frame().await {
            frame?;
        }
    } else {
        let whole = Limited::new(body, PROBLEM_BYTES_MAX).collect().await;
        refusal = whole.map_err(|_| Broken::Endless)?.to_bytes();
    }
    Ok(Answer { status: head.status, refusal })
}

//! The other side of a connection, byte by byte: what a peer that keeps no rule may do.

use super::PLENTY;
use bytes::Bytes;
use lockstep::peer::{Hello, Welcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A frame as the wire has it.
pub fn frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a test's frame is small");
    [&length.to_be_bytes(), content].concat()
}

pub fn hello_bytes(hello: &Hello) -> Vec<u8> {
    hello.encode()
}

/// The version of the protocol that these tests speak.
pub const PROTOCOL: u8 = 1;

/// A request or a reply, as the wire has it: the version, one byte, the group, the id, the body.
pub fn message(first: u8, id: u64, body: &[u8]) -> Vec<u8> {
    [&[PROTOCOL, first, 0, 0, 0, 0], id.to_be_bytes().as_slice(), body].concat()
}

/// Says something to a server and nothing more; returns all it answers until it closes the connection.
pub async fn say(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    // The server may close before it has read everything; that is for the caller to see.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    until_closed(&mut stream).await
}

/// What arrives until the other side closes, gracefully or not.
pub async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    let reading = async {
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            answer.extend_from_slice(&piece[..read]);
        }
    };
    timeout(PLENTY, reading).await.expect("the connection is closed");
    answer
}

/// The welcome that an answer starts with, if it starts with one.
pub fn welcome_in(answer: &[u8]) -> Option<Welcome> {
    let (length, rest) = answer.split_first_chunk::<4>()?;
    let content = rest.get(..u32::from_be_bytes(*length) as usize)?;
    Welcome::decode(content).ok()
}

pub async fn read_frame(stream: &mut TcpStream) -> Bytes {
    try_read_frame(stream).await.expect("a whole frame")
}

/// A frame, unless the connection ends before it.
pub async fn try_read_frame(stream: &mut TcpStream) -> Option<Bytes> {
    let reading = async {
        let length = stream.read_u32().await.ok()?;
        let mut content = vec![0; length as usize];
        stream.read_exact(&mut content).await.ok()?;
        Some(Bytes::from(content))
    };
    timeout(PLENTY, reading).await.expect("a frame arrives, or the end")
}

/// A listener that a test answers by hand.
pub struct ByHand {
    listener: TcpListener,
    pub address: String,
}

impl ByHand {
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("bound").to_string();
        Self { listener, address }
    }

    pub async fn accept(&self) -> TcpStream {
        timeout(PLENTY, self.listener.accept()).await.expect("somebody dials").expect("a connection").0
    }

    /// Accepts and answers the handshake; callers that hang up meanwhile are passed over.
    pub async fn welcome(&self) -> TcpStream {
        let welcome = frame(&Welcome::Accepted { protocol: PROTOCOL }.encode());
        loop {
            let mut stream = self.accept().await;
            if try_read_frame(&mut stream).await.is_some() && stream.write_all(&welcome).await.is_ok() {
                return stream;
            }
        }
    }

    /// Accepts until somebody asks something, and answers with an empty body.
    pub async fn answer_one(&self) {
        loop {
            let mut stream = self.welcome().await;
            let Some(request) = try_read_frame(&mut stream).await else { continue };
            let id = u64::from_be_bytes(request[6..14].try_into().expect("eight bytes"));
            if stream.write_all(&frame(&message(0, id, b""))).await.is_ok() {
                // What follows is nobody's business, but the connection stays.
                until_closed(&mut stream).await;
                return;
            }
        }
    }
}

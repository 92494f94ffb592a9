//! Frames: a 4-byte big-endian length, then a header and a body. A frame that breaks a rule is an error,
//! never a panic, and ends the connection.

use super::Lane;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest frame, in bytes, header included. The largest command plus room for its envelope.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest frames by what a lane carries: a vote, a digest or a report; a command; a piece of a snapshot.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;
const FORWARD_BYTES_MAX: usize = 4 * 1024 * 1024;
const SNAPSHOT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Longest first frame: whoever has not said who they are gets little room.
const HANDSHAKE_BYTES_MAX: usize = 4 * 1024;

const REQUEST_HEADER_BYTES: usize = 1 + 8;
const REPLY_HEADER_BYTES: usize = 1 + 8;

/// What is asked of a peer. The numbers are the wire format: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Append = 1,
    Vote = 2,
    PreVote = 3,
    TransferLeader = 4,
    SnapshotBegin = 5,
    SnapshotChunk = 6,
    SnapshotEnd = 7,
    Write = 8,
    ReadIndex = 9,
    Clock = 10,
    Admin = 11,
    Digests = 12,
    Touches = 13,
    Report = 14,
    Samples = 15,
}

impl Method {
    fn parse(number: u8) -> Option<Self> {
        use Method::{
            Admin, Append, Clock, Digests, PreVote, ReadIndex, Report, Samples, SnapshotBegin, SnapshotChunk,
            SnapshotEnd, Touches, TransferLeader, Vote, Write,
        };
        [
            Append,
            Vote,
            PreVote,
            TransferLeader,
            SnapshotBegin,
            SnapshotChunk,
            SnapshotEnd,
            Write,
            ReadIndex,
            Clock,
            Admin,
            Digests,
            Touches,
            Report,
            Samples,
        ]
        .into_iter()
        .find(|method| *method as u8 == number)
    }
}

/// One request: answered by the reply of the same `id`, in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: u64,
    pub method: Method,
    pub body: Bytes,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub id: u64,
    pub body: Result<Bytes, NoAnswer>,
}

/// Why a reply has no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing was done, and this sentence says why.
    Refused(String),
    /// It was done, but the answer does not fit into a frame.
    TooLong,
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame has at most {most} bytes here, this one announces {announced}")]
    TooLong { announced: usize, most: usize },
    #[error("a frame of {0} bytes is too short for its header")]
    TooShort(usize),
    #[error("no method has the number {0}")]
    UnknownMethod(u8),
    #[error("no reply has the kind {0}")]
    UnknownReply(u8),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How long the rest of a frame may take once it began, and so many milliseconds more for each MiB of it.
const REST_LIMIT: Duration = Duration::from_secs(10);
const REST_LIMIT_MS_PER_MIB: u64 = 1_000;

/// Reads one frame's content; `None` when the connection ended between frames.
///
/// # Errors
/// [`FrameError`]; the connection can't be used any more.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Bytes>, FrameError> {
    read_frame_up_to(FRAME_BYTES_MAX, stream).await
}

/// Like [`read_frame`], for a connection's first frame.
///
/// # Errors
/// [`FrameError`]; the connection can't be used any more.
pub async fn read_handshake(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Bytes>, FrameError> {
    read_frame_up_to(HANDSHAKE_BYTES_MAX, stream).await
}

async fn read_frame_up_to(
    most: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Bytes>, FrameError> {
    match read_length(most, stream).await? {
        Some(length) => read_content(length, stream).await.map(Some),
        None => Ok(None),
    }
}

/// Waits for a frame and reads how many bytes its content has; `None` when the connection ended between frames.
///
/// # Errors
/// [`FrameError`]: more than `most`, or the connection ended, or was silent, within the length.
pub(super) async fn read_length(
    most: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<usize>, FrameError> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    in_time(REST_LIMIT, stream.read_exact(&mut length[1..])).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(FrameError::TooLong { announced: length, most });
    }
    Ok(Some(length))
}

/// Reads the content of a frame.
///
/// # Errors
/// [`FrameError`]: the connection ended, or the rest did not come in time.
pub(super) async fn read_content(
    length: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Bytes, FrameError> {
    // Memory grows with what arrives, so an announced length alone allocates little.
    let mut content = BytesMut::with_capacity(length.min(64 * 1024));
    let mut limited = stream.take(length as u64);
    let limit = REST_LIMIT + Duration::from_millis((length as u64 >> 20) * REST_LIMIT_MS_PER_MIB);
    let rest = async {
        while content.len() < length {
            if limited.read_buf(&mut content).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    in_time(limit, rest).await?;
    Ok(content.freeze())
}

async fn in_time<T>(limit: Duration, reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the rest of a frame did not come in time");
    tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| Err(late()))
}

/// Makes a frame of a content.
pub fn frame(content: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + content.len());
    put_length(&mut out, content.len());
    out.put_slice(content);
    out.freeze()
}

fn put_length(out: &mut BytesMut, length: usize) {
    debug_assert!(length <= FRAME_BYTES_MAX, "senders check the length of what they send");
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

impl Lane {
    /// The longest request that it takes, in bytes.
    pub(super) fn frame_bytes_max(self) -> usize {
        match self {
            Self::Control => CONTROL_BYTES_MAX,
            Self::Append => FRAME_BYTES_MAX,
            Self::Snapshot => SNAPSHOT_BYTES_MAX,
            Self::Forward => FORWARD_BYTES_MAX,
        }
    }

    /// The bytes of requests that one connection may have at work at a time.
    pub(super) fn bytes_at_work_max(self) -> usize {
        match self {
            Self::Control | Self::Snapshot => 4 * self.frame_bytes_max(),
            Self::Append => 2 * self.frame_bytes_max(),
            Self::Forward => 8 * self.frame_bytes_max(),
        }
    }
}

impl Request {
    /// True when the request fits into a frame.
    pub fn fits(body: &Bytes) -> bool {
        REQUEST_HEADER_BYTES + body.len() <= FRAME_BYTES_MAX
    }

    /// The request as a frame.
    pub fn encode(&self) -> Bytes {
        let length = REQUEST_HEADER_BYTES + self.body.len();
        let mut out = BytesMut::with_capacity(4 + length);
        put_length(&mut out, length);
        out.put_u8(self.method as u8);
        out.put_u64(self.id);
        out.put_slice(&self.body);
        out.freeze()
    }
}

impl Reply {
    /// The reply as a frame.
    pub fn encode(&self) -> Bytes {
        let (kind, body) = match &self.body {
            Ok(body) if REPLY_HEADER_BYTES + body.len() <= FRAME_BYTES_MAX => (0, body.as_ref()),
            Err(NoAnswer::Refused(sentence)) => (1, sentence.as_bytes()),
            Ok(_) | Err(NoAnswer::TooLong) => (2, &[][..]),
        };
        let length = REPLY_HEADER_BYTES + body.len();
        let mut out = BytesMut::with_capacity(4 + length);
        put_length(&mut out, length);
        out.put_u8(kind);
        out.put_u64(self.id);
        out.put_slice(body);
        out.freeze()
    }
}

/// Reads a request out of a frame's content.
///
/// # Errors
/// [`FrameError`] on anything that is no request.
pub fn decode_request(mut content: Bytes) -> Result<Request, FrameError> {
    if content.len() < REQUEST_HEADER_BYTES {
        return Err(FrameError::TooShort(content.len()));
    }
    let number = content.get_u8();
    let method = Method::parse(number).ok_or(FrameError::UnknownMethod(number))?;
    Ok(Request { id: content.get_u64(), method, body: content })
}

/// Reads a reply out of a frame's content.
///
/// # Errors
/// [`FrameError`] on anything that is no reply.
pub fn decode_reply(mut content: Bytes) -> Result<Reply, FrameError> {
    if content.len() < REPLY_HEADER_BYTES {
        return Err(FrameError::TooShort(content.len()));
    }
    let kind = content.get_u8();
    let id = content.get_u64();
    match kind {
        0 => Ok(Reply { id, body: Ok(content) }),
        1 => Ok(Reply { id, body: Err(NoAnswer::Refused(String::from_utf8_lossy(&content).into_owned())) }),
        2 => Ok(Reply { id, body: Err(NoAnswer::TooLong) }),
        other => Err(FrameError::UnknownReply(other)),
    }
}

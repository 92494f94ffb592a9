//! Frames: a 4-byte big-endian length, then a header and a body. The header has the version of the protocol, the method
//! of a request or the kind of a reply, the Raft group, and the id that a reply shares with its request. An invalid
//! frame is an error, never a panic, and ends the connection.

use super::handshake::{GROUP, GroupId, Lane};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame, in bytes, header included. Far more than the largest command (2 MiB) needs.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest frames on a lane, in bytes, by its messages: votes, digests and reports; commands; chunks of a snapshot.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;
const FORWARD_BYTES_MAX: usize = 4 * 1024 * 1024;
const SNAPSHOT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Longest first frame, in bytes: a caller that is not identified yet gets little memory.
const HANDSHAKE_BYTES_MAX: usize = 4 * 1024;

/// Longest answer to it, in bytes. It may contain the lineage of a cluster with as many histories as there can be, and the
/// caller has selected whom it asks.
const WELCOME_BYTES_MAX: usize = 512 * 1024;

/// Version, method or kind, group, id.
const HEADER_BYTES: usize = 1 + 1 + 4 + 8;

/// The method of a request. The numbers are part of the protocol: never reuse one.
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
    Support = 16,
}

impl Method {
    fn parse(number: u8) -> Option<Self> {
        use Method::{
            Admin, Append, Clock, Digests, PreVote, ReadIndex, Report, Samples, SnapshotBegin, SnapshotChunk,
            SnapshotEnd, Support, Touches, TransferLeader, Vote, Write,
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
            Support,
        ]
        .into_iter()
        .find(|method| *method as u8 == number)
    }
}

/// The id of no request. A refusal with this id is the last frame of a connection: it refuses every request that has not been
/// answered, and all that may follow.
pub(super) const ALL_OTHERS: u64 = 0;

/// A request. The reply has the same `id`; replies come in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: u64,
    pub method: Method,
    pub body: Bytes,
}

/// The reply to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub id: u64,
    pub body: Result<Bytes, NoAnswer>,
}

/// Why a reply has no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing was done; the sentence says why.
    Refused(String),
    /// The request was carried out, but the answer does not fit into a frame.
    TooLong,
}

/// Why bytes are not a valid frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame has at max {max} bytes here, this one announces {announced}")]
    TooLong { announced: usize, max: usize },
    #[error("a frame of {0} bytes is too short for its header")]
    TooShort(usize),
    #[error("the frame is of version {found} of the protocol, {spoken} was agreed on")]
    Version { found: u8, spoken: u8 },
    #[error("group {0} is not served here")]
    UnknownGroup(GroupId),
    /// A method of a later version. The request can be refused by its id, and the connection stays open.
    #[error("no method has the number {number}")]
    UnknownMethod { number: u8, id: u64 },
    #[error("no reply has the kind {0}")]
    UnknownReply(u8),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Timeout of the rest of a frame after its first byte: a fixed part, and a part for each MiB of the frame.
const REST_TIMEOUT: Duration = Duration::from_secs(10);
const REST_MS_PER_MIB: u64 = 1_000;

/// Reads one frame's content; `None` when the connection ended between frames.
///
/// # Errors
/// [`FrameError`]; the connection can no longer be used.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Bytes>, FrameError> {
    read_frame_up_to(FRAME_BYTES_MAX, stream).await
}

/// Like [`read_frame`], for a connection's first frame.
///
/// # Errors
/// [`FrameError`]; the connection can no longer be used.
pub async fn read_handshake(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Bytes>, FrameError> {
    read_frame_up_to(HANDSHAKE_BYTES_MAX, stream).await
}

/// Like [`read_frame`], for the answer to a connection's first frame.
///
/// # Errors
/// [`FrameError`]; the connection can no longer be used.
pub async fn read_welcome(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Bytes>, FrameError> {
    read_frame_up_to(WELCOME_BYTES_MAX, stream).await
}

async fn read_frame_up_to(
    max: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Bytes>, FrameError> {
    match read_length(max, stream).await? {
        Some(length) => read_content(length, stream).await.map(Some),
        None => Ok(None),
    }
}

/// Waits for a frame and reads the length of its content; `None` when the connection ended between frames.
///
/// # Errors
/// [`FrameError`]: more than `max`, or the connection ended, or was silent, within the length.
pub(super) async fn read_length(
    max: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<usize>, FrameError> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    in_time(REST_TIMEOUT, stream.read_exact(&mut length[1..])).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > max {
        return Err(FrameError::TooLong { announced: length, max });
    }
    Ok(Some(length))
}

/// Reads the content of a frame.
///
/// # Errors
/// [`FrameError`]: the connection ended, or the rest did not arrive in time.
pub(super) async fn read_content(
    length: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Bytes, FrameError> {
    // Memory grows with the bytes that arrive, so that an announced length alone allocates little.
    let mut content = BytesMut::with_capacity(length.min(64 * 1024));
    let mut limited = stream.take(length as u64);
    let limit = REST_TIMEOUT + Duration::from_millis((length as u64 >> 20) * REST_MS_PER_MIB);
    let rest = async {
        while content.len() < length {
            if content.len() == content.capacity() {
                // At most double, and never beyond the frame's length: parts of the frame may be kept for long.
                content.reserve(content.len().min(length - content.len()));
            }
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

/// A frame with this content.
pub fn frame(content: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + content.len());
    out.put_slice(&length_prefix(content.len()));
    out.put_slice(content);
    out.freeze()
}

fn length_prefix(length: usize) -> [u8; 4] {
    debug_assert!(length <= FRAME_BYTES_MAX, "senders check the length of what they send");
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// A frame to be sent. A large body is never copied.
#[derive(Debug)]
pub struct Outgoing {
    head: [u8; HEAD_BYTES],
    body: Bytes,
}

/// The length, then the header.
const HEAD_BYTES: usize = 4 + HEADER_BYTES;

/// About how many bytes of frames are joined into one write. A larger body is a write of its own.
const JOINED_BYTES: usize = 64 * 1024;

impl Outgoing {
    fn new(protocol: u8, kind: u8, id: u64, body: Bytes) -> Self {
        let mut head = [0; HEAD_BYTES];
        let mut rest = &mut head[..];
        rest.put_slice(&length_prefix(HEADER_BYTES + body.len()));
        rest.put_u8(protocol);
        rest.put_u8(kind);
        rest.put_u32(GROUP);
        rest.put_u64(id);
        Self { head, body }
    }

    /// The frame in one piece.
    pub fn to_bytes(&self) -> Bytes {
        [&self.head[..], &self.body].concat().into()
    }
}

/// Writes frames in order, small ones together. `joined` is a scratch buffer; it is empty when this returns.
pub(super) async fn write_outgoing(
    write: &mut (impl AsyncWrite + Unpin),
    frames: &mut Vec<Outgoing>,
    joined: &mut Vec<u8>,
) -> io::Result<()> {
    for Outgoing { head, body } in frames.drain(..) {
        joined.extend_from_slice(&head);
        if body.len() >= JOINED_BYTES {
            write.write_all(joined).await?;
            joined.clear();
            write.write_all(&body).await?;
            continue;
        }
        joined.extend_from_slice(&body);
        if joined.len() >= JOINED_BYTES {
            write.write_all(joined).await?;
            joined.clear();
        }
    }
    write.write_all(joined).await?;
    joined.clear();
    // What is encrypted waits in a buffer until then.
    write.flush().await
}

impl Lane {
    /// The longest request on this lane, in bytes.
    pub(super) fn frame_bytes_max(self) -> usize {
        match self {
            Self::Control => CONTROL_BYTES_MAX,
            Self::Append => FRAME_BYTES_MAX,
            Self::Snapshot => SNAPSHOT_BYTES_MAX,
            Self::Forward => FORWARD_BYTES_MAX,
        }
    }

    /// Most bytes of requests in progress on one connection.
    pub(super) fn bytes_in_progress_max(self) -> usize {
        match self {
            Self::Control | Self::Snapshot => 4 * self.frame_bytes_max(),
            Self::Append => 2 * self.frame_bytes_max(),
            Self::Forward => 8 * self.frame_bytes_max(),
        }
    }
}

impl Request {
    /// Whether a request with this body fits into a frame.
    pub fn fits(body: &Bytes) -> bool {
        HEADER_BYTES + body.len() <= FRAME_BYTES_MAX
    }

    /// The request as a frame of this version of the protocol.
    pub fn into_frame(self, protocol: u8) -> Outgoing {
        Outgoing::new(protocol, self.method as u8, self.id, self.body)
    }
}

impl Reply {
    /// The reply as a frame of this version of the protocol.
    pub fn into_frame(self, protocol: u8) -> Outgoing {
        let (kind, body) = match self.body {
            Ok(body) if HEADER_BYTES + body.len() <= FRAME_BYTES_MAX => (0, body),
            Err(NoAnswer::Refused(sentence)) => (1, sentence.into()),
            Ok(_) | Err(NoAnswer::TooLong) => (2, Bytes::new()),
        };
        Outgoing::new(protocol, kind, self.id, body)
    }
}

/// Decodes a request from a frame's content, on a connection that speaks this version of the protocol.
///
/// # Errors
/// [`FrameError`]: the content is not a request. After [`FrameError::UnknownMethod`] the connection can still be used.
pub fn decode_request(protocol: u8, mut content: Bytes) -> Result<Request, FrameError> {
    let (number, id) = take_header(protocol, &mut content)?;
    let method = Method::parse(number).ok_or(FrameError::UnknownMethod { number, id })?;
    Ok(Request { id, method, body: content })
}

/// Splits the header off a frame's content. Returns the method or kind, and the id.
fn take_header(protocol: u8, content: &mut Bytes) -> Result<(u8, u64), FrameError> {
    if content.len() < HEADER_BYTES {
        return Err(FrameError::TooShort(content.len()));
    }
    let (version, kind, group, id) =
        (content.get_u8(), content.get_u8(), content.get_u32(), content.get_u64());
    if version != protocol {
        return Err(FrameError::Version { found: version, spoken: protocol });
    }
    if group != GROUP {
        return Err(FrameError::UnknownGroup(group));
    }
    Ok((kind, id))
}

/// Decodes a reply from a frame's content, on a connection that speaks this version of the protocol.
///
/// # Errors
/// [`FrameError`]: the content is not a reply.
pub fn decode_reply(protocol: u8, mut content: Bytes) -> Result<Reply, FrameError> {
    let (kind, id) = take_header(protocol, &mut content)?;
    match kind {
        0 => Ok(Reply { id, body: Ok(content) }),
        1 => Ok(Reply { id, body: Err(NoAnswer::Refused(String::from_utf8_lossy(&content).into_owned())) }),
        2 => Ok(Reply { id, body: Err(NoAnswer::TooLong) }),
        other => Err(FrameError::UnknownReply(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small and large frames in one batch come out in their order, each whole.
    #[tokio::test]
    async fn joined_and_large_frames_keep_their_order() {
        let sizes = [
            0,
            10,
            JOINED_BYTES - 1,
            JOINED_BYTES,
            3 * JOINED_BYTES,
            1,
            JOINED_BYTES / 2,
            JOINED_BYTES / 2,
            7,
        ];
        let body = |id: usize| Bytes::from(vec![id as u8; sizes[id]]);
        let request = |id: usize| Request { id: id as u64, method: Method::Append, body: body(id) };
        let (mut write, mut read) = tokio::io::duplex(1_000);
        let writing = async {
            let mut joined = Vec::new();
            for _ in 0..2 {
                let mut frames = (0..sizes.len()).map(|id| request(id).into_frame(1)).collect();
                write_outgoing(&mut write, &mut frames, &mut joined).await.expect("it reads");
                assert!(frames.is_empty() && joined.is_empty());
            }
        };
        let reading = async {
            for id in (0..sizes.len()).chain(0..sizes.len()) {
                let content = read_frame(&mut read).await.expect("a frame").expect("one more");
                assert_eq!(decode_request(1, content).expect("a request"), request(id));
            }
        };
        tokio::join!(writing, reading);
    }
}

//! Bytes of log records and of messages between nodes. What is kept on disk starts with the version of its own format;
//! the version of a message is that of the protocol that the two nodes agreed on. `docs/formats.md` describes them all.

use super::types::{Entry, LogId, Payload, Proposal, Types};
use super::wire::{WireLogId, WireMembership, WireVote, log_id};
use crate::cache::{Command, Touch};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::entry::RaftEntry;
use openraft::raft::AppendEntriesRequest;
use serde::{Deserialize, Serialize};

/// Largest encoded command, in bytes. The log keeps entries of up to 2 MiB safe against power cuts; the rest
/// of that is for the entry's own header.
pub const COMMAND_BYTES_MAX: usize = 2 * 1024 * 1024 - 4 * 1024;

/// Memory beyond its content that an encoded command may hold.
const SPARE_BYTES_MAX: usize = 4 * 1024;

const RECORD_VERSION: u8 = 1;
const ENVELOPE_VERSION: u8 = 1;
const KIND_BLANK: u8 = 0;
const KIND_COMMAND: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{what} ends early")]
    Short { what: &'static str },
    #[error("{what} has format version {found}, this program reads {known}")]
    Version { what: &'static str, found: u8, known: u8 },
    #[error("{what} cannot be read: {reason}")]
    Malformed { what: &'static str, reason: String },
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// What a proposal's body holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub idempotency_key: Option<String>,
    pub command: Command,
}

impl Envelope {
    pub fn encode(&self) -> Bytes {
        // Writing to memory fails on no value of these types.
        let mut out = postcard::to_extend(self, vec![ENVELOPE_VERSION]).unwrap_or_default();
        // It grew by doubling, and lives as long as the write.
        if out.capacity() - out.len() > SPARE_BYTES_MAX {
            out.shrink_to_fit();
        }
        out.into()
    }

    /// # Errors
    /// [`CodecError`] on foreign or damaged bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        from_versioned("a command", ENVELOPE_VERSION, bytes)
    }
}

/// Encodes the reads that an entry tells of.
pub fn encode_touches(touches: &[Touch]) -> Bytes {
    if touches.is_empty() { Bytes::new() } else { to_bytes(&touches) }
}

/// # Errors
/// [`CodecError`] on foreign or damaged bytes.
pub fn decode_touches(bytes: &[u8]) -> Result<Vec<Touch>, CodecError> {
    if bytes.is_empty() { Ok(Vec::new()) } else { from_postcard("reads", bytes) }
}

/// Encodes any small message.
pub fn to_bytes<T: Serialize>(message: &T) -> Bytes {
    // Writing to memory fails on no value of our types; a peer refuses an empty message.
    postcard::to_stdvec(message).map(Bytes::from).unwrap_or_default()
}

/// Encodes something that is kept, behind the version of its format.
pub fn to_versioned<T: Serialize>(version: u8, kept: &T) -> Bytes {
    postcard::to_extend(kept, vec![version]).map(Bytes::from).unwrap_or_default()
}

/// Reads what [`to_versioned`] wrote in the version that is `known`; bytes left over are an error.
///
/// # Errors
/// [`CodecError`].
pub fn from_versioned<'a, T: Deserialize<'a>>(
    what: &'static str,
    known: u8,
    bytes: &'a [u8],
) -> Result<T, CodecError> {
    let (version, rest) = bytes.split_first().ok_or(CodecError::Short { what })?;
    expect_version(what, *version, known)?;
    from_postcard(what, rest)
}

/// Reads a message that [`to_bytes`] wrote; bytes left over are an error.
///
/// # Errors
/// [`CodecError::Malformed`].
pub fn from_postcard<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => {
            Err(CodecError::Malformed { what, reason: format!("{} bytes too many", rest.len()) })
        }
        Err(error) => Err(CodecError::Malformed { what, reason: error.to_string() }),
    }
}

fn expect_version(what: &'static str, found: u8, known: u8) -> Result<(), CodecError> {
    if found == known { Ok(()) } else { Err(CodecError::Version { what, found, known }) }
}

/// A log entry as the log and the peers keep it: version, kind, term, index, then the payload.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let mut out = BytesMut::with_capacity(26 + body_len(entry));
    put_entry(&mut out, entry);
    out.freeze()
}

fn body_len(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(proposal) => 20 + proposal.touches.len() + proposal.body.len(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

fn put_entry(out: &mut BytesMut, entry: &Entry) {
    out.put_u8(RECORD_VERSION);
    let kind = match &entry.payload {
        Payload::Blank => KIND_BLANK,
        Payload::Normal(_) => KIND_COMMAND,
        Payload::Membership(_) => KIND_MEMBERSHIP,
    };
    out.put_u8(kind);
    out.put_u64(entry.log_id.committed_leader_id().term);
    out.put_u64(entry.log_id.index());
    match &entry.payload {
        Payload::Blank => {}
        Payload::Normal(proposal) => {
            out.put_u64(proposal.at_ms);
            out.put_u64(proposal.by);
            out.put_u32(u32::try_from(proposal.touches.len()).unwrap_or(u32::MAX));
            out.put_slice(&proposal.touches);
            out.put_slice(&proposal.body);
        }
        Payload::Membership(membership) => out.put_slice(&to_bytes(&WireMembership::from(membership))),
    }
}

/// Reads a log entry; a command's body shares the input's memory.
///
/// # Errors
/// [`CodecError`] on anything [`encode_entry`] did not write.
pub fn decode_entry(mut bytes: Bytes) -> Result<Entry, CodecError> {
    let what = "a log record";
    if bytes.len() < 18 {
        return Err(CodecError::Short { what });
    }
    expect_version(what, bytes.get_u8(), RECORD_VERSION)?;
    let kind = bytes.get_u8();
    let log_id = LogId::new(bytes.get_u64().into(), bytes.get_u64());
    let payload = match kind {
        KIND_BLANK if bytes.is_empty() => Payload::Blank,
        KIND_COMMAND if bytes.len() >= 16 => {
            let (at_ms, by) = (bytes.get_u64(), bytes.get_u64());
            let touches = take_part(&mut bytes, what)?;
            Payload::Normal(Proposal { at_ms, by, touches, body: bytes })
        }
        KIND_MEMBERSHIP => {
            let what = "a membership";
            let membership: WireMembership = from_postcard(what, &bytes)?;
            let malformed = |error| CodecError::Malformed { what, reason: format!("{error}") };
            Payload::Membership(membership.try_into().map_err(malformed)?)
        }
        other => return Err(CodecError::Malformed { what, reason: format!("kind {other}") }),
    };
    Ok(Entry::new(log_id, payload))
}

#[derive(Serialize, Deserialize)]
struct AppendHeader {
    vote: WireVote,
    prev_log_id: Option<WireLogId>,
    leader_commit: Option<WireLogId>,
    entries: u32,
}

/// An append request: its header, then its entries, each behind its length.
pub fn encode_append(request: &AppendEntriesRequest<Types>) -> Bytes {
    let header = to_bytes(&AppendHeader {
        vote: request.vote.into(),
        prev_log_id: log_id(request.prev_log_id),
        leader_commit: log_id(request.leader_commit),
        entries: u32::try_from(request.entries.len()).unwrap_or(u32::MAX),
    });
    let entries: usize = request.entries.iter().map(|entry| 4 + 26 + body_len(entry)).sum();
    let mut out = BytesMut::with_capacity(4 + header.len() + entries);
    out.put_u32(u32::try_from(header.len()).unwrap_or(u32::MAX));
    out.put_slice(&header);
    for entry in &request.entries {
        let at = out.len();
        out.put_u32(0);
        put_entry(&mut out, entry);
        let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    out.freeze()
}

/// Reads an append request.
///
/// # Errors
/// [`CodecError`] on anything [`encode_append`] did not write.
pub fn decode_append(mut bytes: Bytes) -> Result<AppendEntriesRequest<Types>, CodecError> {
    let what = "an append request";
    let header: AppendHeader = from_postcard(what, &take_part(&mut bytes, what)?)?;
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        entries.push(decode_entry(take_part(&mut bytes, what)?)?);
    }
    if entries.len() != header.entries as usize {
        let reason = format!("{} entries announced, {} there", header.entries, entries.len());
        return Err(CodecError::Malformed { what, reason });
    }
    let vote = header.vote.into();
    let (prev_log_id, leader_commit) = (log_id(header.prev_log_id), log_id(header.leader_commit));
    check_in_range([prev_log_id, leader_commit].into_iter().flatten())?;
    check_in_range(entries.iter().map(RaftEntry::log_id))?;
    check_consecutive(prev_log_id, &entries)?;
    Ok(AppendEntriesRequest { vote, prev_log_id, leader_commit, entries })
}

/// openraft counts one further than the positions it is told, so the very last one is none.
fn check_in_range(mut positions: impl Iterator<Item = LogId>) -> Result<(), CodecError> {
    if positions.any(|log_id| log_id.index() == u64::MAX) {
        let reason = "a position at the end of the range".into();
        return Err(CodecError::Malformed { what: "an append request", reason });
    }
    Ok(())
}

/// openraft takes it for granted that a request's entries follow one another; a peer's bytes need not.
fn check_consecutive(prev: Option<LogId>, entries: &[Entry]) -> Result<(), CodecError> {
    let mut last = prev.map(|log_id| log_id.index());
    for entry in entries {
        let (next, found) = (last.map_or(0, |last| last + 1), entry.log_id().index());
        if found != next {
            let reason = format!("entry {found} where {next} belongs");
            return Err(CodecError::Malformed { what: "an append request", reason });
        }
        last = Some(found);
    }
    Ok(())
}

/// Takes a part that begins with its length in 4 bytes.
///
/// # Errors
/// [`CodecError::Short`].
pub fn take_part(bytes: &mut Bytes, what: &'static str) -> Result<Bytes, CodecError> {
    if bytes.len() < 4 {
        return Err(CodecError::Short { what });
    }
    let length = bytes.get_u32() as usize;
    if bytes.len() < length {
        return Err(CodecError::Short { what });
    }
    Ok(bytes.split_to(length))
}

//! The encoding of log entries and append requests. Stored data starts with the version of its own format. The version
//! of a message is that of the protocol that the two nodes agreed on. `docs/formats.md` describes all formats.

use super::types::{Entry, LogId, Payload, Types};
use super::wire::{WireVote, log_id};
use crate::replica::{
    CodecError, LogPosition, Membership, Proposal, expect_version, from_postcard, take_part, to_bytes,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::entry::RaftEntry;
use openraft::raft::AppendEntriesRequest;
use serde::{Deserialize, Serialize};

const RECORD_VERSION: u8 = 1;
const KIND_BLANK: u8 = 0;
const KIND_COMMAND: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// A log entry, as it is stored and sent: version, kind, term, index, then the payload.
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
        Payload::Membership(membership) => out.put_slice(&to_bytes(&Membership::from(membership))),
    }
}

/// Decodes a log entry. A command's body shares the memory of the input.
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
            let read: Membership = from_postcard(what, &bytes)?;
            let malformed = |error| CodecError::Malformed { what, reason: format!("{error}") };
            Payload::Membership(read.try_into().map_err(malformed)?)
        }
        other => return Err(CodecError::Malformed { what, reason: format!("kind {other}") }),
    };
    Ok(Entry::new(log_id, payload))
}

#[derive(Serialize, Deserialize)]
struct AppendHeader {
    vote: WireVote,
    prev_log_id: Option<LogPosition>,
    leader_commit: Option<LogPosition>,
    entries: u32,
}

/// Encodes an append request: its header, then its entries, each preceded by its length.
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

/// Decodes an append request.
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

/// openraft adds one to the indexes that it gets, so the largest number is not a valid index.
fn check_in_range(mut positions: impl Iterator<Item = LogId>) -> Result<(), CodecError> {
    if positions.any(|log_id| log_id.index() == u64::MAX) {
        let reason = "a position at the end of the range".into();
        return Err(CodecError::Malformed { what: "an append request", reason });
    }
    Ok(())
}

/// openraft relies on consecutive entries in a request. The bytes of a peer may say otherwise.
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

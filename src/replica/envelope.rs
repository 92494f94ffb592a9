//! What a log entry carries for the cache: a command with its idempotency key, and reads to count.

use super::codec::{CodecError, from_postcard, from_versioned, to_bytes};
use crate::cache::{Command, Touch};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Largest encoded command, in bytes. The log keeps entries of up to 2 MiB safe against power cuts; the rest
/// of that is for the entry's own header.
pub const COMMAND_BYTES_MAX: usize = 2 * 1024 * 1024 - 4 * 1024;

/// Memory beyond its content that an encoded command may hold.
const SPARE_BYTES_MAX: usize = 4 * 1024;

const ENVELOPE_VERSION: u8 = 1;

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

//! The part of a log entry that the cache reads: a command with its idempotency key, and touches.

use super::codec::{CodecError, from_postcard, from_versioned, to_bytes};
use crate::cache::{Command, IdempotencyKey, Touch};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Largest encoded command, in bytes. The log stores entries of up to 2 MiB safely across a power cut; the difference
/// is for the entry's own header.
pub const COMMAND_BYTES_MAX: usize = 2 * 1024 * 1024 - 4 * 1024;

/// Unused memory that an encoded command may hold, in bytes.
const SPARE_BYTES_MAX: usize = 4 * 1024;

const ENVELOPE_VERSION: u8 = 1;

/// The body of a [`super::Proposal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub idempotency_key: Option<IdempotencyKey>,
    /// The client's name for itself.
    pub origin: Option<String>,
    pub command: Command,
}

impl From<Command> for Envelope {
    fn from(command: Command) -> Self {
        Self { idempotency_key: None, origin: None, command }
    }
}

impl Envelope {
    pub fn encode(&self) -> Bytes {
        // Encoding into memory does not fail for these types.
        let mut out = postcard::to_extend(self, vec![ENVELOPE_VERSION]).unwrap_or_default();
        // The buffer grew by doubling, and is held for as long as the write takes.
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

/// Encodes the touches of an entry.
pub fn encode_touches(touches: &[Touch]) -> Bytes {
    if touches.is_empty() { Bytes::new() } else { to_bytes(&touches) }
}

/// # Errors
/// [`CodecError`] on foreign or damaged bytes.
pub fn decode_touches(bytes: &[u8]) -> Result<Vec<Touch>, CodecError> {
    if bytes.is_empty() { Ok(Vec::new()) } else { from_postcard("reads", bytes) }
}

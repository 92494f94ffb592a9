//! Encoding of stored data, which begins with the version of its format, and of messages between nodes, whose version
//! is that of the protocol that both nodes agreed on. `docs/formats.md` describes all formats.

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

/// Why bytes could not be decoded.
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

/// Encodes a small message.
pub fn to_bytes<T: Serialize>(message: &T) -> Bytes {
    // Encoding into memory does not fail for our types. If it did, the peer would refuse the empty message.
    postcard::to_stdvec(message).map(Bytes::from).unwrap_or_default()
}

/// Encodes a value that is stored: the version of its format, then the value.
pub fn to_versioned<T: Serialize>(version: u8, value: &T) -> Bytes {
    postcard::to_extend(value, vec![version]).map(Bytes::from).unwrap_or_default()
}

/// Decodes the output of [`to_versioned`] if its version is `known`. Trailing bytes are an error.
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

/// Decodes the output of [`to_bytes`]. Trailing bytes are an error.
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

/// # Errors
/// [`CodecError::Version`].
pub fn expect_version(what: &'static str, found: u8, known: u8) -> Result<(), CodecError> {
    if found == known { Ok(()) } else { Err(CodecError::Version { what, found, known }) }
}

/// Splits off a part that is preceded by its length in 4 bytes.
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

//! Numbers and texts as bytes and back: what snapshots and stored results are made of. Numbers are little-endian
//! and of fixed width; a text or a list is preceded by its length.

use std::io::{ErrorKind, Read, Result, Write};

/// Why bytes could not be decoded.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// They end too early.
    Truncated,
    /// They could not be read.
    Io(std::io::Error),
    /// They break the rule that the text names.
    Damaged(&'static str),
}

pub(super) fn put_u8(out: &mut impl Write, value: u8) -> Result<()> {
    out.write_all(&[value])
}

pub(super) fn put_bool(out: &mut impl Write, value: bool) -> Result<()> {
    put_u8(out, u8::from(value))
}

pub(super) fn put_u32(out: &mut impl Write, value: u32) -> Result<()> {
    out.write_all(&value.to_le_bytes())
}

pub(super) fn put_u64(out: &mut impl Write, value: u64) -> Result<()> {
    out.write_all(&value.to_le_bytes())
}

pub(super) fn put_u128(out: &mut impl Write, value: u128) -> Result<()> {
    out.write_all(&value.to_le_bytes())
}

/// A number that may be missing.
pub(super) fn put_option(out: &mut impl Write, value: Option<u64>) -> Result<()> {
    put_bool(out, value.is_some())?;
    value.map_or(Ok(()), |value| put_u64(out, value))
}

/// Bytes after their length. Everything stored is far below 4 GiB: `limits.rs` bounds it.
pub(super) fn put_bytes(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| std::io::Error::from(ErrorKind::InvalidInput))?;
    put_u32(out, length)?;
    out.write_all(bytes)
}

/// Reads what the functions above wrote. It trusts nothing: a length is checked before memory is allocated.
pub(super) struct Decoder<R>(pub R);

impl<R: Read> Decoder<R> {
    pub fn array<const N: usize>(&mut self) -> std::result::Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u8(&mut self) -> std::result::Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> std::result::Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> std::result::Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn u128(&mut self) -> std::result::Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub fn bool(&mut self) -> std::result::Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Damaged("a flag is neither 0 nor 1")),
        }
    }

    pub fn option(&mut self) -> std::result::Result<Option<u64>, DecodeError> {
        Ok(if self.bool()? { Some(self.u64()?) } else { None })
    }

    /// A number that is only ever incremented. No cache lives long enough to count past half of the range, and the
    /// other half keeps sums from overflowing, whatever a snapshot says.
    pub fn counter(&mut self) -> std::result::Result<u64, DecodeError> {
        match self.u64()? {
            count if count <= u64::MAX / 2 => Ok(count),
            _ => Err(DecodeError::Damaged("a counter is out of range")),
        }
    }

    pub fn bytes(&mut self, max: usize) -> std::result::Result<Vec<u8>, DecodeError> {
        let length = self.length(max)?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A length of at most `max`.
    pub fn length(&mut self, max: usize) -> std::result::Result<usize, DecodeError> {
        match self.u32()? as usize {
            length if length <= max => Ok(length),
            _ => Err(DecodeError::Damaged("a length is over its limit")),
        }
    }

    pub fn text(&mut self, max: usize) -> std::result::Result<String, DecodeError> {
        String::from_utf8(self.bytes(max)?).map_err(|_| DecodeError::Damaged("a text is not UTF-8"))
    }

    /// Refuses bytes after the end.
    pub fn end(&mut self) -> std::result::Result<(), DecodeError> {
        match self.u8() {
            Err(DecodeError::Truncated) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(DecodeError::Damaged("there are bytes after its end")),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> std::result::Result<(), DecodeError> {
        self.0.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => DecodeError::Truncated,
            _ => DecodeError::Io(error),
        })
    }
}

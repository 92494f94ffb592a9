//! Numbers and texts to bytes and back.

use super::RestoreError;
use std::io::{ErrorKind, Read, Result, Write};

pub(super) fn put_u8(out: &mut impl Write, value: u8) -> Result<()> {
    out.write_all(&[value])
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
    put_u8(out, u8::from(value.is_some()))?;
    value.map_or(Ok(()), |value| put_u64(out, value))
}

/// Bytes after their length. All that is stored is far below 4 GiB: `limits.rs` says how long it may be.
pub(super) fn put_bytes(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| std::io::Error::from(ErrorKind::InvalidInput))?;
    put_u32(out, length)?;
    out.write_all(bytes)
}

/// Reads what the functions above wrote. Trusts nothing: a length is checked before memory is asked for.
pub(super) struct Source<R>(pub R);

impl<R: Read> Source<R> {
    pub fn array<const N: usize>(&mut self) -> std::result::Result<[u8; N], RestoreError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u8(&mut self) -> std::result::Result<u8, RestoreError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> std::result::Result<u32, RestoreError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> std::result::Result<u64, RestoreError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn u128(&mut self) -> std::result::Result<u128, RestoreError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub fn bool(&mut self) -> std::result::Result<bool, RestoreError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RestoreError::Damaged("a flag is neither 0 nor 1")),
        }
    }

    pub fn option(&mut self) -> std::result::Result<Option<u64>, RestoreError> {
        Ok(if self.bool()? { Some(self.u64()?) } else { None })
    }

    pub fn bytes(&mut self, most: usize) -> std::result::Result<Vec<u8>, RestoreError> {
        let length = self.u32()? as usize;
        if length > most {
            return Err(RestoreError::Damaged("a length is over its limit"));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn text(&mut self, most: usize) -> std::result::Result<String, RestoreError> {
        String::from_utf8(self.bytes(most)?).map_err(|_| RestoreError::Damaged("a text is not UTF-8"))
    }

    /// Refuses bytes after the end.
    pub fn end(&mut self) -> std::result::Result<(), RestoreError> {
        match self.u8() {
            Err(RestoreError::Truncated) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(RestoreError::Damaged("there are bytes after its end")),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> std::result::Result<(), RestoreError> {
        self.0.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => RestoreError::Truncated,
            _ => RestoreError::Io(error),
        })
    }
}

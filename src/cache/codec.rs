//! Numbers and texts as bytes and back: what snapshots and stored results are made of. Numbers are little-endian
//! and of fixed width; a text or a list is preceded by its length.

use std::io::{BufRead, ErrorKind, Result, Write};

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

impl<R: BufRead> Decoder<R> {
    #[inline]
    pub fn array<const N: usize>(&mut self) -> std::result::Result<[u8; N], DecodeError> {
        if let Some(bytes) = self.buffered()?.first_chunk().copied() {
            self.0.consume(N);
            return Ok(bytes);
        }
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// What was read ahead, or is now: empty at the end only.
    #[inline]
    fn buffered(&mut self) -> std::result::Result<&[u8], DecodeError> {
        while let Err(error) = self.0.fill_buf() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(DecodeError::Io(error));
            }
        }
        self.0.fill_buf().map_err(DecodeError::Io)
    }

    pub fn u8(&mut self) -> std::result::Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub fn u32(&mut self) -> std::result::Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
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

    /// What `read` makes of several strings of bytes, one after another, of at most so many bytes each. It copies none if all of them were read
    /// ahead.
    pub fn strings<const N: usize, T>(
        &mut self,
        max: [usize; N],
        read: impl FnOnce([&[u8]; N]) -> T,
    ) -> std::result::Result<T, DecodeError> {
        if let Some((strings, length)) = split(self.buffered()?, max) {
            let made = read(strings);
            self.0.consume(length);
            return Ok(made);
        }
        let mut copies: [Vec<u8>; N] = std::array::from_fn(|_| Vec::new());
        for (copy, max) in copies.iter_mut().zip(max) {
            *copy = self.bytes(max)?;
        }
        Ok(read(std::array::from_fn(|at| copies[at].as_slice())))
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

/// The strings that `bytes` begin with, and how many bytes they take with their lengths. `None` if not all of them are there, or one is too long.
fn split<const N: usize>(bytes: &[u8], max: [usize; N]) -> Option<([&[u8]; N], usize)> {
    let (mut strings, mut rest) = ([&[][..]; N], bytes);
    for (string, max) in strings.iter_mut().zip(max) {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= max)?;
        (*string, rest) = after.split_at_checked(length)?;
    }
    Some((strings, bytes.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Whatever was read ahead, and wherever that ends.
    #[test]
    fn strings_are_read_in_pieces_or_at_once() {
        let (mut bytes, strings) = (Vec::new(), [&b"key"[..], b"", b"a longer value"]);
        put_u8(&mut bytes, 7).unwrap();
        strings.iter().for_each(|string| put_bytes(&mut bytes, string).unwrap());
        put_u64(&mut bytes, u64::MAX - 1).unwrap();
        let read = |bytes: &[u8], ahead: usize, max: [usize; 3]| {
            let mut source = Decoder(BufReader::with_capacity(ahead, bytes));
            assert_eq!(source.u8()?, 7);
            let copies = source.strings(max, |strings| strings.map(<[u8]>::to_vec))?;
            Ok::<_, DecodeError>((copies, source.u64()?, source.end()?))
        };
        for ahead in 1..=bytes.len() + 1 {
            let (copies, number, ()) = read(&bytes, ahead, [3, 0, 14]).unwrap();
            assert_eq!((copies, number), (strings.map(<[u8]>::to_vec), u64::MAX - 1), "{ahead}");
            for max in [[2, 0, 14], [3, 0, 13]] {
                let refused = read(&bytes, ahead, max);
                assert!(
                    matches!(refused, Err(DecodeError::Damaged("a length is over its limit"))),
                    "{ahead}"
                );
            }
            for end in 1..bytes.len() {
                let cut = read(&bytes[..end], ahead, [3, 0, 14]);
                assert!(matches!(cut, Err(DecodeError::Truncated)), "{ahead} {end}");
            }
        }
    }
}

//! What an entry holds for its clients: key, content type, origin and value, in one allocation.

use super::digest::{halves, hash_words};
use super::hash::Hash;
use super::limits::{CONTENT_TYPE_BYTES_MAX, KEY_BYTES_MAX, ORIGIN_BYTES_MAX, VALUE_BYTES_MAX};
use super::shared_bytes::SharedBytes;
use super::{Key, Kind, Value};
use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The lengths of key, content type and origin, then these and the value. It is a copy, so that a small value never keeps a
/// large network frame or log record alive.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(SharedBytes);

/// The longest number of 64 bits as text.
const COUNTER_BYTES_MAX: usize = 20;

/// Bytes of the lengths: two for the key's, one for that of the content type, one for that of the origin.
const LENGTHS_BYTES: usize = 4;

impl Record {
    /// The memory that a record takes beyond key, value, content type and origin: the reference count, the lengths, and on average
    /// half of the 16 bytes to whose multiples allocators round.
    pub(super) const OVERHEAD_BYTES: u64 = (SharedBytes::OVERHEAD_BYTES + LENGTHS_BYTES + 8) as u64;

    /// Packs a key and a value whose limits were checked. (A longer content type or origin would be cut, never misread.)
    pub fn new(key: &Key, bytes: &[u8], content_type: Option<&str>, origin: Option<&str>) -> Self {
        let [media, origin] = [content_type, origin].map(|text| text.unwrap_or_default().as_bytes());
        let media = &media[..media.len().min(CONTENT_TYPE_BYTES_MAX)];
        let origin = &origin[..origin.len().min(ORIGIN_BYTES_MAX)];
        Self::pack(key.as_str().as_bytes(), media, origin, bytes)
    }

    /// Packs the parts of a snapshot; `None` when one of them is not well formed.
    pub fn from_parts([key, media, origin, bytes]: [&[u8]; 4]) -> Option<Self> {
        let key_is_one = std::str::from_utf8(key).is_ok_and(|text| Key::check(text).is_ok());
        let well_formed = key_is_one
            && media.len() <= CONTENT_TYPE_BYTES_MAX
            && media.iter().all(|b| (0x20..0x7f).contains(b))
            && (origin.is_empty() || is_origin(origin))
            && bytes.len() <= VALUE_BYTES_MAX;
        let kind = Kind::of(Some(std::str::from_utf8(media).ok()?));
        let well_formed = well_formed && (kind == Kind::String || Hash::read(bytes).is_some());
        well_formed.then(|| Self::pack(key, media, origin, bytes))
    }

    fn pack(key: &[u8], media: &[u8], origin: &[u8], bytes: &[u8]) -> Self {
        let [low, high] = (key.len() as u16).to_le_bytes();
        let lengths = [low, high, media.len() as u8, origin.len() as u8];
        Self(SharedBytes::concat([&lengths, key, media, origin, bytes]))
    }

    /// Whether something else holds this record too.
    pub fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// The key as text.
    pub fn key(&self) -> &str {
        // It was a `Key`, so it is UTF-8.
        std::str::from_utf8(self.key_bytes()).unwrap_or_default()
    }

    pub fn key_bytes(&self) -> &[u8] {
        &self.0[LENGTHS_BYTES..self.key_end()]
    }

    /// A copy of the key.
    pub fn to_key(&self) -> Key {
        Key::trusted(self.key())
    }

    /// The content type; empty where there is none.
    pub fn content_type_bytes(&self) -> &[u8] {
        &self.0[self.key_end()..self.media_end()]
    }

    /// The name that the client gave itself which stored it; empty where there is none.
    pub fn origin_bytes(&self) -> &[u8] {
        &self.0[self.media_end()..self.value_start()]
    }

    pub fn origin(&self) -> Option<&str> {
        let origin = self.origin_bytes();
        if origin.is_empty() { None } else { std::str::from_utf8(origin).ok() }
    }

    pub fn content_type(&self) -> Option<&str> {
        let media = self.content_type_bytes();
        if media.is_empty() { None } else { std::str::from_utf8(media).ok() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0[self.value_start()..]
    }

    /// The value's kind.
    pub fn kind(&self) -> Kind {
        Kind::of(self.content_type())
    }

    /// The value as a counter: see [`parse_counter`].
    pub fn counter(&self) -> Option<i64> {
        parse_counter(self.bytes())
    }

    /// The value for readers. It shares memory with the record.
    pub fn value(&self) -> Value {
        let bytes = Bytes::from_owner(RecordBytes(self.clone())).slice(self.value_start()..);
        Value { bytes, content_type: self.content_type().map(std::sync::Arc::from) }
    }

    /// Bytes of key, value, content type and origin together: what counts against the capacity.
    pub fn cost(&self) -> u64 {
        (self.0.len() - LENGTHS_BYTES) as u64
    }

    /// Bytes of value, content type and origin together.
    pub fn value_cost(&self) -> u64 {
        (self.0.len() - self.key_end()) as u64
    }

    /// A hash of all of it.
    pub fn hash(&self) -> u128 {
        let lengths = u128::from(self.key_length()) << 16
            | u128::from(self.media_length()) << 8
            | u128::from(self.origin_length());
        xxh3_128(&self.0[LENGTHS_BYTES..]).wrapping_add(lengths)
    }

    /// A hash of key, content type and value, whoever wrote it.
    pub fn value_hash(&self) -> u128 {
        let (named, value) = (&self.0[LENGTHS_BYTES..self.media_end()], &self.0[self.value_start()..]);
        let [named_low, named_high] = halves(xxh3_128(named));
        let [value_low, value_high] = halves(xxh3_128(value));
        let lengths = u64::from(self.key_length()) << 8 | u64::from(self.media_length());
        hash_words([named_low, named_high, value_low, value_high, lengths])
    }

    fn key_length(&self) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]])
    }

    fn media_length(&self) -> u8 {
        self.0[2]
    }

    fn origin_length(&self) -> u8 {
        self.0[3]
    }

    fn key_end(&self) -> usize {
        LENGTHS_BYTES + usize::from(self.key_length())
    }

    fn media_end(&self) -> usize {
        self.key_end() + usize::from(self.media_length())
    }

    fn value_start(&self) -> usize {
        self.media_end() + usize::from(self.origin_length())
    }
}

/// A 64-bit number as text, in the one form in which this program writes it.
pub(super) fn parse_counter(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > COUNTER_BYTES_MAX {
        return None;
    }
    let (sign, digits) = match bytes.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, bytes),
    };
    let is_canonical = match digits {
        [b'0'] => sign == 1,
        [first, rest @ ..] => matches!(first, b'1'..=b'9') && rest.iter().all(u8::is_ascii_digit),
        [] => false,
    };
    if !is_canonical {
        return None;
    }
    let add = |number: i64, digit: &u8| number.checked_mul(10)?.checked_add(sign * i64::from(digit - b'0'));
    digits.iter().try_fold(0, add)
}

/// Whether a client may name itself so: 1 to [`ORIGIN_BYTES_MAX`] visible ASCII characters other than `"`, `\\`, `,` and `;`,
/// which would need quoting in a header.
pub fn is_origin(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| (0x21..0x7f).contains(byte) && !br#""\,;"#.contains(byte);
    (1..=ORIGIN_BYTES_MAX).contains(&name.len()) && name.iter().all(is_plain)
}

/// A key in 32 bits, for policies that remember keys they no longer hold. Two keys may share a fingerprint.
pub(super) fn fingerprint(key: &[u8]) -> u32 {
    xxh3_64(key) as u32
}

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize && CONTENT_TYPE_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(ORIGIN_BYTES_MAX <= u8::MAX as usize);

/// Keeps a record alive for the values that share its memory.
struct RecordBytes(Record);

impl AsRef<[u8]> for RecordBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} with {} bytes", self.key(), self.bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::HASH_CONTENT_TYPE;

    #[test]
    fn a_snapshot_has_no_hash_that_is_none() {
        let from_parts = |media: &str, bytes: &[u8]| Record::from_parts([b"k", media.as_bytes(), b"", bytes]);
        let hash = b"\x01\x01\0\0\0\x02\0\0\0\x01a";
        assert_eq!(from_parts(HASH_CONTENT_TYPE, hash).map(|record| record.kind()), Some(Kind::Hash));
        assert!(from_parts(HASH_CONTENT_TYPE, &hash[..10]).is_none());
        assert_eq!(from_parts("text/plain", &hash[..10]).map(|record| record.kind()), Some(Kind::String));
    }
}

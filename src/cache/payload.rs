//! An entry's value as the slab keeps it: bytes and media type in one allocation, with their hash.

use super::Value;
use super::limits::{CONTENT_TYPE_BYTES_MAX, VALUE_BYTES_MAX};
use bytes::Bytes;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// A value, packed: one byte with the length of the media type, the media type, the bytes. It is a copy, so
/// that a small value never keeps the large network frame or log record alive that it came in.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    packed: Arc<[u8]>,
    /// Kept, so that the digest never reads a large value twice.
    hash: u64,
}

impl Payload {
    /// Most bytes a packed value has.
    pub const PACKED_BYTES_MAX: usize = 1 + CONTENT_TYPE_BYTES_MAX + VALUE_BYTES_MAX;

    /// Packs a value whose limits were checked. (A longer media type would be cut, never misread.)
    pub fn new(bytes: &[u8], content_type: Option<&str>) -> Self {
        let media = content_type.unwrap_or_default().as_bytes();
        let media = &media[..media.len().min(CONTENT_TYPE_BYTES_MAX)];
        let mut packed = Vec::with_capacity(1 + media.len() + bytes.len());
        packed.push(media.len() as u8);
        packed.extend_from_slice(media);
        packed.extend_from_slice(bytes);
        Self::hashed(packed.into())
    }

    /// Takes packed bytes from a snapshot; `None` when they are not well formed.
    pub fn from_packed(packed: Vec<u8>) -> Option<Self> {
        let (&length, rest) = packed.split_first()?;
        let media = rest.get(..usize::from(length))?;
        let well_formed = media.iter().all(|b| (0x20..0x7f).contains(b))
            && rest.len() - media.len() <= VALUE_BYTES_MAX
            && packed.len() <= Self::PACKED_BYTES_MAX;
        well_formed.then(|| Self::hashed(packed.into()))
    }

    fn hashed(packed: Arc<[u8]>) -> Self {
        Self { hash: xxh3_64(&packed), packed }
    }

    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The hash, computed anew.
    pub fn rehash(&self) -> u64 {
        xxh3_64(&self.packed)
    }

    fn media_length(&self) -> usize {
        usize::from(self.packed[0])
    }

    pub fn content_type(&self) -> Option<&str> {
        let media = &self.packed[1..1 + self.media_length()];
        if media.is_empty() { None } else { std::str::from_utf8(media).ok() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.packed[1 + self.media_length()..]
    }

    /// Bytes of value and media type together: what counts against the capacity.
    pub fn cost(&self) -> u64 {
        (self.packed.len() - 1) as u64
    }

    /// The value for readers; shares the memory.
    pub fn value(&self) -> Value {
        let bytes = Bytes::from_owner(self.packed.clone()).slice(1 + self.media_length()..);
        Value { bytes, content_type: self.content_type().map(Arc::from) }
    }
}

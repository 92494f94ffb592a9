//! The manifest: one record, rewritten in the same atomic batch as every change, that says what all the others are.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::StoredLog;

/// The version of everything in the log's folder: records, pages, root and journal. A program that reads another version
/// would miss what lies where it does not look, and refuses the folder.
pub(super) const FORMAT: u32 = 1;
/// The key of the manifest; sorts before every other record.
pub(super) const KEY: &[u8] = b"\0manifest";

/// What a store holds, exactly. `records` and `sum` cover every record except the manifest itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// Random, given to the store when it was created.
    pub store: [u8; 16],
    /// Rises by one with every flush.
    pub seq: u64,
    pub log: StoredLog,
    /// How many records there are.
    pub records: u64,
    /// Wrapping sum of the records' 128-bit hashes: cheap to keep, and different when any record is lost or foreign.
    pub sum: u128,
}

impl Manifest {
    /// The manifest of a store in which nothing was ever written.
    pub(super) fn new(store: [u8; 16]) -> Manifest {
        Manifest { format: FORMAT, store, seq: 1, log: StoredLog::default(), records: 0, sum: 0 }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_allocvec(self).expect("plain data always encodes");
        let sum = xxh3_128(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` when the bytes are not exactly what `encode` wrote. A foreign format decodes too, if only its number.
    pub(super) fn decode(bytes: &[u8]) -> Option<Result<Manifest, u32>> {
        let (body, sum) = bytes.split_last_chunk::<16>()?;
        if xxh3_128(body).to_le_bytes() != *sum {
            return None;
        }
        let (format, _) = postcard::take_from_bytes::<u32>(body).ok()?;
        if format != FORMAT {
            return Some(Err(format));
        }
        postcard::from_bytes(body).ok().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_flip_and_every_cut_is_noticed() {
        let mut manifest = Manifest::new([3; 16]);
        manifest.log.vote = Some(Bytes::from_static(b"term 7"));
        manifest.log.purged = Some((40, Bytes::from_static(b"7-40")));
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Some(Ok(manifest)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&damaged), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..cut]), None, "cut {cut}");
        }
    }
}

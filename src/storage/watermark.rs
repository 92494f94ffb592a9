//! The watermark: a small file beside the database with the number of the newest durable flush.
//!
//! sled silently drops records whose bits have rotted, so the database alone cannot tell that its tail is missing. The
//! watermark can: it is written after each flush and before the acknowledgement, but not synced, so it may
//! lag behind the database and never leads it. Two slots are written in turn, each in a sector (and page) of its own, so
//! that a torn write damages at most the newer one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::files::write_durably;

const MAGIC: &[u8; 8] = b"LSWATER1";
/// Bytes of one slot: magic, store id, sequence number, checksum.
const SLOT: usize = 40;
/// Distance between the slots; larger than any sector in use.
const STRIDE: u64 = 4096;

/// The open watermark file.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    store: [u8; 16],
}

impl Watermark {
    /// Writes a new file, durably, with both slots at `seq`.
    pub(super) fn create(path: &Path, store: [u8; 16], seq: u64) -> io::Result<()> {
        let mut bytes = vec![0; STRIDE as usize * 2];
        let slot = encode(store, seq);
        bytes[..SLOT].copy_from_slice(&slot);
        bytes[STRIDE as usize..][..SLOT].copy_from_slice(&slot);
        write_durably(path, &bytes)
    }

    /// Opens an existing file for [`record`](Self::record).
    pub(super) fn open(path: &Path, store: [u8; 16]) -> io::Result<Watermark> {
        Ok(Watermark { file: File::options().write(true).open(path)?, store })
    }

    /// The store and the newest sequence number that the file vouches for; `None` when neither slot is whole or
    /// when they belong to different stores.
    pub(super) fn read(path: &Path) -> io::Result<Option<([u8; 16], u64)>> {
        let file = File::open(path)?;
        let slots = [decode(&file, 0)?, decode(&file, STRIDE)?];
        Ok(match slots {
            [Some(a), Some(b)] if a.0 != b.0 => None,
            [Some(a), Some(b)] => Some(if a.1 >= b.1 { a } else { b }),
            [a, b] => a.or(b),
        })
    }

    /// Records that flush `seq` is durable. It is a plain write: a second sync would cost too much.
    pub(super) fn record(&self, seq: u64) -> io::Result<()> {
        self.file.write_all_at(&encode(self.store, seq), (seq % 2) * STRIDE)
    }

    /// Makes the file itself durable. Called when the store is opened or closed, where a sync does not matter.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(store: [u8; 16], seq: u64) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..24].copy_from_slice(&store);
    slot[24..32].copy_from_slice(&seq.to_le_bytes());
    let sum = xxh3_64(&slot[..32]);
    slot[32..].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn decode(file: &File, at: u64) -> io::Result<Option<([u8; 16], u64)>> {
    let mut slot = [0; SLOT];
    match file.read_exact_at(&mut slot, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut store = [0; 16];
    store.copy_from_slice(&slot[8..24]);
    let mut seq = [0; 8];
    seq.copy_from_slice(&slot[24..32]);
    let seq = u64::from_le_bytes(seq);
    Ok((slot == encode(store, seq)).then_some((store, seq)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watermark");
        Watermark::create(&path, [7; 16], 1).unwrap();
        let mark = Watermark::open(&path, [7; 16]).unwrap();
        for seq in 2..9 {
            mark.record(seq).unwrap();
            assert_eq!(Watermark::read(&path).unwrap(), Some(([7; 16], seq)));
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Watermark::read(&path).unwrap(), Some(([7; 16], 7)));
        bytes[STRIDE as usize + 3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Watermark::read(&path).unwrap(), None);
    }
}

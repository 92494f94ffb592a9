//! The root: the list of the log's live pages, in as many records as it needs.

use std::io;

use super::{Engine, Mutation, record};

/// A live page: its slot, and the hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub slot: u32,
    pub hash: u128,
}

/// Bytes of one listed page.
const LISTED: usize = 4 + 16;
/// Bytes before the list in each part: the flush that the root belongs to, and the number of parts.
const HEAD: usize = 8 + 4;

/// The records of a root that belongs to the manifest of flush `seq`, each of at most `part_bytes`.
pub(super) fn write(seq: u64, pages: &[Listed], part_bytes: usize) -> Vec<Mutation> {
    let room = ((part_bytes - HEAD - record::HASH) / LISTED).max(1);
    let parts = pages.len().div_ceil(room).max(1);
    let part = |number: usize| {
        let key = key(number as u32);
        let mut value = Vec::with_capacity(part_bytes);
        value.extend_from_slice(&seq.to_le_bytes());
        value.extend_from_slice(&(parts as u32).to_le_bytes());
        for page in pages.iter().skip(number * room).take(room) {
            value.extend_from_slice(&page.slot.to_le_bytes());
            value.extend_from_slice(&page.hash.to_le_bytes());
        }
        record::seal(&key, &mut value);
        Mutation::Put { key, value }
    };
    (0..parts).map(part).collect()
}

/// Reads the root that belongs to the manifest of flush `seq`. Parts after its last one belong to an earlier, longer root.
///
/// # Errors
/// `InvalidData` when a part is missing or not as it was written.
pub(super) fn read(database: &dyn Engine, seq: u64) -> io::Result<Vec<Listed>> {
    let wrong = |part| {
        let what = format!("part {part} of the list of the log's pages is not as it was written");
        io::Error::new(io::ErrorKind::InvalidData, what)
    };
    let (mut pages, mut parts, mut part) = (Vec::new(), 1, 0);
    while part < parts {
        let key = key(part);
        let value = database.get(&key)?.unwrap_or_default();
        let (content, _) = record::open(&key, &value).ok_or_else(|| wrong(part))?;
        let (of, content) = content.split_first_chunk().ok_or_else(|| wrong(part))?;
        let (number, list) = content.split_first_chunk().ok_or_else(|| wrong(part))?;
        if u64::from_le_bytes(*of) != seq {
            return Err(wrong(part));
        }
        parts = u32::from_le_bytes(*number);
        for listed in list.chunks(LISTED) {
            pages.push(parse(listed).ok_or_else(|| wrong(part))?);
        }
        part += 1;
    }
    Ok(pages)
}

fn parse(listed: &[u8]) -> Option<Listed> {
    let (slot, hash) = listed.split_first_chunk()?;
    Some(Listed { slot: u32::from_le_bytes(*slot), hash: u128::from_le_bytes(hash.try_into().ok()?) })
}

fn key(part: u32) -> Vec<u8> {
    let mut key = b"\0root".to_vec();
    key.extend_from_slice(&part.to_be_bytes());
    key
}

//! The journal: two files of fixed size that are written in turn. One write and one sync make a batch durable here, before
//! the database has it.
//!
//! The files are filled with zeros when they are created, so that a sync never has to update block addresses. A batch has
//! the number of its manifest, and names the batch before it. It ends in a hash that covers the store's id as well, so
//! that stale, torn and foreign batches are recognised.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::Mutation;
use super::files::write_durably;

/// Bytes before a batch's mutations: their length, the number of the batch before, and of this one.
const HEAD: usize = 4 + 8 + 8;
/// Bytes of the hash after them.
const HASH: usize = 16;
/// A tombstone, in place of the length of a value: the key is deleted.
const TOMBSTONE: u32 = u32::MAX;

/// A batch as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// The number of the batch before.
    pub follows: u64,
    pub seq: u64,
    pub mutations: Vec<Mutation>,
}

/// Both files, and where the next batch is written.
#[derive(Debug)]
pub(super) struct Journal {
    files: [File; 2],
    store: [u8; 16],
    /// Bytes of each file.
    size: u64,
    turn: usize,
    at: u64,
}

impl Journal {
    /// Opens the files of a folder, or creates those that are missing. Writing starts at the front, so the batches that they
    /// hold must be in the database already.
    pub(super) fn open(folder: &Path, store: [u8; 16], size: usize) -> io::Result<Journal> {
        let open = |turn| {
            let path = path(folder, turn);
            let has_size = std::fs::metadata(&path).is_ok_and(|found| found.len() == size as u64);
            if !has_size {
                write_durably(&path, &vec![0; size])?;
            }
            File::options().write(true).open(&path)
        };
        Ok(Journal { files: [open(0)?, open(1)?], store, size: size as u64, turn: 0, at: 0 })
    }

    /// Whether batches of this many bytes fit a file.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        bytes as u64 <= self.size
    }

    /// Whether they fit the rest of the current file.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.at + bytes as u64 <= self.size
    }

    /// Continues at the front of the other file, whose batches the database must have.
    pub(super) fn turn(&mut self) {
        self.turn = 1 - self.turn;
        self.at = 0;
    }

    /// Makes encoded batches durable.
    pub(super) fn write(&mut self, batches: &[u8]) -> io::Result<()> {
        assert!(self.has_room(batches.len()), "a file of the journal never grows");
        let file = &self.files[self.turn];
        file.write_all_at(batches, self.at)?;
        file.sync_data()?;
        self.at += batches.len() as u64;
        Ok(())
    }

    /// Appends a batch to bytes that [`write`](Self::write) takes.
    pub(super) fn encode(&self, follows: u64, seq: u64, mutations: &[Mutation], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&follows.to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
        for mutation in mutations {
            let (key, value) = match mutation {
                Mutation::Put { key, value } => (key, Some(value)),
                Mutation::Delete { key } => (key, None),
            };
            out.extend_from_slice(&(key.len() as u32).to_le_bytes());
            out.extend_from_slice(&value.map_or(TOMBSTONE, |value| value.len() as u32).to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(value.map_or(&[], Vec::as_slice));
        }
        let length = (out.len() - start - HEAD) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        let hash = hash(self.store, &out[start..]);
        out.extend_from_slice(&hash.to_le_bytes());
    }
}

/// The whole batches of both files that a store wrote, by number: those of each file up to the first that is not
/// whole, or does not follow the one before.
pub(super) fn read(folder: &Path, store: [u8; 16]) -> io::Result<Vec<Batch>> {
    let mut batches = Vec::new();
    for turn in 0..2 {
        let bytes = match std::fs::read(path(folder, turn)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        let (mut rest, mut last) = (bytes.as_slice(), None);
        while let Some((batch, length)) = decode(store, rest)
            && last.is_none_or(|last| batch.follows == last && batch.seq > last)
        {
            (rest, last) = (&rest[length..], Some(batch.seq));
            batches.push(batch);
        }
    }
    batches.sort_by_key(|batch| batch.seq);
    Ok(batches)
}

fn path(folder: &Path, turn: usize) -> PathBuf {
    folder.join(format!("journal.{turn}"))
}

fn hash(store: [u8; 16], batch: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&store);
    hasher.update(batch);
    hasher.digest128()
}

/// The batch at the front of `bytes` and its length; `None` when it is not whole.
fn decode(store: [u8; 16], bytes: &[u8]) -> Option<(Batch, usize)> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let end = HEAD.checked_add(length)?;
    let stored = bytes.get(end..)?.first_chunk::<HASH>()?;
    if hash(store, &bytes[..end]).to_le_bytes() != *stored {
        return None;
    }
    let follows = u64::from_le_bytes(*bytes[4..].first_chunk()?);
    let seq = u64::from_le_bytes(*bytes[12..].first_chunk()?);
    let (mut rest, mut mutations) = (&bytes[HEAD..end], Vec::new());
    while !rest.is_empty() {
        mutations.push(take_mutation(&mut rest)?);
    }
    Some((Batch { follows, seq, mutations }, end + HASH))
}

fn take_mutation(rest: &mut &[u8]) -> Option<Mutation> {
    let key = take_u32(rest)? as usize;
    let value = take_u32(rest)?;
    let key = take(rest, key)?;
    Some(match value {
        TOMBSTONE => Mutation::Delete { key },
        length => Mutation::Put { key, value: take(rest, length as usize)? },
    })
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*number))
}

fn take(rest: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [u8; 16] = [7; 16];

    fn batch(seq: u64) -> Vec<Mutation> {
        let key = seq.to_le_bytes().to_vec();
        vec![Mutation::Put { key: key.clone(), value: vec![seq as u8; 40] }, Mutation::Delete { key }]
    }

    fn write(journal: &mut Journal, seqs: impl IntoIterator<Item = u64>) {
        let mut bytes = Vec::new();
        seqs.into_iter().for_each(|seq| journal.encode(seq - 1, seq, &batch(seq), &mut bytes));
        journal.write(&bytes).unwrap();
    }

    fn seqs(folder: &Path, store: [u8; 16]) -> Vec<u64> {
        let batches = read(folder, store).unwrap();
        assert!(batches.iter().all(|found| found.mutations == batch(found.seq)));
        batches.into_iter().map(|batch| batch.seq).collect()
    }

    #[test]
    fn the_newest_batches_come_back_and_older_turns_do_not_mix_in() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), STORE, 1_000).unwrap();
        write(&mut journal, 1..=7);
        assert!(journal.has_room(0) && journal.fits(1_000) && !journal.fits(1_001));
        journal.turn();
        write(&mut journal, 8..=9);
        assert_eq!(seqs(folder.path(), STORE), (1..=9).collect::<Vec<_>>());
        journal.turn();
        write(&mut journal, [10]);
        // The rest of the first turn lies behind 10, and does not follow it.
        assert_eq!(seqs(folder.path(), STORE), [8, 9, 10]);
        assert_eq!(seqs(folder.path(), [8; 16]), [0; 0], "another store's");
        drop(Journal::open(folder.path(), STORE, 1_000).unwrap());
        assert_eq!(seqs(folder.path(), STORE), [8, 9, 10], "opening changes nothing");
    }

    #[test]
    fn every_flip_and_every_cut_ends_the_batches_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), STORE, 400).unwrap();
        write(&mut journal, 1..=3);
        let file = path(folder.path(), 0);
        let whole = std::fs::read(&file).unwrap();
        let length = journal.at as usize / 3;
        for bit in 0..length * 3 * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &damaged).unwrap();
            let before = (bit / 8 / length) as u64;
            assert_eq!(seqs(folder.path(), STORE), (1..=before).collect::<Vec<_>>(), "bit {bit}");
        }
        for cut in 0..whole.len() {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let before = (cut / length).min(3) as u64;
            assert_eq!(seqs(folder.path(), STORE), (1..=before).collect::<Vec<_>>(), "cut at {cut}");
        }
    }
}

//! What the database does not have: the batch that is not flushed, and where the journal holds the rest.
//!
//! Values stay in the journal's files and are read from there. Kept in memory, the log would take as much of it as it has
//! bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::journal::Place;
use super::record;

/// The key of an entry record.
pub(super) type RecordKey = [u8; record::KEY_BYTES];

/// The newest change of a record that is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newest {
    Put(Place),
    /// Deleted by a batch in the file of this number. Only for records that the database has, or is getting.
    Deleted {
        file: u32,
    },
}

impl Newest {
    /// The number of the journal's file that holds the change.
    pub(super) fn file(self) -> u32 {
        match self {
            Newest::Put(place) => place.file,
            Newest::Deleted { file } => file,
        }
    }
}

/// Changes of records, and of the few keys outside the log.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The encoded batches that are not flushed.
    pub pending: Vec<u8>,
    /// What they change: where a record's value lies in `pending`, and its length; `None` is a deletion.
    pub fresh: BTreeMap<RecordKey, Option<(usize, u32)>>,
    /// The values outside the log that they change.
    pub fresh_others: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the flushed ones changed last.
    pub flushed: BTreeMap<RecordKey, Newest>,
    /// The newest flushed values outside the log: the manifest, and the node's own record.
    pub others: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The journal's files that hold flushed values, by their numbers.
    pub files: BTreeMap<u32, Arc<File>>,
}

/// Where a value is, as far as it is not in the database.
pub(super) enum Found {
    Value(Vec<u8>),
    InJournal(Arc<File>, Place),
    Deleted,
    /// Only the database can know.
    Nothing,
}

impl Ahead {
    /// Bytes of memory: nodes of the maps are about two thirds full.
    pub(super) fn memory(&self) -> u64 {
        let items = self.fresh.len() * size_of::<(RecordKey, Option<(usize, u32)>)>()
            + self.flushed.len() * size_of::<(RecordKey, Newest)>();
        (self.pending.capacity() + items * 3 / 2) as u64
    }

    pub(super) fn find(&self, key: &[u8]) -> Found {
        let Ok(record) = RecordKey::try_from(key) else {
            let newest = self.fresh_others.get(key).or_else(|| self.others.get(key));
            return newest.map_or(Found::Nothing, |value| Found::Value(value.clone()));
        };
        match (self.fresh.get(&record), self.flushed.get(&record)) {
            (Some(Some((at, length))), _) => Found::Value(self.pending[*at..*at + *length as usize].to_vec()),
            (Some(None), _) | (None, Some(Newest::Deleted { .. })) => Found::Deleted,
            (None, Some(Newest::Put(place))) => Found::InJournal(self.files[&place.file].clone(), *place),
            (None, None) => Found::Nothing,
        }
    }
}

/// Reads a value. The file is not written again while somebody holds it.
pub(super) fn read(file: &File, place: Place) -> io::Result<Vec<u8>> {
    let mut value = vec![0; place.length as usize];
    file.read_exact_at(&mut value, place.at.into())?;
    Ok(value)
}

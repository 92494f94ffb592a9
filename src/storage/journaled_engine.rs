//! The database behind a journal. A batch is flushed once the journal has it, and its records are read from there.
//!
//! A flush of sled's own costs four times as much as a write and a sync, and sled keeps in memory what it holds
//! (`docs/adr/0002`, `0007`, `0011`). So the journal has room for the whole log as it usually is. A file whose records are
//! all purged is written again without any of them ever having reached the database. Only when the journal has no file
//! left does a *checkpoint* move the records of the oldest one to the database, in few large pages (`docs/adr/0008`).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::ahead::{self, Ahead, Found, Newest, RecordKey};
use super::checkpointer::{Checkpoint, Checkpointer, Done};
use super::journal::{Journal, Place};
use super::journal_format;
use super::manifest::{self, Manifest};
use super::pages::Pages;
use super::{Engine, EngineMemory, LogOptions, Mutation, record};

/// Bytes that the buffer for batches keeps.
const PENDING_KEPT: usize = 1 << 20;

/// The database, and what it does not have.
pub(super) struct JournaledEngine {
    pages: Arc<Pages>,
    ahead: RwLock<Ahead>,
    writing: Mutex<Writing>,
    /// `None` where the writer itself runs the checkpoints.
    checkpointer: Option<Checkpointer>,
}

struct Writing {
    journal: Journal,
    store: [u8; 16],
    /// The number of the newest batch.
    last: u64,
    /// The checkpoint that runs.
    checkpoint: Option<Arc<Checkpoint>>,
    /// Whether the checkpointer was asked for a file.
    creating: bool,
    /// After the first failure, nothing is written any more.
    failed: bool,
}

impl JournaledEngine {
    /// Opens the journal in `folder` on top of a database whose newest manifest is given. Reads see the database as the
    /// last acknowledged flush left it, or one flush further.
    ///
    /// # Errors
    /// Reading or writing failed; or, as `InvalidData`, a batch is missing before others.
    pub(super) fn open(
        folder: &Path,
        pages: Pages,
        manifest: &Manifest,
        options: &LogOptions,
    ) -> io::Result<JournaledEngine> {
        let (store, mut last) = (manifest.store, manifest.seq);
        let mut ahead = Ahead::default();
        let size = (options.journal_file_bytes, options.journal_files());
        let journal = Journal::open(folder, store, size, manifest.seq, |journal, found| {
            last = found.batch.seq;
            for (key, value) in found.batch.mutations {
                let place = value.as_ref().map(|range| Place {
                    file: found.file,
                    at: range.start as u32,
                    length: range.len() as u32,
                });
                match RecordKey::try_from(key.as_slice()) {
                    Ok(record) => replace(&mut ahead, journal, &pages, None, record, place),
                    Err(_) => note_other(&mut ahead, journal, key, value.map(|range| &found.bytes[range])),
                }
            }
        })?;
        ahead.files = journal.files().map(|(number, file)| (number, file.handle().clone())).collect();
        let pages = Arc::new(pages);
        let checkpointer =
            if options.checkpoint_in_background { Some(Checkpointer::start(&pages)?) } else { None };
        let writing = Writing { journal, store, last, checkpoint: None, creating: false, failed: false };
        Ok(JournaledEngine { pages, ahead: RwLock::new(ahead), writing: Mutex::new(writing), checkpointer })
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().expect("not poisoned")
    }

    /// Flushes what is pending.
    fn write(&self, writing: &mut Writing) -> io::Result<()> {
        while let Some(done) = self.checkpointer.as_ref().map_or(Ok(None), Checkpointer::poll)? {
            self.note(writing, done)?;
        }
        let bytes = self.ahead.read().expect("not poisoned").pending.len();
        if bytes == 0 {
            return Ok(());
        }
        if !writing.journal.has_room(bytes) {
            self.turn(writing, bytes)?;
        }
        let at = writing.journal.write(&self.ahead.read().expect("not poisoned").pending)?;
        self.flushed(writing, at);
        if let Some(last) = writing.journal.to_retire().filter(|_| writing.checkpoint.is_none()) {
            self.begin_checkpoint(writing, last)?;
        }
        match &self.checkpointer {
            Some(checkpointer) if !writing.creating => match writing.journal.next_to_create() {
                Some(file) => {
                    writing.creating = true;
                    checkpointer.create(file)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Continues in another file. When all are in use, the oldest must go to the database first.
    fn turn(&self, writing: &mut Writing, bytes: usize) -> io::Result<()> {
        while writing.journal.is_full() {
            match (&writing.checkpoint, &self.checkpointer) {
                (Some(_), Some(checkpointer)) => {
                    let done = checkpointer.wait()?;
                    self.note(writing, done)?;
                }
                _ => match writing.journal.to_retire() {
                    Some(last) => self.begin_checkpoint(writing, last)?,
                    None => break,
                },
            }
        }
        writing.journal.turn(bytes)?;
        let (number, file) = (writing.journal.newest_number(), writing.journal.newest().handle().clone());
        self.ahead.write().expect("not poisoned").files.insert(number, file);
        Ok(())
    }

    /// What was pending is now in the journal's newest file, from `start` on.
    fn flushed(&self, writing: &mut Writing, start: u32) {
        let mut guard = self.ahead.write().expect("not poisoned");
        let ahead = &mut *guard;
        let file = writing.journal.newest_number();
        for (key, change) in std::mem::take(&mut ahead.fresh) {
            let place = change.map(|(at, length)| Place { file, at: start + at as u32, length });
            replace(ahead, &mut writing.journal, &self.pages, writing.checkpoint.as_deref(), key, place);
        }
        ahead.others.append(&mut ahead.fresh_others);
        writing.journal.newest().manifest = ahead.others.get(manifest::KEY).cloned().unwrap_or_default();
        ahead.pending.clear();
        ahead.pending.shrink_to(PENDING_KEPT);
    }

    /// Moves what the files up to number `last` hold to the database.
    fn begin_checkpoint(&self, writing: &mut Writing, last: u32) -> io::Result<()> {
        let held = writing.journal.files().take_while(|(number, _)| *number <= last);
        let (count, manifest) = held.fold((0, Vec::new()), |(count, _), (_, file)| {
            (count + file.live + file.tombstones, file.manifest.clone())
        });
        let checkpoint = {
            let ahead = self.ahead.read().expect("not poisoned");
            // The oldest files usually hold the first keys, so the search ends soon.
            let changes = ahead.flushed.iter().filter(|(_, newest)| newest.file() <= last).take(count);
            let mut others = ahead.others.clone();
            others.insert(manifest::KEY.to_vec(), manifest);
            Arc::new(Checkpoint {
                last,
                changes: changes.map(|(key, newest)| (*key, *newest)).collect(),
                files: ahead.files.range(..=last).map(|(number, file)| (*number, file.clone())).collect(),
                others,
            })
        };
        assert_eq!(checkpoint.changes.len(), count, "the journal's counts are right");
        writing.checkpoint = Some(checkpoint.clone());
        match &self.checkpointer {
            Some(checkpointer) => checkpointer.checkpoint(checkpoint),
            None => {
                checkpoint.write(&self.pages)?;
                drop(checkpoint);
                self.note(writing, Done::Checkpoint)
            }
        }
    }

    fn note(&self, writing: &mut Writing, done: Done) -> io::Result<()> {
        match done {
            Done::Created { name, file } => {
                writing.creating = false;
                writing.journal.created(name, file);
                Ok(())
            }
            Done::Checkpoint => {
                let Some(checkpoint) = writing.checkpoint.take() else { return Ok(()) };
                let mut guard = self.ahead.write().expect("not poisoned");
                let ahead = &mut *guard;
                for (key, newest) in &checkpoint.changes {
                    if ahead.flushed.get(key) == Some(newest) {
                        ahead.flushed.remove(key);
                    }
                }
                ahead.files = ahead.files.split_off(&(checkpoint.last + 1));
                writing.journal.retire(checkpoint.last)
            }
        }
    }
}

/// Notes the newest flushed change of a record, and counts it in the journal's files.
fn replace(
    ahead: &mut Ahead,
    journal: &mut Journal,
    pages: &Pages,
    checkpoint: Option<&Checkpoint>,
    key: RecordKey,
    place: Option<Place>,
) {
    let newest = match place {
        Some(place) => Some(Newest::Put(place)),
        // The database must be told of it only if it has the record.
        None if pages.has(&key) || checkpoint.is_some_and(|checkpoint| checkpoint.puts(&key)) => {
            Some(Newest::Deleted { file: journal.newest_number() })
        }
        None => None,
    };
    let before = match newest {
        Some(newest) => ahead.flushed.insert(key, newest),
        None => ahead.flushed.remove(&key),
    };
    for (change, add) in [(before, false), (newest, true)] {
        let Some(change) = change else { continue };
        let file = journal.file(change.file());
        let count = if matches!(change, Newest::Put(_)) { &mut file.live } else { &mut file.tombstones };
        *count = if add { *count + 1 } else { *count - 1 };
    }
}

/// Notes a value outside the log that the journal holds.
fn note_other(ahead: &mut Ahead, journal: &mut Journal, key: Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else { return };
    if key == manifest::KEY {
        journal.newest().manifest = value.to_vec();
    }
    ahead.others.insert(key, value.to_vec());
}

impl Engine for JournaledEngine {
    fn apply(&self, batch: Vec<Mutation>) -> io::Result<()> {
        let seq = number_of(&batch).ok_or_else(|| io::Error::other("a batch without its manifest"))?;
        let mut writing = self.writing();
        assert!(seq > writing.last, "a batch has a higher number than the one before");
        let mut guard = self.ahead.write().expect("not poisoned");
        let ahead = &mut *guard;
        let places = journal_format::encode(writing.store, writing.last, seq, &batch, &mut ahead.pending);
        writing.last = seq;
        for (mutation, at) in batch.into_iter().zip(places) {
            let (key, value) = match mutation {
                Mutation::Put { key, value } => (key, Some(value)),
                Mutation::Delete { key } => (key, None),
            };
            match (RecordKey::try_from(key.as_slice()), value) {
                (Ok(record), value) => {
                    ahead.fresh.insert(record, value.map(|value| (at, value.len() as u32)));
                }
                (Err(_), Some(value)) => {
                    ahead.fresh_others.insert(key, value);
                }
                (Err(_), None) => return Err(io::Error::other("only records of the log are deleted")),
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut writing = self.writing();
        if writing.failed {
            return Err(io::Error::other("an earlier flush failed"));
        }
        let result = self.write(&mut writing);
        writing.failed |= result.is_err();
        result
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let found = self.ahead.read().expect("not poisoned").find(key);
        match found {
            Found::Value(value) => Ok(Some(value)),
            Found::InJournal(file, place) => ahead::read(&file, place).map(Some),
            Found::Deleted => Ok(None),
            Found::Nothing => self.pages.get(key),
        }
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        for key in [manifest::KEY, record::IDENTITY_KEY] {
            if let Some(value) = self.get(key)? {
                visit(key, &value);
            }
        }
        // While this runs nothing is flushed, so nothing moves from the journal to the database.
        let _writing = self.writing();
        let ahead: Vec<RecordKey> = {
            let ahead = self.ahead.read().expect("not poisoned");
            let mut keys: Vec<_> = ahead.fresh.keys().chain(ahead.flushed.keys()).copied().collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        };
        let mut ahead = ahead.into_iter().peekable();
        let mut failed = None;
        let mut from_journal = |key: RecordKey, visit: &mut dyn FnMut(&[u8], &[u8])| match self.get(&key) {
            Ok(Some(value)) => visit(&key, &value),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        };
        self.pages.scan_log(&mut |key, value| {
            while let Some(before) = ahead.next_if(|ahead| ahead[..] < *key) {
                from_journal(before, visit);
            }
            if ahead.peek().is_none_or(|ahead| ahead[..] != *key) {
                visit(key, value);
            }
        })?;
        ahead.for_each(|key| from_journal(key, visit));
        failed.map_or(Ok(()), Err)
    }

    fn memory(&self) -> EngineMemory {
        let EngineMemory { index, database } = self.pages.memory();
        let ahead = self.ahead.read().expect("not poisoned").memory();
        EngineMemory { index: index + ahead, database }
    }

    fn journal_bytes(&self) -> u64 {
        self.writing().journal.live_bytes()
    }
}

/// The number of a batch: that of its manifest.
fn number_of(batch: &[Mutation]) -> Option<u64> {
    batch.iter().rev().find_map(|mutation| match mutation {
        Mutation::Put { key, value } if key == manifest::KEY => Some(Manifest::decode(value)?.ok()?.seq),
        _ => None,
    })
}

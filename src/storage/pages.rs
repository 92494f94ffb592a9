//! How the log is stored in the database: its records are packed into pages, under a fixed set of keys that are reused.
//!
//! sled keeps memory and disk space for every key that it ever had, even after the key was removed (`docs/adr/0008`). So
//! the log must not give it a new key with each record. A *page* holds many records under the key of a numbered slot. The
//! *root* lists the slots of all live pages, with their hashes. A checkpoint writes pages to slots that the
//! root does not list, and then, in one batch, the new root and the manifest. Before that batch is flushed the old root
//! is valid, and its pages are untouched; after it the new root is. (Shadow paging: Lorie, "Physical integrity in a large
//! segmented database", ACM TODS 2(1), 1977.)

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Arc, Mutex, RwLock};

use super::ahead::RecordKey;
use super::manifest::{self, Manifest};
use super::root::{self, Listed};
use super::{Engine, EngineMemory, LogOptions, Mutation, record};

/// The newest mutation of each key; `None` is a deletion.
pub(super) type Mutations = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Records by key, to be written.
type Records<'a> = BTreeMap<RecordKey, Cow<'a, [u8]>>;

/// Bytes of a page besides its records' values: those before each value, and the hash at the end.
const RECORD_HEAD: usize = record::KEY_BYTES + 4;
const PAGE_TAIL: usize = record::HASH;
/// Pages that are cached: one for each reader that is behind, and one for the checkpoint.
const CACHED_PAGES: usize = 8;
/// Stale slots that a checkpoint empties, at most.
const STALE_PER_CHECKPOINT: usize = 16;

/// The database, and which of its pages are live.
pub(super) struct Pages {
    database: Arc<dyn Engine>,
    /// Readers hold it while they read a page: a slot gets another page only under the write lock, and is written only
    /// after that.
    directory: RwLock<Directory>,
    slots: Mutex<Slots>,
    /// The pages that were read last, by their hashes, newest first: neighbouring records are read one after another, and
    /// several followers may be behind, each at another place.
    newest: Mutex<VecDeque<(u128, Arc<Vec<u8>>)>>,
    page_bytes: usize,
    pages_a_flush: usize,
}

/// The live pages, by their first record's key. Their ranges of keys do not overlap.
#[derive(Debug, Clone, Default)]
struct Directory {
    pages: BTreeMap<RecordKey, Page>,
}

#[derive(Debug, Clone)]
struct Page {
    listed: Listed,
    keys: Arc<[RecordKey]>,
    bytes: usize,
}

/// The slots that hold no live page.
#[derive(Debug, Default)]
struct Slots {
    free: BTreeSet<u32>,
    /// Those of `free` that still hold a dead page.
    stale: BTreeSet<u32>,
    /// One more than the highest slot that was ever used.
    end: u32,
}

impl Slots {
    /// The lowest free slot.
    fn take(&mut self) -> u32 {
        let slot = self.free.pop_first().unwrap_or_else(|| {
            self.end += 1;
            self.end - 1
        });
        self.stale.remove(&slot);
        slot
    }
}

impl Pages {
    /// The directory and the pages that were read last, and the database's own memory.
    pub(super) fn memory(&self) -> EngineMemory {
        let page = |page: &Page| size_of::<(RecordKey, Page)>() + page.keys.len() * size_of::<RecordKey>();
        let directory: usize = self.directory.read().expect("not poisoned").pages.values().map(page).sum();
        let newest = self.newest.lock().expect("not poisoned");
        let newest: usize = newest.iter().map(|(_, page)| page.len()).sum();
        let EngineMemory { index, database } = self.database.memory();
        EngineMemory { index: index + directory as u64, database: database + newest as u64 }
    }

    /// Reads and verifies all pages of a database, whose newest manifest is given.
    ///
    /// # Errors
    /// `InvalidData` when the root or a page that it names is not as it was written.
    pub(super) fn open(
        database: Arc<dyn Engine>,
        manifest: &Manifest,
        options: &LogOptions,
    ) -> io::Result<Pages> {
        let root = root::read(&*database, manifest.seq)?;
        let listed: BTreeMap<u32, Listed> = root.iter().map(|listed| (listed.slot, *listed)).collect();
        let (mut directory, mut slots) = (Directory::default(), Slots::default());
        let mut wrong = None;
        database.scan(&mut |key, value| {
            let Some(slot) = parse_slot(key) else { return };
            slots.end = slots.end.max(slot + 1);
            match listed.get(&slot) {
                Some(listed) => match Page::read(*listed, value) {
                    Some(page) => directory.insert(page),
                    None => wrong = wrong.or(Some(slot)),
                },
                None => {
                    slots.free.insert(slot);
                    if !value.is_empty() {
                        slots.stale.insert(slot);
                    }
                }
            }
        })?;
        if let Some(slot) = wrong {
            return Err(damaged(slot));
        }
        let found: usize = directory.pages.len();
        if found != root.len() {
            return Err(invalid(format!(
                "{found} pages of the log are there, its root lists {}",
                root.len()
            )));
        }
        // Slots below the end that the database does not have are free.
        slots.free.extend((0..slots.end).filter(|slot| !listed.contains_key(slot)));
        Ok(Pages {
            database,
            directory: RwLock::new(directory),
            slots: Mutex::new(slots),
            newest: Mutex::default(),
            page_bytes: options.page_bytes(),
            pages_a_flush: options.pages_a_flush(),
        })
    }

    /// Makes mutations durable, all or none, however large they are. One of them is of the manifest.
    pub(super) fn checkpoint(&self, mutations: &Mutations) -> io::Result<()> {
        if mutations.is_empty() {
            return Ok(());
        }
        let mut slots = self.slots.lock().expect("not poisoned");
        let mut next = self.directory.read().expect("not poisoned").clone();
        let (records, freed) = self.take_touched(&mut next, mutations)?;
        let mut batches = Batches { database: &*self.database, limit: self.pages_a_flush, batch: Vec::new() };
        for records in group(records, &next, self.page_bytes) {
            let slot = slots.take();
            let (page, value) = Page::write(slot, &records);
            batches.add(Mutation::Put { key: slot_key(slot), value })?;
            next.insert(page);
        }
        // Dead pages are emptied, and their keys stay, because sled keeps a removed key as well. The lowest slots are written
        // next anyway, so the highest ones are emptied.
        for _ in 0..STALE_PER_CHECKPOINT {
            let Some(slot) = slots.stale.pop_last() else { break };
            batches.add(Mutation::Put { key: slot_key(slot), value: Vec::new() })?;
        }
        batches.write()?;
        self.finish(&next, mutations)?;
        *self.directory.write().expect("not poisoned") = next;
        slots.free.extend(&freed);
        slots.stale.extend(&freed);
        Ok(())
    }

    /// Takes the pages that change out of the directory. Returns the records to write, and the slots that are free once
    /// these are written.
    fn take_touched<'a>(
        &self,
        next: &mut Directory,
        mutations: &'a Mutations,
    ) -> io::Result<(Records<'a>, Vec<u32>)> {
        let mut records = Records::new();
        for (key, value) in mutations {
            if let (Ok(key), Some(value)) = (RecordKey::try_from(key.as_slice()), value) {
                records.insert(key, Cow::Borrowed(value));
            }
        }
        let grows = records.keys().next_back() > next.pages.keys().next_back();
        let last = next.pages.keys().next_back().copied().filter(|_| grows);
        let touched = |(first, page): (&RecordKey, &Page)| {
            let range = (Included(&first[..]), Included(&page.last()[..]));
            let is_touched = mutations.range::<[u8], _>(range).next().is_some();
            // A last page that is not half full is filled up: otherwise many small checkpoints would leave many small pages.
            let is_small = last.as_ref() == Some(first) && page.bytes < self.page_bytes / 2;
            (is_touched || is_small).then_some(*first)
        };
        let touched: Vec<RecordKey> = next.pages.iter().filter_map(touched).collect();
        let mut freed = Vec::new();
        for first in touched {
            let Some(page) = next.pages.remove(&first) else { continue };
            freed.push(page.listed.slot);
            if page.keys.iter().all(|key| mutations.contains_key(&key[..])) {
                continue;
            }
            for (key, value) in split(&self.load(&page)?) {
                if !mutations.contains_key(&key[..]) {
                    records.insert(key, Cow::Owned(value.to_vec()));
                }
            }
        }
        Ok((records, freed))
    }

    /// Writes the last batch: records outside the log, the root, and the manifest, which makes the checkpoint valid.
    fn finish(&self, next: &Directory, mutations: &Mutations) -> io::Result<()> {
        let manifest = mutations.get(manifest::KEY).and_then(Option::as_deref);
        let Some(Ok(manifest)) = manifest.and_then(Manifest::decode) else {
            return Err(io::Error::other("a checkpoint without its manifest"));
        };
        let pages: Vec<Listed> = next.pages.values().map(|page| page.listed).collect();
        let mut batch = root::write(manifest.seq, &pages, self.page_bytes);
        for (key, value) in mutations {
            if RecordKey::try_from(key.as_slice()).is_err() {
                let key = key.clone();
                batch.push(match value {
                    Some(value) => Mutation::Put { key, value: value.clone() },
                    None => Mutation::Delete { key },
                });
            }
        }
        self.database.apply(batch)?;
        self.database.flush()
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Ok(record) = RecordKey::try_from(key) else { return self.database.get(key) };
        let directory = self.directory.read().expect("not poisoned");
        let Some(page) = directory.holding(&record) else { return Ok(None) };
        let bytes = self.load(page)?;
        Ok(split(&bytes).find(|(key, _)| *key == record).map(|(_, value)| value.to_vec()))
    }

    /// Whether the log has a record under `key`.
    pub(super) fn has(&self, key: &RecordKey) -> bool {
        self.directory.read().expect("not poisoned").holding(key).is_some()
    }

    /// Visits every record of the log in ascending order of their keys.
    pub(super) fn scan_log(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let directory = self.directory.read().expect("not poisoned");
        for page in directory.pages.values() {
            let bytes = self.load(page)?;
            split(&bytes).for_each(|(key, value)| visit(&key, value));
        }
        Ok(())
    }

    /// The records of a page, verified. The caller holds the directory that lists it, or is the writer.
    fn load(&self, page: &Page) -> io::Result<Arc<Vec<u8>>> {
        let mut newest = self.newest.lock().expect("not poisoned");
        if let Some(at) = newest.iter().position(|(hash, _)| *hash == page.listed.hash)
            && let Some((hash, bytes)) = newest.remove(at)
        {
            newest.push_front((hash, bytes.clone()));
            return Ok(bytes);
        }
        let key = slot_key(page.listed.slot);
        let mut value = self.database.get(&key)?.unwrap_or_default();
        let length = match record::open(&key, &value) {
            Some((content, hash)) if hash == page.listed.hash => content.len(),
            _ => return Err(damaged(page.listed.slot)),
        };
        value.truncate(length);
        let bytes = Arc::new(value);
        newest.truncate(CACHED_PAGES - 1);
        newest.push_front((page.listed.hash, bytes.clone()));
        Ok(bytes)
    }
}

impl Directory {
    fn insert(&mut self, page: Page) {
        self.pages.insert(page.first(), page);
    }

    /// The page that has a record under this key.
    fn holding(&self, key: &RecordKey) -> Option<&Page> {
        let (_, page) = self.pages.range(..=*key).next_back()?;
        page.keys.binary_search(key).is_ok().then_some(page)
    }

    /// Whether a page lies between two keys.
    fn has_between(&self, before: &RecordKey, after: &RecordKey) -> bool {
        self.pages.range((Excluded(*before), Excluded(*after))).next().is_some()
    }
}

impl Page {
    /// Encodes records, of which there is at least one, as the page of a slot.
    fn write(slot: u32, records: &[(RecordKey, Cow<'_, [u8]>)]) -> (Page, Vec<u8>) {
        let mut value = Vec::new();
        for (key, record) in records {
            value.extend_from_slice(key);
            value.extend_from_slice(&(record.len() as u32).to_le_bytes());
            value.extend_from_slice(record);
        }
        let bytes = value.len() + PAGE_TAIL;
        let hash = record::seal(&slot_key(slot), &mut value);
        let keys = records.iter().map(|(key, _)| *key).collect();
        (Page { listed: Listed { slot, hash }, keys, bytes }, value)
    }

    /// A page as it was found; `None` when it is not the one that the root lists.
    fn read(listed: Listed, value: &[u8]) -> Option<Page> {
        let (content, hash) = record::open(&slot_key(listed.slot), value)?;
        let keys: Arc<[RecordKey]> = split(content).map(|(key, _)| key).collect();
        (hash == listed.hash && !keys.is_empty()).then_some(Page { listed, keys, bytes: value.len() })
    }

    fn first(&self) -> RecordKey {
        self.keys[0]
    }

    fn last(&self) -> &RecordKey {
        &self.keys[self.keys.len() - 1]
    }
}

/// Groups records into pages, none of which spans a page that stays.
fn group<'a>(
    records: Records<'a>,
    stay: &Directory,
    page_bytes: usize,
) -> Vec<Vec<(RecordKey, Cow<'a, [u8]>)>> {
    let (mut pages, mut bytes) = (Vec::<Vec<(RecordKey, _)>>::new(), 0);
    for (key, record) in records {
        let more = RECORD_HEAD + record.len();
        match pages.last_mut() {
            Some(page)
                if bytes + more <= page_bytes
                    && page.last().is_some_and(|(before, _)| !stay.has_between(before, &key)) =>
            {
                page.push((key, record));
                bytes += more;
            }
            _ => {
                pages.push(vec![(key, record)]);
                bytes = PAGE_TAIL + more;
            }
        }
    }
    pages
}

/// The records in the content of a page. It ends at a record that is not whole, which a verified page does not have.
fn split(mut rest: &[u8]) -> impl Iterator<Item = (RecordKey, &[u8])> {
    std::iter::from_fn(move || {
        let (key, after) = rest.split_first_chunk()?;
        let (length, after) = after.split_first_chunk()?;
        let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        Some((*key, value))
    })
}

/// Writes pages to the database, a few with each flush.
struct Batches<'a> {
    database: &'a dyn Engine,
    limit: usize,
    batch: Vec<Mutation>,
}

impl Batches<'_> {
    fn add(&mut self, mutation: Mutation) -> io::Result<()> {
        self.batch.push(mutation);
        if self.batch.len() >= self.limit { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.database.apply(std::mem::take(&mut self.batch))?;
        self.database.flush()
    }
}

fn slot_key(slot: u32) -> Vec<u8> {
    let mut key = vec![b'p'];
    key.extend_from_slice(&slot.to_be_bytes());
    key
}

fn parse_slot(key: &[u8]) -> Option<u32> {
    let (tag, slot) = key.split_first()?;
    (*tag == b'p').then_some(u32::from_be_bytes(slot.try_into().ok()?))
}

fn damaged(slot: u32) -> io::Error {
    invalid(format!("page {slot} of the log is not as it was written"))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::super::memory_engine::MemoryEngine;
    use super::*;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn readers_that_take_turns_read_each_page_once() {
        let database = Arc::new(MemoryEngine::default());
        let options = LogOptions { segment_bytes: 16 << 10, ..LogOptions::default() };
        let manifest = Manifest { seq: 2, ..Manifest::new([1; 16]) };
        database.apply(root::write(1, &[], options.page_bytes())).unwrap();
        let pages = Pages::open(database.clone(), &Manifest::new([1; 16]), &options).unwrap();
        let mut mutations: Mutations =
            (0..100).map(|index| (record::key(index, 0), Some(vec![index as u8; 40]))).collect();
        mutations.insert(manifest::KEY.to_vec(), Some(manifest.encode()));
        pages.checkpoint(&mutations).unwrap();
        let there = pages.directory.read().unwrap().pages.len();
        assert!(there > 10, "{there} pages");
        database.gets.store(0, SeqCst);
        for index in 0..50 {
            for reader in [index, 50 + index] {
                assert_eq!(pages.get(&record::key(reader, 0)).unwrap(), Some(vec![reader as u8; 40]));
            }
        }
        // The page in the middle is read by both.
        assert!(database.gets.load(SeqCst) <= there + 1, "{} times", database.gets.load(SeqCst));
    }
}

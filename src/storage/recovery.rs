//! Opening a folder: lock it, open the database, and verify everything before anything is used.
//!
//! The folder holds `lock`, `sled/` (the database), `journal.0` and `journal.1` (what is not in the database yet),
//! `watermark`, and after a refusal `damaged`; while its content is exchanged `next/` and `switch`, and after that `aside/`.
//!
//! While it opens, sled cuts off what it cannot read, and silently drops records. So what is left is compared with three
//! things that do not shrink with it: the manifest (rewritten with every change, in the same atomic batch), the checksums
//! of the records, and the watermark outside the database. A power cut loses whole flushes at the end, and never one that
//! was acknowledged; everything else is damage. A refused folder gets a marker, so that it is refused again even though
//! sled has changed its file meanwhile.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::error::OpenError;
use super::files::{FolderLock, create_folder, sync_folder, write_durably};
use super::journaled_engine::JournaledEngine;
use super::manifest::{self, FORMAT, Manifest};
use super::pages::Pages;
use super::record::{self, Content};
use super::record_index::{RecordIndex, RecordInfo};
use super::root;
use super::sled_engine::{SledEngine, SledRefusal, is_about_data};
use super::switch::finish_switch;
use super::watermark::Watermark;
use super::{Engine, LogOptions, Mutation};

/// A verified store, ready to write.
pub(super) struct Recovered {
    pub lock: FolderLock,
    pub engine: JournaledEngine,
    pub watermark: Watermark,
    pub found: Verified,
}

/// What a database holds, with every record checked.
pub(super) struct Verified {
    pub manifest: Manifest,
    pub index: RecordIndex,
    /// The node's own record and its hash.
    pub identity: Option<(Bytes, u128)>,
}

struct Paths {
    sled: PathBuf,
    sled_new: PathBuf,
    watermark: PathBuf,
    marker: PathBuf,
}

/// Puts an engine of a test on top of another one.
pub(super) type WrapEngine = Box<dyn FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>>;

/// Opens or creates the store in `dir`.
pub(super) fn open(
    dir: &Path,
    options: &LogOptions,
    wrap_database: WrapEngine,
) -> Result<Recovered, OpenError> {
    create_folder(dir).map_err(OpenError::io("create", dir))?;
    let lock = FolderLock::take(dir)?;
    finish_switch(dir).map_err(OpenError::io("exchange the content of", dir))?;
    let paths = Paths {
        sled: dir.join("sled"),
        sled_new: dir.join("sled.new"),
        watermark: dir.join("watermark"),
        marker: dir.join("damaged"),
    };
    refuse_again(&paths)?;
    if !paths.sled.exists() {
        if paths.watermark.exists() {
            let because = "the watermark file says that there was one".into();
            return Err(OpenError::Missing { file: paths.sled, because });
        }
        create(dir, &paths, options)?;
    }
    let opened = verify(lock, dir, &paths, options, wrap_database);
    if let Err(OpenError::Damaged { file, what }) = &opened {
        // If this fails too, the watermark still refuses what sled may have cut off.
        let _ = write_durably(&paths.marker, format!("{}\n{what}", file.display()).as_bytes());
    }
    opened
}

/// Verifies a database that lives outside of any folder; an empty one becomes a new store.
pub(super) fn adopt(engine: &dyn Engine) -> Result<Verified, OpenError> {
    let nowhere = Path::new("");
    let mut empty = true;
    let scanned = engine.scan(&mut |_, _| empty = false);
    scanned.map_err(OpenError::io("read the database in", nowhere))?;
    if empty {
        let manifest = Manifest::new(Uuid::new_v4().into_bytes());
        write_first(engine, &manifest, Vec::new())
            .map_err(OpenError::io("write the database in", nowhere))?;
    }
    let found = Found::scan(|visit| engine.scan(visit), nowhere, nowhere)?;
    let manifest = found.check(None, nowhere)?;
    Ok(Verified { manifest, index: found.index, identity: found.identity })
}

/// A folder that was refused for damage stays refused, whatever sled did to its file meanwhile.
fn refuse_again(paths: &Paths) -> Result<(), OpenError> {
    match fs::read_to_string(&paths.marker) {
        Ok(text) => {
            let (file, what) = text.split_once('\n').unwrap_or(("the log", "by an earlier finding"));
            Err(OpenError::damaged(file, what))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io("read", &paths.marker)(error)),
    }
}

/// Creates an empty store beside its final place and renames it, so that a crash leaves none or a whole one.
fn create(dir: &Path, paths: &Paths, options: &LogOptions) -> Result<(), OpenError> {
    let new = &paths.sled_new;
    if new.exists() {
        fs::remove_dir_all(new).map_err(OpenError::io("remove", new))?;
    }
    create_folder(new).map_err(OpenError::io("create", new))?;
    let manifest = Manifest::new(Uuid::new_v4().into_bytes());
    let engine = open_sled(new, options)?;
    let root = root::write(manifest.seq, &[], options.page_bytes());
    write_first(&engine, &manifest, root).map_err(OpenError::io("write", new))?;
    drop(engine);
    SledEngine::sync_names(new).map_err(OpenError::io("sync", new))?;
    fs::rename(new, &paths.sled).map_err(OpenError::io("rename", new))?;
    sync_folder(dir).map_err(OpenError::io("sync", dir))?;
    Watermark::create(&paths.watermark, manifest.store, manifest.seq)
        .map_err(OpenError::io("write", &paths.watermark))
}

fn write_first(engine: &dyn Engine, manifest: &Manifest, mut others: Vec<Mutation>) -> std::io::Result<()> {
    others.push(Mutation::Put { key: manifest::KEY.to_vec(), value: manifest.encode() });
    engine.apply(others)?;
    engine.flush()
}

fn open_sled(folder: &Path, options: &LogOptions) -> Result<SledEngine, OpenError> {
    SledEngine::open(folder, options).map_err(|refusal| match refusal {
        SledRefusal::Io(error) => OpenError::io("open the database in", folder)(error),
        SledRefusal::Damaged(what) => OpenError::damaged(folder, what),
    })
}

fn verify(
    lock: FolderLock,
    dir: &Path,
    paths: &Paths,
    options: &LogOptions,
    wrap_database: WrapEngine,
) -> Result<Recovered, OpenError> {
    let mark = read_watermark(paths)?;
    let db = paths.sled.join("db");
    check_database_file(&db)?;
    let database = wrap_database(Arc::new(open_sled(&paths.sled, options)?));
    let in_database = stored_manifest(&*database, &paths.sled, &db)?;
    let pages =
        Pages::open(database, &in_database, options).map_err(|error| about_data(error, &paths.sled))?;
    let engine = open_journal(dir, pages, &in_database, options)?;
    let found = Found::scan(|visit| engine.scan(visit), &paths.sled, &db)?;
    let manifest = found.check(mark, &db)?;
    if mark.is_none() {
        // The crash came after the database was created and before the watermark was: nothing was acknowledged since.
        if manifest != Manifest::new(manifest.store) {
            let because = "the database was written to, and every write also goes there".into();
            return Err(OpenError::Missing { file: paths.watermark.clone(), because });
        }
        Watermark::create(&paths.watermark, manifest.store, manifest.seq)
            .map_err(OpenError::io("write", &paths.watermark))?;
    }
    let watermark =
        Watermark::open(&paths.watermark, manifest.store).map_err(OpenError::io("open", &paths.watermark))?;
    watermark
        .record(manifest.seq)
        .and_then(|()| watermark.sync())
        .map_err(OpenError::io("write", &paths.watermark))?;
    let found = Verified { manifest, index: found.index, identity: found.identity };
    Ok(Recovered { lock, engine, watermark, found })
}

/// The manifest that the database itself has. The journal may have a newer one.
fn stored_manifest(database: &dyn Engine, folder: &Path, db: &Path) -> Result<Manifest, OpenError> {
    let stored = database.get(manifest::KEY).map_err(|error| about_data(error, folder))?;
    decode_manifest(stored.as_deref(), db)
}

fn decode_manifest(stored: Option<&[u8]>, db: &Path) -> Result<Manifest, OpenError> {
    let stored = stored.ok_or_else(|| OpenError::damaged(db, "its manifest record is missing"))?;
    match Manifest::decode(stored) {
        None => Err(OpenError::damaged(db, "its manifest record does not match its checksum")),
        Some(Err(found)) => Err(OpenError::Format { file: db.to_owned(), found, supported: FORMAT }),
        Some(Ok(manifest)) => Ok(manifest),
    }
}

/// An error while reading the database in `folder`: damage, or an operating system in trouble.
fn about_data(error: std::io::Error, folder: &Path) -> OpenError {
    if is_about_data(&error) {
        OpenError::damaged(folder, error.to_string())
    } else {
        OpenError::io("read the database in", folder)(error)
    }
}

/// Opens the journal on top of the database.
fn open_journal(
    dir: &Path,
    pages: Pages,
    manifest: &Manifest,
    options: &LogOptions,
) -> Result<JournaledEngine, OpenError> {
    JournaledEngine::open(dir, pages, manifest, options).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => OpenError::damaged(dir.join("journal"), error.to_string()),
        _ => OpenError::io("open the journal in", dir)(error),
    })
}

type Mark = ([u8; 16], u64);

fn read_watermark(paths: &Paths) -> Result<Option<Mark>, OpenError> {
    match Watermark::read(&paths.watermark) {
        Ok(Some(mark)) => Ok(Some(mark)),
        Ok(None) => Err(OpenError::damaged(&paths.watermark, "neither of its two slots is whole")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io("read", &paths.watermark)(error)),
    }
}

/// The file must exist, and what a crashed process left in the system's cache must be on the disk before reads are
/// answered from it.
fn check_database_file(db: &Path) -> Result<(), OpenError> {
    let because = "the database's folder exists".to_owned();
    let file = match File::open(db) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { file: db.to_owned(), because });
        }
        other => other.map_err(OpenError::io("open", db))?,
    };
    if file.metadata().map_err(OpenError::io("read", db))?.len() == 0 {
        return Err(OpenError::damaged(db, "it is empty"));
    }
    file.sync_all().map_err(OpenError::io("sync", db))
}

/// Everything that the database holds.
struct Found {
    manifest: Option<Vec<u8>>,
    identity: Option<(Bytes, u128)>,
    index: RecordIndex,
}

impl Found {
    /// Reads every record and checks it by itself.
    fn scan(
        scan: impl FnOnce(&mut dyn FnMut(&[u8], &[u8])) -> std::io::Result<()>,
        folder: &Path,
        db: &Path,
    ) -> Result<Found, OpenError> {
        let mut found = Found { manifest: None, identity: None, index: RecordIndex::default() };
        let mut wrong = None;
        let scanned = scan(&mut |key, value| {
            if wrong.is_none() {
                wrong = found.add(key, value).err();
            }
        });
        scanned.map_err(|error| about_data(error, folder))?;
        match wrong {
            Some(what) => Err(OpenError::damaged(db, what)),
            None => Ok(found),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if key == manifest::KEY {
            self.manifest = Some(value.to_vec());
            return Ok(());
        }
        if key == record::IDENTITY_KEY {
            let (content, hash) =
                record::open(key, value).ok_or("the identity does not match its checksum")?;
            self.identity = Some((Bytes::copy_from_slice(content), hash));
            return Ok(());
        }
        let (first, part) = record::parse_key(key).ok_or("it holds a record of an unknown kind")?;
        let wrong = || format!("the log record at index {first} does not match its checksum");
        let (content, hash) = record::open(key, value).ok_or_else(wrong)?;
        let bytes = value.len() as u64;
        match record::decode(content).ok_or_else(wrong)? {
            Content::Run(entries) => {
                let last = first + entries.len() as u64 - 1;
                self.index.insert(first, RecordInfo { last, parts: 1, bytes: bytes - 16, hash });
            }
            Content::Part { parts, .. } if part == 0 => {
                self.index.insert(first, RecordInfo { last: first, parts, bytes: bytes - 16, hash });
            }
            Content::Part { .. } => {
                // Missing parts show in the sum.
                let mut whole =
                    self.index.remove(first).ok_or_else(|| format!("entry {first} lacks its beginning"))?;
                whole.bytes += bytes - 16;
                whole.hash = whole.hash.wrapping_add(hash);
                self.index.insert(first, whole);
            }
        }
        Ok(())
    }

    /// Checks that the records are exactly those that the newest manifest lists, and that it is new enough.
    fn check(&self, mark: Option<Mark>, db: &Path) -> Result<Manifest, OpenError> {
        let damaged = |what: String| OpenError::damaged(db, what);
        let manifest = decode_manifest(self.manifest.as_deref(), db)?;
        if let Some((store, seq)) = mark {
            if store != manifest.store {
                return Err(damaged("it belongs to another store than the watermark file".into()));
            }
            if manifest.seq < seq {
                return Err(damaged(format!(
                    "it ends with flush {}, but flush {seq} was completed: acknowledged records have vanished",
                    manifest.seq
                )));
            }
        }
        self.check_contiguity(&manifest).map_err(damaged)?;
        let records = self.index.count + u64::from(self.identity.is_some());
        let sum = self.index.sum.wrapping_add(self.identity.as_ref().map_or(0, |(_, hash)| *hash));
        if records != manifest.records || sum != manifest.sum {
            return Err(damaged(format!(
                "its {records} records are not the {} records that its manifest lists",
                manifest.records
            )));
        }
        Ok(manifest)
    }

    /// The entries must run from the purge point to the tail without a hole.
    fn check_contiguity(&self, manifest: &Manifest) -> Result<(), String> {
        let (Some(last), Some((front, _))) = (manifest.log.last_index, self.index.front()) else {
            return match (manifest.log.last_index, self.index.back()) {
                (None, None) => Ok(()),
                (last, _) => Err(format!("its log should end at {last:?} but holds other entries")),
            };
        };
        if front > manifest.log.first_index {
            return Err(format!("log entry {} is missing", manifest.log.first_index));
        }
        let mut next = front;
        for (first, stored) in self.index.iter() {
            if first != next {
                return Err(format!("log entry {next} is missing"));
            }
            next = stored.last + 1;
        }
        if next != last + 1 {
            return Err(format!("its log ends before entry {next}, it should end with entry {last}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::LogStore;

    /// A database on a disk in trouble.
    struct Failing(std::io::ErrorKind);

    impl Engine for Failing {
        fn apply(&self, _: Vec<Mutation>) -> std::io::Result<()> {
            Err(self.0.into())
        }

        fn flush(&self) -> std::io::Result<()> {
            Err(self.0.into())
        }

        fn get(&self, _: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
            Err(self.0.into())
        }

        fn scan(&self, _: &mut dyn FnMut(&[u8], &[u8])) -> std::io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_full_or_failing_disk_says_nothing_about_the_data() {
        use std::io::ErrorKind::{FileTooLarge, InvalidData, Other, StorageFull, UnexpectedEof};
        let scan = |kind| {
            Found::scan(|visit| Failing(kind).scan(visit), Path::new("sled"), Path::new("sled/db")).err()
        };
        for kind in [StorageFull, FileTooLarge, Other] {
            assert!(matches!(scan(kind), Some(OpenError::Io { .. })), "{kind:?}: {:?}", scan(kind));
        }
        for kind in [InvalidData, UnexpectedEof] {
            assert!(matches!(scan(kind), Some(OpenError::Damaged { .. })), "{kind:?}: {:?}", scan(kind));
        }
    }

    #[test]
    fn a_folder_of_another_version_is_named_so_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = LogOptions::default();
        LogStore::open(folder.path(), options.clone()).expect("a new store").close();
        let sled = SledEngine::open(&folder.path().join("sled"), &options).ok().expect("its database");
        let stored = sled.get(manifest::KEY).expect("readable").expect("there");
        let mut older = Manifest::decode(&stored).expect("whole").expect("of this version");
        older.format = FORMAT + 1;
        write_first(&sled, &older, Vec::new()).expect("written");
        drop(sled);
        for _ in 0..2 {
            match LogStore::open(folder.path(), options.clone()).err() {
                Some(OpenError::Format { found, supported, .. }) => {
                    assert_eq!((found, supported), (FORMAT + 1, FORMAT));
                }
                other => panic!("opened, or refused for another reason: {other:?}"),
            }
        }
    }
}

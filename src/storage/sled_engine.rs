//! The engine in use: sled, made durable.
//!
//! sled's own flush is a write and a hint: it syncs neither the file's size nor the disk's cache. So after each of its
//! flushes we sync its file through a handle of our own; a sync is for a file, not for a handle. `docs/adr/0002`
//! has the details.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use super::files::sync_folder;
use super::{Engine, EngineMemory, LogOptions, Mutation};

/// Why sled did not open.
pub(super) enum SledRefusal {
    /// It could not read or write.
    Io(io::Error),
    /// It found something that it did not write, or panicked because of it.
    Damaged(String),
}

/// An open sled database.
pub(super) struct SledEngine {
    /// Taken only on drop, because sled may panic there.
    db: Option<sled::Db>,
    file: File,
    blobs: PathBuf,
    /// What it may keep of its file in memory.
    cache_bytes: u64,
}

/// Each flush advances the epoch by one, unless a reader is pinned to an older one.
const EPOCHS: usize = 4;
/// How long to wait for a lock that sled's own threads are about to release.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

impl SledEngine {
    /// Opens or creates the database in `folder`. sled cuts off what it cannot read at the end of its file.
    pub(super) fn open(folder: &Path, options: &LogOptions) -> Result<SledEngine, SledRefusal> {
        let config = sled::Config::new()
            .path(folder)
            .segment_size(options.segment_bytes)
            .cache_capacity(options.page_cache_bytes)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        remove_unfinished_checkpoints(folder).map_err(SledRefusal::Io)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let db = loop {
            match quietly(|| config.open()) {
                Ok(Ok(db)) => break db,
                Ok(Err(sled::Error::Io(error))) if is_lock(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(Err(sled::Error::Io(error))) if !is_about_data(&error) => {
                    return Err(SledRefusal::Io(error));
                }
                // Sizes other than those of the folder, whose settings file is intact, are a mistake and not damage.
                Ok(Err(sled::Error::Unsupported(why))) if settings_are_intact(folder) => {
                    return Err(SledRefusal::Io(io::Error::new(io::ErrorKind::Unsupported, why)));
                }
                Ok(Err(error)) => return Err(SledRefusal::Damaged(in_words(error))),
                Err(panicked) => return Err(SledRefusal::Damaged(panicked)),
            }
        };
        let file = File::open(folder.join("db")).map_err(SledRefusal::Io)?;
        // Opening replaced sled's checkpoint file with a newer one.
        sync_folder(folder).map_err(SledRefusal::Io)?;
        Ok(SledEngine {
            db: Some(db),
            file,
            blobs: folder.join("blobs"),
            cache_bytes: options.page_cache_bytes,
        })
    }

    /// Makes the database's files and their names durable, once, after it was created.
    pub(super) fn sync_names(folder: &Path) -> io::Result<()> {
        for name in ["conf", "db"] {
            File::open(folder.join(name))?.sync_all()?;
        }
        sync_folder(&folder.join("blobs"))?;
        sync_folder(folder)
    }

    fn db(&self) -> io::Result<&sled::Db> {
        self.db.as_ref().ok_or_else(|| io::Error::other("the database is closed"))
    }

    /// sled writes large messages to files of their own and never syncs them. Our records are too small for that, but if
    /// such a file ever appears it must be as durable as the rest.
    fn sync_blobs(&self) -> io::Result<()> {
        let mut any = false;
        for blob in fs::read_dir(&self.blobs)? {
            match File::open(blob?.path()) {
                // sled removes the files that it no longer needs in the background.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                blob => blob?.sync_all()?,
            }
            any = true;
        }
        if any { sync_folder(&self.blobs) } else { Ok(()) }
    }
}

impl Engine for SledEngine {
    fn apply(&self, mutations: Vec<Mutation>) -> io::Result<()> {
        let db = self.db()?;
        let mut batch = sled::Batch::default();
        for mutation in mutations {
            match mutation {
                Mutation::Put { key, value } => batch.insert(key, value),
                Mutation::Delete { key } => batch.remove(key),
            }
        }
        guarded(|| db.apply_batch(batch))
    }

    /// sled does not say what it keeps: as much of its file as it may.
    fn memory(&self) -> EngineMemory {
        let written = self.file.metadata().map_or(0, |file| file.len());
        EngineMemory { index: 0, database: written.min(self.cache_bytes) }
    }

    fn flush(&self) -> io::Result<()> {
        let db = self.db()?;
        guarded(|| db.flush())?;
        self.sync_blobs()?;
        free_discarded();
        self.file.sync_data()
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let db = self.db()?;
        guarded(|| db.get(key)).map(|value| value.map(|value| value.to_vec()))
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let db = self.db()?;
        guarded(|| {
            for pair in db.iter() {
                let (key, value) = pair?;
                visit(&key, &value);
            }
            Ok(())
        })
    }
}

/// Frees what sled has discarded on this thread: buffers of a segment each, and old versions of pages. sled leaves them to
/// crossbeam's epochs (Fraser, "Practical lock-freedom", 2004, section 5.2), which keep up to 64 for each thread until more
/// are discarded. With our few writes that is tens of megabytes at all times. Two epochs later no reader can use them.
fn free_discarded() {
    for _ in 0..EPOCHS {
        crossbeam_epoch::pin().flush();
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        let db = self.db.take();
        let _ = quietly(|| drop(db));
    }
}

/// Removes a checkpoint that sled was writing when the power failed: sled would take it for a whole one.
fn remove_unfinished_checkpoints(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// sled's settings file ends in a checksum, which sled itself only warns about.
fn settings_are_intact(folder: &Path) -> bool {
    let settings = fs::read(folder.join("conf")).unwrap_or_default();
    let whole = settings.split_last_chunk::<4>();
    whole.is_some_and(|(text, sum)| crc32fast::hash(text).to_le_bytes() == *sum)
}

fn in_words(error: sled::Error) -> String {
    match error {
        sled::Error::Corruption { at: None, .. } => "the database does not match its own checksums".into(),
        sled::Error::Corruption { at: Some(at), .. } => {
            format!("the database does not match its own checksums at {at:?}")
        }
        sled::Error::Unsupported(why) => format!("its settings file conf is not as it was written: {why}"),
        other => other.to_string(),
    }
}

fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// sled also reports invalid data in its files as input/output errors of these kinds. Errors of other kinds, like a full
/// disk, say nothing about the data.
pub(super) fn is_about_data(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof)
}

/// Runs sled code. A panic, as on damaged pages, becomes an error.
fn guarded<T>(run: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match quietly(run) {
        Ok(result) => result.map_err(io::Error::from),
        Err(panicked) => Err(io::Error::new(io::ErrorKind::InvalidData, panicked)),
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic of `run` and returns its message, without printing it.
fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(before);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        format!("the database panicked: {text}")
    })
}

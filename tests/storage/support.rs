//! What the storage tests share: small stores, waiting for durability, the log as a value, random numbers.

use std::path::Path;
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lockstep::storage::{Callback, LogOptions, LogStore, StorageError, StoredLog};
use tempfile::TempDir;

/// Small segments, so that short tests fill, clean and reuse many of them.
pub fn small() -> LogOptions {
    LogOptions {
        recent_bytes: 4 << 10,
        page_cache_bytes: 1 << 20,
        segment_bytes: 16 << 10,
        journal_file_bytes: 4 << 10,
        journal_bytes: 16 << 10,
        checkpoint_in_background: false,
    }
}

/// A folder in memory where there is one: thousands of opens would otherwise wait for the disk.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn callback() -> (Callback, mpsc::Receiver<Result<(), StorageError>>) {
    let (sender, receiver) = mpsc::channel();
    (Box::new(move |result| drop(sender.send(result))), receiver)
}

/// Runs an operation and waits until it is durable.
pub fn wait(run: impl FnOnce(Callback)) -> Result<(), StorageError> {
    let (done, outcome) = callback();
    run(done);
    outcome.recv().expect("every callback is called")
}

pub fn append(store: &LogStore, entries: Vec<(u64, Bytes)>) -> Result<(), StorageError> {
    let (done, outcome) = callback();
    store.append(entries, done)?;
    outcome.recv().expect("every callback is called")
}

pub fn entry(index: u64, len: usize) -> Bytes {
    let mut bytes = index.to_le_bytes().repeat(len / 8 + 1);
    bytes.truncate(len);
    bytes.into()
}

/// Everything that a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    pub log: StoredLog,
    pub entries: Vec<(u64, Bytes)>,
    pub identity: Option<Bytes>,
}

pub fn held(store: &LogStore) -> Held {
    let log = store.state();
    let entries = store.read(log.first_index, log.end(), usize::MAX).unwrap();
    assert_eq!(entries.len() as u64, log.end() - log.first_index);
    Held { log, entries, identity: store.identity() }
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Small, fast, repeatable (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Seeded from `LOCKSTEP_TEST_SEED`, or from the clock; prints the seed.
    pub fn new(what: &str) -> Random {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("LOCKSTEP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(clock);
        println!("{what}: LOCKSTEP_TEST_SEED={seed}");
        Random(seed)
    }

    /// The same numbers for the same seed.
    pub fn from(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must not be zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// True when the long version of a test was asked for.
pub fn full_run() -> bool {
    std::env::var_os("LOCKSTEP_FULL_DAMAGE").is_some()
}

//! Failing disks: everybody hears of the failure, the store stops, and what was acknowledged is there afterwards.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lockstep::storage::{Engine, LogOptions, LogStore, LogStoreBuilder, Mutation, Snapshots, StorageError};

use crate::support::{Random, append, callback, entry, folder, full_run, held, small, wait};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Nothing reaches the database.
    Write,
    /// The batch is applied, and whether it is durable is unknown.
    Sync,
}

/// An engine whose disk fails on demand.
struct Faulty {
    inner: Arc<dyn Engine>,
    fail: Arc<Mutex<Option<(Point, i32)>>>,
    writes_after_failure: Arc<AtomicUsize>,
    failed: AtomicBool,
}

impl Faulty {
    fn at(&self, point: Point) -> io::Result<()> {
        if self.failed.load(SeqCst) {
            self.writes_after_failure.fetch_add(1, SeqCst);
        }
        match *self.fail.lock().unwrap() {
            Some((chosen, code)) if chosen == point => {
                self.failed.store(true, SeqCst);
                Err(io::Error::from_raw_os_error(code))
            }
            _ => Ok(()),
        }
    }
}

impl Engine for Faulty {
    fn apply(&self, changes: Vec<Mutation>) -> io::Result<()> {
        self.at(Point::Write)?;
        self.inner.apply(changes)
    }
    fn flush(&self) -> io::Result<()> {
        self.at(Point::Sync)?;
        self.inner.flush()
    }
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.inner.scan(visit)
    }
}

struct Failing {
    store: LogStore,
    fail: Arc<Mutex<Option<(Point, i32)>>>,
    writes_after_failure: Arc<AtomicUsize>,
}

fn failing(dir: &Path) -> Failing {
    let fail = Arc::new(Mutex::new(None));
    let writes_after_failure = Arc::new(AtomicUsize::new(0));
    let (switch, counter) = (fail.clone(), writes_after_failure.clone());
    let faulty = |inner| {
        let failed = AtomicBool::new(false);
        Arc::new(Faulty { inner, fail: switch, writes_after_failure: counter, failed }) as Arc<dyn Engine>
    };
    let store = LogStoreBuilder::new(small()).wrap_journal(faulty).open(dir);
    Failing { store: store.unwrap(), fail, writes_after_failure }
}

/// S2
#[test]
fn first_failed_flush_poisons() {
    for point in [Point::Write, Point::Sync] {
        for code in [libc::EIO, libc::ENOSPC] {
            let dir = folder();
            let Failing { store, fail, writes_after_failure } = failing(dir.path());
            append(&store, (0..20).map(|index| (index, entry(index, 100))).collect()).unwrap();
            wait(|done| store.save_vote(Bytes::from_static(b"v1"), done)).unwrap();
            let acknowledged = held(&store);

            *fail.lock().unwrap() = Some((point, code));
            let (first, first_outcome) = callback();
            let (second, second_outcome) = callback();
            store.append(vec![(20, entry(20, 100))], first).unwrap();
            store.save_vote(Bytes::from_static(b"v2"), second);
            let error = first_outcome.recv().unwrap().unwrap_err();
            let reason = io::Error::from_raw_os_error(code).to_string();
            assert!(error.to_string().contains(&reason), "{error}");
            second_outcome.recv().unwrap().unwrap_err();

            // The disk would work again; the store must not find out.
            *fail.lock().unwrap() = None;
            let poisoned = |error: &StorageError| matches!(error, StorageError::Poisoned { .. });
            assert!(poisoned(&store.poisoned().unwrap()));
            assert!(poisoned(&append(&store, vec![(21, Bytes::new())]).unwrap_err()));
            assert!(poisoned(&wait(|done| store.save_vote(Bytes::new(), done)).unwrap_err()));
            assert!(poisoned(&wait(|done| store.truncate_after(None, done)).unwrap_err()));
            assert!(poisoned(&wait(|done| store.purge(3, Bytes::new(), done)).unwrap_err()));
            assert!(poisoned(&store.save_identity(Bytes::new()).unwrap_err()));
            assert!(poisoned(&store.read(0, 1, 1).unwrap_err()));
            assert_eq!(writes_after_failure.load(SeqCst), 0, "a failed write or flush must never be retried");
            drop(store);

            let store = LogStore::open(dir.path(), small()).unwrap();
            let found = held(&store);
            if point == Point::Write {
                assert_eq!(found, acknowledged);
            } else {
                // The batch may have become durable all the same, but only as a whole.
                assert_eq!(found.entries[..20], acknowledged.entries[..]);
                assert!(found.entries.len() <= 21);
            }
        }
    }
}

/// S2: everything that waits in the queue hears of the failure, in order.
#[test]
fn all_waiting_calls_hear_of_the_failure() {
    let dir = folder();
    let Failing { store, fail, .. } = failing(dir.path());
    *fail.lock().unwrap() = Some((Point::Sync, libc::EIO));
    let mut outcomes = Vec::new();
    for index in 0..200 {
        let (done, outcome) = callback();
        if store.append(vec![(index, entry(index, 500))], done).is_ok() {
            outcomes.push(outcome);
        }
    }
    assert!(!outcomes.is_empty());
    for outcome in outcomes {
        outcome.recv().expect("told").expect_err("not durable");
    }
}

/// A child process that fills the largest file it may write, when the test on_database starts it as such.
#[test]
fn child_with_a_file_size_limit() {
    let Some(dir) = std::env::var_os("LOCKSTEP_TEST_CHILD_DIR") else { return };
    let store = LogStore::open(Path::new(&dir), small()).unwrap();
    append(&store, (0..10).map(|index| (index, entry(index, 100))).collect()).unwrap();
    let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 64 << 10 };
    // SAFETY: plain system calls; without the handler the limit would be a deadly signal instead of an error.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    let mut next = 10;
    let error = loop {
        match append(&store, (next..next + 4).map(|index| (index, entry(index, 300))).collect()) {
            Ok(()) => next += 4,
            Err(error) => break error,
        }
        assert!(next < 10_000, "the limit never showed");
    };
    assert!(store.poisoned().is_some());
    std::fs::write(Path::new(&dir).join("acknowledged"), format!("{next} {error}")).unwrap();
}

/// S2, R2: a real error from the system, all the way through sled.
#[test]
fn a_file_that_may_not_grow_stops_the_store() {
    let dir = folder();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::child_with_a_file_size_limit", "--test-threads", "1"])
        .env("LOCKSTEP_TEST_CHILD_DIR", dir.path())
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    let told = std::fs::read_to_string(dir.path().join("acknowledged")).unwrap();
    let (acknowledged, error) = told.split_once(' ').unwrap();
    assert!(error.contains("the log"), "{error}");
    let store = LogStore::open(dir.path(), small()).unwrap();
    let found = held(&store);
    let acknowledged: u64 = acknowledged.parse().unwrap();
    assert!(
        (acknowledged..=acknowledged + 4).contains(&found.log.end()),
        "{} of {acknowledged}",
        found.log.end()
    );
    for (index, bytes) in found.entries {
        assert_eq!(bytes, entry(index, if index < 10 { 100 } else { 300 }));
    }
}

/// S3: a snapshot that cannot be written leaves the previous one.
#[test]
fn a_failed_snapshot_leaves_the_previous_one() {
    let dir = folder();
    let snapshots = Snapshots::open(dir.path()).unwrap();
    snapshots.write(7, b"first", |out| out.write_all(b"whole")).unwrap();
    let error = snapshots
        .write(9, b"second", |out| {
            out.write_all(&[0; 300_000])?;
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        })
        .unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert_eq!(snapshots.current().unwrap().index, 7);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the lock and the snapshot");
}

/// S2, R2: sled behind the journal fails, on its own thread or not. The store stops, sled is not asked again, and the
/// journal has what was acknowledged.
#[test]
fn a_checkpoint_that_fails_stops_the_store_and_loses_nothing() {
    for (aside, point) in [(false, Point::Sync), (true, Point::Sync), (true, Point::Write)] {
        let dir = folder();
        let options = LogOptions { checkpoint_in_background: aside, ..small() };
        let writes_after_failure = Arc::new(AtomicUsize::new(0));
        let counter = writes_after_failure.clone();
        let on_database = move |inner| {
            let fail = Arc::new(Mutex::new(Some((point, libc::EIO))));
            let failed = AtomicBool::new(false);
            Arc::new(Faulty { inner, fail, writes_after_failure: counter, failed }) as Arc<dyn Engine>
        };
        let store =
            LogStoreBuilder::new(options.clone()).wrap_database(on_database).open(dir.path()).unwrap();
        let mut acknowledged = 0;
        let failure = loop {
            match append(&store, vec![(acknowledged, entry(acknowledged, 100))]) {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < 1_000, "sled is written to now and then");
        };
        assert!(acknowledged > 0 && store.poisoned().is_some(), "{failure}");
        drop(store);
        assert_eq!(writes_after_failure.load(SeqCst), 0, "nothing is tried again");
        let found = held(&LogStore::open(dir.path(), options).unwrap());
        assert!(found.entries.len() as u64 >= acknowledged, "{aside}: {acknowledged} were acknowledged");
        for (index, bytes) in found.entries {
            assert_eq!(bytes, entry(index, 100));
        }
    }
}

/// A database that fails for good after so many calls that write, before or after it did what was asked.
struct FailsAfter {
    inner: Arc<dyn Engine>,
    calls: AtomicI64,
    does_it: bool,
}

impl FailsAfter {
    fn run(&self, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.calls.fetch_sub(1, SeqCst) {
            1.. => run(),
            0 if self.does_it => run().and(Err(io::Error::from_raw_os_error(libc::EIO))),
            _ => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        }
    }
}

impl Engine for FailsAfter {
    fn apply(&self, changes: Vec<Mutation>) -> io::Result<()> {
        self.run(|| self.inner.apply(changes))
    }
    fn flush(&self) -> io::Result<()> {
        self.run(|| self.inner.flush())
    }
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.inner.scan(visit)
    }
}

fn any_step(random: &mut Random, store: &LogStore) -> Result<(), StorageError> {
    let log = store.state();
    let length = log.end() - log.first_index;
    match random.below(10) {
        0 => wait(|done| store.save_vote(entry(random.next(), 16), done)),
        1 => {
            let after = log.end().saturating_sub(1 + random.below(40)).max(log.first_index);
            wait(|done| store.truncate_after(Some(after), done))
        }
        2 if random.chance(20) => wait(|done| store.truncate_after(None, done)),
        3 => {
            // Sometimes beyond the end.
            let index = log.first_index + random.below(length + 2);
            wait(|done| store.purge(index, entry(index, 16), done))
        }
        _ => {
            let (count, len) = match random.below(8) {
                0 => (1, 1_800),
                1 => (1, small().segment_bytes),
                _ => (1 + random.below(12), random.below(160) as usize),
            };
            let entries = (log.end()..log.end() + count).map(|index| (index, entry(random.next(), len)));
            append(store, entries.collect())
        }
    }
}

/// S2, R2: whenever the database fails in a checkpoint, whatever was cut, purged or replaced before: what was acknowledged is
/// there at the next start, and nothing else but the one step that failed.
#[test]
fn a_checkpoint_that_fails_anywhere_loses_nothing() {
    let mut seeds = Random::new("failing checkpoints");
    let mut failures = 0;
    for life in 0..if full_run() { 3_000 } else { 120 } {
        let (mut random, calls) = (Random::from(seeds.next()), seeds.below(120) as i64);
        let (does_it, aside) = (seeds.chance(50), seeds.chance(50));
        let options = LogOptions { checkpoint_in_background: aside, ..small() };
        let (dir, other) = (folder(), folder());
        let on_database =
            move |inner| Arc::new(FailsAfter { inner, calls: calls.into(), does_it }) as Arc<dyn Engine>;
        let store =
            LogStoreBuilder::new(options.clone()).wrap_database(on_database).open(dir.path()).unwrap();
        // The same without a failure.
        let expected = LogStore::open(other.path(), small()).unwrap();
        let mut same = random.clone();
        for _ in 0..300 {
            let before = held(&expected);
            let done = any_step(&mut random, &store);
            any_step(&mut same, &expected).unwrap();
            if done.is_err() {
                drop(store);
                let found = held(&LogStore::open(dir.path(), options).unwrap());
                let what = format!("life {life}, after {calls} calls, aside {aside}, done {does_it}");
                assert!(found == before || found == held(&expected), "{what}");
                failures += 1;
                break;
            }
            assert_eq!(held(&store), held(&expected), "life {life}");
        }
    }
    assert!(failures > 0, "none failed");
}

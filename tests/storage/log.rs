//! The log store does what its interface says.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lockstep::storage::{
    Engine, LogOptions, LogStore, LogStoreBuilder, Mutation, OpenError, Snapshots, StorageError,
};

use crate::support::{append, callback, entry, folder, held, small, wait};

/// Notes the order of engine calls.
struct Spy {
    inner: Arc<dyn Engine>,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Engine for Spy {
    fn apply(&self, changes: Vec<Mutation>) -> std::io::Result<()> {
        self.calls.lock().unwrap().push("apply");
        self.inner.apply(changes)
    }
    fn flush(&self) -> std::io::Result<()> {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let result = self.inner.flush();
        self.calls.lock().unwrap().push("flush");
        result
    }
    fn get(&self, key: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> std::io::Result<()> {
        self.inner.scan(visit)
    }
}

fn spied(dir: &std::path::Path) -> (LogStore, Arc<Mutex<Vec<&'static str>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let kept = calls.clone();
    let store =
        LogStoreBuilder::new(small()).wrap_journal(|inner| Arc::new(Spy { inner, calls })).open(dir).unwrap();
    (store, kept)
}

/// R1
#[test]
fn vote_is_durable_before_reply() {
    let dir = folder();
    let (store, calls) = spied(dir.path());
    let seen = calls.clone();
    let (sender, outcome) = std::sync::mpsc::channel();
    store.save_vote(
        Bytes::from_static(b"term 3 for node 1"),
        Box::new(move |result| sender.send((result.is_ok(), seen.lock().unwrap().clone())).unwrap()),
    );
    assert_eq!(outcome.recv().unwrap(), (true, vec!["apply", "flush"]));
    drop(store);
    let store = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(store.state().vote.as_deref(), Some(&b"term 3 for node 1"[..]));
}

/// R2
#[test]
fn append_acked_only_after_flush() {
    let dir = folder();
    let (store, calls) = spied(dir.path());
    let (done, outcome) = callback();
    store.append(vec![(0, entry(0, 10))], done).unwrap();
    assert_eq!(store.read(0, 1, 100).unwrap(), vec![(0, entry(0, 10))], "readable before it is durable");
    assert!(outcome.try_recv().is_err(), "acknowledged before the flush");
    outcome.recv().unwrap().unwrap();
    assert_eq!(*calls.lock().unwrap(), ["apply", "flush"]);
}

#[test]
fn many_calls_share_a_flush_and_keep_their_order() {
    let dir = folder();
    let (store, _) = spied(dir.path());
    let order = Arc::new(Mutex::new(Vec::new()));
    for index in 0..100 {
        let order = order.clone();
        let done = Box::new(move |result: Result<(), _>| order.lock().unwrap().push((index, result.is_ok())));
        if index % 10 == 0 {
            store.save_vote(entry(index, 8), done)
        } else {
            let next = store.state().end();
            store.append(vec![(next, entry(next, 20))], done).unwrap();
        }
    }
    wait(|done| store.save_vote(Bytes::new(), done)).unwrap();
    assert_eq!(*order.lock().unwrap(), (0..100).map(|index| (index, true)).collect::<Vec<_>>());
    assert!(store.fsync_stats().count < 10, "{:?}", store.fsync_stats());
    assert!(store.fsync_stats().total >= store.fsync_stats().last);
}

#[test]
fn everything_survives_a_reopen() {
    let dir = folder();
    let store = LogStore::open(dir.path(), small()).unwrap();
    let id = store.store_id();
    store.save_identity(Bytes::from_static(b"node 1 of cluster x")).unwrap();
    append(&store, (1..200).map(|index| (index, entry(index, 90))).collect()).unwrap();
    // Larger than a record, and larger than a flush.
    append(&store, vec![(200, entry(200, 5_000))]).unwrap();
    wait(|done| store.truncate_after(Some(150), done)).unwrap();
    append(&store, (151..180).map(|index| (index, entry(index * 7, 33))).collect()).unwrap();
    wait(|done| store.purge(42, Bytes::from_static(b"1-42"), done)).unwrap();
    wait(|done| store.save_vote(Bytes::from_static(b"v"), done)).unwrap();
    store.save_committed(Bytes::from_static(b"c"));
    let before = held(&store);
    assert_eq!((before.log.first_index, before.log.last_index), (43, Some(179)));
    store.close();
    let store = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(held(&store), before);
    assert_eq!(store.store_id(), id);
    assert!(store.log_bytes() > 0);
    wait(|done| store.purge(1_000, Bytes::from_static(b"2-1000"), done)).unwrap();
    assert_eq!(store.log_bytes(), 0);
    append(&store, vec![(1_001, entry(1, 9_000))]).unwrap();
    let before = held(&store);
    drop(store);
    assert_eq!(held(&LogStore::open(dir.path(), small()).unwrap()), before);
}

#[test]
fn holes_are_errors_and_change_nothing() {
    let dir = folder();
    let store = LogStore::open(dir.path(), small()).unwrap();
    append(&store, vec![(5, entry(5, 8)), (6, entry(6, 8))]).unwrap();
    let before = held(&store);
    for wrong in
        [vec![(8, Bytes::new())], vec![(6, Bytes::new())], vec![(7, Bytes::new()), (9, Bytes::new())]]
    {
        let error = append(&store, wrong).unwrap_err();
        assert!(matches!(error, StorageError::NotContiguous { .. }), "{error}");
    }
    assert_eq!(held(&store), before);
    for (from, to) in [(4, 6), (5, 8), (9, 10)] {
        let error = store.read(from, to, 100).unwrap_err();
        assert!(matches!(error, StorageError::Missing { .. }), "{error}");
    }
    assert_eq!(store.read(6, 6, 100).unwrap(), vec![]);
}

#[test]
fn reads_stop_after_the_bytes_asked_for() {
    let dir = folder();
    let store = LogStore::open(dir.path(), small()).unwrap();
    append(&store, (0..400).map(|index| (index, entry(index, 100))).collect()).unwrap();
    // The first half left the cache, so this crosses from the database into memory.
    assert_eq!(store.read(0, 400, usize::MAX).unwrap().len(), 400);
    for from in [0, 100, 355, 390] {
        let indexes =
            |max| store.read(from, 400, max).unwrap().iter().map(|(index, _)| *index).collect::<Vec<_>>();
        assert_eq!(indexes(0), [from]);
        assert_eq!(indexes(99), [from]);
        assert_eq!(indexes(250), [from, from + 1]);
        assert_eq!(indexes(300), [from, from + 1, from + 2]);
    }
}

#[test]
fn a_second_open_is_refused_with_a_sentence() {
    let dir = folder();
    let store = LogStore::open(&dir.path().join("log"), small()).unwrap();
    let error = LogStore::open(&dir.path().join("log"), small()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains("is already in use by another process"), "{error}");
    drop(store);
    LogStore::open(&dir.path().join("log"), small()).unwrap();
    let _snapshots = Snapshots::open(dir.path().join("snapshots")).unwrap();
    let error = Snapshots::open(dir.path().join("snapshots")).err().unwrap();
    assert!(error.to_string().contains("is already in use"), "{error}");
}

#[test]
fn after_close_everything_answers_closed() {
    let dir = folder();
    let store = LogStore::open(dir.path(), small()).unwrap();
    let other = store.clone();
    store.close();
    assert!(matches!(append(&other, vec![(0, Bytes::new())]), Err(StorageError::Closed)));
    assert!(matches!(wait(|done| other.save_vote(Bytes::new(), done)), Err(StorageError::Closed)));
    assert!(matches!(other.read(0, 1, 1), Err(StorageError::Closed)));
    assert!(other.poisoned().is_none());
}

/// Other sizes than the folder was created with are a mistake, and must not condemn the folder.
#[test]
fn other_sizes_are_refused_but_harm_nothing() {
    let dir = folder();
    drop(LogStore::open(dir.path(), small()).unwrap());
    let error = LogStore::open(dir.path(), LogOptions::default()).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    LogStore::open(dir.path(), small()).unwrap();
}

/// What stays in the log can be read at any moment, also while records around it are cut and purged.
#[test]
fn reads_do_not_notice_the_writer() {
    let dir = folder();
    let store = LogStore::open(dir.path(), LogOptions { recent_bytes: 0, ..small() }).unwrap();
    let (stable, first) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (store, stable, first) = (&store, &stable, &first);
            scope.spawn(move || {
                while stable.load(SeqCst) < 3_000 {
                    let end = stable.load(SeqCst);
                    let from = end.saturating_sub(if reader == 0 { 15 } else { 150 }).max(first.load(SeqCst));
                    match store.read(from, end, usize::MAX) {
                        Ok(found) => {
                            assert_eq!(found.len() as u64, end.saturating_sub(from));
                            found.iter().for_each(|(index, bytes)| assert_eq!(*bytes, entry(*index, 60)));
                        }
                        // This reader slept until the purge overtook it.
                        Err(StorageError::Missing { index }) => {
                            assert!(index < store.state().first_index, "{index}")
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        while stable.load(SeqCst) < 3_000 {
            let end = store.state().end();
            append(&store, (end..end + 20).map(|index| (index, entry(index, 60))).collect()).unwrap();
            store.truncate_after(Some(end + 9), Box::new(|_| {}));
            stable.store(end + 10, SeqCst);
            if end > 400 {
                // Readers that start from now on stay clear of what is purged.
                first.store(end - 200, SeqCst);
                wait(|done| store.purge(end - 400, Bytes::new(), done)).unwrap();
            }
        }
    });
}

/// What one read returns was in the log at one moment, also when the end of the log is replaced meanwhile.
#[test]
fn a_read_does_not_mix_what_was_cut_with_what_came_instead() {
    let dir = folder();
    let store = LogStore::open(dir.path(), LogOptions { recent_bytes: 700, ..small() }).unwrap();
    let generation = |number: u64, from: u64| (from..100).map(|index| (index, entry(number, 60))).collect();
    append(&store, generation(0, 0)).unwrap();
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while done.load(SeqCst) == 0 {
                    // It begins in the database, and ends in memory.
                    match store.read(80, 100, usize::MAX) {
                        Ok(found) => {
                            assert!(
                                found.iter().all(|(_, bytes)| *bytes == found[0].1),
                                "of two generations"
                            );
                        }
                        Err(error) => assert!(matches!(error, StorageError::Missing { .. }), "{error}"),
                    }
                }
            });
        }
        for number in 1..2_500 {
            store.truncate_after(Some(79), Box::new(|_| {}));
            // What is flushed leaves the memory, but for the newest.
            if number % 4 == 0 {
                append(&store, generation(number, 80)).unwrap();
            } else {
                store.append(generation(number, 80), Box::new(|_| {})).unwrap();
            }
        }
        done.store(1, SeqCst);
    });
}

/// sled never syncs the files into which it moves large messages; with our record sizes there must be none.
#[test]
fn no_record_is_moved_out_of_the_database_file() {
    // Too little journal for what is written, so most of it moves to the database.
    let large = LogOptions { journal_bytes: 6 << 20, ..LogOptions::default() };
    for (options, largest) in [(small(), 3_000), (large, 300_000)] {
        let dir = folder();
        let store = LogStore::open(dir.path(), options.clone()).unwrap();
        for round in 0..60u64 {
            let next = store.state().end();
            let entries = (next..next + 1 + round % 7)
                .map(|index| (index, entry(index, largest / (1 + round as usize % 5))));
            append(&store, entries.collect()).unwrap();
            if round % 10 == 9 {
                wait(|done| store.purge(next - 8, Bytes::new(), done)).unwrap();
            }
            let blobs = std::fs::read_dir(dir.path().join("sled/blobs")).unwrap().count();
            assert_eq!(blobs, 0, "after round {round}");
        }
        let before = held(&store);
        drop(store);
        assert_eq!(held(&LogStore::open(dir.path(), options).unwrap()), before);
    }
}

/// Counts what the database gets.
struct Counted {
    inner: Arc<dyn Engine>,
    bytes: Arc<AtomicU64>,
}

impl Engine for Counted {
    fn apply(&self, changes: Vec<Mutation>) -> std::io::Result<()> {
        let put = changes.iter().map(|change| match change {
            Mutation::Put { value, .. } => value.len() as u64,
            Mutation::Delete { .. } => 0,
        });
        self.bytes.fetch_add(put.sum(), SeqCst);
        self.inner.apply(changes)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.inner.flush()
    }
    fn get(&self, key: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> std::io::Result<()> {
        self.inner.scan(visit)
    }
}

/// A log that fits the journal stays there: the database only learns up to where the journal was written again.
#[test]
fn what_is_purged_in_time_never_reaches_the_database() {
    let options = LogOptions { journal_bytes: 4 << 20, ..small() };
    for aside in [false, true] {
        let options = LogOptions { checkpoint_in_background: aside, ..options.clone() };
        let (dir, bytes) = (folder(), Arc::new(AtomicU64::new(0)));
        let counter = bytes.clone();
        let counted = |inner| Arc::new(Counted { inner, bytes: counter }) as Arc<dyn Engine>;
        let store = LogStoreBuilder::new(options.clone()).wrap_database(counted).open(dir.path()).unwrap();
        let (rounds, a_round) = (100, 50);
        for first in (0..rounds).map(|round| round * a_round) {
            append(&store, (first..first + a_round).map(|index| (index, entry(index, 400))).collect())
                .unwrap();
            if first > 100 {
                wait(|done| store.purge(first - 100, entry(first, 16), done)).unwrap();
            }
        }
        let (written, in_database) = (rounds * a_round * 400, bytes.load(SeqCst));
        println!("{written} bytes written, {in_database} of them to the database");
        // How far the thread of its own is behind depends on the machine.
        assert!(aside || in_database < written / 10, "{in_database} of {written} bytes");
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        // A round fills a dozen files, and three rounds are kept.
        assert!(aside || files < 300, "the journal's files are written again: {files}");
        let before = held(&store);
        drop(store);
        assert_eq!(held(&LogStore::open(dir.path(), options).unwrap()), before);
    }
}

/// Where writes are large, the space of new files is only reserved.
#[test]
fn large_entries_are_there_after_a_reopen() {
    for aside in [false, true] {
        let options = LogOptions {
            checkpoint_in_background: aside,
            journal_file_bytes: 1 << 20,
            journal_bytes: 32 << 20,
            ..small()
        };
        let dir = folder();
        let store = LogStore::open(dir.path(), options.clone()).unwrap();
        for index in 0..40 {
            append(&store, vec![(index, entry(index, 300 << 10))]).unwrap();
        }
        let before = held(&store);
        assert_eq!(before.entries.len(), 40);
        drop(store);
        assert_eq!(held(&LogStore::open(dir.path(), options).unwrap()), before);
    }
}

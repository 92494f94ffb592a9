//! The log on disk: from handing entries over until they are durable.

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use lockstep::storage::{LogOptions, LogStore};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Flushes are what it costs, so it has to be a disk.
const DISK: &str = "/var/tmp";
/// About what a put of 128 bytes takes in the log.
const ENTRY_BYTES: usize = 200;
/// Entries that a node keeps behind its snapshot, and how often it removes those before.
const KEPT: u64 = 20_000;
const PURGE_EVERY: u64 = 10_000;

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("append to a log in {DISK}"));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5)).sample_size(30);
    for entries in [1, 16, 128] {
        let folder = tempfile::tempdir_in(DISK).expect("a folder");
        let mut log = Log::open(folder.path());
        group.throughput(Throughput::Elements(entries));
        group.bench_function(format!("{entries} of {ENTRY_BYTES} bytes, until durable"), |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| log.append(entries)).sum());
        });
    }
    group.finish();
}

struct Log {
    store: LogStore,
    next: u64,
    purged: u64,
}

impl Log {
    fn open(folder: &std::path::Path) -> Self {
        let store = LogStore::open(folder, LogOptions::default()).expect("a log");
        Self { store, next: 0, purged: 0 }
    }

    /// Appends; how long until it was durable.
    fn append(&mut self, count: u64) -> Duration {
        let payload = Bytes::from(vec![7; ENTRY_BYTES]);
        let entries = (self.next..self.next + count).map(|index| (index, payload.clone())).collect();
        self.next += count;
        let (done, ended) = mpsc::channel();
        let tell = Box::new(move |result| done.send(result).expect("it is waited for"));
        let begun = Instant::now();
        self.store.append(entries, tell).expect("it is taken");
        ended.recv().expect("it is told").expect("it is durable");
        let took = begun.elapsed();
        self.purge();
        took
    }

    /// Keeps the log from growing; this does not count.
    fn purge(&mut self) {
        if self.next < self.purged + KEPT + PURGE_EVERY {
            return;
        }
        self.purged = self.next - KEPT;
        let (done, ended) = mpsc::channel();
        let tell = Box::new(move |result| done.send(result).expect("it is waited for"));
        self.store.purge(self.purged, Bytes::new(), tell);
        ended.recv().expect("it is told").expect("it is durable");
    }
}

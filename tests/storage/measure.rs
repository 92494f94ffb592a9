//! Measurements behind `docs/adr/0002-how-sled-is-used.md`.
//!
//! `LOCKSTEP_MEASURE_DIR=. cargo test --release --test storage measure -- --nocapture --test-threads 1`;
//! without the variable there is nothing to do.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep::storage::{LogOptions, LogStore};

use crate::support::{append, wait};

/// CPU time of the whole process, user and system.
fn cpu() -> Duration {
    // SAFETY: getrusage only writes into the struct it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

fn disk(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(dir.join("sled/db")).unwrap().blocks() * 512
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn measure_appends() {
    let Ok(base) = std::env::var("LOCKSTEP_MEASURE_DIR") else { return };
    let segment = std::env::var("LOCKSTEP_MEASURE_SEGMENT").ok().and_then(|kib| kib.parse::<usize>().ok());
    for (batch, size, batches) in [(128u64, 200, 4_000u64), (1, 200, 4_000), (128, 4_000, 400)] {
        let dir = tempfile::tempdir_in(&base).unwrap();
        let mut options = LogOptions { recent_bytes: 1 << 20, ..LogOptions::default() };
        options.segment_bytes = segment.map_or(options.segment_bytes, |kib| kib << 10);
        let store = LogStore::open(dir.path(), options.clone()).unwrap();
        let payload = Bytes::from(vec![7; size]);
        let (started, cpu_before) = (Instant::now(), cpu());
        for round in 0..batches {
            let first = round * batch;
            append(&store, (first..first + batch).map(|index| (index, payload.clone())).collect()).unwrap();
            if round % 64 == 63 && first > 20_000 {
                wait(|done| store.purge(first - 20_000, Bytes::new(), done)).unwrap();
            }
        }
        let (took, cpu) = (started.elapsed(), cpu() - cpu_before);
        let stats = store.fsync_stats();
        let entries = batch * batches;
        println!(
            "batch {batch} x {size} B: {:.2} us CPU an entry, {:.0} us a batch, flush {:.0} us of it; \
             file {:.1} MB, resident {:.1} MB, log {:.1} MB",
            cpu.as_secs_f64() * 1e6 / entries as f64,
            took.as_secs_f64() * 1e6 / batches as f64,
            stats.total.as_secs_f64() * 1e6 / stats.count as f64,
            disk(dir.path()) as f64 / 1e6,
            resident() as f64 / 1e6,
            store.log_bytes() as f64 / 1e6,
        );
        println!("  blob files: {}", std::fs::read_dir(dir.path().join("sled/blobs")).unwrap().count());
        drop(store);
        let started = Instant::now();
        let store = LogStore::open(dir.path(), options).unwrap();
        println!("  reopened and verified in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
        drop(store);
    }
}

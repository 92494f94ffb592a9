//! The part of `/metrics` about this process, under the names that Prometheus' client libraries use.

use crate::node::ProcessMemory;
use std::fmt::{Result, Write};
use std::fs;

/// Writes the resources that the process uses, as far as the system says. It reads files that are not on a disk, so it does
/// not block.
pub(super) fn write_process(out: &mut String) -> Result {
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            ProcessMemory::now().map(ProcessMemory::total),
        ),
        ("process_open_fds", "Number of open file descriptors.", open_files()),
        ("process_max_fds", "Maximum number of open file descriptors.", open_files_max()),
        ("process_threads", "Number of threads.", count("/proc/self/task")),
        ("lockstep_tasks", "Tasks of the runtime that have not ended.", tasks()),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")?;
        }
    }
    Ok(())
}

/// Without the one that the listing itself opens.
fn open_files() -> Option<u64> {
    count("/proc/self/fd").map(|files| files.saturating_sub(1))
}

fn open_files_max() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit only writes into the struct it is given.
    (unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0).then_some(limit.rlim_cur)
}

fn count(folder: &str) -> Option<u64> {
    Some(fs::read_dir(folder).ok()?.count() as u64)
}

fn tasks() -> Option<u64> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    Some(runtime.metrics().num_alive_tasks() as u64)
}

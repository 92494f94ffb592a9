//! How many files this process may open: each connection is one.

/// Open files that a node needs besides those for its clients' connections: its data, its peers' connections, those of
/// unidentified callers of the peer port, and those for probes.
const FILES_RESERVED: u64 = 384;

/// How many client connections the system's limit of open files allows, after raising that limit as far as possible.
pub(super) fn connections(wanted: usize) -> usize {
    let Some(files) = raise_open_files() else { return wanted };
    let left = files - FILES_RESERVED.min(files / 2);
    let given = wanted.min(usize::try_from(left).unwrap_or(usize::MAX)).max(1);
    if given < wanted {
        tracing::warn!(
            wanted,
            given,
            files,
            "fewer connections than asked for: this process may open few files"
        );
    }
    given
}

/// Raises the limit of open files to what the administrator allows, and returns it. Shells set a low one.
fn raise_open_files() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit only writes into the struct it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: setrlimit only reads the struct it is given.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
    Some(if done { limit.rlim_max } else { limit.rlim_cur })
}

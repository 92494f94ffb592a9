//! How much memory the system says that this process has resident.

use std::fs;

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Of what the process has allocated, its stacks included.
    pub anonymous: u64,
    /// Pages of files: the program and its libraries.
    pub files: u64,
}

impl ProcessMemory {
    /// Now. `None` on systems that do not say it as Linux does. What is read is not on a disk, so it does not block.
    pub fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
        };
        Some(Self { anonymous: of("RssAnon:")?, files: of("RssFile:")? + of("RssShmem:")? })
    }

    pub fn total(self) -> u64 {
        self.anonymous + self.files
    }
}

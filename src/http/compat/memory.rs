//! The memory of this process, under the names that Node.js uses.

use serde::Serialize;

/// In bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    /// Resident memory.
    rss: u64,
    /// The part that belongs to this process alone.
    heap_total: u64,
    /// What the entries of the cache count.
    heap_used: u64,
    /// The part that is mapped from files.
    external: u64,
}

impl Memory {
    /// As the kernel says; a figure that it does not give is 0.
    pub async fn of_this_process(entries: u64) -> Self {
        let status = tokio::fs::read_to_string("/proc/self/status").await.unwrap_or_default();
        Self { heap_used: entries, ..Self::parse(&status) }
    }

    fn parse(status: &str) -> Self {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
            kib.unwrap_or(0) * 1_024
        };
        Self {
            rss: bytes("VmRSS"),
            heap_total: bytes("RssAnon"),
            heap_used: 0,
            external: bytes("RssFile") + bytes("RssShmem"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let status = "Name:\tlockstep\nVmRSS:\t    1200 kB\nRssAnon:\t    1000 kB\nRssFile:\t     150 kB\nRssShmem:\t      50 kB\n";
        let memory = Memory { rss: 1_228_800, heap_total: 1_024_000, heap_used: 0, external: 204_800 };
        assert_eq!(Memory::parse(status), memory);
        assert_eq!(Memory::parse(""), Memory::default());
    }
}

//! What this process takes of the machine's memory, under the names that Node.js has for it.

use serde::Serialize;

/// In bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    /// All that is in the machine's memory.
    rss: u64,
    /// Of that, what belongs to this process alone.
    heap_total: u64,
    /// What the cache's entries count.
    heap_used: u64,
    /// What is mapped from files.
    external: u64,
}

impl Memory {
    /// Asks the kernel; what it does not tell is 0.
    pub async fn of_this_process(entries: u64) -> Self {
        let told = tokio::fs::read_to_string("/proc/self/status").await.unwrap_or_default();
        Self { heap_used: entries, ..Self::told(&told) }
    }

    fn told(status: &str) -> Self {
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
        assert_eq!(Memory::told(status), memory);
        assert_eq!(Memory::told(""), Memory::default());
    }
}

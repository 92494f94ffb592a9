//! What a node takes of its machine, and what it keeps.

use super::Node;
use std::path::Path;

/// A node's own figures at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gauges {
    /// Log entries applied.
    pub applied: f64,
    /// The term of the node's vote.
    pub term: f64,
    /// Resident bytes.
    pub rss: f64,
    /// Bytes of the blocks of all files in its folder.
    pub disk: f64,
    /// Open file descriptors.
    pub fds: f64,
    /// Tasks of the runtime that have not ended.
    pub tasks: f64,
    /// Bytes of the entries in the log.
    pub log: f64,
}

/// Asks a running node.
///
/// # Errors
/// The node did not answer.
pub async fn gauges(http: &reqwest::Client, node: &Node) -> Result<Gauges, reqwest::Error> {
    let metrics = http.get(format!("{}/metrics", node.http)).send().await?.text().await?;
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing")).parse::<f64>().expect("a number")
    };
    Ok(Gauges {
        applied: metric("lockstep_raft_applied_index"),
        term: metric("lockstep_raft_term"),
        rss: metric("process_resident_memory_bytes"),
        disk: folder_bytes(&node.data_dir) as f64,
        fds: metric("process_open_fds"),
        tasks: metric("lockstep_tasks"),
        log: metric("lockstep_log_bytes"),
    })
}

/// Bytes of the blocks that a folder's files take. Files come and go meanwhile.
pub fn folder_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

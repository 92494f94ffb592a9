//! What a near cache is asked for, and what it answers.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Not older than what was acknowledged before the read began. Always asks the cluster, which does not send the value again if
    /// it is the same.
    Linearizable,
    /// Not older than what was written through this near cache, nor than any value that it has read.
    Session,
    /// It was the truth at most so long ago.
    MaxStale(Duration),
    /// What is here, however old; also without a connection.
    Any,
}

/// A value, as a near cache holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearEntry {
    pub value: Bytes,
    pub content_type: Option<String>,
    pub revision: u64,
}

/// What a key has: nothing, if there is no such key.
pub type Held = Option<Arc<NearEntry>>;

/// What a near cache does.
#[derive(Debug, Clone)]
pub struct NearOptions {
    /// Which keys it holds: those that start with one of these, up to 16; all if there are none. Others are read from the cluster.
    pub prefixes: Vec<String>,
    /// The most keys.
    pub max_entries: usize,
    /// About the most bytes of memory.
    pub max_bytes: usize,
    /// A key that is held and changes gets its new value from the stream of changes; otherwise it is dropped.
    pub updates: bool,
    /// How often to ask the cluster for its index while changes come without a pause, and reads with [`Want::MaxStale`] are made.
    pub probe: Duration,
    /// Comes before the key in the names of the locks of [`super::NearCache::get_or_fill`].
    pub lock_prefix: String,
}

impl Default for NearOptions {
    /// All keys, 10,000 of them, 64 MiB.
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            max_entries: 10_000,
            max_bytes: 64 << 20,
            updates: false,
            probe: Duration::from_secs(1),
            lock_prefix: "fill:".to_owned(),
        }
    }
}

impl NearOptions {
    pub(super) fn holds(&self, key: &str) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
    }
}

/// What a near cache has done since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearStats {
    /// Reads that were answered here.
    pub hits: u64,
    /// Reads that went to the cluster.
    pub misses: u64,
    /// Of these, those for which the value that was held is still right.
    pub validated: u64,
    /// Answers that were not kept, because the key was told to have changed meanwhile.
    pub discarded: u64,
    pub evictions: u64,
    pub entries: usize,
    /// About how many bytes of memory they take.
    pub bytes: usize,
    /// How long ago all that is held was known to be the truth; `None` if that was never known.
    pub age: Option<Duration>,
}

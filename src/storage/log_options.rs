//! The sizes of a log store, and what follows from them.

/// Sizes of a log store.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes of recent entries kept in memory for reads.
    pub recent_bytes: usize,
    /// Bytes that sled may use for its page cache.
    pub page_cache_bytes: u64,
    /// Bytes of one sled segment, a power of two. Fixed when the folder is created. sled has several write buffers of that
    /// size.
    pub segment_bytes: usize,
    /// Bytes of each of the journal's files. Two full flushes fit, so that one file can be filled while another is created,
    /// or goes to the database, however large the entries are.
    pub journal_file_bytes: usize,
    /// Bytes that the journal's files may have together. Records beyond that move to sled, which keeps them in memory.
    pub journal_bytes: u64,
    /// Whether checkpoints run on a thread of their own. Otherwise the writer runs them, so that nothing changes the folder
    /// while nothing is written.
    pub checkpoint_in_background: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            recent_bytes: 16 << 20,
            page_cache_bytes: 16 << 20,
            segment_bytes: 2 << 20,
            journal_file_bytes: 2 << 20,
            journal_bytes: 256 << 20,
            checkpoint_in_background: true,
        }
    }
}

impl LogOptions {
    /// The largest page, which is one record of sled's. sled rewrites a leaf of up to 20 records as one message, and moves a
    /// message of more than a quarter of a segment to a file of its own that it never syncs. So a segment must hold 4 * 20
    /// pages, and some headers.
    pub(super) fn page_bytes(&self) -> usize {
        self.segment_bytes / 85
    }

    /// The most bytes of entries in a record: a full record fits a page.
    pub(super) fn record_bytes(&self) -> usize {
        self.page_bytes() - 64
    }

    /// The most pages in one flush of sled's. Each may make sled rewrite a leaf of 17, and all of that must be less than a
    /// segment: a new segment's header declares everything before it stable, so a flush must not start two segments.
    pub(super) fn pages_a_flush(&self) -> usize {
        self.segment_bytes / (self.page_bytes() * 18)
    }

    /// About the most bytes of entries in one flush of the journal.
    pub(super) fn flush_bytes(&self) -> usize {
        self.journal_file_bytes / 2
    }

    /// The most files of the journal.
    pub(super) fn journal_files(&self) -> usize {
        usize::try_from(self.journal_bytes / self.journal_file_bytes as u64).unwrap_or(usize::MAX)
    }
}

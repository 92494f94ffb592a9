//! Writes large files and syncs them as it goes, so that the log's flushes fit in between. A large file that is synced
//! only at its end delays the log's next flush by all of it, because file systems order a flush after data that was
//! written before.

use std::fs::File;
use std::io::{self, Write};

/// Bytes written between two syncs.
const SYNC_BYTES: usize = 1024 * 1024;

/// Writes to a file and syncs it as it goes.
#[derive(Debug)]
pub(super) struct SyncedWriter<F> {
    file: F,
    unsynced: usize,
}

impl<F: std::ops::Deref<Target = File>> SyncedWriter<F> {
    pub fn new(file: F) -> Self {
        Self { file, unsynced: 0 }
    }
}

impl<F: std::ops::Deref<Target = File>> Write for SyncedWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file: &File = &self.file;
        let written = file.write(&bytes[..bytes.len().min(SYNC_BYTES)])?;
        self.unsynced += written;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Bulk writing that leaves the disk to others in between. A large file written in one go would be flushed
//! in one go, and the log's next flush would wait behind all of it: file systems order a flush after data
//! that was written before.

use std::fs::File;
use std::io::{self, Write};

/// Bytes written between two syncs.
const PACE_BYTES: usize = 1024 * 1024;

/// Writes to a file and syncs it as it goes.
#[derive(Debug)]
pub(super) struct Paced<F> {
    file: F,
    unsynced: usize,
}

impl<F: std::ops::Deref<Target = File>> Paced<F> {
    pub fn new(file: F) -> Self {
        Self { file, unsynced: 0 }
    }
}

impl<F: std::ops::Deref<Target = File>> Write for Paced<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file: &File = &self.file;
        let written = file.write(&bytes[..bytes.len().min(PACE_BYTES)])?;
        self.unsynced += written;
        if self.unsynced >= PACE_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

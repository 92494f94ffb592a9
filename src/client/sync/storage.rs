//! Where a synchronizer keeps its journal.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Lines of text, which are appended, and now and then all replaced. One call at a time.
pub trait SyncStorage: Send + Sync {
    /// All lines, oldest first.
    fn load(&self) -> BoxFuture<'_, io::Result<Vec<String>>>;
    /// Appends lines. Ends when they survive a crash; after an error some of them, or a part of one, may be there.
    fn append(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>>;
    /// Replaces all lines. After a crash or an error either the old ones or the new ones are there.
    fn replace(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>>;
    /// Keeps damaged lines for people to look at.
    fn set_aside(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>>;
    /// After this it can be loaded again.
    fn close(&self) -> BoxFuture<'_, io::Result<()>>;
}

/// Keeps the journal in memory: what was not sent when the process ends is lost.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    lines: Mutex<Vec<String>>,
    aside: Mutex<Vec<String>>,
}

impl MemoryStorage {
    /// A storage with these lines.
    pub fn with_lines(lines: Vec<String>) -> Self {
        Self { lines: Mutex::new(lines), aside: Mutex::default() }
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.lines).clone()
    }

    /// Lines that were set aside.
    pub fn aside(&self) -> Vec<String> {
        locked(&self.aside).clone()
    }
}

impl SyncStorage for MemoryStorage {
    fn load(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        async { Ok(self.lines()) }.boxed()
    }

    fn append(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        async {
            locked(&self.lines).extend(lines);
            Ok(())
        }
        .boxed()
    }

    fn replace(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        async {
            *locked(&self.lines) = lines;
            Ok(())
        }
        .boxed()
    }

    fn set_aside(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        async {
            locked(&self.aside).extend(lines);
            Ok(())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

/// Nothing that is done under these locks leaves half of it.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

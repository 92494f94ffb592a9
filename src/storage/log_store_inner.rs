//! What all handles of a log store share, and the end of its writer.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::files::FolderLock;
use super::shared::Shared;
use super::writer::Writer;

/// Who runs the writer.
pub(super) enum WriterHandle {
    /// A thread of its own.
    Thread(JoinHandle<()>),
    /// The caller, one batch at a time.
    Caller(Box<Writer>),
    /// The writer has stopped.
    Stopped,
}

/// Stops the writer when the last handle is dropped.
pub(super) struct LogStoreInner {
    pub shared: Arc<Shared>,
    writer: Mutex<WriterHandle>,
    _lock: Option<FolderLock>,
}

impl LogStoreInner {
    pub fn new(shared: Arc<Shared>, writer: WriterHandle, lock: Option<FolderLock>) -> LogStoreInner {
        LogStoreInner { shared, writer: Mutex::new(writer), _lock: lock }
    }

    /// Writes a batch of what is queued, if the caller runs the writer.
    pub fn flush_batch(&self) -> bool {
        match &mut *self.writer.lock().expect("not poisoned") {
            WriterHandle::Caller(writer) => {
                self.shared.due_batch().is_some_and(|ops| writer.flush_batch(ops))
            }
            WriterHandle::Thread(_) | WriterHandle::Stopped => false,
        }
    }

    pub fn stop(&self) {
        self.shared.close();
        let writer =
            std::mem::replace(&mut *self.writer.lock().expect("not poisoned"), WriterHandle::Stopped);
        // A callback may drop the last handle on the writer thread itself, which cannot wait for its own end.
        if let WriterHandle::Thread(thread) = writer
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for LogStoreInner {
    fn drop(&mut self) {
        self.stop();
    }
}

//! How much of what a connection carries may wait: what was received and is not dealt with, and what is to be sent and is not
//! written. Then no more is read, so that the other side waits, too; nothing is thrown away.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Waker};
use tokio::sync::Notify;

/// The window of a connection whose client sends much.
pub(super) struct FlowWindow {
    /// Bytes of messages that wait to be dealt with, and how many may.
    queued: AtomicU64,
    queued_max: u64,
    /// Bytes received since the last whole message, and how many may be.
    since_message: AtomicU64,
    message_max: u64,
    /// Whoever wants to read more.
    reader: Mutex<Option<Waker>>,
    written: AtomicU64,
    progress: Notify,
}

impl FlowWindow {
    /// At most about `queued_max` bytes wait to be dealt with, and a message has at most `message_max`.
    pub fn new(queued_max: u64, message_max: u64) -> Self {
        Self {
            queued: AtomicU64::new(0),
            queued_max,
            since_message: AtomicU64::new(0),
            message_max,
            reader: Mutex::new(None),
            written: AtomicU64::new(0),
            progress: Notify::new(),
        }
    }

    /// Whether more may be read. If not, the task is woken when it may.
    pub(super) fn has_room(&self, context: &Context<'_>) -> bool {
        if self.queued() < self.queued_max {
            return true;
        }
        *self.reader.lock().expect("no panic while held") = Some(context.waker().clone());
        // It may have been dealt with meanwhile.
        self.queued() < self.queued_max
    }

    /// Counts bytes that were received.
    ///
    /// # Errors
    /// A message is too long.
    pub(super) fn note_read(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes as u64;
        if self.since_message.fetch_add(bytes, SeqCst) + bytes > self.message_max {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the client sent too long a message",
            ));
        }
        Ok(())
    }

    /// A whole message has arrived, and waits.
    pub fn enqueue(&self, bytes: u64) {
        self.since_message.store(0, SeqCst);
        self.queued.fetch_add(bytes, SeqCst);
    }

    /// A message of so many bytes was dealt with.
    pub fn release(&self, bytes: u64) {
        self.queued.fetch_sub(bytes, SeqCst);
        if self.queued() < self.queued_max
            && let Some(reader) = self.reader.lock().expect("no panic while held").take()
        {
            reader.wake();
        }
    }

    /// Bytes of messages that wait to be dealt with.
    pub fn queued(&self) -> u64 {
        self.queued.load(SeqCst)
    }

    pub(super) fn note_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, SeqCst);
        self.progress.notify_waiters();
    }

    /// Bytes that were written since the connection has this window.
    pub fn written(&self) -> u64 {
        self.written.load(SeqCst)
    }

    /// Is notified when something was written.
    pub fn progress(&self) -> &Notify {
        &self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_full_window_stops_reading_until_something_was_dealt_with() {
        let window = FlowWindow::new(100, 1_000);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let context = Context::from_waker(&waker);
        window.enqueue(60);
        assert!(window.has_room(&context));
        window.enqueue(60);
        assert!(!window.has_room(&context));
        assert_eq!(woken.0.load(SeqCst), 0);
        window.release(60);
        assert_eq!((woken.0.load(SeqCst), window.has_room(&context), window.queued()), (1, true, 60));
    }

    #[test]
    fn a_message_has_an_end() {
        let window = FlowWindow::new(100, 1_000);
        for _ in 0..3 {
            window.note_read(900).unwrap();
            window.enqueue(0);
        }
        window.note_read(1_000).unwrap();
        assert_eq!(window.note_read(1).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}

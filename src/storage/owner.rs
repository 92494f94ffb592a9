//! Who has a log store's data written, and the end of that.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::files::FolderLock;
use super::shared::Shared;
use super::writer::Writer;

/// Who lets the writer write.
pub(super) enum Hand {
    /// A thread of its own, which has it.
    Thread(JoinHandle<()>),
    /// The caller, round by round.
    Caller(Box<Writer>),
    /// Nobody any more.
    Nobody,
}

/// Stops the writer when the last handle goes.
pub(super) struct Owner {
    pub shared: Arc<Shared>,
    hand: Mutex<Hand>,
    _lock: Option<FolderLock>,
}

impl Owner {
    pub fn new(shared: Arc<Shared>, hand: Hand, lock: Option<FolderLock>) -> Owner {
        Owner { shared, hand: Mutex::new(hand), _lock: lock }
    }

    /// Writes about one flush of what waits, if that is the caller's to do.
    pub fn write_round(&self) -> bool {
        match &mut *self.hand.lock().expect("not poisoned") {
            Hand::Caller(writer) => self.shared.due_round().is_some_and(|ops| writer.round(ops)),
            Hand::Thread(_) | Hand::Nobody => false,
        }
    }

    pub fn stop(&self) {
        self.shared.close();
        let hand = std::mem::replace(&mut *self.hand.lock().expect("not poisoned"), Hand::Nobody);
        // A callback may drop the last handle on the writer thread itself, which cannot wait for its own end.
        if let Hand::Thread(thread) = hand
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}

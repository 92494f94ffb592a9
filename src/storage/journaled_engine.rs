//! The database behind a journal. A batch is flushed once the journal has it. A *checkpoint* writes the batches of a whole
//! journal file to the database, merged, on a thread of its own, before that file is written again.
//!
//! A flush of sled's own costs four times as much as a write and a sync (`docs/adr/0002`, `0007`). Entries that are purged
//! before the checkpoint never reach sled at all, and the rest reaches it in few large pages (`docs/adr/0008`).

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::thread::{self, JoinHandle};

use super::journal::{self, Journal};
use super::manifest::{self, Manifest};
use super::pages::{Mutations, Pages};
use super::{Engine, LogOptions, Mutation};

/// The database, and what it does not have yet.
pub(super) struct JournaledEngine {
    pages: Arc<Pages>,
    ahead: RwLock<Ahead>,
    writing: Mutex<Writing>,
    /// `None` where the writer itself runs the checkpoints.
    checkpointer: Option<Checkpointer>,
}

/// What the database does not have yet, newest first.
#[derive(Default)]
struct Ahead {
    /// Not flushed.
    fresh: Mutations,
    /// In the journal's current file.
    journaled: Mutations,
    /// In the other one, and being written to the database.
    in_checkpoint: Arc<Mutations>,
}

struct Writing {
    journal: Journal,
    /// The encoded batches that are not flushed.
    pending: Vec<u8>,
    /// The number of the newest batch.
    last: u64,
    /// Whether a checkpoint is running.
    checkpointing: bool,
    /// After the first failure, nothing is written any more.
    failed: bool,
}

/// The thread that runs checkpoints.
struct Checkpointer {
    todo: Option<Sender<Arc<Mutations>>>,
    done: Mutex<Receiver<io::Result<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl JournaledEngine {
    /// Opens the journal in `folder`, on top of a database that has everything the journal holds; see [`catch_up`].
    pub(super) fn open(
        folder: &Path,
        pages: Pages,
        manifest: &Manifest,
        options: &LogOptions,
    ) -> io::Result<JournaledEngine> {
        let journal = Journal::open(folder, manifest.store, options.journal_bytes())?;
        let pages = Arc::new(pages);
        let checkpointer =
            if options.checkpoint_in_background { Some(Checkpointer::start(&pages)?) } else { None };
        let (pending, last) = (Vec::new(), manifest.seq);
        let writing = Writing { journal, pending, last, checkpointing: false, failed: false };
        let (ahead, writing) = (RwLock::default(), Mutex::new(writing));
        Ok(JournaledEngine { pages, ahead, writing, checkpointer })
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().expect("not poisoned")
    }

    /// Starts a checkpoint of what was journaled.
    fn begin_checkpoint(&self, writing: &mut Writing) -> io::Result<()> {
        let mutations = {
            let mut ahead = self.ahead.write().expect("not poisoned");
            ahead.in_checkpoint = Arc::new(std::mem::take(&mut ahead.journaled));
            ahead.in_checkpoint.clone()
        };
        writing.checkpointing = true;
        match &self.checkpointer {
            Some(checkpointer) => checkpointer.begin(mutations),
            None => {
                self.pages.checkpoint(&mutations)?;
                self.ended(writing);
                Ok(())
            }
        }
    }

    /// Waits for the running checkpoint.
    fn await_checkpoint(&self, writing: &mut Writing) -> io::Result<()> {
        if let Some(checkpointer) = self.checkpointer.as_ref().filter(|_| writing.checkpointing) {
            checkpointer.wait()?;
            self.ended(writing);
        }
        Ok(())
    }

    /// Notices when the running checkpoint has ended.
    fn poll_checkpoint(&self, writing: &mut Writing) -> io::Result<()> {
        if let Some(checkpointer) = self.checkpointer.as_ref().filter(|_| writing.checkpointing)
            && checkpointer.has_ended()?
        {
            self.ended(writing);
        }
        Ok(())
    }

    fn ended(&self, writing: &mut Writing) {
        self.ahead.write().expect("not poisoned").in_checkpoint = Arc::default();
        writing.checkpointing = false;
    }

    /// Moves what was just made durable to the rest of its file.
    fn flushed(&self, writing: &mut Writing) {
        writing.pending.clear();
        let mut ahead = self.ahead.write().expect("not poisoned");
        let fresh = std::mem::take(&mut ahead.fresh);
        ahead.journaled.extend(fresh);
    }

    /// Brings the database up to date with everything that was applied.
    fn checkpoint_all(&self, writing: &mut Writing) -> io::Result<()> {
        self.await_checkpoint(writing)?;
        let mutations = {
            let ahead = self.ahead.read().expect("not poisoned");
            let mut mutations = ahead.journaled.clone();
            mutations.extend(ahead.fresh.clone());
            mutations
        };
        self.pages.checkpoint(&mutations)?;
        writing.pending.clear();
        writing.journal.turn();
        *self.ahead.write().expect("not poisoned") = Ahead::default();
        Ok(())
    }

    fn write(&self, writing: &mut Writing) -> io::Result<()> {
        self.poll_checkpoint(writing)?;
        let bytes = writing.pending.len();
        if !writing.journal.fits(bytes) {
            return self.checkpoint_all(writing);
        }
        let full = !writing.journal.has_room(bytes);
        if full {
            // The database must have what the other file holds before that is overwritten.
            self.await_checkpoint(writing)?;
            writing.journal.turn();
        }
        writing.journal.write(&writing.pending)?;
        if full {
            self.begin_checkpoint(writing)?;
        }
        self.flushed(writing);
        Ok(())
    }
}

impl Engine for JournaledEngine {
    fn apply(&self, batch: Vec<Mutation>) -> io::Result<()> {
        let seq = number_of(&batch).ok_or_else(|| io::Error::other("a batch without its manifest"))?;
        let mut guard = self.writing();
        let Writing { journal, pending, last, .. } = &mut *guard;
        assert!(seq > *last, "a batch has a higher number than the one before");
        journal.encode(*last, seq, &batch, pending);
        *last = seq;
        let mut ahead = self.ahead.write().expect("not poisoned");
        ahead.fresh.extend(batch.into_iter().map(pair));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut writing = self.writing();
        if writing.failed {
            return Err(io::Error::other("an earlier flush failed"));
        }
        let result = self.write(&mut writing);
        writing.failed |= result.is_err();
        result
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        {
            let ahead = self.ahead.read().expect("not poisoned");
            let newest = [&ahead.fresh, &ahead.journaled, &*ahead.in_checkpoint];
            if let Some(change) = newest.into_iter().find_map(|mutations| mutations.get(key)) {
                return Ok(change.clone());
            }
        }
        self.pages.get(key)
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.checkpoint_all(&mut self.writing())?;
        self.pages.scan(visit)
    }
}

impl Drop for JournaledEngine {
    fn drop(&mut self) {
        // With this checkpoint the next start is quicker. What was flushed is in the journal in any case, and what was not
        // must not become durable after a failure.
        let (Ok(mut writing), Ok(mut ahead)) = (self.writing.lock(), self.ahead.write()) else { return };
        if !writing.failed {
            ahead.fresh.clear();
            drop(ahead);
            let _ = self.checkpoint_all(&mut writing);
        }
    }
}

impl Checkpointer {
    fn start(pages: &Arc<Pages>) -> io::Result<Checkpointer> {
        let (todo, work) = mpsc::channel::<Arc<Mutations>>();
        let (ended, done) = mpsc::channel();
        let pages = pages.clone();
        let run = move || {
            while let Ok(mutations) = work.recv() {
                let result = pages.checkpoint(&mutations);
                drop(mutations);
                if ended.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("log-checkpoint".into()).spawn(run)?;
        Ok(Checkpointer { todo: Some(todo), done: Mutex::new(done), thread: Some(thread) })
    }

    fn begin(&self, mutations: Arc<Mutations>) -> io::Result<()> {
        let sent = self.todo.as_ref().map(|todo| todo.send(mutations));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(gone()) }
    }

    fn wait(&self) -> io::Result<()> {
        self.done.lock().expect("not poisoned").recv().map_err(|_| gone())?
    }

    fn has_ended(&self) -> io::Result<bool> {
        match self.done.lock().expect("not poisoned").try_recv() {
            Ok(result) => result.map(|()| true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err(gone()),
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.todo = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that runs checkpoints has ended")
}

/// Writes the batches to the database that only the journal in `folder` has: those after number `seq`. The database is then
/// as the last acknowledged flush left it, or one flush further.
///
/// # Errors
/// Reading or writing failed; or, as `InvalidData`, a batch is missing before others.
pub(super) fn catch_up(folder: &Path, pages: &Pages, store: [u8; 16], seq: u64) -> io::Result<()> {
    let (mut last, mut mutations) = (seq, Mutations::new());
    for batch in journal::read(folder, store)? {
        if batch.seq <= seq {
            continue;
        }
        if batch.follows != last {
            let (found, missing) = (batch.seq, batch.follows);
            let what = format!("it holds flush {found}, but flush {missing} before it is missing");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        last = batch.seq;
        mutations.extend(batch.mutations.into_iter().map(pair));
    }
    // An error while the database writes says nothing about what it holds: that is verified by reading it.
    pages.checkpoint(&mutations).map_err(io::Error::other)
}

fn pair(mutation: Mutation) -> (Vec<u8>, Option<Vec<u8>>) {
    match mutation {
        Mutation::Put { key, value } => (key, Some(value)),
        Mutation::Delete { key } => (key, None),
    }
}

/// The number of a batch: that of its manifest.
fn number_of(batch: &[Mutation]) -> Option<u64> {
    batch.iter().rev().find_map(|mutation| match mutation {
        Mutation::Put { key, value } if key == manifest::KEY => Some(Manifest::decode(value)?.ok()?.seq),
        _ => None,
    })
}

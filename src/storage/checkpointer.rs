//! The thread that writes to the database, and creates the journal's files ahead of need.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::ahead::{self, Newest, RecordKey};
use super::journal::{self, FileToCreate};
use super::pages::{Mutations, Pages};

/// What the database gets so that the oldest files of the journal can be written again.
pub(super) struct Checkpoint {
    /// The number of the last of these files.
    pub last: u32,
    /// What they hold that is the newest under its key, in the order of the keys.
    pub changes: Vec<(RecordKey, Newest)>,
    pub files: BTreeMap<u32, Arc<File>>,
    /// The newest values outside the log, and the manifest of the last batch in these files.
    pub others: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Checkpoint {
    /// Whether the database may get a record under this key.
    pub(super) fn puts(&self, key: &RecordKey) -> bool {
        let found = self.changes.binary_search_by(|(changed, _)| changed.cmp(key));
        found.is_ok_and(|at| matches!(self.changes[at].1, Newest::Put(_)))
    }

    /// Writes everything to the database.
    ///
    /// Records that later batches removed are left out, although the manifest counts them. A start gets to these batches
    /// before it compares anything with a manifest, for they stay in the journal.
    pub(super) fn write(&self, pages: &Pages) -> io::Result<()> {
        let mut mutations = Mutations::new();
        for (key, newest) in &self.changes {
            let value = match newest {
                Newest::Put(place) => Some(ahead::read(&self.files[&place.file], *place)?),
                Newest::Deleted { .. } => None,
            };
            mutations.insert(key.to_vec(), value);
        }
        mutations.extend(self.others.iter().map(|(key, value)| (key.clone(), Some(value.clone()))));
        pages.checkpoint(&mutations)
    }
}

enum Task {
    Checkpoint(Arc<Checkpoint>),
    Create(FileToCreate),
}

/// What the thread has done.
pub(super) enum Done {
    Checkpoint,
    Created { name: u32, file: Arc<File> },
}

pub(super) struct Checkpointer {
    todo: Option<Sender<Task>>,
    done: Mutex<Receiver<io::Result<Done>>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(pages: &Arc<Pages>) -> io::Result<Checkpointer> {
        let (todo, work) = mpsc::channel();
        let (ended, done) = mpsc::channel();
        let pages = pages.clone();
        let run = move || {
            while let Ok(task) = work.recv() {
                let result = match task {
                    Task::Checkpoint(checkpoint) => checkpoint.write(&pages).map(|()| Done::Checkpoint),
                    Task::Create(FileToCreate { name, path, bytes, fill }) => {
                        journal::create(&path, bytes, fill).map(|file| Done::Created { name, file })
                    }
                };
                if ended.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("log-checkpoint".into()).spawn(run)?;
        Ok(Checkpointer { todo: Some(todo), done: Mutex::new(done), thread: Some(thread) })
    }

    pub(super) fn checkpoint(&self, checkpoint: Arc<Checkpoint>) -> io::Result<()> {
        self.send(Task::Checkpoint(checkpoint))
    }

    pub(super) fn create(&self, file: FileToCreate) -> io::Result<()> {
        self.send(Task::Create(file))
    }

    fn send(&self, task: Task) -> io::Result<()> {
        let sent = self.todo.as_ref().map(|todo| todo.send(task));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(gone()) }
    }

    /// Waits until the next task is done.
    pub(super) fn wait(&self) -> io::Result<Done> {
        self.done.lock().expect("not poisoned").recv().map_err(|_| gone())?
    }

    /// A task that is done, if there is one.
    pub(super) fn poll(&self) -> io::Result<Option<Done>> {
        match self.done.lock().expect("not poisoned").try_recv() {
            Ok(result) => result.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
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

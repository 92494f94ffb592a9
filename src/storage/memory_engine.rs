//! A database in memory, for unit tests.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{Engine, Mutation};

/// What it holds, and how often single values were read of it.
#[derive(Default)]
pub(crate) struct MemoryEngine {
    held: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    pub(crate) gets: AtomicUsize,
}

impl Engine for MemoryEngine {
    fn apply(&self, batch: Vec<Mutation>) -> io::Result<()> {
        let mut held = self.held.lock().expect("not poisoned");
        for mutation in batch {
            match mutation {
                Mutation::Put { key, value } => held.insert(key, value),
                Mutation::Delete { key } => held.remove(&key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.gets.fetch_add(1, SeqCst);
        Ok(self.held.lock().expect("not poisoned").get(key).cloned())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.held.lock().expect("not poisoned").iter().for_each(|(key, value)| visit(key, value));
        Ok(())
    }
}

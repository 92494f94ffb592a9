//! A lie for the consistency tests (feature `sabotage`): an engine that says "flushed" and keeps the newest changes
//! in memory for a while, so that the end of the process loses them as the end of power would.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Change, Engine};
use crate::sabotage::FLUSH_EVERY_MS;

pub(super) struct UnflushedEngine {
    below: Arc<dyn Engine>,
    held: Mutex<Held>,
}

struct Held {
    /// What the engine below does not know yet; `None` is a deletion.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    flushed: Instant,
}

impl UnflushedEngine {
    pub fn new(below: Arc<dyn Engine>) -> Self {
        Self { below, held: Mutex::new(Held { changes: BTreeMap::new(), flushed: Instant::now() }) }
    }
}

impl Engine for UnflushedEngine {
    fn apply(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut held = self.held.lock().expect("no panic while held");
        for change in changes {
            match change {
                Change::Put { key, value } => held.changes.insert(key, Some(value)),
                Change::Delete { key } => held.changes.insert(key, None),
            };
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut held = self.held.lock().expect("no panic while held");
        if held.flushed.elapsed() < Duration::from_millis(FLUSH_EVERY_MS) {
            return Ok(());
        }
        let changes = held.changes.iter().map(|(key, value)| match value {
            Some(value) => Change::Put { key: key.clone(), value: value.clone() },
            None => Change::Delete { key: key.clone() },
        });
        self.below.apply(changes.collect())?;
        self.below.flush()?;
        held.changes.clear();
        held.flushed = Instant::now();
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let held = self.held.lock().expect("no panic while held");
        match held.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let held = self.held.lock().expect("no panic while held");
        let mut all = BTreeMap::new();
        self.below.scan(&mut |key, value| {
            all.insert(key.to_vec(), Some(value.to_vec()));
        })?;
        all.extend(held.changes.clone());
        for (key, value) in &all {
            if let Some(value) = value {
                visit(key, value);
            }
        }
        Ok(())
    }
}

//! A fault for the consistency tests (feature `sabotage`): an engine that reports a flush and keeps the newest mutations
//! in memory for a while, so that killing the process loses them as a power cut would.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Engine, Mutation};
use crate::sabotage::FLUSH_EVERY_MS;

pub(super) struct UnflushedEngine {
    inner: Arc<dyn Engine>,
    held: Mutex<Held>,
}

struct Held {
    /// What the inner engine does not have yet; `None` is a deletion.
    mutations: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    flushed: Instant,
}

impl UnflushedEngine {
    pub fn new(inner: Arc<dyn Engine>) -> Self {
        Self { inner, held: Mutex::new(Held { mutations: BTreeMap::new(), flushed: Instant::now() }) }
    }
}

impl Engine for UnflushedEngine {
    fn apply(&self, batch: Vec<Mutation>) -> io::Result<()> {
        let mut held = self.held.lock().expect("no panic while held");
        for mutation in batch {
            match mutation {
                Mutation::Put { key, value } => held.mutations.insert(key, Some(value)),
                Mutation::Delete { key } => held.mutations.insert(key, None),
            };
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut held = self.held.lock().expect("no panic while held");
        if held.flushed.elapsed() < Duration::from_millis(FLUSH_EVERY_MS) {
            return Ok(());
        }
        let batch = held.mutations.iter().map(|(key, value)| match value {
            Some(value) => Mutation::Put { key: key.clone(), value: value.clone() },
            None => Mutation::Delete { key: key.clone() },
        });
        self.inner.apply(batch.collect())?;
        self.inner.flush()?;
        held.mutations.clear();
        held.flushed = Instant::now();
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let held = self.held.lock().expect("no panic while held");
        match held.mutations.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.inner.get(key),
        }
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let held = self.held.lock().expect("no panic while held");
        let mut all = BTreeMap::new();
        self.inner.scan(&mut |key, value| {
            all.insert(key.to_vec(), Some(value.to_vec()));
        })?;
        all.extend(held.mutations.clone());
        for (key, value) in &all {
            if let Some(value) = value {
                visit(key, value);
            }
        }
        Ok(())
    }
}

//! A simulated disk under a node's log: what was not flushed is lost in a power cut, and it fails when told to.
//!
//! It stands where sled does. A batch is there as a whole or not at all, as with sled; batches that were not
//! flushed survive a cut up to any one of them.

use crate::random::Random;
use lockstep::storage::{Engine, Mutation};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// What goes wrong next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// The next batch is not written.
    Write,
    /// The next flush fails; what became of it is not known.
    Flush,
    /// The power goes between a batch and its flush.
    PowerCut,
}

#[derive(Default)]
struct State {
    /// What survives a power cut.
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What reads see.
    visible: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Batches between the two, oldest first.
    unflushed: Vec<Vec<Mutation>>,
    fault: Option<DiskFault>,
    /// Says that it flushed, and did not.
    lies: bool,
    /// Which boot of the machine it belongs to: what an earlier one left running reaches nothing any more.
    boot: u64,
}

/// A machine's disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while held")
    }

    /// For the process that is started now.
    pub fn mount(&self) -> Arc<dyn Engine> {
        let mut state = self.state();
        state.boot += 1;
        Arc::new(Mounted { disk: self.clone(), boot: state.boot })
    }

    /// From now on every flush is a lie.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    pub fn fail_next(&self, fault: DiskFault) {
        self.state().fault = Some(fault);
    }

    /// Whether it is about to fail, or has.
    pub fn is_broken(&self) -> bool {
        self.state().fault.is_some()
    }

    /// It works again.
    pub fn repair(&self) {
        self.state().fault = None;
    }

    /// The process ends. With the power, what was not flushed goes too; some of it may have made it.
    pub fn crash(&self, power_cut: bool, random: &mut Random) {
        let mut state = self.state();
        state.boot += 1;
        state.fault = None;
        let unflushed = std::mem::take(&mut state.unflushed);
        let kept = if !power_cut {
            unflushed.len()
        } else if state.lies {
            0
        } else {
            random.below(unflushed.len() as u64 + 1) as usize
        };
        for batch in unflushed.into_iter().take(kept) {
            apply(&mut state.durable, batch);
        }
        state.visible = state.durable.clone();
    }
}

fn apply(pairs: &mut BTreeMap<Vec<u8>, Vec<u8>>, batch: Vec<Mutation>) {
    for change in batch {
        match change {
            Mutation::Put { key, value } => drop(pairs.insert(key, value)),
            Mutation::Delete { key } => drop(pairs.remove(&key)),
        }
    }
}

/// The disk as one process has it open.
struct Mounted {
    disk: Disk,
    boot: u64,
}

impl Mounted {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.boot == self.boot { Ok(state) } else { Err(io::Error::other("the machine is off")) }
    }
}

impl Engine for Mounted {
    fn apply(&self, changes: Vec<Mutation>) -> io::Result<()> {
        let mut state = self.state()?;
        if state.fault == Some(DiskFault::Write) {
            return Err(io::Error::other("the disk does not write"));
        }
        apply(&mut state.visible, changes.clone());
        state.unflushed.push(changes);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state()?;
        match state.fault {
            Some(DiskFault::Flush) => return Err(io::Error::other("the disk does not flush")),
            Some(DiskFault::PowerCut) => return Err(io::Error::other("the power is gone")),
            Some(DiskFault::Write) | None => {}
        }
        if !state.lies {
            for batch in std::mem::take(&mut state.unflushed) {
                apply(&mut state.durable, batch);
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state()?.visible.get(key).cloned())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.state()?.visible.iter().for_each(|(key, value)| visit(key, value));
        Ok(())
    }
}

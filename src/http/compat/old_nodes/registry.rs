//! The old nodes that are attached to this node, and up to where those were told that are gone.

use crate::replica::wall_ms;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};

/// Old nodes that are attached at a time.
const ATTACHED_MAX: usize = 16;
/// How many that are gone are remembered.
const REMEMBERED_MAX: usize = 64;

/// The old nodes of this node. Clones share them.
#[derive(Clone, Default)]
pub(in crate::http) struct OldNodes(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    next: u64,
    attached: BTreeMap<u64, Arc<OldNode>>,
    /// The name of a node, and the index up to which it was told everything; the newest last.
    remembered: VecDeque<(String, u64)>,
}

/// An old node that is attached.
pub(in crate::http) struct OldNode {
    number: u64,
    pub id: String,
    pub address: String,
    pub socket_id: String,
    since_ms: u64,
    port: Mutex<Option<u16>>,
    ended: watch::Sender<bool>,
    /// It asks for the whole state, or needs it.
    pub resync: Notify,
    /// The log index up to which it was told everything; 0 before the first.
    told_up_to: AtomicU64,
    last_sync_ms: AtomicU64,
    pub counts: Counts,
}

/// Of operations.
#[derive(Default)]
pub(in crate::http) struct Counts {
    pub received: AtomicU64,
    pub refused: AtomicU64,
    pub told: AtomicU64,
    pub full_syncs: AtomicU64,
}

/// An old node, as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(in crate::http) struct OldNodeReport {
    pub node_id: String,
    pub address: String,
    pub port: Option<u16>,
    pub socket_id: String,
    /// When it was attached, and when it last got the whole state, in milliseconds since the Unix epoch; `None` before the first
    /// time.
    pub since_ms: u64,
    pub last_sync_ms: Option<u64>,
    /// The log index up to which it was told everything.
    pub told_up_to: u64,
    /// Operations that came from it, that were refused, and that it was told.
    pub received: u64,
    pub refused: u64,
    pub told: u64,
    pub full_syncs: u64,
}

impl OldNodes {
    /// Attaches a node; `None` if there are too many.
    pub fn attach(&self, id: &str, address: String, socket_id: String) -> Option<Arc<OldNode>> {
        let mut known = self.known();
        if known.attached.len() >= ATTACHED_MAX {
            return None;
        }
        known.next += 1;
        let told = known.remembered.iter().rev().find(|(name, _)| name == id).map_or(0, |(_, index)| *index);
        let node = Arc::new(OldNode {
            number: known.next,
            id: id.to_owned(),
            address,
            socket_id,
            since_ms: wall_ms(),
            port: Mutex::default(),
            ended: watch::Sender::default(),
            resync: Notify::new(),
            told_up_to: AtomicU64::new(told),
            last_sync_ms: AtomicU64::new(0),
            counts: Counts::default(),
        });
        known.attached.insert(node.number, node.clone());
        Some(node)
    }

    /// The node's connection has ended.
    pub fn detach(&self, node: &OldNode) {
        node.ended.send_replace(true);
        let mut known = self.known();
        if known.attached.remove(&node.number).is_none() {
            return;
        }
        let told = node.told_up_to();
        known.remembered.retain(|(name, _)| *name != node.id);
        if told > 0 {
            known.remembered.push_back((node.id.clone(), told));
        }
        if known.remembered.len() > REMEMBERED_MAX {
            known.remembered.pop_front();
        }
    }

    /// Those that are attached, the oldest first.
    pub fn reports(&self) -> Vec<OldNodeReport> {
        self.known().attached.values().map(|node| node.report()).collect()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().expect("no panic while held")
    }
}

impl OldNode {
    /// Returns once its connection has ended.
    pub async fn ended(&self) {
        // The sender is in `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub fn told_up_to(&self) -> u64 {
        self.told_up_to.load(SeqCst)
    }

    pub fn note_told(&self, index: u64) {
        self.told_up_to.store(index, SeqCst);
    }

    pub fn note_port(&self, port: Option<u16>) {
        *self.port.lock().expect("no panic while held") = port;
    }

    pub fn note_synced(&self) {
        self.last_sync_ms.store(wall_ms(), SeqCst);
        self.counts.full_syncs.fetch_add(1, SeqCst);
    }

    fn report(&self) -> OldNodeReport {
        OldNodeReport {
            node_id: self.id.clone(),
            address: self.address.clone(),
            port: *self.port.lock().expect("no panic while held"),
            socket_id: self.socket_id.clone(),
            since_ms: self.since_ms,
            last_sync_ms: Some(self.last_sync_ms.load(SeqCst)).filter(|at_ms| *at_ms > 0),
            told_up_to: self.told_up_to(),
            received: self.counts.received.load(SeqCst),
            refused: self.counts.refused.load(SeqCst),
            told: self.counts.told.load(SeqCst),
            full_syncs: self.counts.full_syncs.load(SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_attached_and_those_that_were_told_are_remembered() {
        let nodes = OldNodes::default();
        let attach = |id: &str| nodes.attach(id, "127.0.0.1".into(), "s".into());
        let all: Vec<_> = (0..ATTACHED_MAX).map(|n| attach(&format!("n{n}")).unwrap()).collect();
        assert!(attach("more").is_none());
        all[0].note_told(7);
        nodes.detach(&all[0]);
        nodes.detach(&all[0]);
        assert_eq!(nodes.reports().len(), ATTACHED_MAX - 1);
        let back = attach("n0").unwrap();
        assert_eq!(back.told_up_to(), 7);
        nodes.detach(&back);
        assert_eq!(attach("another").unwrap().told_up_to(), 0);
    }
}

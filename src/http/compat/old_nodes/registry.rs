//! The old nodes that are attached to this node, and up to where those were told that are gone.

use crate::front::truncate;
use crate::replica::wall_ms;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// Old nodes that are attached at a time.
const ATTACHED_MAX: usize = 16;
/// What a node was told longer ago than this, it has heard, because its connection would have ended otherwise: a ping goes out every
/// 25 seconds, and is waited for 20.
const HEARD_AFTER: Duration = Duration::from_secs(60);
/// How often it is noted up to where a node was told.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// How many that are gone are remembered.
const REMEMBERED_MAX: usize = 64;
/// How long the operations of a connection wait for those of the connection before it. Those of one that has ended take 15 seconds
/// and one try at most; and meanwhile a ping of the new one may have to wait, for 20 seconds.
const TURN_PATIENCE: Duration = Duration::from_secs(18);

/// The old nodes of this node. Clones share them.
#[derive(Clone, Default)]
pub(in crate::http) struct OldNodes(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    next: u64,
    attached: BTreeMap<u64, Arc<OldNode>>,
    /// The name of a node, and the index up to which it has surely heard everything; the newest last.
    remembered: VecDeque<(String, u64)>,
    /// The newest connection of each node, as long as something of it is left to be written.
    newest: BTreeMap<String, Weak<OldNode>>,
}

/// An old node that is attached.
pub(in crate::http) struct OldNode {
    number: u64,
    pub id: String,
    pub address: String,
    pub socket_id: String,
    since_ms: u64,
    port: Mutex<Option<u16>>,
    /// When its connection ended.
    ended: watch::Sender<Option<Instant>>,
    /// The connection of the same node before this one, until it is waited for.
    before: Mutex<Option<Arc<OldNode>>>,
    /// Operations that were received and are not dealt with yet; and one until the connection before this one is waited for.
    unwritten: watch::Sender<u64>,
    /// It asks for the whole state, or needs it.
    pub resync: Notify,
    /// The log index up to which it was told everything; 0 before the first.
    told_up_to: AtomicU64,
    heard: Mutex<Heard>,
    last_sync_ms: AtomicU64,
    pub counts: Counts,
}

/// Up to where a node has surely heard everything.
struct Heard {
    up_to: u64,
    /// When it was told, and up to where, since.
    told: VecDeque<(Instant, u64)>,
}

impl Heard {
    fn note(&mut self, index: u64) {
        self.up_to();
        if self.told.back().is_none_or(|(at, _)| at.elapsed() >= NOTE_INTERVAL) {
            self.told.push_back((Instant::now(), index));
        }
    }

    fn up_to(&mut self) -> u64 {
        while let Some((_, index)) = self.told.front().filter(|(at, _)| at.elapsed() >= HEARD_AFTER) {
            self.up_to = *index;
            self.told.pop_front();
        }
        self.up_to
    }
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
        known.newest.retain(|_, node| node.strong_count() > 0);
        let before = known.newest.get(id).and_then(Weak::upgrade);
        let node = Arc::new(OldNode {
            number: known.next,
            id: id.to_owned(),
            address,
            socket_id,
            since_ms: wall_ms(),
            port: Mutex::default(),
            ended: watch::Sender::default(),
            unwritten: watch::Sender::new(u64::from(before.is_some())),
            before: Mutex::new(before),
            resync: Notify::new(),
            told_up_to: AtomicU64::new(told),
            heard: Mutex::new(Heard { up_to: told, told: VecDeque::new() }),
            last_sync_ms: AtomicU64::new(0),
            counts: Counts::default(),
        });
        known.attached.insert(node.number, node.clone());
        known.newest.insert(id.to_owned(), Arc::downgrade(&node));
        Some(node)
    }

    /// The node's connection has ended.
    pub fn detach(&self, node: &OldNode) {
        node.ended.send_replace(Some(Instant::now()));
        let mut known = self.known();
        if known.attached.remove(&node.number).is_none() {
            return;
        }
        // What was sent last may not have arrived.
        let heard = node.heard.lock().expect("no panic while held").up_to();
        known.remembered.retain(|(name, _)| *name != node.id);
        if heard > 0 {
            known.remembered.push_back((node.id.clone(), heard));
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
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    pub fn ended_at(&self) -> Option<Instant> {
        *self.ended.borrow()
    }

    /// An operation was received; it is dealt with by [`OldNode::note_written`].
    pub fn note_received(&self) {
        self.unwritten.send_modify(|count| *count += 1);
    }

    /// It was written, or refused.
    pub fn note_written(&self) {
        self.unwritten.send_modify(|count| *count -= 1);
    }

    /// Returns once everything that the node sent over the connection before this one was written or refused, so that it does not
    /// overwrite what the node sends over this one. What was refused meanwhile the node still has: then it gets the whole state.
    pub async fn turn(&self) {
        let Some(before) = self.before.lock().expect("no panic while held").take() else { return };
        let refused = before.counts.refused.load(SeqCst);
        let mut unwritten = before.unwritten.subscribe();
        // The sender is in `before`.
        if timeout(TURN_PATIENCE, unwritten.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!(node = %truncate(&self.id, 128), "an old node has two connections, and the first one does not fall silent");
        }
        if before.counts.refused.load(SeqCst) > refused {
            self.resync.notify_one();
        }
        self.note_written();
    }

    pub fn told_up_to(&self) -> u64 {
        self.told_up_to.load(SeqCst)
    }

    pub fn note_told(&self, index: u64) {
        self.heard.lock().expect("no panic while held").note(index);
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

    #[tokio::test(start_paused = true)]
    async fn so_many_are_attached_and_what_they_have_heard_is_remembered() {
        let nodes = OldNodes::default();
        let attach = |id: &str| nodes.attach(id, "127.0.0.1".into(), "s".into());
        let all: Vec<_> = (0..ATTACHED_MAX).map(|n| attach(&format!("n{n}")).unwrap()).collect();
        assert!(attach("more").is_none());
        all[0].note_told(7);
        tokio::time::advance(HEARD_AFTER - NOTE_INTERVAL).await;
        all[0].note_told(8);
        tokio::time::advance(NOTE_INTERVAL).await;
        nodes.detach(&all[0]);
        nodes.detach(&all[0]);
        assert_eq!(nodes.reports().len(), ATTACHED_MAX - 1);
        let back = attach("n0").unwrap();
        assert_eq!(back.told_up_to(), 7, "it may not have heard of 8");
        back.note_told(9);
        nodes.detach(&back);
        let back = attach("n0").unwrap();
        assert_eq!(back.told_up_to(), 7);
        nodes.detach(&back);
        assert_eq!(attach("another").unwrap().told_up_to(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_for_those_before_it_of_the_same_node() {
        let nodes = OldNodes::default();
        let attach = |id: &str| nodes.attach(id, "127.0.0.1".into(), "s".into()).unwrap();
        let (first, other) = (attach("a"), attach("b"));
        first.turn().await;
        first.note_received();
        first.note_received();
        nodes.detach(&first);
        let (second, third) = (attach("a"), attach("a"));
        other.turn().await;
        let (mut second_turn, mut third_turn) = (Box::pin(second.turn()), Box::pin(third.turn()));
        let pause = Duration::from_millis(10);
        first.note_written();
        assert!(timeout(pause, &mut third_turn).await.is_err());
        assert!(timeout(pause, &mut second_turn).await.is_err());
        first.counts.refused.fetch_add(1, SeqCst);
        first.note_written();
        second.note_received();
        second_turn.await;
        timeout(pause, second.resync.notified()).await.expect("one was refused");
        assert!(timeout(pause, &mut third_turn).await.is_err());
        second.note_written();
        third_turn.await;
        assert!(timeout(pause, third.resync.notified()).await.is_err());
        drop((first, second));
        // Not for ever.
        third.note_received();
        let begun = Instant::now();
        let last = attach("a");
        last.turn().await;
        assert_eq!(begun.elapsed(), TURN_PATIENCE);
        nodes.detach(&last);
        drop(last);
        attach("c");
        assert_eq!(nodes.known().newest.len(), 2, "those that are attached are held, the others are not");
    }
}

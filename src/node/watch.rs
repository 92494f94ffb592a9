//! A watch: every change once, in order, from any index whose changes are still kept.
//!
//! A watcher pulls. A node keeps nothing for it but its cursor, so a slow watcher costs nothing, and `apply` never waits
//! for it.

use super::error::NodeError;
use super::start::{Inner, Node};
use crate::api::Consistency;
use crate::cache::{Cache, Event};
use crate::peer::NodeId;
use crate::replica::{ChangeSet, Compacted, Operation, Page, RECENT_MAX};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A watcher that gets no changes gets a bookmark this often.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a majority may take to confirm that this node still hears of everything.
const TOUCH_LIMIT: Duration = Duration::from_secs(5);
/// One that has seen all that there is looks again after so long at the earliest: under load it then gets many changes at a
/// time, for one wake-up.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// What a watcher takes at a time, at most: so many changes, and so many bytes of them or one that is larger. They are kept alive
/// until they are sent, so it is little.
const PAGE_CHANGES: usize = 256;
pub const PAGE_BYTES: usize = 64 * 1024;

/// What a watcher gets. Indexes and changes are the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// The next changes, oldest first.
    Changes(Vec<ChangeSet>),
    /// Up to this index there was nothing else, and this node still hears of what comes.
    Bookmark(u64),
    /// Changes after `from` are missing: the change log no longer holds them. The client must read a state of index `up_to`
    /// or later. The changes after `up_to` follow.
    Resync { from: u64, up_to: u64 },
    /// The watch ends. A watch that continues after `resume`, on this node or another, misses nothing.
    Closed { resume: u64, reason: String },
}

/// A cursor in the changes, which advances as the watcher asks for more.
pub(super) struct Watch {
    node: Arc<Inner>,
    applied: watch::Receiver<u64>,
    prefix: String,
    cursor: u64,
    /// Whether the cursor is the client's, and no change was looked up yet.
    is_new: bool,
    /// Whether there was more behind the last page.
    more: bool,
    looked: Instant,
    /// When the watcher got something last.
    delivered: Instant,
}

impl Inner {
    /// Watches the keys that start with `prefix`, from behind the index `from`, or from now.
    ///
    /// # Errors
    /// [`NodeError`]: this node is out of service or stopping, or `from` is an index that the cluster has not come to.
    pub(super) async fn watch(
        self: &Arc<Self>,
        prefix: String,
        from: Option<u64>,
    ) -> Result<Watch, NodeError> {
        let node = self;
        node.refuse_when_draining()?;
        node.refuse_when_out_of_service()?;
        let applied = node.consensus.replica().watch_applied();
        let now = *applied.borrow();
        if let Some(from) = from.filter(|from| *from > now) {
            // This node may be behind. The leader knows.
            let index = node.read(Consistency::Linearizable, None, None, Cache::index).await?.value;
            if from > index {
                let reason = format!("the cluster is at index {index}, it has not come to {from} yet");
                return Err(NodeError::Conflict(reason));
            }
        }
        let begun = Instant::now();
        Ok(Watch {
            node: node.clone(),
            applied,
            prefix,
            cursor: from.unwrap_or(now),
            is_new: true,
            more: true,
            looked: begun,
            delivered: begun,
        })
    }
}

impl Node {
    /// Whether this node is to stop.
    pub fn is_draining(&self) -> bool {
        self.inner.refuse_when_draining().is_err()
    }

    /// Returns once this node takes no more writes because it is to stop.
    pub async fn drained(&self) {
        let drains = self.inner.drains.notified();
        if !self.is_draining() {
            drains.await;
        }
    }
}

impl Node {
    /// The newest operations that were applied here, newest first: up to a hundred, also from before a restart. Fewer when large
    /// values have pushed them out.
    pub(super) fn recent(&self, limit: usize) -> Vec<Operation> {
        self.inner.consensus.replica().change_log().recent(limit.min(RECENT_MAX))
    }

    /// The node at which a client asked for what each of these log entries did. `None` for what the cluster did by itself, and for
    /// what is no longer among the recent changes.
    pub(super) fn asked_at(&self, indexes: &[u64]) -> Vec<Option<NodeId>> {
        self.inner.consensus.replica().change_log().asked_at(indexes)
    }
}

impl Watch {
    /// The index up to which the watcher has everything.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether an event is about keys that are watched.
    pub fn concerns(&self, event: &Event) -> bool {
        match event {
            Event::Put { record, .. } => record.key().starts_with(&self.prefix),
            Event::Deadline { key, .. } | Event::Removed { key, .. } => {
                key.as_str().starts_with(&self.prefix)
            }
            Event::Cleared { prefix, .. } => {
                let cleared = prefix.as_deref().unwrap_or_default();
                cleared.starts_with(&self.prefix) || self.prefix.starts_with(cleared)
            }
            Event::Configured { .. } => self.prefix.is_empty(),
        }
    }

    /// Waits for what follows. Nothing is lost when it is dropped before it answers.
    pub async fn next(&mut self) -> WatchItem {
        loop {
            // Before it looks, so that a node that stops after that wakes it.
            let node = self.node.clone();
            let drains = node.drains.notified();
            if let Err(error) = node.refuse_when_draining().and_then(|()| node.refuse_when_out_of_service()) {
                return WatchItem::Closed { resume: self.cursor, reason: error.to_string() };
            }
            let next_look = self.looked + LOOK_INTERVAL;
            if self.more || next_look <= Instant::now() {
                self.applied.mark_unchanged();
                if let Some(item) = self.look() {
                    self.delivered = Instant::now();
                    return item;
                }
                if self.more {
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            let bookmark = self.delivered + BOOKMARK_INTERVAL;
            if bookmark <= Instant::now() {
                let in_touch = node.read(Consistency::Linearizable, None, Some(TOUCH_LIMIT), Cache::index);
                let in_touch = tokio::select! {
                    read = in_touch => read,
                    () = drains => continue,
                };
                self.delivered = Instant::now();
                return match in_touch {
                    Ok(_) => WatchItem::Bookmark(self.cursor),
                    // Elsewhere there may be changes that never come here.
                    Err(error) => WatchItem::Closed { resume: self.cursor, reason: error.to_string() },
                };
            }
            let next_look = self.looked + LOOK_INTERVAL;
            let more = async {
                // Its sender lives as long as the node.
                let _ = self.applied.changed().await;
                sleep_until(next_look).await;
            };
            tokio::select! {
                () = more => {}
                () = drains => {}
                () = sleep_until(bookmark) => {}
            }
        }
    }

    /// Moves on over a page of what is there.
    fn look(&mut self) -> Option<WatchItem> {
        self.looked = Instant::now();
        let from = self.cursor;
        let was_new = std::mem::replace(&mut self.is_new, false);
        match self.node.consensus.replica().change_log().after(from, PAGE_CHANGES, PAGE_BYTES) {
            Ok(Page { mut changes, next_cursor, more }) => {
                (self.cursor, self.more) = (next_cursor, more);
                changes.retain(|change| change.events().iter().any(|event| self.concerns(event)));
                (!changes.is_empty()).then_some(WatchItem::Changes(changes))
            }
            Err(Compacted { up_to }) if was_new => {
                self.cursor = up_to;
                Some(WatchItem::Resync { from, up_to })
            }
            Err(Compacted { .. }) => {
                let reason = "the watcher was too slow: what follows is no longer kept".into();
                Some(WatchItem::Closed { resume: from, reason })
            }
        }
    }
}

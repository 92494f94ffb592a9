//! A watch delivers every change once, in order, from any index whose changes are still in the change log.
//!
//! A watcher pulls. A node keeps only its cursor, so a slow watcher costs nothing, and `apply` never waits for it.

use super::error::NodeError;
use super::{inner::Inner, start::Node};
use crate::api::{Consistency, ErrorCode};
use crate::cache::{Cache, Event};
use crate::peer::NodeId;
use crate::replica::{ChangeSet, Compacted, Operation, Page, RECENT_MAX};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A watcher that gets no changes gets a bookmark this often.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of the read index that confirms, before a bookmark, that this node still gets all changes.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// A watcher that has every change looks for new ones at most this often. So under load it gets many changes for one
/// wake-up.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Most changes that a watcher takes at a time, and most bytes of them; one larger change is taken alone. They stay in
/// memory until they are sent, so it is little.
const PAGE_CHANGES: usize = 256;
pub const PAGE_BYTES: usize = 64 * 1024;

/// An item for a watcher. Indexes and changes are the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// The next changes, oldest first.
    Changes(Vec<ChangeSet>),
    /// There were no other changes up to this index, and this node still gets all changes.
    Bookmark {
        index: u64,
        /// The log time from which on there may be others, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Changes after `from` are missing: the change log no longer holds them. The client must read a state of index
    /// `up_to` or later. The changes after `up_to` follow.
    Resync { from: u64, up_to: u64 },
    /// The watch ends. A watch that continues after `resume`, on this node or another, misses nothing. `code` if it must not go
    /// on as it is.
    Closed { resume: u64, reason: String, code: Option<ErrorCode> },
}

/// What a watcher watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchFilter {
    /// Names that start with one of these; at least one. The empty one is for all, and for the settings.
    pub prefixes: Vec<String>,
    /// Whether keys are watched, and the settings.
    pub keys: bool,
    /// Whether client sessions are.
    pub sessions: bool,
    /// Whether locks are.
    pub locks: bool,
    /// Whether the channels with such names are.
    pub messages: bool,
}

impl WatchFilter {
    /// Keys that start with a prefix.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefixes: vec![prefix.into()], keys: true, sessions: false, locks: false, messages: false }
    }

    fn has(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    fn has_key(&self, key: &str) -> bool {
        self.keys && self.has(key)
    }

    /// Whether an event is about what is watched.
    fn concerns(&self, event: &Event) -> bool {
        match event {
            Event::Put { record, .. } => self.has_key(record.key()),
            Event::Deadline { key, .. } | Event::Removed { key, .. } => self.has_key(key.as_str()),
            Event::Cleared { prefix, .. } => {
                let cleared = prefix.as_deref().unwrap_or_default();
                let covers = |prefix: &String| cleared.starts_with(prefix) || prefix.starts_with(cleared);
                self.keys && self.prefixes.iter().any(covers)
            }
            Event::Configured { .. } => self.keys && self.prefixes.iter().any(String::is_empty),
            Event::SessionOpened { session } | Event::SessionEnded { session, .. } => {
                self.sessions && self.has(session.name.as_str())
            }
            Event::Locked { lock } | Event::Unlocked { lock } => self.locks && self.has(lock.name.as_str()),
            Event::Message { channel, .. } => self.messages && self.has(channel.as_str()),
            // It is told with the changes that it is about.
            Event::Merged { .. } => false,
        }
    }
}

/// A cursor in the changes, which advances as the watcher asks for more.
pub(super) struct Watch {
    node: Arc<Inner>,
    applied: watch::Receiver<u64>,
    filter: WatchFilter,
    cursor: u64,
    /// Whether the cursor is still the one that the client named.
    is_new: bool,
    /// Whether there were more changes after the last page.
    more: bool,
    polled: Instant,
    /// When the watcher last got an item.
    delivered: Instant,
}

impl Inner {
    /// Watches the changes after the index `from`, or after now.
    ///
    /// # Errors
    /// [`NodeError`]: this node is out of service or stopping, or the cluster has not reached the index `from`.
    pub(super) async fn watch(
        self: &Arc<Self>,
        filter: WatchFilter,
        from: Option<u64>,
    ) -> Result<Watch, NodeError> {
        let node = self;
        node.refuse_when_draining()?;
        node.refuse_when_out_of_service()?;
        let applied = node.consensus.replica().watch_applied();
        let now = *applied.borrow();
        if let Some(from) = from.filter(|from| *from > now) {
            // This node may be behind, so ask the leader.
            let index = node.read(Consistency::Linearizable, None, None, Cache::index).await?.value;
            if from > index {
                let reason = format!("the cluster is at index {index}, it has not reached {from} yet");
                return Err(NodeError::Conflict(reason));
            }
        }
        let begun = Instant::now();
        Ok(Watch {
            node: node.clone(),
            applied,
            filter,
            cursor: from.unwrap_or(now),
            is_new: true,
            more: true,
            polled: begun,
            delivered: begun,
        })
    }
}

impl Node {
    /// Whether this node is about to stop.
    pub fn is_draining(&self) -> bool {
        self.inner.refuse_when_draining().is_err()
    }

    /// Returns once this node accepts no more writes, because it is about to stop.
    pub async fn drained(&self) {
        let drains = self.inner.drains.notified();
        if !self.is_draining() {
            drains.await;
        }
    }
}

impl Node {
    /// The newest operations that this node has applied, newest first: up to a hundred, also from before a restart.
    /// Fewer if large values have displaced them.
    pub(super) fn recent(&self, limit: usize) -> Vec<Operation> {
        self.inner.consensus.replica().change_log().recent(limit.min(RECENT_MAX))
    }

    /// For each of these log entries, the node whose client requested it. `None` for what the cluster did by itself,
    /// and for entries that are no longer in the change log.
    pub(super) fn asked_at(&self, indexes: &[u64]) -> Vec<Option<NodeId>> {
        self.inner.consensus.replica().change_log().asked_at(indexes)
    }
}

impl Watch {
    /// The index up to which the watcher has every change.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether an event is about what is watched.
    pub fn concerns(&self, event: &Event) -> bool {
        self.filter.concerns(event)
    }

    /// Waits for the next item. Nothing is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> WatchItem {
        loop {
            // Registered before the check, so that no notification is missed.
            let node = self.node.clone();
            let drains = node.drains.notified();
            if let Err(error) = node.refuse_when_draining().and_then(|()| node.refuse_when_out_of_service()) {
                return WatchItem::Closed { resume: self.cursor, reason: error.to_string(), code: None };
            }
            let next_poll = self.polled + POLL_INTERVAL;
            if self.more || next_poll <= Instant::now() {
                self.applied.mark_unchanged();
                if let Some(item) = self.take_page() {
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
                // Before the read: what was acknowledged until then is included.
                let at_ms = node.now_ms();
                let confirmed =
                    node.read(Consistency::Linearizable, None, Some(CONFIRM_TIMEOUT), Cache::index);
                let confirmed = tokio::select! {
                    read = confirmed => read,
                    () = drains => continue,
                };
                self.delivered = Instant::now();
                return match confirmed {
                    Ok(_) => WatchItem::Bookmark { index: self.cursor, at_ms },
                    // Other nodes may have changes that never reach this one.
                    Err(error) => {
                        WatchItem::Closed { resume: self.cursor, reason: error.to_string(), code: None }
                    }
                };
            }
            let next_poll = self.polled + POLL_INTERVAL;
            let more = async {
                // The sender lives as long as the node, so waiting can't fail.
                let _ = self.applied.changed().await;
                sleep_until(next_poll).await;
            };
            tokio::select! {
                () = more => {}
                () = drains => {}
                () = sleep_until(bookmark) => {}
            }
        }
    }

    /// Advances over the next page. Returns an item if the page has one for the watcher.
    fn take_page(&mut self) -> Option<WatchItem> {
        self.polled = Instant::now();
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
                Some(WatchItem::Closed { resume: from, reason, code: None })
            }
        }
    }
}

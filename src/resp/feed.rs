//! The changes and the messages that a client is told of: a watch, in a task of its own, so that commands do not keep it from finding out
//! that this node has lost touch.

use super::client::Client;
use super::errors::of_node;
use super::key::key_of;
use super::reply::Reply;
use crate::front::{ClientAddress, Priority, WatchPermit};
use crate::node::{ChangeSet, SessionWatch, WatchFilter, WatchItem};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Items that wait for a client. Each is a page of changes.
const ITEMS_MAX: usize = 4;

/// What a client is told from.
#[derive(Debug)]
pub(super) struct Feed {
    items: mpsc::Receiver<Told>,
    /// Names that start with one of these.
    prefixes: Vec<String>,
    /// The index up to which the client has been told everything.
    told: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

/// What a feed tells.
#[derive(Debug)]
pub(super) enum Told {
    /// The index of a change, and what became of keys.
    Changes(Vec<(u64, Vec<FeedEvent>)>),
    /// Changes are missing, or this node does not know any more what changes.
    Lost,
}

/// What became of a key, or what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FeedEvent {
    /// The name that Redis has for it, and the key's.
    Key(&'static str, String),
    /// All keys with a prefix are gone.
    Cleared(Option<String>),
    /// Somebody has sent this to a channel.
    Message { channel: Bytes, message: Bytes },
}

impl Feed {
    /// Starts to watch keys and channels whose names have these prefixes, from after an index on, or from now on.
    ///
    /// # Errors
    /// A reply that says why not: there are too many watchers, the token does not allow it, or there is no cluster.
    pub async fn start(client: &Client, prefixes: Vec<String>, from: Option<u64>) -> Result<Self, Reply> {
        let front = &client.shared.front;
        let address = ClientAddress::new(client.registered.presence.address.ip());
        let permit = front.watchers.admit(address, Priority::Normal).await;
        let permit = permit.map_err(|busy| Reply::error(format!("UNAVAILABLE nothing was done: {busy}")))?;
        let session = client.session().ok_or_else(|| Reply::error(super::errors::LOADING))?;
        let watched = prefixes.clone();
        let filter =
            WatchFilter { prefixes: watched, keys: true, sessions: false, locks: false, messages: true };
        let watch = session.watch(filter, from).await.map_err(|error| of_node(&error.error))?;
        let (tell, items) = mpsc::channel(ITEMS_MAX);
        let mut task = JoinSet::new();
        let told = Arc::new(AtomicU64::new(watch.cursor()));
        task.spawn(run(watch, permit, tell, told.clone()));
        Ok(Self { items, prefixes, told, _task: task })
    }

    /// What the names that it tells of begin with.
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// The index up to which the client has been told everything.
    pub fn told(&self) -> u64 {
        self.told.load(Relaxed)
    }

    /// Whether it tells of names with all of these prefixes.
    pub fn covers(&self, prefixes: &[String]) -> bool {
        prefixes.iter().all(|wanted| self.prefixes.iter().any(|known| wanted.starts_with(known.as_str())))
    }

    /// The next item. Nothing is lost if this is dropped.
    pub async fn next(&mut self) -> Told {
        let told = self.items.recv().await.unwrap_or(Told::Lost);
        self.note(&told);
        told
    }

    /// The next item, if there is one.
    pub fn try_next(&mut self) -> Option<Told> {
        match self.items.try_recv() {
            Ok(told) => {
                self.note(&told);
                Some(told)
            }
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Told::Lost),
        }
    }
}

impl Feed {
    fn note(&self, told: &Told) {
        if let Told::Changes(changes) = told
            && let Some((index, _)) = changes.last()
        {
            self.told.fetch_max(*index, Relaxed);
        }
    }
}

/// Tells of changes until they are lost, or nobody wants them.
async fn run(mut watch: SessionWatch, _permit: WatchPermit, tell: mpsc::Sender<Told>, noted: Arc<AtomicU64>) {
    loop {
        let told = match watch.next().await {
            WatchItem::Changes(changes) => {
                Told::Changes(changes.iter().map(|change| (change.index(), events(&watch, change))).collect())
            }
            WatchItem::Bookmark { index, .. } => {
                // Unless something waits that comes before.
                if tell.capacity() == ITEMS_MAX {
                    noted.fetch_max(index, Relaxed);
                }
                continue;
            }
            WatchItem::Resync { .. } | WatchItem::Closed { .. } => Told::Lost,
        };
        let is_last = matches!(told, Told::Lost);
        if tell.send(told).await.is_err() || is_last {
            return;
        }
    }
}

fn events(watch: &SessionWatch, change: &ChangeSet) -> Vec<FeedEvent> {
    use crate::cache::{Cause, Event, Kind};
    let key = |name, key: &str| Some(FeedEvent::Key(name, key.to_owned()));
    let told = |event: &Event| match event {
        Event::Put { record, .. } => {
            key(if record.kind() == Kind::Hash { "hset" } else { "set" }, record.key())
        }
        Event::Deadline { key: name, expires_at_ms, .. } => {
            key(if expires_at_ms.is_some() { "expire" } else { "persist" }, name.as_str())
        }
        Event::Removed { key: name, cause } => {
            let event = match cause {
                Cause::Delete => "del",
                Cause::Expire => "expired",
                Cause::Evict => "evicted",
            };
            key(event, name.as_str())
        }
        Event::Cleared { prefix, .. } => Some(FeedEvent::Cleared(prefix.clone())),
        Event::Message { channel, message } => {
            let channel = key_of(0, channel.as_str())?.into();
            Some(FeedEvent::Message { channel, message: message.clone() })
        }
        _ => None,
    };
    watch.events(change).filter_map(|event| told(&event)).collect()
}

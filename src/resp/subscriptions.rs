//! `SUBSCRIBE` and its family: to channels of clients' own, and to what becomes of keys, `__keyspace@0__:key` and `__keyevent@0__:event`.
//! Every node tells the same, in the order of the log.

use super::channels::Channels;
use super::feed::FeedEvent;
use super::glob::Pattern;
use super::key::any_key_of;
use super::reply::Reply;
use super::tracking::CHANNEL;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Channels and patterns of a client, and bytes of one of them.
const SUBSCRIPTIONS_MAX: usize = 1_024;
const BYTES_MAX: usize = 8 * 1024;

/// What the channels begin with that tell what becomes of keys.
pub(super) const EVENTS: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// What a client is subscribed to.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// The index after which it is told what comes there.
    channels: BTreeMap<Bytes, u64>,
    /// The same for patterns of channels.
    patterns: BTreeMap<Bytes, (Pattern, u64)>,
    /// Those of all clients of this node.
    all: Arc<Channels>,
}

impl Subscriptions {
    pub fn new(all: Arc<Channels>) -> Self {
        Self { channels: BTreeMap::new(), patterns: BTreeMap::new(), all }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Whether it is told here what it must forget, by other connections.
    pub fn has_invalidations(&self) -> bool {
        self.channels.contains_key(CHANNEL.as_bytes())
    }

    /// Whether any of them needs a feed.
    pub fn need_feed(&self) -> bool {
        self.len() > usize::from(self.has_invalidations())
    }

    /// How many channels and how many patterns.
    pub fn counts(&self) -> (usize, usize) {
        (self.channels.len(), self.patterns.len())
    }

    /// Its channels, and its patterns of channels.
    pub fn names(&self) -> (Vec<Bytes>, Vec<Bytes>) {
        (self.channels.keys().cloned().collect(), self.patterns.keys().cloned().collect())
    }

    /// About how many bytes they take.
    pub fn held_bytes(&self) -> usize {
        const NAME_BYTES: usize = 64;
        let channels = self.channels.keys().map(|name| name.len() + NAME_BYTES);
        let patterns = self.patterns.iter();
        let patterns = patterns.map(|(name, (pattern, _))| name.len() + NAME_BYTES + pattern.held_bytes());
        channels.chain(patterns).sum()
    }

    /// Subscribes to these, to hear what comes after an index. A reply for each.
    ///
    /// # Errors
    /// There are too many, or one is too long.
    pub fn add(&mut self, names: &[Bytes], are_patterns: bool, after: u64) -> Result<Reply, Reply> {
        if self.len() + names.len() > SUBSCRIPTIONS_MAX || names.iter().any(|name| name.len() > BYTES_MAX) {
            return Err(Reply::error("ERR too many subscriptions, or too long"));
        }
        let parsed = names.iter().filter(|_| are_patterns).map(|name| Pattern::parse(name));
        let mut parsed = parsed.collect::<Result<Vec<Pattern>, Reply>>()?.into_iter();
        let kind = if are_patterns { "psubscribe" } else { "subscribe" };
        let told = names.iter().map(|name| {
            // A copy: what arrived with it is not kept.
            let copy = Bytes::copy_from_slice(name);
            match parsed.next() {
                Some(pattern) if !self.patterns.contains_key(&copy) => {
                    self.all.add_pattern(&copy, &pattern);
                    self.patterns.insert(copy, (pattern, after));
                }
                None if !self.channels.contains_key(&copy) => {
                    self.all.add(&copy);
                    self.channels.insert(copy, after);
                }
                _ => {}
            }
            self.told(kind, Some(name))
        });
        Ok(Reply::Several(told.collect()))
    }

    /// Unsubscribes from these, or from all. A reply for each, and one if there are none.
    pub fn remove(&mut self, names: &[Bytes], are_patterns: bool) -> Reply {
        let kind = if are_patterns { "punsubscribe" } else { "unsubscribe" };
        let names: Vec<Bytes> = match names {
            [] if are_patterns => self.patterns.keys().cloned().collect(),
            [] => self.channels.keys().cloned().collect(),
            names => names.to_vec(),
        };
        if names.is_empty() {
            return Reply::Several(vec![self.told(kind, None)]);
        }
        let told = names.iter().map(|name| {
            match are_patterns {
                true if self.patterns.remove(name).is_some() => self.all.remove_pattern(name),
                false if self.channels.remove(name).is_some() => self.all.remove(name),
                _ => {}
            }
            self.told(kind, Some(name))
        });
        Reply::Several(told.collect())
    }

    fn told(&self, kind: &str, name: Option<&Bytes>) -> Reply {
        let name = name.map_or(Reply::Null, |name| Reply::Bulk(name.clone()));
        let count = i64::try_from(self.len()).unwrap_or(i64::MAX);
        Reply::Push(vec![Reply::bulk(kind), name, Reply::Integer(count)])
    }

    /// What a client is told of an event at an index: one message after another, each made as it is needed. A feed can tell of what was
    /// there before the client subscribed to it.
    pub fn messages<'a>(&'a self, index: u64, event: &'a FeedEvent) -> impl Iterator<Item = Reply> + 'a {
        told_of(event).into_iter().flatten().flat_map(move |(channel, payload)| {
            let (payload, matched) = (Reply::Bulk(payload), channel.clone());
            let is_told = self.channels.get(&channel).is_some_and(|after| *after < index);
            let message = is_told.then(|| {
                Reply::Push(vec![Reply::bulk("message"), Reply::Bulk(channel.clone()), payload.clone()])
            });
            let is_wanted =
                move |(parsed, after): &(Pattern, u64)| *after < index && parsed.matches(&matched);
            let matching = self.patterns.iter().filter(move |(_, pattern)| is_wanted(pattern));
            message.into_iter().chain(matching.map(move |(pattern, _)| {
                let (pattern, channel) = (Reply::Bulk(pattern.clone()), Reply::Bulk(channel.clone()));
                Reply::Push(vec![Reply::bulk("pmessage"), pattern, channel, payload.clone()])
            }))
        })
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.channels.keys().for_each(|channel| self.all.remove(channel));
        self.patterns.keys().for_each(|pattern| self.all.remove_pattern(pattern));
    }
}

/// The channels that an event is told on, and what is told there.
fn told_of(event: &FeedEvent) -> [Option<(Bytes, Bytes)>; 2] {
    match event {
        FeedEvent::Message { channel, message } => [Some((channel.clone(), message.clone())), None],
        FeedEvent::Cleared(_) => [None, None],
        FeedEvent::Key(event, name) => {
            let Some((database, key)) = any_key_of(name) else { return [None, None] };
            let about_key = [format!("__keyspace@{database}__:").as_bytes(), &key].concat();
            let about_event = format!("__keyevent@{database}__:{event}").into_bytes();
            let event = Bytes::from_static(event.as_bytes());
            [Some((about_key.into(), event)), Some((about_event.into(), Bytes::copy_from_slice(&key)))]
        }
    }
}

/// Whether a channel is none of clients' own: what is told there is not said by anybody.
pub(super) fn is_reserved(channel: &[u8]) -> bool {
    channel == CHANNEL.as_bytes() || EVENTS.iter().any(|start| channel.starts_with(start))
}

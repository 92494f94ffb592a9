//! How many clients of this node are subscribed to which channels. Messages do not need it: they reach every node by the log.

use super::glob::Pattern;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More different patterns than these are not compared with a channel to count who is sent a message.
const COMPARED_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Channels {
    subscribed: Mutex<Subscribed>,
}

#[derive(Debug, Default)]
struct Subscribed {
    channels: BTreeMap<Bytes, u64>,
    patterns: BTreeMap<Bytes, (Pattern, u64)>,
}

impl Channels {
    /// A client has subscribed to a channel.
    pub fn add(&self, channel: &Bytes) {
        *self.subscribed().channels.entry(channel.clone()).or_default() += 1;
    }

    /// It has left it.
    pub fn remove(&self, channel: &Bytes) {
        let mut subscribed = self.subscribed();
        if let Some(count) = subscribed.channels.get_mut(channel) {
            *count -= 1;
            if *count == 0 {
                subscribed.channels.remove(channel);
            }
        }
    }

    /// A client has subscribed to the channels with this pattern.
    pub fn add_pattern(&self, text: &Bytes, pattern: &Pattern) {
        let mut subscribed = self.subscribed();
        subscribed.patterns.entry(text.clone()).or_insert_with(|| (pattern.clone(), 0)).1 += 1;
    }

    /// It has left them.
    pub fn remove_pattern(&self, text: &Bytes) {
        let mut subscribed = self.subscribed();
        if let Some((_, count)) = subscribed.patterns.get_mut(text) {
            *count -= 1;
            if *count == 0 {
                subscribed.patterns.remove(text);
            }
        }
    }

    /// How many times a message to this channel is told at this node. Patterns are left out where there are too many of them.
    pub fn receivers(&self, channel: &[u8]) -> u64 {
        let subscribed = self.subscribed();
        let direct = subscribed.channels.get(channel).copied().unwrap_or(0);
        if subscribed.patterns.len() > COMPARED_MAX {
            return direct;
        }
        let matching = subscribed.patterns.values().filter(|(pattern, _)| pattern.matches(channel));
        direct + matching.map(|(_, count)| count).sum::<u64>()
    }

    /// How many clients are subscribed to this channel itself.
    pub fn subscribers(&self, channel: &[u8]) -> u64 {
        self.subscribed().channels.get(channel).copied().unwrap_or(0)
    }

    /// The channels that have subscribers, or those of them that match.
    pub fn names(&self, pattern: Option<&Pattern>) -> Vec<Bytes> {
        let subscribed = self.subscribed();
        let is_wanted = |name: &&Bytes| pattern.is_none_or(|pattern| pattern.matches(name));
        subscribed.channels.keys().filter(is_wanted).cloned().collect()
    }

    /// How many different patterns there are.
    pub fn patterns(&self) -> u64 {
        self.subscribed().patterns.len() as u64
    }

    fn subscribed(&self) -> MutexGuard<'_, Subscribed> {
        // Each change is whole before anything can panic.
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

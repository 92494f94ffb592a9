//! `CLIENT TRACKING`: a client keeps values itself, and is told which it must forget.
//!
//! A key is remembered with the index of what was read. Changes are told after the replies that they follow, so each change after
//! that index is still to come, and none before it concerns the client. When changes are lost, or this node does not know any more what
//! changes, the client is told to forget everything, and its connection ends.
//!
//! With `REDIRECT` another connection of the client is told. So that the client never goes on with old values, the loss of either of the
//! two connections is told at the other one; a client that cannot be told loses both.

use super::feed::FeedEvent;
use super::key::any_key_of;
use super::reply::Reply;
use crate::front::{Forget, RedisClient};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Keys that are remembered for a client. The oldest makes room, and the client is told to forget it.
const KEYS_MAX: usize = 65_536;
/// Bytes of their names.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// The newest changes of the client itself that are known.
const OWN_MAX: usize = 1_024;
/// The channel of a client of version 2 that is told in the place of another.
pub(super) const CHANNEL: &str = "__redis__:invalidate";

/// Which keys a client wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Those that it has read.
    Read,
    /// Those that it has read after `CLIENT CACHING YES`.
    OptIn,
    /// Those that it has read, but for those after `CLIENT CACHING NO`.
    OptOut,
    /// All with these prefixes, as they are in every database.
    Broadcast(Vec<Vec<u8>>),
}

/// The connection that is told in the place of the one that reads.
#[derive(Debug)]
pub(super) struct Redirect {
    pub target: Arc<RedisClient>,
    /// It has left, and the client has been told so.
    pub is_broken: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tracking {
    pub mode: Mode,
    /// It is not told of its own changes.
    pub skips_own: bool,
    pub redirect: Option<Redirect>,
    /// What `CLIENT CACHING` has said of the next command.
    pub next: Option<bool>,
    /// Whether what the command that came last reads is remembered.
    remembers: bool,
    /// The keys that it has read, and the index of that.
    read: BTreeMap<String, u64>,
    order: VecDeque<String>,
    bytes: usize,
    own: VecDeque<u64>,
    /// What it must forget because there is no room to remember it.
    due: Vec<Bytes>,
}

impl Tracking {
    pub fn new(mode: Mode, skips_own: bool, redirect: Option<Redirect>) -> Self {
        Self {
            mode,
            skips_own,
            redirect,
            next: None,
            remembers: false,
            read: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            own: VecDeque::new(),
            due: Vec::new(),
        }
    }

    /// Whether the keys of the command that comes now are remembered.
    pub fn takes_next(&mut self) -> bool {
        let said = self.next.take();
        self.remembers = match self.mode {
            Mode::Read => true,
            Mode::OptIn => said == Some(true),
            Mode::OptOut => said != Some(false),
            Mode::Broadcast(_) => false,
        };
        self.remembers
    }

    /// A command that is carried out alone has read this at this index.
    pub fn note_read_alone<'a>(&mut self, names: impl Iterator<Item = &'a str>, index: u64) {
        if self.remembers {
            names.for_each(|name| self.note_read(name, index));
        }
    }

    /// A key was read at this index.
    pub fn note_read(&mut self, name: &str, index: u64) {
        if self.read.insert(name.to_owned(), index).is_none() {
            self.order.push_back(name.to_owned());
            self.bytes += name.len();
        }
        // Those in the queue that are not remembered any more are taken out on the way.
        while self.read.len() > KEYS_MAX || self.bytes > BYTES_MAX || self.order.len() > 2 * KEYS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.forget(&oldest) {
                self.due.extend(any_key_of(&oldest).map(|(_, key)| Bytes::from(key)));
            }
        }
    }

    /// What the client must forget because there was no room to remember it.
    pub fn take_due(&mut self) -> Option<Forget> {
        (!self.due.is_empty()).then(|| Forget::Keys(std::mem::take(&mut self.due)))
    }

    /// The client has changed something, at this index.
    pub fn note_own(&mut self, index: u64) {
        if self.skips_own {
            self.own.push_back(index);
            if self.own.len() > OWN_MAX {
                self.own.pop_front();
            }
        }
    }

    /// It has emptied a database, which is told as if somebody else had: it cannot know which keys that had.
    pub fn note_emptied(&mut self) {
        self.own.clear();
    }

    /// What the client is told of a change.
    pub fn told(&mut self, index: u64, events: &[FeedEvent]) -> Vec<Forget> {
        let is_own = self.own.contains(&index);
        let (mut keys, mut skipped) = (Vec::new(), BTreeSet::new());
        let mut with_prefix: BTreeMap<usize, BTreeSet<Bytes>> = BTreeMap::new();
        for event in events {
            let (event, name) = match event {
                FeedEvent::Cleared(_) => return vec![self.forget_all()],
                FeedEvent::Key(event, name) => (*event, name),
                FeedEvent::Message { .. } => continue,
            };
            // What expired by then, or had to make room, is not the client's own change.
            let is_told = !is_own || matches!(event, "expired" | "evicted");
            let Some((_, key)) = any_key_of(name) else { continue };
            if let Mode::Broadcast(prefixes) = &self.mode {
                let known = prefixes.iter().position(|prefix| key.starts_with(prefix));
                if let Some(at) = known.filter(|_| is_told) {
                    with_prefix.entry(at).or_default().insert(key.into());
                }
                continue;
            }
            let had = skipped.remove(name) || self.is_outdated(name, index) && self.forget(name);
            match had {
                true if is_told => keys.push(key.into()),
                // The same entry may have evicted it after that.
                true => drop(skipped.insert(name)),
                false => {}
            }
        }
        // One message for each prefix.
        let lists = with_prefix.into_values().map(|keys| keys.into_iter().collect());
        lists.chain([keys]).filter(|keys: &Vec<_>| !keys.is_empty()).map(Forget::Keys).collect()
    }

    /// About how many bytes it takes.
    pub fn held_bytes(&self) -> usize {
        const KEY_BYTES: usize = 96;
        let prefixes = match &self.mode {
            Mode::Broadcast(prefixes) => prefixes.iter().map(|prefix| KEY_BYTES + prefix.len()).sum(),
            _ => 0,
        };
        2 * self.bytes + KEY_BYTES * self.order.len() + prefixes
    }

    /// The client must forget everything.
    pub fn forget_all(&mut self) -> Forget {
        (self.read, self.order, self.bytes) = (BTreeMap::new(), VecDeque::new(), 0);
        Forget::Everything
    }

    /// What the connection that is told in its place has to be told of when it leaves: nobody will say what becomes of that.
    pub fn forget_remembered(&mut self) -> Option<Forget> {
        if matches!(self.mode, Mode::Broadcast(_)) {
            return Some(Forget::Everything);
        }
        let keys: Vec<Bytes> =
            self.read.keys().filter_map(|name| any_key_of(name)).map(|(_, key)| key.into()).collect();
        self.forget_all();
        (!keys.is_empty()).then_some(Forget::Keys(keys))
    }

    /// Whether it was read before this index.
    fn is_outdated(&self, name: &str, index: u64) -> bool {
        self.read.get(name).is_some_and(|read| *read < index)
    }

    fn forget(&mut self, name: &str) -> bool {
        let was_known = self.read.remove(name).is_some();
        if was_known {
            self.bytes -= name.len();
        }
        was_known
    }
}

/// The message that says what a client must forget. `is_on_channel`: as one on [`CHANNEL`], for version 2.
pub(super) fn invalidation(forget: Forget, is_on_channel: bool) -> Reply {
    let keys = match forget {
        Forget::Everything => Reply::Null,
        Forget::Keys(keys) => Reply::Array(keys.into_iter().map(Reply::Bulk).collect()),
    };
    Reply::Push(match is_on_channel {
        true => vec![Reply::bulk("message"), Reply::bulk(CHANNEL), keys],
        false => vec![Reply::bulk("invalidate"), keys],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Vec<FeedEvent> {
        vec![FeedEvent::Key("set", name.to_owned())]
    }

    fn keys(keys: &[&'static str]) -> Forget {
        Forget::Keys(keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect())
    }

    #[test]
    fn what_was_read_before_a_change_is_forgotten_once() {
        let mut tracking = Tracking::new(Mode::Read, false, None);
        tracking.note_read("a", 5);
        assert_eq!(tracking.told(5, &set("a")), [], "the read has seen it");
        assert_eq!(tracking.told(6, &set("b")), []);
        assert_eq!(tracking.told(7, &set("a")), [keys(&["a"])]);
        assert_eq!(tracking.told(8, &set("a")), [], "it has none any more");
        tracking.note_read("a", 8);
        assert_eq!(tracking.told(9, &[FeedEvent::Cleared(None)]), [Forget::Everything]);
        assert_eq!(tracking.told(10, &set("a")), []);
    }

    #[test]
    fn own_changes_are_not_told_to_those_who_do_not_want_them() {
        let mut tracking = Tracking::new(Mode::Read, true, None);
        tracking.note_read("a", 1);
        tracking.note_own(2);
        tracking.note_read("a", 2);
        assert_eq!(tracking.told(2, &set("a")), []);
        assert_eq!(tracking.told(3, &set("a")), [keys(&["a"])], "it was read after its own change");
        for name in ["a", "b", "c"] {
            tracking.note_read(name, 3);
        }
        tracking.note_own(4);
        let event = |event, name: &str| FeedEvent::Key(event, name.to_owned());
        let events = [event("expired", "a"), event("set", "b"), event("evicted", "c")];
        assert_eq!(tracking.told(4, &events), [keys(&["a", "c"])], "it has not done that");
        tracking.note_read("e", 4);
        tracking.note_own(5);
        let events = [event("set", "e"), event("evicted", "e")];
        assert_eq!(tracking.told(5, &events), [keys(&["e"])], "what it has set itself is gone");
        tracking.note_own(6);
        assert_eq!(tracking.told(6, &[FeedEvent::Cleared(None)]), [Forget::Everything], "as Redis does");
        tracking.note_read("f", 6);
        tracking.note_own(7);
        tracking.note_emptied();
        assert_eq!(tracking.told(7, &[event("del", "f")]), [keys(&["f"])], "it has not named it");
        tracking.note_read("d", 7);
        assert_eq!(tracking.forget_remembered(), Some(keys(&["d"])), "it has changed the others itself");
    }

    #[test]
    fn prefixes_are_told_of_in_every_database() {
        let mut tracking = Tracking::new(Mode::Broadcast(vec![b"a".to_vec(), b"b".to_vec()]), false, None);
        let events = [set("b2"), set("ab"), set("c"), set("\u{241b}#3:b"), set("b")].concat();
        assert_eq!(tracking.told(1, &events), [keys(&["ab"]), keys(&["b", "b2"])], "one message a prefix");
        assert_eq!(tracking.forget_remembered(), Some(Forget::Everything));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut tracking = Tracking::new(Mode::Read, false, None);
        let mut forgotten = 0;
        for number in 0..200_000u64 {
            tracking.note_read(&format!("{number:020}"), number);
            forgotten += usize::from(tracking.take_due().is_some());
            if number % 3 == 0 {
                tracking.told(number + 1, &set(&format!("{number:020}")));
            }
            assert!(tracking.read.len() <= KEYS_MAX && tracking.bytes <= BYTES_MAX);
            assert!(tracking.order.len() <= 2 * KEYS_MAX);
        }
        assert!(forgotten > 1_000);
        assert_eq!(tracking.bytes, tracking.read.keys().map(String::len).sum::<usize>());
        let long = "k".repeat(4_000);
        for number in 0..2_000 {
            tracking.note_read(&format!("{long}{number}"), number);
            assert!(tracking.bytes <= BYTES_MAX);
        }
    }
}

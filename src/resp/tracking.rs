//! `CLIENT TRACKING`: a client keeps values itself, and is told which it must forget.
//!
//! A key is remembered with the index of what was read. Changes are told after the replies that they follow, so each change after
//! that index is still to come, and none before it concerns the client. When changes are lost, or this node does not know any more what
//! changes, the client is told to forget everything, and its connection ends.

use super::feed::KeyEvent;
use super::key::any_key_of;
use super::reply::Reply;
use std::collections::{BTreeMap, VecDeque};

/// Keys that are remembered for a client. The oldest makes room, and the client is told to forget it.
const KEYS_MAX: usize = 65_536;
/// Bytes of their names.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// The newest changes of the client itself that are known.
const OWN_MAX: usize = 1_024;

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

/// See the module.
#[derive(Debug)]
pub(super) struct Tracking {
    pub mode: Mode,
    /// It is not told of its own changes.
    pub skips_own: bool,
    /// What `CLIENT CACHING` has said of the next command.
    pub next: Option<bool>,
    /// The keys that it has read, and the index of that.
    read: BTreeMap<String, u64>,
    order: VecDeque<String>,
    bytes: usize,
    own: VecDeque<u64>,
}

impl Tracking {
    pub fn new(mode: Mode, skips_own: bool) -> Self {
        Self {
            mode,
            skips_own,
            next: None,
            read: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            own: VecDeque::new(),
        }
    }

    /// Whether the keys of the command that comes now are remembered.
    pub fn takes_next(&mut self) -> bool {
        let said = self.next.take();
        match self.mode {
            Mode::Read => true,
            Mode::OptIn => said == Some(true),
            Mode::OptOut => said != Some(false),
            Mode::Broadcast(_) => false,
        }
    }

    /// A key was read at this index. Returns what the client has to forget for that.
    pub fn note_read(&mut self, name: &str, index: u64) -> Vec<Reply> {
        if self.read.insert(name.to_owned(), index).is_none() {
            self.order.push_back(name.to_owned());
            self.bytes += name.len();
        }
        let mut forgotten = Vec::new();
        // Those in the queue that are not remembered any more are taken out on the way.
        while self.read.len() > KEYS_MAX || self.bytes > BYTES_MAX || self.order.len() > 2 * KEYS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.forget(&oldest) {
                forgotten.extend(any_key_of(&oldest).map(|(_, key)| Reply::bulk(key)));
            }
        }
        if forgotten.is_empty() { Vec::new() } else { vec![invalidate(forgotten)] }
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

    /// What the client is told of a change.
    pub fn told(&mut self, index: u64, events: &[KeyEvent]) -> Option<Reply> {
        if self.own.contains(&index) {
            for event in events {
                if let KeyEvent::Key(_, name) = event
                    && self.is_outdated(name, index)
                {
                    self.forget(name);
                }
            }
            return None;
        }
        let mut keys = Vec::new();
        for event in events {
            match event {
                KeyEvent::Cleared(_) => return Some(self.forget_all()),
                KeyEvent::Key(_, name) => {
                    let Some((_, key)) = any_key_of(name) else { continue };
                    let is_told = match &self.mode {
                        Mode::Broadcast(prefixes) => prefixes.iter().any(|prefix| key.starts_with(prefix)),
                        _ => self.is_outdated(name, index) && self.forget(name),
                    };
                    if is_told {
                        keys.push(Reply::bulk(key));
                    }
                }
            }
        }
        (!keys.is_empty()).then(|| invalidate(keys))
    }

    /// About how many bytes it takes.
    pub fn held_bytes(&self) -> usize {
        const KEY_BYTES: usize = 96;
        2 * self.bytes + KEY_BYTES * self.order.len()
    }

    /// The client must forget everything.
    pub fn forget_all(&mut self) -> Reply {
        (self.read, self.order, self.bytes) = (BTreeMap::new(), VecDeque::new(), 0);
        Reply::Push(vec![Reply::bulk("invalidate"), Reply::Null])
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

fn invalidate(keys: Vec<Reply>) -> Reply {
    Reply::Push(vec![Reply::bulk("invalidate"), Reply::Array(keys)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Vec<KeyEvent> {
        vec![KeyEvent::Key("set", name.to_owned())]
    }

    fn told(keys: &[&str]) -> Option<Reply> {
        Some(invalidate(keys.iter().map(Reply::bulk).collect()))
    }

    #[test]
    fn what_was_read_before_a_change_is_forgotten_once() {
        let mut tracking = Tracking::new(Mode::Read, false);
        assert_eq!(tracking.note_read("a", 5), []);
        assert_eq!(tracking.told(5, &set("a")), None, "the read has seen it");
        assert_eq!(tracking.told(6, &set("b")), None);
        assert_eq!(tracking.told(7, &set("a")), told(&["a"]));
        assert_eq!(tracking.told(8, &set("a")), None, "it has none any more");
        tracking.note_read("a", 8);
        let cleared = tracking.told(9, &[KeyEvent::Cleared(None)]);
        assert_eq!(cleared, Some(Reply::Push(vec![Reply::bulk("invalidate"), Reply::Null])));
        assert_eq!(tracking.told(10, &set("a")), None);
    }

    #[test]
    fn own_changes_are_not_told_to_those_who_do_not_want_them() {
        let mut tracking = Tracking::new(Mode::Read, true);
        tracking.note_read("a", 1);
        tracking.note_own(2);
        tracking.note_read("a", 2);
        assert_eq!(tracking.told(2, &set("a")), None);
        assert_eq!(tracking.told(3, &set("a")), told(&["a"]), "it was read after its own change");
    }

    #[test]
    fn prefixes_are_told_of_in_every_database() {
        let mut tracking = Tracking::new(Mode::Broadcast(vec![b"a".to_vec(), b"b".to_vec()]), false);
        let events = [set("ab"), set("c"), set("\u{241b}#3:b")].concat();
        assert_eq!(tracking.told(1, &events), told(&["ab", "b"]));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut tracking = Tracking::new(Mode::Read, false);
        let mut forgotten = 0;
        for number in 0..200_000u64 {
            forgotten += tracking.note_read(&format!("{number:020}"), number).len();
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

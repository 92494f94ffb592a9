//! Two sides that forked from one log, and an oracle that saw everything that happened to either.
//!
//! The oracle knows keys by the events of the log alone: it looks at no revision, no tombstone and no note of a fork.

use lockstep::cache::{Cache, CacheConfig, Cause, Command, EntryId, Event, Key, Op, Policy, Stamp, Touch};
use lockstep::reconcile::{Clock, Fate, Knowledge, View};
use std::collections::BTreeMap;

/// The name of the fork.
pub const FORK: &str = "other";

/// What the oracle saw of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Trace {
    was_common: bool,
    is_present: bool,
    /// Log time of the last change on this side.
    changed_ms: Option<u64>,
    /// Log time of a removal that a client asked for, if that was how it went.
    removed_ms: Option<u64>,
}

/// What became of a key: [`Fate`] without the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Unchanged,
    Changed { stamp_ms: u64 },
    Deleted { stamp_ms: u64 },
    Lost { stamp_ms: u64 },
    Absent,
    Unknown,
}

impl Seen {
    pub fn of(fate: Fate) -> Self {
        match fate {
            Fate::Unchanged(_) => Self::Unchanged,
            Fate::Changed(entry) => Self::Changed { stamp_ms: entry.stamp_ms },
            Fate::Deleted { stamp_ms } => Self::Deleted { stamp_ms },
            Fate::Lost { stamp_ms } => Self::Lost { stamp_ms },
            Fate::Absent => Self::Absent,
            Fate::Unknown { .. } => Self::Unknown,
        }
    }
}

/// One side after the fork.
#[derive(Debug)]
pub struct Branch {
    pub cache: Cache,
    fork_index: u64,
    traces: BTreeMap<Key, Trace>,
}

/// The state at the fork: entries under these keys.
pub fn trunk(keys: &[&str], capacity_entries: u64) -> Cache {
    let config = CacheConfig { policy: Policy::Lru, capacity_entries, ..CacheConfig::default() };
    let mut cache = Cache::new(config);
    for (key, index) in keys.iter().zip(1..) {
        let put = Op::Put {
            key: Key::new(key).expect("a key"),
            value: lockstep::cache::Value::new("base".into(), None).expect("a value"),
            ttl: lockstep::cache::Ttl::Never,
            condition: lockstep::cache::Condition::Always,
            previous: false,
        };
        cache.apply(stamp(index, 1), Command::One(put)).outcome.expect("it fits");
    }
    cache
}

pub fn stamp(index: u64, at_ms: u64) -> Stamp {
    Stamp { index, at_ms, idempotency_key: None, origin: None, touches: Vec::new() }
}

impl Branch {
    /// Goes its own way from here. With `notes` it notes which common entries go.
    pub fn of(trunk: &Cache, notes: bool) -> Self {
        let mut bytes = Vec::new();
        trunk.snapshot_view().encode(&mut bytes).expect("a Vec takes everything");
        let mut cache = Cache::restore(bytes.as_slice()).expect("an intact snapshot");
        if notes {
            assert!(cache.open_fork(FORK));
        }
        let common = |stored: lockstep::cache::Stored| {
            (stored.record.to_key(), Trace { was_common: true, is_present: true, ..Trace::default() })
        };
        let traces = cache.all_stored().map(common).collect();
        Self { fork_index: cache.index(), cache, traces }
    }

    /// Applies a command at a log time, and watches.
    pub fn apply(&mut self, command: Command, at_ms: u64) {
        let applied = self.cache.apply(stamp(self.cache.index() + 1, at_ms), command);
        for event in applied.events {
            self.watch(event, self.cache.now_ms());
        }
    }

    /// A read, as the log tells of it.
    pub fn read(&mut self, entry: EntryId, at_ms: u64) {
        let touches = vec![Touch { entry, count: 1 }];
        let applied =
            self.cache.apply(Stamp { touches, ..stamp(self.cache.index() + 1, at_ms) }, Command::Tick);
        assert_eq!(applied.events, [], "reads change nothing that is watched");
    }

    fn watch(&mut self, event: Event, now_ms: u64) {
        match event {
            Event::Put { record, .. } => self.change(record.to_key(), now_ms),
            Event::Deadline { key, .. } => self.change(key, now_ms),
            Event::Removed { key, cause } => {
                let trace = self.traces.get_mut(&key).expect("it was there");
                trace.is_present = false;
                trace.removed_ms = (cause == Cause::Delete).then_some(now_ms);
            }
            Event::Cleared { prefix, .. } => {
                let prefix = prefix.unwrap_or_default();
                let cleared = self.traces.iter_mut().filter(|(key, _)| key.as_str().starts_with(&prefix));
                for (_, trace) in cleared.filter(|(_, trace)| trace.is_present) {
                    (trace.is_present, trace.removed_ms) = (false, Some(now_ms));
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, key: Key, now_ms: u64) {
        let trace = self.traces.entry(key).or_default();
        (trace.is_present, trace.changed_ms, trace.removed_ms) = (true, Some(now_ms), None);
    }

    /// What became of a key, as the oracle saw it.
    pub fn seen(&self, key: &Key) -> Seen {
        let Some(trace) = self.traces.get(key) else { return Seen::Absent };
        match (trace.is_present, trace.was_common, trace.changed_ms, trace.removed_ms) {
            (true, _, Some(stamp_ms), _) => Seen::Changed { stamp_ms },
            (true, ..) => Seen::Unchanged,
            (false, false, ..) => Seen::Absent,
            (false, true, _, Some(stamp_ms)) => Seen::Deleted { stamp_ms },
            (false, true, Some(stamp_ms), None) => Seen::Lost { stamp_ms },
            (false, true, None, None) => Seen::Absent,
        }
    }

    /// The side, seen through what it knows itself.
    pub fn view(&self, now_ms: u64) -> View<'_> {
        let clock = Clock { shift_ms: 0, fork_ms: 1, now_ms };
        View {
            cache: &self.cache,
            fork_index: self.fork_index,
            decided_until: 0,
            merged: None,
            fork: self.cache.fork(FORK),
            clock,
        }
    }

    /// What the side knows of a key.
    pub fn knows(&self, key: &Key) -> Knowledge {
        self.view(self.cache.now_ms()).of(key.as_str())
    }
}

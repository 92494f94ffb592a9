//! Arbitrary histories: two replicas, one of them restarted from its snapshots, and the naive model.

use crate::arbitrary::{self, Happening, KEYS};
use crate::model::Model;
use crate::{check_accounts, restored, snapshot};
use lockstep::cache::{
    Applied, Cache, CacheConfig, Command, Event, IdempotencyKey, Key, Policy, Stamp, Stored, Touch, Value,
    limits,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a watcher knows who saw every event.
#[derive(Default)]
struct Watcher(BTreeMap<Key, (Value, Option<u64>)>);

impl Watcher {
    /// C8: every event says something that was not so before, and nothing else changes.
    fn see(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Put { record, expires_at_ms, created, .. } => {
                    let before = self.0.insert(record.to_key(), (record.value(), *expires_at_ms));
                    assert_eq!(before.is_none(), *created);
                }
                Event::Deadline { key, expires_at_ms, .. } => {
                    let known = self.0.get_mut(key).expect("a deadline is of a key that is there");
                    known.1 = *expires_at_ms;
                }
                Event::Removed { key, .. } => {
                    assert!(self.0.remove(key).is_some(), "{key} was removed twice");
                }
                Event::Cleared { prefix, removed } => {
                    let before = self.0.len();
                    let prefix = prefix.as_deref().unwrap_or_default();
                    self.0.retain(|key, _| !key.as_str().starts_with(prefix));
                    assert_eq!((before - self.0.len()) as u64, *removed);
                    assert_ne!(*removed, 0);
                }
                // `sessions.rs` has a model of sessions and locks.
                Event::Configured { .. }
                | Event::Merged { .. }
                | Event::SessionOpened { .. }
                | Event::SessionEnded { .. }
                | Event::Locked { .. }
                | Event::Unlocked { .. }
                | Event::Message { .. } => {}
            }
        }
    }
}

/// Everything under test, side by side.
struct World {
    steady: Cache,
    restarted: Cache,
    model: Model,
    watcher: Watcher,
    clock: u64,
    committed: Vec<(Option<IdempotencyKey>, Command)>,
    revisions: BTreeMap<Key, u64>,
}

impl World {
    /// Cleared entries are freed `free_per_apply_max` at a time.
    fn new(config: CacheConfig, free_per_apply_max: usize) -> Self {
        let cache = || {
            let mut cache = Cache::new(config.clone());
            cache.set_free_per_apply_max(free_per_apply_max);
            cache
        };
        let mut model = Model::new(config.clone());
        model.free_per_apply_max = free_per_apply_max;
        Self {
            steady: cache(),
            restarted: cache(),
            model,
            watcher: Watcher::default(),
            clock: 1_000_000,
            committed: Vec::new(),
            revisions: BTreeMap::new(),
        }
    }

    fn happen(&mut self, happening: Happening) {
        let index = self.steady.index() + 1;
        match happening {
            Happening::Commit { clock, id, touches, command } => {
                // Some clients say after which index they sent it, and some of those knew only an old one.
                let id = id.map(|id| IdempotencyKey {
                    text: format!("id-{id}"),
                    sent_after: [None, Some(index - 1), Some(index.saturating_sub(20))][index as usize % 3],
                });
                self.commit(clock, id, touches, command);
            }
            Happening::Retry { clock, back } => {
                let Some(at) = self.committed.len().checked_sub(back + 1) else { return };
                let (id, command) = self.committed[at].clone();
                self.commit(clock, id, Vec::new(), command);
            }
            Happening::Advance => {
                self.steady.advance(index);
                self.restarted.advance(index);
                self.model.index = index;
            }
            Happening::Restart => {
                self.some_entries_are_read_from_a_snapshot();
                self.restarted = restored(&self.restarted);
                self.restarted.set_free_per_apply_max(self.model.free_per_apply_max);
            }
        }
        self.compare();
    }

    /// Also while entries that were cleared are not freed yet.
    fn some_entries_are_read_from_a_snapshot(&self) {
        let is_wanted = |key: &str| key.len().is_multiple_of(2);
        let mut found =
            Stored::in_snapshot(snapshot(&self.steady).as_slice(), is_wanted).expect("it is intact");
        found.sort_by(|left, right| left.record.key().cmp(right.record.key()));
        let expected: Vec<Stored> =
            self.steady.all_stored().filter(|stored| is_wanted(stored.record.key())).collect();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }

    fn commit(&mut self, clock: i64, id: Option<IdempotencyKey>, touches: Vec<Touch>, command: Command) {
        self.clock = self.clock.saturating_add_signed(clock);
        self.committed.push((id.clone(), command.clone()));
        let index = self.steady.index() + 1;
        // Some clients say who they are, and one does it in a way that is left out.
        let origin = [None, Some("app-1"), Some("b"), Some("a,b")][index as usize % 4].map(String::from);
        let at = Stamp { index, at_ms: self.clock, idempotency_key: id, origin, touches };
        let time_before = self.steady.now_ms();
        let applied = self.steady.apply(at.clone(), command.clone());
        assert_eq!(applied, self.restarted.apply(at.clone(), command.clone()), "the replicas differ");
        let expected = self.model.apply(at, command);
        assert_eq!(applied, expected, "the model differs");
        assert!(self.steady.now_ms() >= time_before, "log time went back");
        self.watcher.see(&applied.events);
        self.check_revisions(&applied, index);
    }

    /// C5: what an entry of the log changes has its index, and that is more than any before.
    fn check_revisions(&mut self, applied: &Applied, index: u64) {
        for event in &applied.events {
            let key = match event {
                Event::Put { record, .. } => record.to_key(),
                Event::Deadline { key, .. } => key.clone(),
                Event::Removed { .. }
                | Event::Cleared { .. }
                | Event::Configured { .. }
                | Event::Merged { .. }
                | Event::SessionOpened { .. }
                | Event::SessionEnded { .. }
                | Event::Locked { .. }
                | Event::Unlocked { .. }
                | Event::Message { .. } => continue,
            };
            let before = self.revisions.insert(key, index);
            assert!(before.is_none_or(|before| before < index));
        }
        for (key, info) in self.steady.keys("", None, usize::MAX) {
            assert_eq!(Some(&info.entry.revision), self.revisions.get(&key));
        }
    }

    fn compare(&self) {
        let cache = &self.steady;
        assert_eq!(cache.digest(), self.restarted.digest());
        assert_eq!(cache.next_victims(9), self.restarted.next_victims(9));
        assert_eq!(snapshot(cache), snapshot(&self.restarted));
        check_accounts(cache);
        check_accounts(&self.restarted);
        assert_eq!(cache.now_ms(), self.model.now_ms);
        assert_eq!(cache.len(), self.model.held.len() as u64);
        assert_eq!(cache.bytes(), self.model.bytes());
        if cache.config().policy != Policy::NoEviction {
            assert!(cache.bytes() <= cache.config().capacity_bytes);
            assert!(cache.len() <= cache.config().capacity_entries);
        }
        for text in KEYS {
            let key = Key::new(text).expect("a key");
            assert_eq!(cache.get(text).as_ref(), self.model.get(&key));
            assert_eq!(cache.tombstone(text).map(|t| t.revision), self.model.grave(&key));
            // C13: against every removal there ever was.
            if cache.get(text).is_none() {
                assert_eq!(cache.absence(text), self.model.absence(&key), "{text}");
            }
            let known = self.watcher.0.get(&key);
            let held = self.model.held.get(&key).map(|held| &held.found);
            assert_eq!(known.map(|k| &k.0), held.map(|f| &f.value));
            // A deadline that reads have moved has no event.
            assert!(known.map(|k| k.1) <= held.map(|f| f.info.expires_at_ms), "{known:?} {held:?}");
        }
        let listed: Vec<_> = cache.keys("a", Some("a"), 2).into_iter().map(|(key, _)| key).collect();
        let live = self.model.held.keys().filter(|key| self.model.get(key).is_some());
        let expected: Vec<_> =
            live.filter(|k| k.as_str().starts_with('a') && k.as_str() > "a").take(2).cloned().collect();
        assert_eq!(listed, expected);
        let next = self.model.held.values().filter_map(|held| held.found.info.expires_at_ms).min();
        assert_eq!(cache.entries_to_free(), self.model.cleared.len() as u64);
        if self.model.is_moving() || !self.model.cleared.is_empty() {
            assert_eq!(cache.next_due_ms(), Some(cache.now_ms()));
        } else {
            assert_eq!(cache.next_due_ms(), next.map(|deadline| deadline.max(cache.now_ms())));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// C1 same_log_same_bytes, C2 log_clock_never_goes_back, C3 bytes_used_is_exact_and_bounded,
    /// C4 expired_is_invisible_at_log_time, C5 revision_strictly_rises, C6 request_applies_at_most_once,
    /// C7 snapshot_round_trips_everything, C8 one_event_per_visible_change_in_order.
    #[test]
    fn replicas_and_model_agree(
        config in arbitrary::config(),
        free_per_apply_max in prop_oneof![Just(0), Just(1), Just(limits::FREE_PER_APPLY_MAX)],
        happenings in vec(arbitrary::happening(), 1..80),
    ) {
        let mut world = World::new(config, free_per_apply_max);
        for happening in happenings {
            world.happen(happening);
        }
    }

    /// C1 same_log_same_bytes: a frozen view keeps the state it was taken at, whatever comes after.
    #[test]
    fn a_frozen_view_does_not_move(
        config in arbitrary::config(),
        before in vec(arbitrary::command(), 1..30),
        after in vec(arbitrary::command(), 1..30),
    ) {
        let mut cache = Cache::new(config);
        let commit = |cache: &mut Cache, command| {
            let index = cache.index() + 1;
            let idempotency_key = Some(index.to_string().into());
            cache.apply(Stamp { index, at_ms: 1_000 + index, idempotency_key, origin: None, touches: Vec::new() }, command);
        };
        before.into_iter().for_each(|command| commit(&mut cache, command));
        let bytes = snapshot(&cache);
        let (frozen, digest, index) = (cache.snapshot_view(), cache.digest(), cache.index());
        after.into_iter().for_each(|command| commit(&mut cache, command));
        let mut later = Vec::new();
        frozen.encode(&mut later).expect("a Vec takes everything");
        prop_assert!(bytes == later, "the view moved");
        prop_assert_eq!((frozen.digest(), frozen.index()), (digest, index));
    }
}

//! A near cache against the true log: whatever the order in which answers, changes and bookmarks arrive, what is held is never older
//! than asked for.

use super::freshness::LocalTime;
use super::options::{Held, NearEntry, NearOptions, Want};
use super::state::{Answer, Joined, State};
use crate::api::{HistoryName, WatchMessage, WireEvent, WireValue};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const KEYS: [&str; 3] = ["a", "a:1", "b"];
const BOUNDS_MS: [u64; 4] = [1, 20, 100, 1_000];
/// Log time when the local clock shows 0, in milliseconds.
const LOG_BEGINS_MS: i64 = 1_700_000_000_000;

/// A change of a key at an index, or of all that start with it; at this local time, which nobody in the test's caches knows.
struct Entry {
    at: LocalTime,
    prefix: &'static str,
    is_clear: bool,
    value: Option<u64>,
}

struct Reading {
    key: &'static str,
    joined: Joined,
    sent_at: LocalTime,
    arrives_at: LocalTime,
    answer: Option<(Answer, u64)>,
    is_linearizable: bool,
}

struct World {
    random: fastrand::Rng,
    now: LocalTime,
    log: Vec<Entry>,
    state: State,
    options: NearOptions,
    /// Messages on their way, in order, and when they arrive.
    stream: std::collections::VecDeque<(LocalTime, WatchMessage)>,
    readings: Vec<Reading>,
    /// How far log time is ahead of the local clock.
    lead_ms: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let options =
            NearOptions { updates: random.bool(), max_entries: random.usize(1..4), ..NearOptions::default() };
        let lead_ms = LOG_BEGINS_MS + random.i64(-5_000..5_000);
        let state = State::new(&options);
        Self {
            random,
            now: 0,
            log: Vec::new(),
            state,
            options,
            stream: Default::default(),
            readings: Vec::new(),
            lead_ms,
        }
    }

    /// One in which nothing is evicted.
    fn roomy() -> Self {
        let options = NearOptions::default();
        Self { state: State::new(&options), options, ..Self::new(7) }
    }

    fn index(&self) -> u64 {
        self.log.len() as u64
    }

    fn log_ms(&self) -> u64 {
        (self.now.div_euclid(1_000) + self.lead_ms).try_into().expect("after 1970")
    }

    /// What a key has after `index`, and the index at which it got it.
    fn at(&self, key: &str, index: u64) -> (Option<u64>, u64) {
        let changes = self.log[..index as usize].iter().enumerate().rev();
        let last = changes.into_iter().find(|(_, entry)| match entry.is_clear {
            true => key.starts_with(entry.prefix),
            false => key == entry.prefix,
        });
        last.map_or((None, 0), |(position, entry)| (entry.value, position as u64 + 1))
    }

    fn send(&mut self, message: WatchMessage) {
        let earliest = self.stream.back().map_or(self.now, |(at, _)| *at);
        let slow = self.random.u8(..10) == 0;
        let delay = self.random.i64(0..if slow { 300_000 } else { 3_000 });
        self.stream.push_back((earliest.max(self.now + delay), message));
    }

    fn subscribe(&mut self) {
        let history = HistoryName { number: 1, id: "0123456789".into() };
        let (index, at_ms) = (self.index(), self.log_ms());
        self.send(WatchMessage::Subscribed { index, at_ms, cluster_id: "c".into(), history });
    }

    fn change(&mut self) {
        let prefix = KEYS[self.random.usize(..KEYS.len())];
        let is_clear = self.random.u8(..8) == 0;
        let value = (!is_clear && self.random.u8(..4) > 0).then(|| self.index() + 1);
        self.log.push(Entry { at: self.now, prefix, is_clear, value });
        let key = prefix.to_owned();
        let event = match value {
            Some(value) => WireEvent::Put {
                key,
                created: false,
                bytes: 1,
                value: Some(WireValue::Text { value: value.to_string() }),
                content_type: None,
                expires_at_ms: None,
                sliding_ms: None,
                version: 1,
                created_at_ms: 0,
                modified_at_ms: 0,
            },
            None if is_clear => WireEvent::Clear { prefix: Some(key), removed: 1 },
            None => WireEvent::Delete { key },
        };
        let (index, at_ms) = (self.index(), self.log_ms());
        let events = vec![event];
        let change = change(index, at_ms, events);
        self.send(change);
    }

    fn read(&mut self) {
        let key = KEYS[self.random.usize(..KEYS.len())];
        let joined = self.state.join(key);
        let arrives_at = self.now + self.random.i64(0..20_000);
        let is_linearizable = self.random.u8(..4) > 0;
        self.readings.push(Reading {
            key,
            joined,
            sent_at: self.now,
            arrives_at,
            answer: None,
            is_linearizable,
        });
    }

    /// Nodes answer, and answers arrive.
    fn answers(&mut self) {
        for position in (0..self.readings.len()).rev() {
            let answers_now = self.readings[position].answer.is_none() && self.random.u8(..3) == 0;
            if answers_now
                || self.now >= self.readings[position].arrives_at && self.readings[position].answer.is_none()
            {
                let Reading { key, sent_at, is_linearizable, .. } = self.readings[position];
                // A node that is behind may answer what is not linearizable.
                let behind = if is_linearizable { 0 } else { self.random.u64(..4).min(self.index()) };
                let index = self.index() - behind;
                let (value, revision) = self.at(key, index);
                let held = value.map(|value| entry(value, revision));
                let log_ms = self.log_ms();
                self.readings[position].answer =
                    Some((Answer { held, index, sent_at, expires_at: None, is_linearizable }, log_ms));
            }
            if self.now >= self.readings[position].arrives_at {
                let Reading { key, joined, sent_at, answer, .. } = self.readings.swap_remove(position);
                let (answer, log_ms) = answer.expect("it was answered before");
                if answer.is_linearizable {
                    self.state.fresh.sample(sent_at, log_ms);
                }
                // Some are given up before.
                if self.random.u8(..10) > 0 {
                    self.state.keep(key, joined, answer);
                }
                self.state.leave(key, joined);
            }
        }
    }

    fn write(&mut self) {
        let key = KEYS[self.random.usize(..KEYS.len())];
        let joined = self.state.join(key);
        let sent_at = self.now;
        self.log.push(Entry { at: self.now, prefix: key, is_clear: false, value: Some(self.index() + 1) });
        let index = self.index();
        let (at_ms, key_name) = (self.log_ms(), key.to_owned());
        let events = vec![WireEvent::Delete { key: key_name }];
        // Told as something that drops it: what the write itself keeps is tested.
        self.send(change(index, at_ms, events));
        self.step_time();
        self.state.written(key, joined, index, sent_at, Some((Some(entry(index, index)), None)));
        self.state.leave(key, joined);
    }

    fn step_time(&mut self) {
        self.now += self.random.i64(0..5_000);
        while self.stream.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, message) = self.stream.pop_front().expect("it is there");
            self.state.hear(message, self.now, &self.options);
        }
    }

    /// Everything that is held is true, as of what each kind of read asks for.
    fn check(&self, seed: u64) {
        for key in KEYS {
            let Some(slot) = self.state.store.get(key) else { continue };
            let value = slot.held.as_ref().map(|entry| number(&entry.value));
            for bound_ms in BOUNDS_MS {
                let want = Want::MaxStale(Duration::from_millis(bound_ms));
                if self.state.is_enough(slot, want, self.now) {
                    let since = self.now - bound_ms as i64 * 1_000;
                    assert!(
                        self.was_true_since(key, value, since),
                        "seed {seed}: at {} {key} was {value:?} within {bound_ms} ms? {:?}",
                        self.now,
                        self.state
                    );
                }
            }
        }
    }

    /// Whether a key had this value at `since`, or got it later.
    fn was_true_since(&self, key: &str, value: Option<u64>, since: LocalTime) -> bool {
        let before = self.log.iter().take_while(|entry| entry.at <= since).count() as u64;
        (before..=self.index()).any(|index| self.at(key, index).0 == value)
    }
}

fn change(index: u64, at_ms: u64, events: Vec<WireEvent>) -> WatchMessage {
    WatchMessage::Change {
        index,
        at_ms,
        by: None,
        merged_from: None,
        origin: None,
        idempotency_key: None,
        events,
    }
}

fn entry(value: u64, revision: u64) -> Arc<NearEntry> {
    Arc::new(NearEntry { value: Bytes::from(value.to_string()), content_type: None, revision })
}

fn number(value: &Bytes) -> u64 {
    std::str::from_utf8(value).expect("a number").parse().expect("a number")
}

#[test]
fn what_is_held_is_never_older_than_asked_for() {
    let mut hits = [0_u64; BOUNDS_MS.len()];
    for seed in 0..400 {
        let mut world = World::new(seed);
        world.subscribe();
        for _ in 0..400 {
            match world.random.u8(..10) {
                0..3 => world.change(),
                3..6 => world.read(),
                6 => world.write(),
                7 => {
                    let (index, at_ms) = (world.index(), world.log_ms());
                    world.send(WatchMessage::Bookmark { index, at_ms });
                }
                8 if world.random.u8(..20) == 0 => {
                    // The stream is lost, and what was on its way with it.
                    world.stream.clear();
                    let index = world.index();
                    match world.random.bool() {
                        true => world.subscribe(),
                        false => {
                            let (from, at_ms) = (index, world.log_ms());
                            world.send(WatchMessage::Resync { from, index, at_ms });
                        }
                    }
                }
                _ => {}
            }
            world.step_time();
            world.answers();
            world.check(seed);
            for (hits, bound_ms) in hits.iter_mut().zip(BOUNDS_MS) {
                let want = Want::MaxStale(Duration::from_millis(bound_ms));
                let slots = KEYS.iter().filter_map(|key| world.state.store.get(key));
                *hits += slots.filter(|slot| world.state.is_enough(slot, want, world.now)).count() as u64;
            }
        }
    }
    println!("hits by bound: {hits:?}");
    assert!(hits[1] > 1_000 && hits[3] > 20_000, "it holds something: {hits:?}");
}

/// What was written, or seen, is what a read of the session sees from then on.
#[test]
fn a_session_never_goes_back() {
    let mut world = World::roomy();
    world.subscribe();
    world.now = 400_000;
    world.step_time();
    let joined = world.state.join("a");
    let stale = Answer {
        held: Some(entry(1, 0)),
        index: 0,
        sent_at: world.now,
        expires_at: None,
        is_linearizable: false,
    };
    world.state.keep("a", joined, stale);
    world.state.leave("a", joined);
    let enough = |state: &State, key: &str| {
        let slot = state.store.get(key).expect("it is held");
        state.is_enough(slot, Want::Session, 500_000)
    };
    assert!(enough(&world.state, "a"));
    // It writes something else: what is held of this key may be older than that.
    let joined = world.state.join("b");
    world.state.written("b", joined, 5, world.now, Some((None, None)));
    world.state.leave("b", joined);
    assert!(enough(&world.state, "b") && !enough(&world.state, "a"));
    let cursor = world.state.not_before(Want::Session).expect("a place");
    assert_eq!((cursor.index, world.state.not_before(Want::Any).map(|cursor| cursor.index)), (5, None));
    // The stream comes so far without a word of it.
    world.state.hear(WatchMessage::Bookmark { index: 5, at_ms: world.log_ms() }, world.now, &world.options);
    assert!(enough(&world.state, "a"));
}

/// An answer that was asked for before a change was told is not kept, nor one that the stream has overtaken.
#[test]
fn answers_that_were_overtaken_are_not_kept() {
    let mut world = World::roomy();
    world.subscribe();
    world.now = 400_000;
    world.step_time();
    let answer =
        |index| Answer { held: None as Held, index, sent_at: 0, expires_at: None, is_linearizable: true };
    let delete = |index, key: &str| {
        let events = vec![WireEvent::Delete { key: key.to_owned() }];
        change(index, 0, events)
    };
    let joined = world.state.join("a");
    world.state.hear(delete(9, "a"), world.now, &world.options);
    world.state.keep("a", joined, answer(8));
    assert!(world.state.store.get("a").is_none());
    world.state.keep("a", joined, answer(9));
    assert!(world.state.store.get("a").is_some(), "it knows the change");
    world.state.leave("a", joined);
    let joined = world.state.join("b");
    world.state.keep("b", joined, answer(8));
    assert!(
        world.state.store.get("b").is_none(),
        "a change between may have been told before it was asked for"
    );
    world.state.flush();
    world.state.keep("b", joined, answer(10));
    assert!(world.state.store.get("b").is_none(), "it was on its way when everything was dropped");
    assert_eq!(world.state.discarded, 2);
}

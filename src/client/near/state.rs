//! What a near cache knows, and how messages of the stream, answers and writes change it. It does no input or output.
//!
//! An answer and the stream race: an answer of index 7 may come after the stream told of a change at index 9. So each key that is
//! being read or written has a [`Flight`], which notes the highest index at which the stream told of it meanwhile. An answer is
//! kept only if nothing newer was told of its key, and if it is no older than the place that the stream had when it was asked for.

use super::freshness::{Freshness, LocalTime};
use super::options::{Held, NearEntry, NearOptions, Want};
use super::store::{Slot, Store};
use crate::api::{WatchMessage, WireEvent, WireValue};
use crate::client::position::{Cursor, is_same_history};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// A key that is being read or written.
#[derive(Debug)]
struct Flight {
    /// Tells it from one of the same key that was given up.
    id: u64,
    /// The highest index at which the key was told to have changed.
    told: u64,
    users: usize,
    /// A linearizable read that others can share, and when it began.
    reading: Option<(LocalTime, watch::Receiver<Option<Held>>)>,
}

/// A flight that was joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    id: u64,
    /// Where the stream was.
    place: Option<u64>,
}

/// An answer to a read.
pub(super) struct Answer {
    pub held: Held,
    pub index: u64,
    /// When it was asked for.
    pub sent_at: LocalTime,
    /// When it expires, at the earliest.
    pub expires_at: Option<LocalTime>,
    pub is_linearizable: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub store: Store,
    pub fresh: Freshness,
    flights: HashMap<Box<str>, Flight>,
    next_flight: u64,
    /// Up to where the stream has told everything; nothing before it begins, and between two histories.
    place: Option<u64>,
    history: Option<String>,
    /// The highest revision that was written, or seen in a value.
    floor: u64,
    pub discarded: u64,
    /// Changes came since the last bookmark.
    pub has_changed: bool,
}

impl State {
    pub fn new(options: &NearOptions) -> Self {
        Self {
            store: Store::new(options.max_entries, options.max_bytes),
            fresh: Freshness::default(),
            flights: HashMap::new(),
            next_flight: 0,
            place: None,
            history: None,
            floor: 0,
            discarded: 0,
            has_changed: false,
        }
    }

    /// Whether what is held is good enough.
    pub fn is_enough(&self, slot: &Slot, want: Want, now: LocalTime) -> bool {
        if slot.expires_at.is_some_and(|at| now >= at) {
            return false;
        }
        match want {
            Want::Linearizable => false,
            Want::Any => true,
            Want::Session => slot.as_of >= self.floor || self.place.is_some_and(|place| place >= self.floor),
            Want::MaxStale(bound) => {
                let bound = i64::try_from(bound.as_micros()).unwrap_or(i64::MAX);
                let known_at = self.fresh.confirmed_at().max(slot.checked_at);
                known_at.is_some_and(|at| now.saturating_sub(at) <= bound)
            }
        }
    }

    /// What a read may not be older than, if it is not linearizable.
    pub fn not_before(&self, want: Want) -> Option<Cursor> {
        let floor = if want == Want::Session { self.floor } else { 0 };
        let index = floor.max(self.place.unwrap_or(0));
        let history = self.history.clone()?;
        (index > 0).then_some(Cursor { index, history })
    }

    /// Begins to read or write a key.
    pub fn join(&mut self, key: &str) -> Joined {
        let place = self.place;
        if let Some(flight) = self.flights.get_mut(key) {
            flight.users += 1;
            return Joined { id: flight.id, place };
        }
        self.next_flight += 1;
        let flight = Flight { id: self.next_flight, told: 0, users: 1, reading: None };
        self.flights.insert(key.into(), flight);
        Joined { id: self.next_flight, place }
    }

    /// It is over, or was given up.
    pub fn leave(&mut self, key: &str, joined: Joined) {
        let Some(flight) = self.flights.get_mut(key).filter(|flight| flight.id == joined.id) else { return };
        flight.users -= 1;
        if flight.users == 0 {
            self.flights.remove(key);
        }
    }

    /// Lets others share the read that this flight has begun.
    pub fn share(
        &mut self,
        key: &str,
        joined: Joined,
        at: LocalTime,
        reading: watch::Receiver<Option<Held>>,
    ) {
        if let Some(flight) = self.flights.get_mut(key).filter(|flight| flight.id == joined.id) {
            flight.reading = Some((at, reading));
        }
    }

    /// A read of this key that began no earlier than this.
    pub fn shared(&self, key: &str, since: LocalTime) -> Option<watch::Receiver<Option<Held>>> {
        let (begun_at, reading) = self.flights.get(key)?.reading.as_ref()?;
        (*begun_at >= since && reading.has_changed().is_ok()).then(|| reading.clone())
    }

    /// Keeps an answer, unless something newer was told of the key, or may have been.
    pub fn keep(&mut self, key: &str, joined: Joined, answer: Answer) {
        let Answer { held, index, sent_at, expires_at, is_linearizable } = answer;
        if let Some(entry) = &held {
            self.floor = self.floor.max(entry.revision);
        }
        let Some(place) = self.place else { return };
        if is_linearizable {
            self.fresh.answered(index, sent_at, place);
        }
        let Some(flight) = self.flights.get(key).filter(|flight| flight.id == joined.id) else { return };
        let is_outdated = self.store.get(key).is_some_and(|slot| slot.as_of > index);
        if joined.place.is_none_or(|place| index < place) || index < flight.told || is_outdated {
            self.discarded += 1;
            return;
        }
        // An answer of a node that is behind was true when that node had applied it, not when it was asked for.
        self.store.insert(key, held, index, is_linearizable.then_some(sent_at), expires_at);
    }

    /// A write was done at this index. `held` is what the key has by it, and when that expires, if both are known.
    pub fn written(
        &mut self,
        key: &str,
        joined: Joined,
        index: u64,
        sent_at: LocalTime,
        held: Option<(Held, Option<LocalTime>)>,
    ) {
        self.floor = self.floor.max(index);
        if self.store.get(key).is_some_and(|slot| slot.as_of < index) {
            self.store.remove(key);
        }
        let Some(flight) = self.flights.get_mut(key).filter(|flight| flight.id == joined.id) else { return };
        let is_newest = index >= flight.told;
        // A read that was sent before may not know this write.
        flight.told = flight.told.max(index);
        if let Some((held, expires_at)) = held
            && is_newest
            && self.place.is_some()
        {
            self.store.insert(key, held, index, Some(sent_at), expires_at);
        }
    }

    /// Whether an answer is from the history that is followed. If none is known yet, it becomes this one.
    pub fn is_ours(&mut self, history: &str) -> bool {
        is_same_history(self.history.get_or_insert_with(|| history.to_owned()), history)
    }

    /// The cluster is in another history: nothing that is held is worth anything until the stream begins there.
    pub fn leave_history(&mut self) {
        self.flush();
        self.fresh = Freshness::default();
        (self.place, self.floor, self.history) = (None, 0, None);
    }

    /// Drops everything that is held, and the answers that are on their way.
    pub fn flush(&mut self) {
        self.store.clear();
        self.flights.clear();
    }

    /// Where the stream is, if it has begun.
    pub fn place(&self) -> Option<u64> {
        self.place
    }

    /// Applies a message of the stream, which arrives `now`.
    pub fn hear(&mut self, message: WatchMessage, now: LocalTime, options: &NearOptions) {
        match message {
            WatchMessage::Subscribed { index, history, .. } => {
                if !self.is_ours(&history.id) {
                    self.leave_history();
                    self.history = Some(history.id);
                }
                // A stream that begins rather than goes on says nothing about what came before.
                if self.place != Some(index) {
                    self.flush();
                }
                self.place = Some(index);
            }
            WatchMessage::Resync { index, .. } => {
                self.flush();
                self.place = Some(index);
            }
            WatchMessage::Change { index, events, .. } if self.place.is_some() => {
                self.has_changed = true;
                for event in events {
                    self.apply(event, index, now, options);
                }
                self.place = Some(index);
            }
            WatchMessage::Bookmark { index, at_ms } if self.place.is_some() => {
                self.place = Some(index);
                self.fresh.confirm(now, at_ms);
                self.has_changed = false;
            }
            // Of a history that was left, or the end of the stream: its place is the client's concern.
            WatchMessage::Change { .. } | WatchMessage::Bookmark { .. } | WatchMessage::Closed { .. } => {
                return;
            }
        }
        if let Some(place) = self.place {
            self.fresh.reached(place);
        }
    }

    fn apply(&mut self, event: WireEvent, index: u64, now: LocalTime, options: &NearOptions) {
        match event {
            WireEvent::Put { key, value, content_type, expires_at_ms, .. } => {
                let was_held = self.outdate(&key, index);
                let value = value.filter(|_| was_held && options.updates);
                let Some(Ok(value)) = value.map(WireValue::into_bytes) else { return };
                let expires_at = match expires_at_ms.map(|at_ms| self.fresh.local_time(at_ms, now)) {
                    Some(None) => return,
                    Some(at) => at,
                    None => None,
                };
                let entry = NearEntry { value, content_type, revision: index };
                self.store.insert(&key, Some(Arc::new(entry)), index, None, expires_at);
            }
            WireEvent::Lifetime { key, .. }
            | WireEvent::Delete { key }
            | WireEvent::Expire { key }
            | WireEvent::Evict { key } => {
                self.outdate(&key, index);
            }
            WireEvent::Clear { prefix, .. } => {
                let prefix = prefix.unwrap_or_default();
                self.store.remove_prefix(&prefix, index);
                for (key, flight) in &mut self.flights {
                    if key.starts_with(&prefix) {
                        flight.told = flight.told.max(index);
                    }
                }
            }
            WireEvent::Config { .. }
            | WireEvent::Session { .. }
            | WireEvent::SessionEnd { .. }
            | WireEvent::Lock { .. }
            | WireEvent::Unlock { .. } => {}
        }
    }

    /// A key has changed at this index. Whether something older was held.
    fn outdate(&mut self, key: &str, index: u64) -> bool {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.told = flight.told.max(index);
        }
        let is_older = self.store.get(key).is_some_and(|slot| slot.as_of < index);
        if is_older {
            self.store.remove(key);
        }
        is_older
    }
}

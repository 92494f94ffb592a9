//! Reads of this node that the log was not told of yet: those that the next write takes along, those that are only
//! counted, and those that the leader is just being told of.

use super::touch_buffer::TouchBuffer;
use crate::cache::{EntryId, Touch, TouchConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Reads that change no order, but are counted, are told of so often.
pub(super) const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Entries of reads that are sent once more with a write, because the leader may not have them yet.
const RESENT_MAX: usize = 1_024;
/// Entries told of for each millisecond of an interval, at most: more would be more than `apply` can do beside
/// its other work.
const TOUCHES_PER_MS_MAX: u128 = 50;

/// Entries that a node tells of in an interval, at most.
pub(super) fn most_of(config: TouchConfig) -> usize {
    most_of_time(config, Duration::from_millis(config.interval_ms))
}

/// Entries told of at once where that happens each time so long has passed, at most.
pub(super) fn most_of_time(config: TouchConfig, time: Duration) -> usize {
    let most = u128::from(config.max_per_flush).min(time.as_millis() * TOUCHES_PER_MS_MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Reads on their way to the leader, with a number that rises: it counts them once, though they may come twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbered {
    pub number: u64,
    pub touches: Vec<Touch>,
}

/// The reads of a node that are to count before a write of its client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// Those that the leader is just being told of: the write may be there first.
    pub told: Option<Numbered>,
    pub fresh: Vec<Touch>,
}

impl Before {
    pub fn is_empty(&self) -> bool {
        self.told.is_none() && self.fresh.is_empty()
    }
}

/// What became of reads that were on their way to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The leader has them.
    Taken,
    /// It has not.
    Refused,
    Unknown,
}

/// What the leader is being told of.
struct Telling {
    reads: Numbered,
    /// The write that takes them along, too. One at a time does, and none any more once one has arrived: the client of the
    /// next one has waited for that, or for nothing.
    carrier: Carrier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Missing,
    UnderWay,
    Arrived,
}

/// A node's own reads.
#[derive(Default)]
pub(super) struct OwnReads {
    reads: TouchBuffer,
    /// Those that change no order, and are only counted: once a second, however often it is written.
    counted: TouchBuffer,
    /// Whether some of them change the order in which entries go, or a deadline.
    matter: bool,
    /// Those that the leader is being told of, until it has answered.
    telling: Option<Telling>,
    /// The number of those that the leader did not take when it was told, while a write that has them is under way.
    with_write_only: Option<u64>,
    /// How often it was told.
    told: u64,
}

impl OwnReads {
    /// An entry was read. Returns how often it was read here before that the log was not told of, and whether the read
    /// had room.
    pub fn note(&mut self, entry: EntryId, matters: bool, config: TouchConfig, exact: bool) -> (u64, bool) {
        self.matter |= matters;
        let waiting = u64::from(self.reads.count_of(entry)) + u64::from(self.counted.count_of(entry));
        let buffer = if matters || exact { &mut self.reads } else { &mut self.counted };
        (waiting, buffer.add(Touch { entry, count: 1 }, most_of(config)))
    }

    /// Takes out what is to count before a write that comes now.
    pub fn before_write(&mut self) -> Before {
        let told = self.telling.as_mut().filter(|telling| {
            telling.carrier == Carrier::Missing && telling.reads.touches.len() <= RESENT_MAX
        });
        let told = told.map(|telling| {
            telling.carrier = Carrier::UnderWay;
            telling.reads.clone()
        });
        if self.reads.is_empty() {
            return Before { told, fresh: Vec::new() };
        }
        self.matter = false;
        Before { told, fresh: self.reads.take(usize::MAX) }
    }

    /// A write has ended that took `before` along. Returns how many entries' reads are lost.
    pub fn after_write(&mut self, before: &Before, fate: Fate, config: TouchConfig) -> usize {
        let mut lost = if fate == Fate::Refused { self.put_back(&before.fresh, config) } else { 0 };
        let Some(told) = &before.told else { return lost };
        if let Some(telling) = self.telling.as_mut().filter(|telling| telling.reads.number == told.number) {
            telling.carrier = if fate == Fate::Taken { Carrier::Arrived } else { Carrier::Missing };
        }
        if self.with_write_only == Some(told.number) {
            self.with_write_only = None;
            lost += match fate {
                Fate::Taken => 0,
                Fate::Refused => self.put_back(&told.touches, config),
                Fate::Unknown => told.touches.len(),
            };
        }
        lost
    }

    /// Puts reads back that were taken out, before those that came since; returns how many entries' do not fit.
    fn put_back(&mut self, touches: &[Touch], config: TouchConfig) -> usize {
        if touches.is_empty() {
            return 0;
        }
        self.matter = true;
        self.reads.put_back(touches, most_of(config))
    }

    /// What the leader is to be told now, if anything; `applied` is the log index that was applied here last.
    pub fn begin_telling(&mut self, since_all: Duration, applied: u64) -> Option<Numbered> {
        if self.is_due(since_all) {
            self.told += 1;
            let number = (applied << 16) | (self.told & 0xffff);
            let touches = self.take(since_all);
            self.telling = Some(Telling { reads: Numbered { number, touches }, carrier: Carrier::Missing });
        }
        self.telling.as_ref().map(|telling| telling.reads.clone())
    }

    /// The leader has answered, or has not. Returns how many entries' reads are lost.
    pub fn end_telling(&mut self, fate: Fate, config: TouchConfig) -> usize {
        let Some(Telling { reads, carrier }) = self.telling.take() else { return 0 };
        match (fate, carrier) {
            (Fate::Taken, _) | (_, Carrier::Arrived) => 0,
            (Fate::Refused, Carrier::Missing) => self.put_back(&reads.touches, config),
            (Fate::Unknown, Carrier::Missing) => reads.touches.len(),
            (Fate::Refused | Fate::Unknown, Carrier::UnderWay) => {
                self.with_write_only = Some(reads.number);
                0
            }
        }
    }

    pub fn is_due(&self, since_all: Duration) -> bool {
        let counted = since_all >= COUNT_INTERVAL && !(self.reads.is_empty() && self.counted.is_empty());
        self.matter || counted
    }

    /// Takes out what is to be told.
    /// Those that are only counted come first: that they were read late must not move them past the others.
    pub fn take(&mut self, since_all: Duration) -> Vec<Touch> {
        let counted = if since_all >= COUNT_INTERVAL { self.counted.take(usize::MAX) } else { Vec::new() };
        self.matter = false;
        [counted, self.reads.take(usize::MAX)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_of_a_write_that_was_refused_go_along_with_the_next_one() {
        let mut own = OwnReads::default();
        let config = TouchConfig { max_per_flush: 4, ..TouchConfig::default() };
        let note = |own: &mut OwnReads, slot| {
            let entry = EntryId { slot, generation: 0 };
            own.reads.add(Touch { entry, count: 1 }, most_of(config));
        };
        [0, 1, 4].into_iter().for_each(|slot| note(&mut own, slot));
        let refused = own.before_write();
        assert_eq!(own.before_write(), Before::default());
        [2, 0, 3].into_iter().for_each(|slot| note(&mut own, slot));
        let lost = own.after_write(&refused, Fate::Refused, config);
        let next = own.before_write().fresh;
        let next: Vec<(u32, u16)> = next.iter().map(|touch| (touch.entry.slot, touch.count)).collect();
        // Those that are older come first; the oldest that was not read again does not fit.
        assert_eq!((next, lost), (vec![(4, 1), (2, 1), (0, 2), (3, 1)], 1));
    }

    fn read(own: &mut OwnReads, slot: u32, config: TouchConfig) {
        let entry = EntryId { slot, generation: 0 };
        own.note(entry, true, config, true);
    }

    #[test]
    fn what_is_being_told_goes_with_one_write_at_a_time() {
        let (mut own, config) = (OwnReads::default(), TouchConfig::default());
        let fresh = |before: &Before| before.fresh.iter().map(|touch| touch.entry.slot).collect::<Vec<_>>();
        read(&mut own, 1, config);
        let told = own.begin_telling(Duration::ZERO, 5);
        read(&mut own, 2, config);
        let first = own.before_write();
        assert_eq!((&first.told, fresh(&first)), (&told, vec![2]));
        read(&mut own, 3, config);
        let beside = own.before_write();
        assert_eq!((&beside.told, fresh(&beside)), (&None, vec![3]), "the first is under way");
        // Whether they are there is not known, so another may bring them.
        own.after_write(&first, Fate::Unknown, config);
        let second = own.before_write();
        assert_eq!(second, Before { told, fresh: Vec::new() });
        own.after_write(&second, Fate::Taken, config);
        assert!(own.before_write().is_empty(), "the leader has them");
        assert_eq!(own.end_telling(Fate::Refused, config), 0);
        assert!(own.before_write().is_empty(), "as a write has brought them, whoever refused the telling");
    }

    #[test]
    fn what_neither_a_telling_nor_a_write_brought_goes_with_the_next_write() {
        let (mut own, config) = (OwnReads::default(), TouchConfig::default());
        for write_ends_first in [true, false] {
            read(&mut own, 1, config);
            own.begin_telling(Duration::ZERO, 5);
            let write = own.before_write();
            if write_ends_first {
                own.after_write(&write, Fate::Refused, config);
                assert_eq!(own.end_telling(Fate::Refused, config), 0);
            } else {
                assert_eq!(own.end_telling(Fate::Refused, config), 0);
                assert!(own.before_write().is_empty(), "a write has them");
                own.after_write(&write, Fate::Refused, config);
            }
            let next = own.before_write();
            assert_eq!((next.told, next.fresh.len()), (None, 1), "{write_ends_first}");
        }
    }

    #[test]
    fn no_settings_ask_for_more_than_can_be_done() {
        let most = |interval_ms, max_per_flush| {
            most_of(TouchConfig { interval_ms, max_per_flush, ..TouchConfig::default() })
        };
        assert_eq!((most(10, 8_192), most(100, 8_192)), (500, 5_000));
    }
}

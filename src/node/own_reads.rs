//! Touches of this node's own reads, until the leader has them: those that the next write carries, those that only
//! count uses, and those that are being sent to the leader.

use super::touch_buffer::TouchBuffer;
use crate::cache::{EntryId, Touch, TouchConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often touches are sent that do not change the eviction order and only count uses.
pub(super) const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Most entries whose touches are sent a second time, with a write, because the leader may not have them yet.
const RESENT_ENTRIES_MAX: usize = 1_024;
/// Most entries touched per millisecond of an interval. More would be too much for `apply`, which has other work, too.
const ENTRIES_PER_MS_MAX: u128 = 50;

/// Most entries that a node reports in an interval.
pub(super) fn entries_max(config: TouchConfig) -> usize {
    entries_max_in(config, Duration::from_millis(config.interval_ms))
}

/// Most entries in one report, if there is one each `time`.
pub(super) fn entries_max_in(config: TouchConfig, time: Duration) -> usize {
    let max = u128::from(config.max_per_flush).min(time.as_millis() * ENTRIES_PER_MS_MAX);
    usize::try_from(max).unwrap_or(usize::MAX)
}

/// Touches sent to the leader, with a number that rises, so that the leader counts them once even if they arrive twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NumberedReads {
    pub number: u64,
    pub touches: Vec<Touch>,
}

/// A node's touches that must be applied before a write of its client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReadsBefore {
    /// Touches that are being sent to the leader: the write may arrive before them.
    pub sending: Option<NumberedReads>,
    pub fresh: Vec<Touch>,
}

impl ReadsBefore {
    pub fn is_empty(&self) -> bool {
        self.sending.is_none() && self.fresh.is_empty()
    }
}

/// Whether the leader has got touches that were sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Delivered,
    /// The leader does not have them.
    Refused,
    Unknown,
}

/// Touches that are being sent to the leader.
struct Sending {
    reads: NumberedReads,
    /// The write that carries them, too. One write at a time does, and none after one has delivered them: a later write
    /// either started after that one ended, or its client did not wait.
    carrier: Carrier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    None,
    InFlight,
    Delivered,
}

/// The touches of a node's own reads.
#[derive(Default)]
pub(super) struct OwnReads {
    reads: TouchBuffer,
    /// Touches that do not change the eviction order and only count uses. They are sent once a second, however often
    /// clients write.
    counted: TouchBuffer,
    /// Whether some of `reads` change the eviction order or a deadline.
    urgent: bool,
    /// Touches that are being sent to the leader, until it has answered.
    sending: Option<Sending>,
    /// The number of touches that the leader refused or may not have got, while a write that carries them is in flight.
    only_with_write: Option<u64>,
    /// Messages to the leader so far.
    sends: u64,
}

impl OwnReads {
    /// Adds a read of an entry. Returns how many earlier reads of it wait here, and whether this one fitted.
    pub fn note(&mut self, entry: EntryId, urgent: bool, config: TouchConfig, exact: bool) -> (u64, bool) {
        self.urgent |= urgent;
        let waiting = u64::from(self.reads.count_of(entry)) + u64::from(self.counted.count_of(entry));
        let buffer = if urgent || exact { &mut self.reads } else { &mut self.counted };
        (waiting, buffer.add(Touch { entry, count: 1 }, entries_max(config)))
    }

    /// Takes the touches that must be applied before a write that starts now.
    pub fn before_write(&mut self) -> ReadsBefore {
        let sending = self.sending.as_mut().filter(|sending| {
            sending.carrier == Carrier::None && sending.reads.touches.len() <= RESENT_ENTRIES_MAX
        });
        let sending = sending.map(|sending| {
            sending.carrier = Carrier::InFlight;
            sending.reads.clone()
        });
        if self.reads.is_empty() {
            return ReadsBefore { sending, fresh: Vec::new() };
        }
        self.urgent = false;
        ReadsBefore { sending, fresh: self.reads.take(usize::MAX) }
    }

    /// The write that carried `before` has ended. Returns the number of entries whose touches are lost.
    pub fn after_write(&mut self, before: &ReadsBefore, delivery: Delivery, config: TouchConfig) -> usize {
        let mut lost = if delivery == Delivery::Refused { self.put_back(&before.fresh, config) } else { 0 };
        let Some(carried) = &before.sending else { return lost };
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.reads.number == carried.number)
        {
            sending.carrier =
                if delivery == Delivery::Delivered { Carrier::Delivered } else { Carrier::None };
        }
        if self.only_with_write == Some(carried.number) {
            self.only_with_write = None;
            lost += match delivery {
                Delivery::Delivered => 0,
                Delivery::Refused => self.put_back(&carried.touches, config),
                Delivery::Unknown => carried.touches.len(),
            };
        }
        lost
    }

    /// Puts touches back, before those that were added since. Returns the number of entries that do not fit.
    fn put_back(&mut self, touches: &[Touch], config: TouchConfig) -> usize {
        if touches.is_empty() {
            return 0;
        }
        self.urgent = true;
        self.reads.put_back(touches, entries_max(config))
    }

    /// The touches to send to the leader now, if any; `applied` is the index that this node has applied.
    pub fn begin_send(&mut self, since_all: Duration, applied: u64) -> Option<NumberedReads> {
        if self.is_due(since_all) {
            self.sends += 1;
            let number = (applied << 16) | (self.sends & 0xffff);
            let touches = self.take(since_all);
            self.sending = Some(Sending { reads: NumberedReads { number, touches }, carrier: Carrier::None });
        }
        self.sending.as_ref().map(|sending| sending.reads.clone())
    }

    /// The message to the leader has ended. Returns the number of entries whose touches are lost.
    pub fn end_send(&mut self, delivery: Delivery, config: TouchConfig) -> usize {
        let Some(Sending { reads, carrier }) = self.sending.take() else { return 0 };
        match (delivery, carrier) {
            (Delivery::Delivered, _) | (_, Carrier::Delivered) => 0,
            (Delivery::Refused, Carrier::None) => self.put_back(&reads.touches, config),
            (Delivery::Unknown, Carrier::None) => reads.touches.len(),
            (Delivery::Refused | Delivery::Unknown, Carrier::InFlight) => {
                self.only_with_write = Some(reads.number);
                0
            }
        }
    }

    pub fn is_due(&self, since_all: Duration) -> bool {
        let counted = since_all >= COUNT_INTERVAL && !(self.reads.is_empty() && self.counted.is_empty());
        self.urgent || counted
    }

    /// Takes the touches to send. Those that only count uses come first: because they are sent late, they must not move
    /// their entries past the others.
    pub fn take(&mut self, since_all: Duration) -> Vec<Touch> {
        let counted = if since_all >= COUNT_INTERVAL { self.counted.take(usize::MAX) } else { Vec::new() };
        self.urgent = false;
        [counted, self.reads.take(usize::MAX)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_of_a_refused_write_go_with_the_next_one() {
        let mut own = OwnReads::default();
        let config = TouchConfig { max_per_flush: 4, ..TouchConfig::default() };
        let note = |own: &mut OwnReads, slot| {
            let entry = EntryId { slot, generation: 0 };
            own.reads.add(Touch { entry, count: 1 }, entries_max(config));
        };
        [0, 1, 4].into_iter().for_each(|slot| note(&mut own, slot));
        let refused = own.before_write();
        assert_eq!(own.before_write(), ReadsBefore::default());
        [2, 0, 3].into_iter().for_each(|slot| note(&mut own, slot));
        let lost = own.after_write(&refused, Delivery::Refused, config);
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
    fn touches_in_flight_go_with_one_write_at_a_time() {
        let (mut own, config) = (OwnReads::default(), TouchConfig::default());
        let fresh =
            |before: &ReadsBefore| before.fresh.iter().map(|touch| touch.entry.slot).collect::<Vec<_>>();
        read(&mut own, 1, config);
        let sending = own.begin_send(Duration::ZERO, 5);
        read(&mut own, 2, config);
        let first = own.before_write();
        assert_eq!((&first.sending, fresh(&first)), (&sending, vec![2]));
        read(&mut own, 3, config);
        let beside = own.before_write();
        assert_eq!((&beside.sending, fresh(&beside)), (&None, vec![3]), "the first is in flight");
        // Whether they are there is not known, so another may bring them.
        own.after_write(&first, Delivery::Unknown, config);
        let second = own.before_write();
        assert_eq!(second, ReadsBefore { sending, fresh: Vec::new() });
        own.after_write(&second, Delivery::Delivered, config);
        assert!(own.before_write().is_empty(), "the leader has them");
        assert_eq!(own.end_send(Delivery::Refused, config), 0);
        assert!(own.before_write().is_empty(), "as a write has brought them, whoever refused the sending");
    }

    #[test]
    fn touches_that_were_refused_go_with_the_next_write() {
        let (mut own, config) = (OwnReads::default(), TouchConfig::default());
        for write_ends_first in [true, false] {
            read(&mut own, 1, config);
            own.begin_send(Duration::ZERO, 5);
            let write = own.before_write();
            if write_ends_first {
                own.after_write(&write, Delivery::Refused, config);
                assert_eq!(own.end_send(Delivery::Refused, config), 0);
            } else {
                assert_eq!(own.end_send(Delivery::Refused, config), 0);
                assert!(own.before_write().is_empty(), "a write in flight has them");
                own.after_write(&write, Delivery::Refused, config);
            }
            let next = own.before_write();
            assert_eq!((next.sending, next.fresh.len()), (None, 1), "{write_ends_first}");
        }
    }

    #[test]
    fn entries_are_bounded_whatever_the_settings() {
        let max = |interval_ms, max_per_flush| {
            entries_max(TouchConfig { interval_ms, max_per_flush, ..TouchConfig::default() })
        };
        assert_eq!((max(10, 8_192), max(100, 8_192)), (500, 5_000));
    }
}

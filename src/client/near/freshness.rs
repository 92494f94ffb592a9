//! Up to when what a near cache holds is known to have been the truth.
//!
//! Never too late: a message that was long on its way proves nothing about the present. So its log time is compared with that of
//! answers to the client's own requests, which were certainly given after they were sent.

use std::collections::VecDeque;

/// How long an estimate of the difference between two clocks is used, in microseconds: clocks drift apart.
const WINDOW_US: i64 = 300_000_000;
/// How far two readings may contradict each other before log time is taken to have leapt.
const ROUNDING_US: i64 = 1_000;

/// A moment on this machine's monotonic clock, in microseconds since the near cache began.
pub(super) type LocalTime = i64;

#[derive(Debug, Default)]
pub(super) struct Freshness {
    confirmed_at: Option<LocalTime>,
    /// Local time less log time, at least: of this window, and of the one before.
    offset: Option<i64>,
    offset_before: Option<i64>,
    window_ends: Option<LocalTime>,
    /// Linearizable answers that the stream has not reached yet: their index, and when they were asked for. The oldest and the
    /// newest.
    waiting: VecDeque<(u64, LocalTime)>,
}

impl Freshness {
    /// All that was told up to the place of the stream was the whole truth at this moment, at least.
    pub fn confirmed_at(&self) -> Option<LocalTime> {
        self.confirmed_at
    }

    /// A linearizable answer to a request that was sent at `sent_at` has this log time.
    pub fn sample(&mut self, sent_at: LocalTime, log_ms: u64) {
        if self.window_ends.is_none_or(|end| sent_at > end) {
            let is_next = self.window_ends.is_some_and(|end| sent_at <= end + WINDOW_US);
            self.offset_before = self.offset.take().filter(|_| is_next);
            self.window_ends = Some(sent_at + WINDOW_US);
        }
        // Log time is cut to whole milliseconds: it may have been almost one more.
        let offset = sent_at - micros(log_ms) - ROUNDING_US;
        self.offset = self.offset.max(Some(offset));
    }

    /// The earliest that the local clock can have shown when log time was this, if that is known `now`.
    pub fn local_time(&self, log_ms: u64, now: LocalTime) -> Option<LocalTime> {
        let end = self.window_ends?;
        let before = self.offset_before.filter(|_| now <= end);
        let offset = self.offset.filter(|_| now <= end.saturating_add(WINDOW_US));
        Some(micros(log_ms).saturating_add(offset.max(before)?))
    }

    /// What was told up to now was confirmed by a majority at this log time; that arrives `now`.
    pub fn confirm(&mut self, now: LocalTime, log_ms: u64) {
        // Without an estimate it may have been on its way for any time.
        let Some(earliest) = self.local_time(log_ms, now) else { return };
        if earliest > now + ROUNDING_US {
            // Log time has leapt: what is known of the difference is wrong.
            (self.offset, self.offset_before, self.window_ends) = (None, None, None);
            return;
        }
        self.confirmed_at = self.confirmed_at.max(Some(earliest.min(now)));
    }

    /// A linearizable answer of this index to a request that was sent at `sent_at`, while the stream is at `place`.
    pub fn answered(&mut self, index: u64, sent_at: LocalTime, place: u64) {
        if place >= index {
            self.confirmed_at = self.confirmed_at.max(Some(sent_at));
            return;
        }
        if self.waiting.len() >= 2 {
            self.waiting.pop_back();
        }
        self.waiting.push_back((index, sent_at));
    }

    /// The stream has reached this index.
    pub fn reached(&mut self, place: u64) {
        while let Some((index, sent_at)) = self.waiting.front().copied()
            && index <= place
        {
            self.confirmed_at = self.confirmed_at.max(Some(sent_at));
            self.waiting.pop_front();
        }
    }
}

fn micros(log_ms: u64) -> i64 {
    i64::try_from(log_ms).unwrap_or(i64::MAX).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_message_confirms_when_it_was_sent() {
        let mut fresh = Freshness::default();
        fresh.confirm(5_000_000, 1_000);
        assert_eq!(fresh.confirmed_at(), None, "it may have been on its way for any time");
        // Asked for at 2 s, answered at log time 7 s: log time is at most 5 s ahead of the local clock.
        fresh.sample(2_000_000, 7_000);
        fresh.confirm(9_000_000, 8_000);
        assert_eq!(fresh.confirmed_at(), Some(3_000_000 - ROUNDING_US));
        // One that was answered at once knows better.
        fresh.sample(3_000_000, 7_500);
        fresh.confirm(9_000_000, 8_000);
        assert_eq!(fresh.confirmed_at(), Some(3_500_000 - ROUNDING_US));
        // It never goes back.
        fresh.confirm(9_500_000, 7_000);
        assert_eq!(fresh.confirmed_at(), Some(3_500_000 - ROUNDING_US));
    }

    #[test]
    fn log_time_that_leaps_confirms_nothing() {
        let mut fresh = Freshness::default();
        fresh.sample(2_000_000, 7_000);
        fresh.confirm(3_000_000, 700_000);
        assert_eq!(fresh.confirmed_at(), None);
        assert_eq!(fresh.local_time(700_000, 3_000_000), None, "the estimate was given up");
        fresh.sample(4_000_000, 701_000);
        fresh.confirm(4_500_000, 701_200);
        assert_eq!(fresh.confirmed_at(), Some(4_200_000 - ROUNDING_US));
    }

    #[test]
    fn an_estimate_is_forgotten_after_two_windows() {
        let mut fresh = Freshness::default();
        fresh.sample(0, 1_000);
        fresh.sample(WINDOW_US + 1, 400_000);
        assert_eq!(
            fresh.local_time(1_000, WINDOW_US + 1),
            Some(-ROUNDING_US),
            "the window before still counts"
        );
        fresh.sample(2 * WINDOW_US + 2, 800_000);
        assert_eq!(fresh.local_time(400_000, 2 * WINDOW_US + 2), Some(WINDOW_US + 1 - ROUNDING_US));
        fresh.sample(9 * WINDOW_US, 9_000_000);
        let now = 9 * WINDOW_US;
        assert_eq!(fresh.local_time(9_000_000, now), Some(9 * WINDOW_US - ROUNDING_US));
        // Also if nobody asks anything any more.
        assert_eq!(fresh.local_time(9_000_000, now + 2 * WINDOW_US), Some(9 * WINDOW_US - ROUNDING_US));
        assert_eq!(fresh.local_time(9_000_000, now + 2 * WINDOW_US + 1), None);
        fresh.confirm(now + 2 * WINDOW_US + 1, 9_000_500);
        assert_eq!(fresh.confirmed_at(), None);
    }

    #[test]
    fn an_answer_confirms_once_the_stream_has_reached_it() {
        let mut fresh = Freshness::default();
        fresh.answered(5, 100, 5);
        assert_eq!(fresh.confirmed_at(), Some(100));
        for (index, sent_at) in [(7, 200), (8, 300), (9, 400)] {
            fresh.answered(index, sent_at, 5);
        }
        fresh.reached(6);
        assert_eq!(fresh.confirmed_at(), Some(100));
        fresh.reached(7);
        assert_eq!(fresh.confirmed_at(), Some(200));
        fresh.reached(9);
        assert_eq!(fresh.confirmed_at(), Some(400), "of those that wait the oldest and the newest are kept");
    }
}

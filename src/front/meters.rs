//! How much of their quotas clients have used: a number for each, in a table of fixed size.
//!
//! The number is the moment at which a client will have regained all that it has used. Each use moves it on by what it costs, and it
//! may lie ahead by the quota's window. This is the generic cell rate algorithm in the form of virtual scheduling (ITU-T I.371,
//! annex A): as many as the quota says at once, or one by one as they are regained, without a timer and without a list.
//!
//! Addresses can be made up by the million, so the table does not grow. When the few places that a client can have are taken, the one
//! that would be free the soonest is given to it. Whoever had that one gains what they had used.

use crate::cache::Quota;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Places that a client can have.
const WAYS: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Meters {
    sets: Box<[Mutex<[Meter; WAYS]>]>,
    /// With a random key: nobody can choose addresses that fall into the same set.
    hasher: RandomState,
    forgotten: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    /// Of the client. Two have the same one by chance about once in 2^64 pairs.
    key: u64,
    /// In nanoseconds; the place is free from then on.
    regained_at: u64,
}

/// What a client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub remaining: u64,
    /// Until it will have regained all.
    pub regained_in: Duration,
    /// Until it has something, if this was too much.
    pub exceeded: Option<Duration>,
}

impl Meters {
    /// For about so many clients that use something at the same time: 16 bytes each.
    pub fn new(clients: usize) -> Self {
        let set = || Mutex::new([Meter::default(); WAYS]);
        let sets = (0..clients.div_ceil(WAYS).max(1)).map(|_| set()).collect();
        Self { sets, hasher: RandomState::new(), forgotten: AtomicU64::new(0) }
    }

    /// Uses this much at the time `now`, unless nothing is left. The last use may be of more than is left: the client then waits
    /// longer for the next one.
    pub fn spend(&self, client: impl Hash, quota: Quota, cost: u64, now: Duration) -> Usage {
        self.with_meter(client, now, |used_before| used(quota, used_before, cost))
    }

    /// Uses this much, whether anything is left or not.
    pub fn charge(&self, client: impl Hash, quota: Quota, cost: u64, now: Duration) {
        self.with_meter(client, now, |used| (used.saturating_add(nanoseconds_of(quota, cost)), ()));
    }

    /// Has `change` say how far ahead the client's meter lies, from how far it does.
    fn with_meter<T>(&self, client: impl Hash, now: Duration, change: impl FnOnce(u64) -> (u64, T)) -> T {
        let now = nanoseconds(now);
        let hash = self.hasher.hash_one(client);
        let set = &self.sets[(hash % self.sets.len() as u64) as usize];
        let mut set = set.lock().expect("no panic while held");
        let position = set.iter().position(|meter| meter.key == hash && meter.regained_at > now);
        let position = position.unwrap_or_else(|| soonest(&set[..]));
        let meter = &mut set[position];
        if meter.key != hash {
            if meter.regained_at > now {
                self.forgotten.fetch_add(1, Relaxed);
            }
            *meter = Meter { key: hash, regained_at: 0 };
        }
        let (used, result) = change(meter.regained_at.saturating_sub(now));
        meter.regained_at = now.saturating_add(used);
        result
    }

    /// How often a client was forgotten before it had regained all.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }
}

/// The place that is free, or would be the soonest.
fn soonest(set: &[Meter]) -> usize {
    let places = set.iter().enumerate();
    places.min_by_key(|(_, meter)| meter.regained_at).map_or(0, |(position, _)| position)
}

/// How far ahead a meter lies after a use, in nanoseconds, and what is left then.
fn used(quota: Quota, used: u64, cost: u64) -> (u64, Usage) {
    let window = nanoseconds_of(quota, quota.count);
    let exceeded = used.saturating_add(nanoseconds_of(quota, 1)).checked_sub(window).filter(|over| *over > 0);
    let used = if exceeded.is_none() { used.saturating_add(nanoseconds_of(quota, cost)) } else { used };
    let left = u128::from(window.saturating_sub(used)) * u128::from(quota.count) / u128::from(window);
    let usage = Usage {
        remaining: u64::try_from(left).unwrap_or(u64::MAX),
        regained_in: Duration::from_nanos(used),
        exceeded: exceeded.map(Duration::from_nanos),
    };
    (used, usage)
}

/// How long it takes to regain this much.
fn nanoseconds_of(quota: Quota, cost: u64) -> u64 {
    let window = u128::from(quota.window_ms) * 1_000_000;
    let price = u128::from(cost) * window / u128::from(quota.count);
    u64::try_from(price).unwrap_or(u64::MAX).max(u64::from(cost > 0))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn all_at_once_or_one_by_one() {
        let (meters, quota) = (Meters::new(8), "4/1s".parse().unwrap());
        let start = Duration::from_secs(7);
        for left in [3, 2, 1, 0] {
            let usage = meters.spend("a", quota, 1, start);
            assert_eq!((usage.remaining, usage.exceeded), (left, None));
        }
        let usage = meters.spend("a", quota, 1, start);
        assert_eq!((usage.remaining, usage.regained_in, usage.exceeded), (0, ms(1_000), Some(ms(250))));
        assert_eq!(meters.spend("b", quota, 1, start).remaining, 3, "another client has all of its own");
        // What it is told is true, to the nanosecond.
        let early = start + ms(250) - Duration::from_nanos(1);
        assert_eq!(meters.spend("a", quota, 1, early).exceeded, Some(Duration::from_nanos(1)));
        assert_eq!(meters.spend("a", quota, 1, start + ms(250)).exceeded, None);
        assert!(meters.spend("a", quota, 1, start + ms(250)).exceeded.is_some());
        assert_eq!(meters.spend("a", quota, 1, start + ms(1_250)).remaining, 3, "all was regained");
    }

    #[test]
    fn the_last_use_may_be_of_more_than_is_left() {
        let (meters, quota) = (Meters::new(8), "1000/1s".parse().unwrap());
        let usage = meters.spend(1, quota, 3_000, ms(0));
        assert_eq!((usage.remaining, usage.regained_in, usage.exceeded), (0, ms(3_000), None));
        assert_eq!(meters.spend(1, quota, 1, ms(1_000)).exceeded, Some(ms(1_001)));
        assert_eq!(meters.spend(1, quota, 0, ms(2_001)).exceeded, None, "nothing costs nothing");
        assert_eq!(meters.spend(1, quota, 1, ms(2_001)).exceeded, None);
        meters.charge(1, quota, 2_000, ms(2_001));
        assert_eq!(meters.spend(1, quota, 1, ms(2_001)).exceeded, Some(ms(2_001)));
    }

    #[test]
    fn the_table_does_not_grow() {
        let (meters, quota) = (Meters::new(1_024), "2/1h".parse().unwrap());
        let places = || meters.sets.len() * WAYS;
        let before = places();
        for client in 0..1_000_000_u32 {
            assert_eq!(meters.spend(client, quota, 1, ms(1)).exceeded, None);
        }
        assert_eq!((before, places()), (1_024, 1_024));
        assert!(meters.forgotten() >= 1_000_000 - 1_024);
        // Whoever comes back at once is known.
        let again = (0..3).map(|_| meters.spend("it", quota, 1, ms(1)).exceeded.is_some());
        assert_eq!(again.collect::<Vec<_>>(), [false, false, true]);
    }

    proptest! {
        /// However a client spreads its requests, no window has more than twice the quota, and a long time no more than the quota
        /// says, beyond the first burst.
        #[test]
        fn no_more_is_admitted_than_the_quota_says(
            count in 1_u64..50, window_ms in 1_u64..2_000,
            pauses_us in prop::collection::vec(0_u64..200_000, 1..400),
        ) {
            let (meters, quota) = (Meters::new(8), Quota { count, window_ms });
            let (mut now, mut admitted) = (Duration::ZERO, Vec::new());
            for pause in pauses_us {
                now += Duration::from_micros(pause);
                let usage = meters.spend((), quota, 1, now);
                match usage.exceeded {
                    None => admitted.push(now),
                    Some(wait) => prop_assert!(wait <= ms(window_ms) && wait > Duration::ZERO),
                }
            }
            for (position, first) in admitted.iter().enumerate() {
                for (later, last) in admitted.iter().enumerate().skip(position) {
                    let took = (*last - *first).as_nanos() * u128::from(count) / (u128::from(window_ms) * 1_000_000);
                    // One more, because the price of a request is rounded down to a nanosecond.
                    prop_assert!((later - position + 1) as u128 <= u128::from(count) + took + 1);
                }
            }
        }
    }
}

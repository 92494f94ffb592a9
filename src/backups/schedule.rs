//! When the next backup is due.

use std::time::Duration;

/// How long after the first failure the next try is; after each further one twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// A folder that can be written again is noticed after at most so long.
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// How long a node that is not ready is waited for. An election takes seconds, a start with a large log a minute.
const READY_WAIT: Duration = Duration::from_secs(60);

/// One backup each interval. What fails is tried again sooner, and never later than the next one would be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub every: Duration,
}

impl Schedule {
    /// How long to wait for the first one, if the newest that there is has this age: one from the future counts as made now, so
    /// that a clock that was wrong stops the backups for one interval at most.
    pub fn first_wait(self, age: Option<Duration>) -> Duration {
        age.map_or(Duration::ZERO, |age| self.every.saturating_sub(age))
    }

    /// How long to wait after so many failures in a row.
    pub fn pause_after(self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        RETRY_FIRST.saturating_mul(doubled).min(RETRY_MAX).min(self.every)
    }

    /// How long a node that is not ready is waited for, before that is a failure.
    pub fn ready_wait(self) -> Duration {
        READY_WAIT.min(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_sooner_but_not_all_the_time() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let daily = Schedule { every: 24 * hour };
        let pauses: Vec<u64> = (1..=8).map(|failures| daily.pause_after(failures).as_secs() / 60).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(daily.pause_after(u32::MAX), hour);
        assert_eq!(Schedule { every: minute / 2 }.pause_after(3), minute / 2);
    }

    #[test]
    fn the_first_one_is_due_when_the_newest_is_as_old_as_the_interval() {
        let hour = Duration::from_secs(3600);
        let daily = Schedule { every: 24 * hour };
        assert_eq!(daily.first_wait(None), Duration::ZERO);
        assert_eq!(daily.first_wait(Some(Duration::ZERO)), 24 * hour);
        assert_eq!(daily.first_wait(Some(20 * hour)), 4 * hour);
        assert_eq!(daily.first_wait(Some(30 * hour)), Duration::ZERO);
    }
}

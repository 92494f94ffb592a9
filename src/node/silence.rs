//! For how long the leader has known that a member is silent.
//!
//! The time since a member's last answer is not enough to judge that it is lost: a leader that was itself paused, or cut off,
//! has heard from nobody. So only the time counts in which the leader heard from a majority without a break, and a new
//! leader begins to count anew. The silence is never overestimated.

use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Without a majority for longer, a leader begins to count anew.
const BREAK: Duration = Duration::from_secs(2);
/// With slow heartbeats that is longer: so many of them.
const HEARTBEATS_MISSED: u32 = 3;

/// Since when this leader has heard from a majority without a break.
pub(super) struct Silence {
    heard: Mutex<Option<Heard>>,
    break_max: Duration,
}

#[derive(Clone, Copy)]
struct Heard {
    term: u64,
    since: Instant,
    until: Instant,
}

impl Silence {
    /// That of a node with such heartbeats.
    pub fn new(heartbeat: Duration) -> Self {
        Self { heard: Mutex::default(), break_max: BREAK.max(HEARTBEATS_MISSED * heartbeat) }
    }

    /// A silence that is no longer than this proves nothing: so long a leader may have been paused itself.
    pub fn break_max(&self) -> Duration {
        self.break_max
    }

    /// A majority answers the leader of this term. Called at every heartbeat.
    pub fn heard_majority(&self, term: u64, now: Instant) {
        let mut heard = self.heard.lock().expect("no panic while held");
        let since =
            heard.filter(|heard| heard.goes_on(term, now, self.break_max)).map_or(now, |heard| heard.since);
        *heard = Some(Heard { term, since, until: now });
    }

    /// For how long a member has been silent, as the leader of this term knows. `silent_ms` is the time since its last answer;
    /// `None` if it has not answered this leader yet.
    pub fn of_member(&self, term: u64, now: Instant, silent_ms: Option<u64>) -> Duration {
        let heard = *self.heard.lock().expect("no panic while held");
        let heard = heard.filter(|heard| heard.goes_on(term, now, self.break_max));
        let watched = heard.map_or(Duration::ZERO, |heard| now.duration_since(heard.since));
        silent_ms.map_or(watched, |silent| watched.min(Duration::from_millis(silent)))
    }
}

impl Heard {
    fn goes_on(&self, term: u64, now: Instant, break_max: Duration) -> bool {
        self.term == term && now.duration_since(self.until) <= break_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_counts_only_the_silence_that_it_has_heard() {
        let (silence, start) = (Silence::new(Duration::from_millis(50)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let of = |term, seconds, silent_ms| silence.of_member(term, at(seconds), silent_ms).as_secs();
        assert_eq!(of(1, 0, None), 0, "it has not led yet");
        (0..=60).for_each(|second| silence.heard_majority(1, at(second)));
        assert_eq!(of(1, 60, None), 60);
        assert_eq!(of(1, 60, Some(7_000)), 7);
        assert_eq!(of(1, 61, Some(90_000)), 61, "it answered an earlier leader, perhaps");
        assert_eq!(of(1, 63, Some(63_000)), 0, "the leader itself has heard from nobody");

        silence.heard_majority(1, at(600));
        assert_eq!(of(1, 601, Some(601_000)), 1, "after a pause, it counts anew");
        silence.heard_majority(2, at(602));
        assert_eq!(of(2, 603, None), 1, "so does a new leader");
        assert_eq!(of(1, 603, None), 0, "and one that leads no more knows nothing");

        let slow = Silence::new(Duration::from_millis(2_500));
        (0..=10)
            .for_each(|heartbeat| slow.heard_majority(1, start + Duration::from_millis(2_500) * heartbeat));
        assert_eq!(slow.of_member(1, at(25), None).as_secs(), 25, "slow heartbeats are no break");
        assert!(slow.break_max() > Duration::from_secs(7));
    }
}

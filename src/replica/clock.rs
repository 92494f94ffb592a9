//! Log time: the time in milliseconds that the leader stamps on log entries. A node continues from the last log time it
//! has seen, on its monotonic clock, so a jump of the wall clock has no effect. It reads the wall clock only when the
//! whole cluster starts and no running node knows the log time.

use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// One node's estimate of log time.
pub struct LogClock {
    started: Instant,
    state: Mutex<State>,
    anchored: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Log time minus the monotonic time since `started`, in milliseconds. A reading of a running node's clock sets it.
    /// An entry can only raise it, because an entry is applied some time after it was stamped.
    offset_ms: Option<i128>,
    /// The largest time seen in an entry.
    last_ms: u64,
}

impl Default for LogClock {
    fn default() -> Self {
        Self { started: Instant::now(), state: Mutex::default(), anchored: watch::Sender::new(false) }
    }
}

impl LogClock {
    /// Records the log time of an applied entry.
    pub fn observe(&self, at_ms: u64) {
        let elapsed = self.elapsed_ms();
        let mut state = self.state.lock().expect("no panic while held");
        state.last_ms = state.last_ms.max(at_ms);
        let offset = i128::from(at_ms) - elapsed;
        state.offset_ms = Some(state.offset_ms.map_or(offset, |known| known.max(offset)));
    }

    /// Sets the clock to a running node's log time: from now on this node can stamp entries. A later reading replaces
    /// an earlier one, so a clock that ticks faster than the leader's does not run away from it.
    pub fn anchor(&self, log_ms: u64) {
        let offset = i128::from(log_ms) - self.elapsed_ms();
        self.state.lock().expect("no panic while held").offset_ms = Some(offset);
        self.anchored.send_replace(true);
    }

    /// Sets the clock by the wall clock, because the whole cluster has just started. Log time never goes back.
    pub fn anchor_to_wall(&self) {
        let wall = i128::from(wall_ms()) - self.elapsed_ms();
        let mut state = self.state.lock().expect("no panic while held");
        // If the wall clock is behind log time, log time must not wait for it.
        state.offset_ms = Some(state.offset_ms.map_or(wall, |known| known.max(wall)));
        drop(state);
        self.anchored.send_replace(true);
    }

    /// Log time now; `None` until the clock is anchored, by a running node's reading or by the wall clock.
    pub fn now_ms(&self) -> Option<u64> {
        if !self.is_anchored() {
            return None;
        }
        let elapsed = self.elapsed_ms();
        let state = self.state.lock().expect("no panic while held");
        let now = state.offset_ms? + elapsed;
        Some(u64::try_from(now).unwrap_or(0).max(state.last_ms))
    }

    pub fn is_anchored(&self) -> bool {
        *self.anchored.borrow()
    }

    /// Returns once [`Self::now_ms`] is known.
    pub async fn anchored(&self) {
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = self.anchored.subscribe().wait_for(|anchored| *anchored).await;
    }

    /// How far log time is ahead of the wall clock, in milliseconds. Used as a metric only.
    pub fn ahead_of_wall_ms(&self) -> Option<i64> {
        let ahead = i128::from(self.now_ms()?) - i128::from(wall_ms());
        i64::try_from(ahead).ok()
    }

    fn elapsed_ms(&self) -> i128 {
        i128::try_from(self.started.elapsed().as_millis()).unwrap_or(i128::MAX / 4)
    }
}

/// The wall clock of this machine, in milliseconds since the Unix epoch.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanchored_clock_stamps_nothing() {
        let clock = LogClock::default();
        clock.observe(5_000);
        assert_eq!(clock.now_ms(), None);
    }

    #[test]
    fn log_time_goes_on_from_the_largest_reading_and_never_back() {
        let clock = LogClock::default();
        clock.anchor(1_000_000);
        let first = clock.now_ms().unwrap();
        assert!(first >= 1_000_000);
        clock.observe(1_000_020);
        clock.anchor(10);
        assert!(clock.now_ms().unwrap() >= first.max(1_000_020), "what was seen in the log is never undone");
        clock.observe(9_000_000);
        assert!(clock.now_ms().unwrap() >= 9_000_000);
    }

    /// C2: a follower whose own clock runs ahead follows the leader's readings down again.
    #[test]
    fn a_clock_that_runs_ahead_is_corrected() {
        let clock = LogClock::default();
        clock.anchor(1_000_000);
        clock.anchor(2_000_000);
        clock.anchor(1_000_500);
        assert!(clock.now_ms().unwrap() < 1_500_000);
    }

    #[test]
    fn the_wall_clock_cannot_pull_log_time_back() {
        let clock = LogClock::default();
        let far = wall_ms() + 3_600_000;
        clock.observe(far);
        clock.anchor_to_wall();
        assert!(clock.now_ms().unwrap() >= far);
        // Nor can it stop log time until the wall clock has caught up.
        let begun = Instant::now();
        while clock.now_ms().unwrap() < far + 5 {
            assert!(begun.elapsed().as_secs() < 5, "log time stands still");
            std::thread::yield_now();
        }
    }
}

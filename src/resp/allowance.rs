//! How long something may compute: processor time of its thread, not time that passes. A script is none the longer for a
//! machine that is busy or stood still meanwhile. Only whoever waits for it has an end by the clock.

use mlua::{Error, Lua};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// The end of what this thread may compute. It means nothing on another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// By the thread's processor time.
    end: Duration,
    /// It cannot be used up before: a thread computes no longer than time passes. To look at this costs less.
    end_at_soonest: Instant,
    /// When nobody waits for it any more.
    until: Instant,
}

impl Allowance {
    /// So much from now on, and until then at most.
    pub fn of(time: Duration, until: Instant) -> Self {
        Self { end: computed() + time, end_at_soonest: Instant::now() + time, until }
    }

    /// The same and so much more.
    pub fn and(self, time: Duration) -> Self {
        Self { end: self.end + time, end_at_soonest: self.end_at_soonest + time, ..self }
    }

    pub fn is_used_up(self) -> bool {
        Instant::now() >= self.end_at_soonest && computed() >= self.end
    }

    /// Whether a script may go on.
    ///
    /// # Errors
    /// It has computed for too long, or the machine was too busy for it.
    pub fn check(self) -> mlua::Result<()> {
        if self.is_used_up() {
            return Err(Error::runtime("the script computes for too long"));
        }
        if Instant::now() >= self.until {
            return Err(Error::external(Refused(LATE.into())));
        }
        Ok(())
    }
}

/// What a script is told that had too little of a processor.
const LATE: &str = "UNAVAILABLE nothing was done: the node was too busy for the script";

/// An error that clients get as it is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub String);

/// Whether the script that runs in this interpreter may go on. For functions that can take long: in Lua itself it is looked after some
/// instructions, of which a call is one.
///
/// # Errors
/// As for [`Allowance::check`].
pub(super) fn look(lua: &Lua) -> mlua::Result<()> {
    lua.app_data_ref::<Allowance>().map_or(Ok(()), |allowance| allowance.check())
}

/// How long this thread has computed since it began.
pub(super) fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn only_what_is_computed_is_used() {
        let allowance = Allowance::of(Duration::from_millis(30), Instant::now() + HOUR);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!allowance.is_used_up());
        let more = allowance.and(HOUR);
        let begun = computed();
        while computed() - begun < Duration::from_millis(30) {}
        assert!(allowance.is_used_up() && !more.is_used_up());
        assert!(allowance.check().unwrap_err().to_string().contains("computes for too long"));
    }

    #[test]
    fn whoever_waits_is_told_in_time() {
        let lua = Lua::new();
        look(&lua).expect("nothing is said of an end");
        lua.set_app_data(Allowance::of(HOUR, Instant::now()));
        assert_eq!(look(&lua).unwrap_err().to_string(), LATE);
    }
}

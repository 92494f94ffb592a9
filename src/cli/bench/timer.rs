//! Waits until an instant, to some microseconds. tokio's clock ticks once a millisecond, which would be added
//! to latencies, and would bundle requests that are due one by one.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer of the kernel.
pub struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    pub fn new() -> Result<Self> {
        // SAFETY: it takes no pointers; the descriptor it returns is nobody else's.
        let descriptor = unsafe {
            let descriptor =
                libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
            if descriptor < 0 {
                return Err(Error::last_os_error());
            }
            OwnedFd::from_raw_fd(descriptor)
        };
        // SAFETY: the descriptor is open and stays so until the `AsyncFd`, which owns it, is gone.
        let descriptor = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(descriptor?))
    }

    /// Returns at `instant`, or at once if that has passed.
    pub async fn until(&mut self, instant: Instant) -> Result<()> {
        loop {
            let left = instant.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // Setting it anew forgets that it has rung, so nothing has to be read from it.
            self.set(left)?;
            self.0.readable().await?.clear_ready();
        }
    }

    fn set(&self, left: Duration) -> Result<()> {
        let seconds = libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX);
        let it_value = libc::timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() };
        let it_interval = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let when = libc::itimerspec { it_interval, it_value };
        // SAFETY: the descriptor is open, `when` lives, and nothing is asked back.
        let set =
            unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const when, std::ptr::null_mut()) };
        if set == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_rings_early() {
        let mut timer = Timer::new().unwrap();
        for micros in [0, 1, 300, 2_500, 300] {
            let due = Instant::now() + Duration::from_micros(micros);
            timer.until(due).await.unwrap();
            assert!(Instant::now() >= due, "{micros} us");
        }
    }
}

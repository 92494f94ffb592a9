//! How fast a client has to be. A transfer may take half a minute, and longer the more bytes it has, as over HTTP.

use std::time::Duration;

/// The slowest transfer that is waited for, in bytes a second, beyond [`SLACK`].
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// What every transfer may take, and how long a client may do nothing within one.
pub(super) const SLACK: Duration = Duration::from_secs(30);

/// How long the transfer of so many bytes may take.
pub(super) fn time_for(bytes: usize) -> Duration {
    SLACK + own_time(bytes)
}

fn own_time(bytes: usize) -> Duration {
    Duration::from_millis((bytes as u64).saturating_mul(1_000) / BYTES_PER_SECOND_MIN)
}

/// What a client has left for an answer that is sent in pieces: half a minute for all of them, beside what each has for its bytes. Whoever
/// takes them faster than it has to gets that back, but never more.
#[derive(Debug)]
pub(super) struct Pace {
    left: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: SLACK }
    }
}

impl Pace {
    /// How long the next piece may take.
    pub fn time_for(&self, bytes: usize) -> Duration {
        self.left + own_time(bytes)
    }

    /// A piece of so many bytes has taken so long.
    pub fn took(&mut self, bytes: usize, took: Duration) {
        self.left = self.time_for(bytes).saturating_sub(took).min(SLACK);
    }

    /// Nothing is held for the client any more.
    pub fn rest(&mut self) {
        self.left = SLACK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_share_what_a_client_has() {
        const PIECE: usize = 16 * 1024;
        let seconds = Duration::from_secs;
        assert_eq!((time_for(0), time_for(1024 * 1024)), (seconds(30), seconds(94)));
        let mut pace = Pace::default();
        for _ in 0..30 {
            assert!(pace.time_for(PIECE) >= seconds(2));
            pace.took(PIECE, seconds(2));
        }
        assert_eq!(pace.time_for(PIECE), seconds(1), "it was too slow each time");
        (0..1_000).for_each(|_| pace.took(PIECE, Duration::ZERO));
        assert_eq!(pace.time_for(PIECE), seconds(31));
        pace.took(PIECE, seconds(31));
        assert_eq!(pace.time_for(0), Duration::ZERO);
        pace.rest();
        assert_eq!(pace.time_for(0), SLACK);
    }
}

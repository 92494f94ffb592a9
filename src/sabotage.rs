//! Lies that a node tells when asked to, so that the consistency tests can show that they would notice. They are
//! compiled only with the feature `sabotage`, which no release has.

use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// One lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Say that the log is flushed when it is not: a killed process loses up to [`FLUSH_EVERY_MS`] of it, as
    /// a machine without power would.
    SkipFsync,
    /// Answer linearizable reads from what this node has, without asking for the read index.
    StaleReads,
    /// Judge times to live by this machine's wall clock.
    LocalClock,
    /// Leave out one in four touches that the log tells of.
    ForgetTouch,
    /// As leader, take entries for stored on a peer that has not answered within 20 ms.
    EarlyAck,
}

/// How long a node that skips flushes keeps them to itself, in milliseconds.
pub const FLUSH_EVERY_MS: u64 = 1_000;

static CHOSEN: OnceLock<Sabotage> = OnceLock::new();

impl Sabotage {
    /// Every lie there is, by the name it is asked for with.
    pub const ALL: [(&'static str, Self); 5] = [
        ("skip-fsync", Self::SkipFsync),
        ("stale-reads", Self::StaleReads),
        ("local-clock", Self::LocalClock),
        ("forget-touch", Self::ForgetTouch),
        ("early-ack", Self::EarlyAck),
    ];

    /// From now on this process tells this lie. Only the first choice counts.
    pub fn choose(self) {
        let _ = CHOSEN.set(self);
    }

    /// Whether this process tells this lie.
    pub fn is_chosen(self) -> bool {
        CHOSEN.get() == Some(&self)
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        let names = || Self::ALL.map(|(known, _)| known).join(", ");
        found.map(|(_, lie)| *lie).ok_or_else(|| format!("expected one of {}", names()))
    }
}

/// What the machine's wall clock says, in milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

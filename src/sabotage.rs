//! Faults that can be injected into a node, to show that the consistency tests notice them. They are compiled only with
//! the feature `sabotage`, which no release has.

use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Report the log as flushed when it is not: a killed process loses up to [`FLUSH_EVERY_MS`] of it, as a machine
    /// does that loses power.
    SkipFsync,
    /// Answer linearizable reads from this node's state, without a read index.
    StaleReads,
    /// Expire entries by this machine's wall clock.
    LocalClock,
    /// Drop one in four touches of log entries.
    ForgetTouch,
    /// Answer linearizable reads with an index that was confirmed up to [`CONFIRMATION_KEPT_MS`] before they started.
    OldConfirmation,
    /// On the leader, treat entries as stored by a peer that has not answered within 20 ms.
    EarlyAck,
    /// Judge what a token allows where a request comes in, by what that node knows, and nowhere else.
    EdgeOnly,
    /// Apply log entries up to [`APPLY_DELAY_MAX_MS`] late. This breaks no promise, and must not be noticed.
    LateApply,
}

/// How late a slow node applies an entry at most, in milliseconds.
pub const APPLY_DELAY_MAX_MS: u64 = 40;

/// How often a node that skips flushes really flushes, in milliseconds.
pub const FLUSH_EVERY_MS: u64 = 1_000;

/// How long a node that lies about confirmations uses one, in milliseconds.
pub const CONFIRMATION_KEPT_MS: u64 = 1_500;

static CHOSEN: OnceLock<Sabotage> = OnceLock::new();

impl Sabotage {
    /// Every fault, with its name on the command line.
    pub const ALL: [(&'static str, Self); 8] = [
        ("skip-fsync", Self::SkipFsync),
        ("stale-reads", Self::StaleReads),
        ("local-clock", Self::LocalClock),
        ("forget-touch", Self::ForgetTouch),
        ("old-confirmation", Self::OldConfirmation),
        ("early-ack", Self::EarlyAck),
        ("edge-only", Self::EdgeOnly),
        ("late-apply", Self::LateApply),
    ];

    /// Injects this fault into this process from now on. Only the first choice counts.
    pub fn choose(self) {
        let _ = CHOSEN.set(self);
    }

    /// Whether this fault is injected into this process.
    pub fn is_chosen(self) -> bool {
        CHOSEN.get() == Some(&self)
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        let names = || Self::ALL.map(|(known, _)| known).join(", ");
        found.map(|(_, fault)| *fault).ok_or_else(|| format!("expected one of {}", names()))
    }
}

/// The machine's wall clock, in milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Waits before log entries are applied, for a random time, on a node that applies them late.
pub(crate) async fn delay_apply() {
    if Sabotage::LateApply.is_chosen() {
        let ms = RandomState::new().hash_one(()) % (APPLY_DELAY_MAX_MS + 1);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

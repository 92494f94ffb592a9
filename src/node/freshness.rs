//! How new what a node knows is. Without a majority a node learns of no revocation, so for longer than
//! `--stale-auth-limit` it judges nobody by what it knows alone.

use super::access::Principal;
use super::error::NodeError;
use super::inner::Inner;
use crate::api::Consistency;
use crate::replica::LogPosition;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a node judges by what it knows alone, unless it is told otherwise.
pub const STALE_AUTH_LIMIT: Duration = Duration::from_secs(300);
/// A node makes sure that it knows everything so many times within the limit.
const LOOKS_IN_LIMIT: u32 = 10;
/// But not more often than this, so that a small limit puts no load on the leader, and not less often than that, so that a large
/// one is kept to a few seconds.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(100);
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// How new what a node knows is.
#[derive(Debug)]
pub(super) struct Freshness {
    /// When the node started, by the monotonic clock: a wall clock that is set back would make it judge for longer.
    started: Instant,
    /// The newest moment of which it has everything that was acknowledged before, in milliseconds since it started, plus one.
    /// 0: there was none yet. What an earlier run knew does not count: nobody knows how long the node was down.
    known_ms: AtomicU64,
    /// The last term of which it has applied an entry as the leader, as far as somebody asked.
    own_term: AtomicU64,
}

impl Freshness {
    /// That of a node that starts now.
    pub fn new(started: Instant) -> Self {
        Self { started, known_ms: AtomicU64::new(0), own_term: AtomicU64::new(0) }
    }

    /// Whether it has had everything that was acknowledged at some moment since it started.
    pub fn is_known(&self) -> bool {
        self.known_ms.load(Relaxed) > 0
    }

    /// Notes that it has everything that was acknowledged before this moment.
    fn note(&self, at: Instant) {
        let since_start = at.saturating_duration_since(self.started).as_millis();
        self.known_ms.fetch_max(u64::try_from(since_start).unwrap_or(u64::MAX - 1) + 1, Relaxed);
    }

    /// The newest moment of which it has everything that was acknowledged before.
    fn known_at(&self) -> Option<Instant> {
        let since_start = self.known_ms.load(Relaxed).checked_sub(1)?;
        Some(self.started + Duration::from_millis(since_start))
    }

    /// Whether an entry of this term is applied.
    pub fn has_applied(&self, term: u64, last_applied: impl FnOnce() -> Option<LogPosition>) -> bool {
        if self.own_term.load(Relaxed) == term {
            return true;
        }
        let has = last_applied().is_some_and(|applied| applied.term == term);
        if has {
            self.own_term.store(term, Relaxed);
        }
        has
    }
}

impl Inner {
    /// Until when this principal is judged by what this node knows, if nothing newer becomes known. `None`: for as long as one likes.
    pub(super) fn is_judged_until(&self, principal: &Principal) -> Option<Instant> {
        // Whoever shows no token is refused, or needs none.
        if !matches!(principal, Principal::Bearer(_) | Principal::Subject(_)) {
            return None;
        }
        let limit = self.options.stale_auth_limit.filter(|_| self.needs_token())?;
        Some(self.freshness.known_at().map_or(self.started, |known_at| known_at + limit))
    }

    /// Refuses to judge by what this node knows alone, once that is too old. Another node may have a majority, so it is 503: the
    /// token may be good.
    ///
    /// # Errors
    /// [`NodeError::Unavailable`].
    pub(super) fn refuse_when_out_of_touch(&self, principal: &Principal) -> Result<(), NodeError> {
        let Some(until) = self.is_judged_until(principal) else { return Ok(()) };
        if Instant::now() < until {
            return Ok(());
        }
        let since = match self.freshness.known_at() {
            Some(known_at) => format!("for {} s", known_at.elapsed().as_secs()),
            None => "since it started".into(),
        };
        let limit_s = self.options.stale_auth_limit.unwrap_or_default().as_secs();
        Err(NodeError::Unavailable(format!(
            "this node has had no majority {since}, so it does not know which tokens are still good (--stale-auth-limit is \
             {limit_s} s)"
        )))
    }

    /// Waits until this node knows what was acknowledged before.
    ///
    /// # Errors
    /// That cannot be had in time.
    pub(super) async fn catch_up(&self, until: Instant) -> Result<(), NodeError> {
        let begun = Instant::now();
        let limit = until.saturating_duration_since(begun);
        self.read(Consistency::Linearizable, None, Some(limit), |_| ()).await?;
        self.freshness.note(begun);
        Ok(())
    }
}

/// Makes sure again and again that this node knows everything, where tokens are needed. That a leader is heard is not enough: it
/// may have been deposed, and what it says may not be applied here.
pub(super) async fn keep_in_touch(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let Some(limit) = node.options.stale_auth_limit else { return };
        if node.needs_token() {
            // A failure needs no answer: what is known becomes older.
            let _ = node.catch_up(Instant::now() + node.options.limits.request).await;
        }
        drop(node);
        sleep((limit / LOOKS_IN_LIMIT).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_newest_moment_counts_and_there_is_none_at_first() {
        let started = Instant::now();
        let freshness = Freshness::new(started);
        assert!(!freshness.is_known() && freshness.known_at().is_none());
        freshness.note(started);
        assert!(freshness.is_known());
        assert_eq!(freshness.known_at(), Some(started));
        let later = started + Duration::from_secs(7);
        freshness.note(later);
        freshness.note(started + Duration::from_secs(3));
        assert_eq!(freshness.known_at(), Some(later), "a look that began earlier may end later");
    }
}

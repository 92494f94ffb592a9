//! For which keys writes that hold only if nothing has changed were refused, because others were quicker. All nodes apply the same entries,
//! so all nodes know of it at about the same time, also the one that always wins. It is no part of the state: whoever restarts knows nothing.

use crate::cache::{Command, CommandError, Key, Outcome};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

/// Keys share a place by chance.
const PLACES: usize = 1_024;
/// How long nodes take turns after the newest refusal.
const LASTS_MS: u64 = 3_000;
/// Refusals go on for so many turns before the turns become longer: the ones from before have been decided by then.
const TURNS_UNTIL_LONGER: u64 = 4;
/// How long a turn takes at first. What one node proposes in its turn the next one must know, so it is longer than a commit takes.
const TURN_MS: u64 = 100;
/// How often turns become twice as long, where commits take longer.
const DOUBLED_MAX: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Contention(Mutex<Vec<Refusals>>);

/// The refusals of some keys.
#[derive(Debug, Clone, Copy, Default)]
struct Refusals {
    /// The log time of the newest, in milliseconds since the Unix epoch.
    newest_ms: u64,
    /// Since when turns are as long as they are.
    since_ms: u64,
    doubled: u32,
}

/// Where a command's refusal is noted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(usize);

impl Default for Contention {
    fn default() -> Self {
        Self(Mutex::new(vec![Refusals::default(); PLACES]))
    }
}

impl Contention {
    /// Where the refusal of this command would be noted; `None` if it has no guards. That of its first guard stands for all.
    pub fn place(command: &Command) -> Option<Place> {
        match command {
            Command::Sequence { guards, .. } => guards.first().map(|guard| Place::of(guard.text())),
            _ => None,
        }
    }

    /// Notes what became of a command, at this log time.
    pub fn note(&self, place: Place, result: &Result<Outcome, CommandError>, now_ms: u64) {
        if let Err(CommandError::GuardFailed { .. }) = result {
            self.0.lock().expect("no panic while held")[place.0].add(now_ms);
        }
    }

    /// How long turns take on this key at this log time, in milliseconds; `None` if nobody was refused lately.
    pub fn turn_ms(&self, key: &Key, now_ms: u64) -> Option<u64> {
        let refusals = self.0.lock().expect("no panic while held")[Place::of(key.as_str()).0];
        refusals.lasts(now_ms).then(|| refusals.turn_ms())
    }
}

impl Refusals {
    fn add(&mut self, now_ms: u64) {
        if !self.lasts(now_ms) {
            *self = Self { newest_ms: now_ms, since_ms: now_ms, doubled: 0 };
        }
        if now_ms.saturating_sub(self.since_ms) > TURNS_UNTIL_LONGER * self.turn_ms()
            && self.doubled < DOUBLED_MAX
        {
            (self.doubled, self.since_ms) = (self.doubled + 1, now_ms);
        }
        self.newest_ms = now_ms;
    }

    fn lasts(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.newest_ms) <= LASTS_MS
    }

    fn turn_ms(&self) -> u64 {
        TURN_MS << self.doubled
    }
}

impl Place {
    fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish() as usize % PLACES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_become_longer_while_refusals_go_on_and_end_with_them() {
        let contention = Contention::default();
        let (key, other) = (Key::new("k").unwrap(), Key::new("other").unwrap());
        let refuse = |now_ms| {
            contention.note(Place::of(key.as_str()), &Err(CommandError::GuardFailed { guard: 0 }), now_ms);
            contention.turn_ms(&key, now_ms)
        };
        let begun = 1_000_000;
        assert_eq!(contention.turn_ms(&key, begun), None);
        contention.note(Place::of(key.as_str()), &Ok(Outcome::Ticked), begun);
        assert_eq!(contention.turn_ms(&key, begun), None);
        assert_eq!(refuse(begun), Some(TURN_MS));
        assert_eq!(refuse(begun + 400), Some(TURN_MS));
        assert_eq!(refuse(begun + 401), Some(2 * TURN_MS));
        assert_eq!(refuse(begun + 1_201), Some(2 * TURN_MS));
        assert_eq!(refuse(begun + 1_202), Some(4 * TURN_MS));
        assert_eq!(refuse(begun + 4_000), Some(4 * TURN_MS));
        assert_eq!(contention.turn_ms(&other, begun + 4_000), None);
        assert_eq!(contention.turn_ms(&key, begun + 4_000 + LASTS_MS), Some(4 * TURN_MS));
        assert_eq!(contention.turn_ms(&key, begun + 4_001 + LASTS_MS), None);
        assert_eq!(refuse(begun + 8_000), Some(TURN_MS));
    }
}

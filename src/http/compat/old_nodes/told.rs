//! Which keys an old node was told of a short while ago. It may have sent an operation on such a key before it heard: then the two
//! have crossed, and the node must be told of its own operation, too, or it keeps what the cluster does not have.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use tokio::time::{Duration, Instant};

/// What was told longer ago than this, the node has heard: its connection would have been closed, and what it sent before that
/// was dealt with or refused.
const HEARD_AFTER: Duration = Duration::from_secs(120);
/// Keys that are remembered one by one in a period; beyond them, every key counts as told.
const KEYS_MAX: usize = 1 << 17;

/// See the module.
#[derive(Default)]
pub(super) struct Told {
    hasher: RandomState,
    current: Period,
    previous: Period,
    since: Option<Instant>,
}

/// By their hashes: where two keys share one, the node is told once more than it needs.
#[derive(Default)]
struct Period {
    keys: HashSet<u64>,
    all: bool,
}

impl Told {
    /// The node is being told of this key.
    pub fn note(&mut self, key: &str) {
        self.turn();
        if self.current.all {
            return;
        }
        if self.current.keys.len() >= KEYS_MAX {
            self.note_all();
            return;
        }
        let hash = self.hasher.hash_one(key);
        self.current.keys.insert(hash);
    }

    /// The node is being told of all keys.
    pub fn note_all(&mut self) {
        self.turn();
        self.current = Period { keys: HashSet::new(), all: true };
    }

    /// Whether the node may not have heard yet what it was told of this key.
    pub fn may_have_crossed(&mut self, key: &str) -> bool {
        self.turn();
        let hash = self.hasher.hash_one(key);
        [&self.current, &self.previous].into_iter().any(|period| period.all || period.keys.contains(&hash))
    }

    /// Whether it may not have heard yet of some key.
    pub fn may_have_crossed_any(&mut self) -> bool {
        self.turn();
        [&self.current, &self.previous].into_iter().any(|period| period.all || !period.keys.is_empty())
    }

    fn turn(&mut self) {
        let since = *self.since.get_or_insert_with(Instant::now);
        let elapsed = since.elapsed();
        if elapsed < HEARD_AFTER {
            return;
        }
        self.previous = std::mem::take(&mut self.current);
        if elapsed >= 2 * HEARD_AFTER {
            self.previous = Period::default();
        }
        self.since = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_remembered_until_the_node_has_heard() {
        let mut told = Told::default();
        assert!(!told.may_have_crossed("a") && !told.may_have_crossed_any());
        told.note("a");
        assert!(told.may_have_crossed("a") && told.may_have_crossed_any());
        assert!(!told.may_have_crossed("b"));
        advance(HEARD_AFTER - Duration::from_millis(1)).await;
        told.note("b");
        advance(HEARD_AFTER).await;
        assert!(told.may_have_crossed("b"), "it was told of a period ago");
        advance(HEARD_AFTER).await;
        assert!(!told.may_have_crossed("b"));
        told.note("c");
        advance(3 * HEARD_AFTER).await;
        assert!(!told.may_have_crossed_any());
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_keys_are_all_keys() {
        let mut told = Told::default();
        for key in 0..=KEYS_MAX {
            told.note(&key.to_string());
        }
        assert!(told.may_have_crossed("never told"));
        advance(2 * HEARD_AFTER).await;
        assert!(!told.may_have_crossed("never told"));
    }
}

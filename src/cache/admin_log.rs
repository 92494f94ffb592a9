//! The newest actions of operators, in the order of the log: who asked which node for what, and when.
//!
//! An action is written here before it is carried out, so it is here even if it fails, or if its node dies in the middle of it.

use super::digest::{Sum, halves, hash_words};
use super::limits::{ADMIN_ACTIONS_MAX, ADMIN_TEXT_BYTES_MAX};
use super::numbered_queue::NumberedQueue;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

/// What an operator asks for, as the node says that takes the request. The texts have at most [`ADMIN_TEXT_BYTES_MAX`] bytes each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminRequested {
    /// The id of the token that was shown; empty if none was.
    pub principal: String,
    /// The address that the client connects from; empty if there is none.
    pub address: String,
    /// The number of the node that was asked.
    pub node: u64,
    /// What was asked for, for example as a method and a path.
    pub action: String,
}

/// An action of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAction {
    /// Index of its log entry: the newest, if it was asked for several times.
    pub index: u64,
    /// Log time of that entry.
    pub at_ms: u64,
    /// How often the same was asked for in a row: a node that cannot join yet asks again and again.
    pub times: u64,
    pub requested: AdminRequested,
}

impl AdminRequested {
    /// Whether the texts are as short as they must be.
    fn fits(&self) -> bool {
        let texts = [&self.principal, &self.address, &self.action];
        texts.iter().all(|text| text.len() <= ADMIN_TEXT_BYTES_MAX)
    }
}

impl AdminAction {
    fn hash(&self, number: u64) -> u128 {
        let AdminRequested { principal, address, node, action } = &self.requested;
        let mut hash = Xxh3Default::new();
        for text in [principal, address, action] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let [low, high] = halves(hash.digest128());
        hash_words([number, self.index, self.at_ms, self.times, *node, low, high])
    }
}

/// The newest [`ADMIN_ACTIONS_MAX`] actions.
#[derive(Debug)]
pub struct AdminLog {
    queue: NumberedQueue<AdminAction>,
    count: u64,
    sum: Sum,
}

impl Default for AdminLog {
    fn default() -> Self {
        Self { queue: NumberedQueue::starting_at(0), count: 0, sum: Sum::default() }
    }
}

impl AdminLog {
    /// `None` if an action has too long a text.
    pub(super) fn restore(queue: NumberedQueue<AdminAction>, count: u64) -> Option<Self> {
        let fits = queue.iter().all(|(_, action)| action.requested.fits());
        fits.then(|| Self { sum: sum_of(&queue), count, queue })
    }

    pub(super) fn queue(&self) -> &NumberedQueue<AdminAction> {
        &self.queue
    }

    /// How many there were since the cluster began.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The newest ones, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &AdminAction> {
        self.queue.iter().map(|(_, action)| action)
    }

    /// Adds one, in the log entry at `index`; false if a text is too long. The oldest makes room.
    pub(super) fn add(&mut self, requested: AdminRequested, index: u64, at_ms: u64) -> bool {
        if !requested.fits() {
            return false;
        }
        self.count += 1;
        let newest = self.queue.next().wrapping_sub(1);
        if let Some(known) = self.queue.get(newest).filter(|known| known.requested == requested).cloned() {
            self.sum.subtract(known.hash(newest));
            let again = AdminAction { index, at_ms, times: known.times.saturating_add(1), requested };
            self.sum.add(again.hash(newest));
            self.queue.replace(newest, again);
            return true;
        }
        let action = AdminAction { index, at_ms, times: 1, requested };
        self.sum.add(action.hash(self.queue.next()));
        self.queue.push(Some(action));
        if self.queue.len() > ADMIN_ACTIONS_MAX as u64
            && let Some((number, oldest)) = self.queue.pop()
        {
            self.sum.subtract(oldest.hash(number));
        }
        true
    }

    /// For the digest.
    pub(super) fn words(&self) -> [u64; 2] {
        self.words_of(self.sum)
    }

    /// The same, computed from scratch.
    pub(super) fn recompute_words(&self) -> [u64; 2] {
        self.words_of(sum_of(&self.queue))
    }

    fn words_of(&self, sum: Sum) -> [u64; 2] {
        let [first, next, low, high] = self.queue.words(sum);
        halves(hash_words([first, next, low, high, self.count]))
    }
}

fn sum_of(queue: &NumberedQueue<AdminAction>) -> Sum {
    let mut sum = Sum::default();
    queue.iter().for_each(|(number, action)| sum.add(action.hash(number)));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Cache, CacheConfig, Command, Stamp};

    fn requested(action: impl Into<String>) -> AdminRequested {
        AdminRequested { principal: "t".into(), address: "a".into(), node: 1, action: action.into() }
    }

    #[test]
    fn the_newest_actions_are_kept_and_the_digest_follows() {
        let mut log = AdminLog::default();
        let mut seen = std::collections::BTreeSet::new();
        for index in 1..=ADMIN_ACTIONS_MAX as u64 + 70 {
            assert!(log.add(requested(format!("DELETE /v1/members/{index}")), index, 7));
            assert!(seen.insert(log.words()), "each has a digest of its own");
            assert_eq!(log.words(), log.recompute_words());
        }
        assert_eq!(
            (log.iter().count(), log.iter().next().map(|first| first.index)),
            (ADMIN_ACTIONS_MAX, Some(71))
        );
        assert_eq!(log.count(), ADMIN_ACTIONS_MAX as u64 + 70);
        let restored = AdminLog::restore(log.queue().clone(), log.count()).expect("it fits");
        assert_eq!(restored.words(), log.words());
        assert!(!log.add(requested("x".repeat(ADMIN_TEXT_BYTES_MAX + 1)), 9_999, 8), "too long");
        assert_eq!(restored.words(), log.words());
    }

    /// A node that cannot join yet asks every few seconds, perhaps for days.
    #[test]
    fn what_is_asked_for_again_takes_no_more_room() {
        let mut log = AdminLog::default();
        log.add(requested("PUT /v1/config"), 1, 7);
        for index in 2..5_000 {
            log.add(requested("POST /v1/members"), index, 7 + index);
            assert_eq!(log.words(), log.recompute_words());
        }
        log.add(requested("PUT /v1/config"), 5_000, 9_000);
        let found: Vec<(u64, u64)> = log.iter().map(|action| (action.index, action.times)).collect();
        assert_eq!((found, log.count()), (vec![(1, 1), (4_999, 4_998), (5_000, 1)], 5_000));
    }

    #[test]
    fn a_snapshot_has_the_actions() {
        let mut cache = Cache::new(CacheConfig::default());
        for index in 1..=ADMIN_ACTIONS_MAX as u64 + 3 {
            let command = Command::NoteAdminAction(Box::new(requested(format!("PUT /{}", index / 2))));
            let stamp = Stamp {
                index,
                at_ms: 1_000 + index,
                idempotency_key: None,
                origin: None,
                touches: Vec::new(),
            };
            assert!(cache.apply(stamp, command).outcome.is_ok());
        }
        let mut bytes = Vec::new();
        cache.snapshot_view().encode(&mut bytes).expect("a Vec takes everything");
        let restored = Cache::restore(&bytes[..]).expect("a good snapshot");
        assert!(restored.admin_log().iter().eq(cache.admin_log().iter()));
        assert_eq!((restored.digest(), restored.recompute_digest()), (cache.digest(), cache.digest()));
    }
}

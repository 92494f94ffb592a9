//! What an open fork remembers.
//!
//! After a fork two logs go on from the same entries. Revisions tell which entries a side has changed since. They do not
//! tell what became of an entry that is gone: a client may have removed it, or it was changed and then evicted, or merely
//! evicted. So as long as a fork is open, the keys of common entries that go are noted, whatever made them go. Keys that came
//! after the fork leave nothing when they go: nobody on the other side has heard of them.

use super::Key;
use super::digest::{Sum, halves, hash_text, hash_words};
use super::entry::Entry;
use super::limits::{FORKS_MAX, GONE_MAX};
use super::memory::in_tree;
use super::numbered_queue::NumberedQueue;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128;

/// The keys of common entries that are gone, by their hashes.
#[derive(Debug, Clone)]
pub struct Fork {
    /// Id of the history on the other side.
    pub history: String,
    /// What went after this index is noted.
    pub since: u64,
    /// Entries that were created up to this index may be common ones.
    pub limit: u64,
    /// The node that is about to begin that history. As long as it is a member it goes along, so any entry may be a common
    /// one, and the limit is that of the entry which removes it.
    pub leaving: Option<u64>,
    /// The index at which that history begins, if it is a later one than this side's at the fork; else 0.
    pub start_index: u64,
    gone: NumberedQueue<Gone>,
    numbers: BTreeMap<u128, u64>,
    sum: Sum,
    /// The hash of all that seldom changes, for the digest: every log entry asks for it.
    head: [u64; 2],
    /// Keys that are gone and were not noted, because [`GONE_MAX`] were.
    omitted: u64,
}

/// How a common entry went, the last time that it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    pub key_hash: u128,
    /// A client removed it; else it was evicted or has expired.
    pub removed: bool,
    /// Index of the removal by the client, or of the last change before the entry went.
    pub revision: u64,
    /// Log time at that index.
    pub at_ms: u64,
}

impl Gone {
    fn hash(&self, number: u64) -> u128 {
        let [low, high] = halves(self.key_hash);
        hash_words([number, low, high, u64::from(self.removed), self.revision, self.at_ms])
    }
}

/// The hash by which forks and merges know a key.
pub fn key_hash(key: &[u8]) -> u128 {
    xxh3_128(key)
}

impl Fork {
    /// One that begins at this index.
    pub(super) fn new(history: String, index: u64) -> Self {
        let mut fork = Self {
            history,
            since: index,
            limit: index,
            leaving: None,
            start_index: 0,
            gone: NumberedQueue::starting_at(0),
            numbers: BTreeMap::new(),
            sum: Sum::default(),
            head: [0; 2],
            omitted: 0,
        };
        fork.head = fork.head_words();
        fork
    }

    /// One that begins at this index, for a node that is about to leave.
    pub(super) fn of_leaving(history: String, index: u64, node: u64, start_index: u64) -> Self {
        let mut fork = Self { leaving: Some(node), start_index, ..Self::new(history, index) };
        fork.head = fork.head_words();
        fork
    }

    /// Rebuilds a fork from a snapshot; `None` when it does not fit together.
    pub(super) fn restore(of: ForkView) -> Option<Self> {
        let ForkView { history, since, limit, leaving, start_index, omitted, gone } = of;
        let mut fork = Self { since, leaving, start_index, omitted, ..Self::new(history, limit) };
        fork.head = fork.head_words();
        for (number, item) in gone.iter() {
            if fork.numbers.insert(item.key_hash, number).is_some() {
                return None;
            }
            fork.sum.add(item.hash(number));
        }
        // Items are replaced, never taken out.
        let is_whole = gone.len() == fork.numbers.len() as u64 && gone.words(Sum::default())[0] == 0;
        fork.gone = gone;
        (is_whole && fork.numbers.len() <= GONE_MAX && since <= limit).then_some(fork)
    }

    /// One that has noted nothing, and could not note one key.
    #[cfg(test)]
    pub(crate) fn incomplete(history: &str) -> Self {
        Self { omitted: 1, ..Self::new(history.to_owned(), 0) }
    }

    /// How a common entry with this key went; `None` if none did, or if it was not noted.
    pub fn gone(&self, key: &str) -> Option<&Gone> {
        self.gone.get(*self.numbers.get(&key_hash(key.as_bytes()))?)
    }

    /// Whether every common entry that went was noted.
    pub fn is_complete(&self) -> bool {
        self.omitted == 0
    }

    /// Keys that are noted.
    pub fn len(&self) -> u64 {
        self.gone.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn memory(&self) -> u64 {
        self.gone.memory() + in_tree::<(u128, u64)>(self.len())
    }

    fn note(&mut self, is_common: bool, gone: Gone) {
        match self.numbers.get(&gone.key_hash) {
            Some(&number) => {
                let before = self.gone.get(number).copied();
                // What was cleared is noted when its memory is freed, by when the key may have come and gone again.
                if let Some(before) = before.filter(|before| before.revision <= gone.revision) {
                    self.gone.replace(number, gone);
                    self.sum.subtract(before.hash(number));
                    self.sum.add(gone.hash(number));
                }
            }
            // A key that only this side knows.
            None if !is_common => {}
            None if self.numbers.len() >= GONE_MAX => self.omitted += 1,
            None => {
                let number = self.gone.push(Some(gone));
                self.numbers.insert(gone.key_hash, number);
                self.sum.add(gone.hash(number));
            }
        }
    }

    fn words(&self, sum: Sum) -> u128 {
        let [head_low, head_high] = self.head;
        let [first, next, low, high] = self.gone.words(sum);
        hash_words([head_low, head_high, self.omitted, first, next, low, high])
    }

    fn head_words(&self) -> [u64; 2] {
        let [low, high] = hash_text(&self.history);
        // No member has the number 0.
        let leaving = self.leaving.unwrap_or(0);
        halves(hash_words([low, high, self.since, self.limit, leaving, self.start_index]))
    }
}

/// What a fork has noted at some moment. It shares memory with the fork, and has nothing that is found by key.
#[derive(Debug)]
pub(super) struct ForkView {
    pub history: String,
    pub since: u64,
    pub limit: u64,
    pub leaving: Option<u64>,
    pub start_index: u64,
    pub omitted: u64,
    pub gone: NumberedQueue<Gone>,
}

/// The open forks, in the order in which they were opened.
#[derive(Debug, Default)]
pub(super) struct Forks(Vec<Fork>);

impl Forks {
    /// `None` when there are more than [`FORKS_MAX`], or two to one history.
    pub fn restore(forks: Vec<Fork>) -> Option<Self> {
        let mut restored = Self::default();
        forks.into_iter().all(|fork| restored.open(fork)).then_some(restored)
    }

    /// Adds a fork; false, and nothing happens, if there is one to that history or there are too many.
    pub fn open(&mut self, fork: Fork) -> bool {
        let fits = self.0.len() < FORKS_MAX && self.get(&fork.history).is_none();
        if fits {
            self.0.push(fork);
        }
        fits
    }

    pub fn get(&self, history: &str) -> Option<&Fork> {
        self.0.iter().find(|fork| fork.history == history)
    }

    /// For a snapshot.
    pub fn views(&self) -> Vec<ForkView> {
        let view = |fork: &Fork| ForkView {
            history: fork.history.clone(),
            since: fork.since,
            limit: fork.limit,
            leaving: fork.leaving,
            start_index: fork.start_index,
            omitted: fork.omitted,
            gone: fork.gone.clone(),
        };
        self.0.iter().map(view).collect()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fork> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes of another side have come in with the log entry at this index. A key too many does no harm.
    pub fn extend(&mut self, index: u64) {
        for fork in &mut self.0 {
            fork.limit = fork.limit.max(index);
            fork.head = fork.head_words();
        }
    }

    /// From now on any entry may be a common one, until this node has left.
    pub fn open_end(&mut self, history: &str, node: u64) {
        if let Some(fork) = self.0.iter_mut().find(|fork| fork.history == history) {
            fork.leaving = Some(node);
            fork.head = fork.head_words();
        }
    }

    /// At this index these are the members: a node that has left goes along no further.
    pub fn seal(&mut self, index: u64, is_member: impl Fn(u64) -> bool) {
        for fork in &mut self.0 {
            if fork.leaving.is_some_and(|node| !is_member(node)) {
                (fork.leaving, fork.limit) = (None, index);
                fork.head = fork.head_words();
            }
        }
    }

    /// Forgets what was noted for a history.
    pub fn close(&mut self, history: &str) {
        self.0.retain(|fork| fork.history != history);
    }

    pub fn memory(&self) -> u64 {
        self.0.iter().map(Fork::memory).sum()
    }

    /// A client has removed an entry, with this log entry and at this log time. `is_cleared`: an earlier entry of its key was
    /// cleared, and may not be noted yet.
    pub fn note_removed(&mut self, entry: &Entry, is_cleared: bool, revision: u64, at_ms: u64) {
        self.note(entry, is_cleared, true, revision, at_ms);
    }

    /// An entry was evicted, or has expired.
    pub fn note_lost(&mut self, entry: &Entry, is_cleared: bool) {
        self.note(entry, is_cleared, false, entry.revision.get(), entry.modified_at_ms.get());
    }

    /// A merge has decided that a key, which is not there, was removed at this log time.
    pub fn note_buried(&mut self, key: &Key, revision: u64, at_ms: u64) {
        let gone = Gone { key_hash: key_hash(key.as_str().as_bytes()), removed: true, revision, at_ms };
        self.0.iter_mut().for_each(|fork| fork.note(true, gone));
    }

    fn note(&mut self, entry: &Entry, is_cleared: bool, removed: bool, revision: u64, at_ms: u64) {
        if self.is_empty() {
            return;
        }
        let gone = Gone { key_hash: key_hash(entry.record.key_bytes()), removed, revision, at_ms };
        for fork in &mut self.0 {
            // A key too many does no harm: it counts as one that the other side may know.
            let is_common = fork.leaving.is_some() || entry.created_revision.get() <= fork.limit;
            fork.note(is_cleared || is_common, gone);
        }
    }

    /// For the digest.
    pub fn words(&self) -> [u64; 2] {
        self.words_of(|fork| fork.sum)
    }

    /// The same, computed from scratch.
    pub fn recompute_words(&self) -> [u64; 2] {
        self.words_of(|fork| {
            let mut sum = Sum::default();
            fork.gone.iter().for_each(|(number, gone)| sum.add(gone.hash(number)));
            sum
        })
    }

    fn words_of(&self, sum: impl Fn(&Fork) -> Sum) -> [u64; 2] {
        let mut all = Sum::default();
        for (fork, position) in self.0.iter().zip(0..) {
            let [low, high] = halves(fork.words(sum(fork)));
            all.add(hash_words([position, low, high]));
        }
        all.words()
    }
}

//! Random operations against a model that is too simple to be wrong.

use std::collections::BTreeMap;

use bytes::Bytes;
use lockstep::storage::{LogOptions, LogStore};
use proptest::prelude::*;

use crate::support::{append, entry, folder, small, wait};

#[derive(Debug, Clone)]
enum Step {
    Append { count: u64, len: usize },
    Truncate { back: u64 },
    TruncateAll,
    Purge { ahead: u64 },
    PurgeBeyond,
    Vote(u8),
    Committed(u8),
    Read { from: u64, count: u64, max_bytes: usize },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..40u64, prop_oneof![0..200usize, 500..6_000usize]).prop_map(|(count, len)| Step::Append { count, len }),
        2 => (0..60u64).prop_map(|back| Step::Truncate { back }),
        1 => Just(Step::TruncateAll),
        3 => (0..60u64).prop_map(|ahead| Step::Purge { ahead }),
        1 => Just(Step::PurgeBeyond),
        1 => any::<u8>().prop_map(Step::Vote),
        1 => any::<u8>().prop_map(Step::Committed),
        4 => (0..100u64, 0..100u64, 0..20_000usize).prop_map(|(from, count, max_bytes)| Step::Read { from, count, max_bytes }),
        2 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<u64, Bytes>,
    next: u64,
    purged: Option<u64>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    salt: u64,
    /// Whether sled is brought up to date on a thread of its own.
    aside: bool,
}

impl Model {
    fn open(&self, dir: &std::path::Path) -> LogStore {
        LogStore::open(dir, LogOptions { checkpoint_in_background: self.aside, ..small() }).unwrap()
    }

    fn first(&self) -> u64 {
        self.entries.keys().next().copied().unwrap_or(self.next)
    }

    fn check(&self, store: &LogStore) {
        let state = store.state();
        assert_eq!(state.vote, self.vote);
        assert_eq!(state.committed, self.committed);
        assert_eq!(state.purged.map(|(index, _)| index), self.purged);
        assert_eq!(state.first_index, self.first());
        assert_eq!(state.last_index, self.entries.keys().next_back().copied());
        let all = store.read(self.first(), self.next, usize::MAX).unwrap();
        assert!(all.iter().map(|(index, bytes)| (index, bytes)).eq(self.entries.iter()));
    }

    fn run(&mut self, step: Step, dir: &std::path::Path, store: &mut Option<LogStore>) {
        let open = store.as_ref().unwrap();
        match step {
            Step::Append { count, len } => {
                self.salt += 1;
                let entries: Vec<_> =
                    (self.next..self.next + count).map(|at| (at, entry(at + self.salt, len))).collect();
                self.next += count;
                self.entries.extend(entries.iter().cloned());
                // Half of them are not waited for, so that later steps meet them in the queue.
                if self.salt.is_multiple_of(2) {
                    append(open, entries).unwrap()
                } else {
                    open.append(entries, Box::new(|_| {})).unwrap()
                }
            }
            Step::Truncate { back } => {
                let after = self.next.saturating_sub(back + 1).max(self.first().saturating_sub(1));
                self.entries.retain(|index, _| *index <= after);
                self.next = self.next.min(after + 1).max(self.purged.map_or(0, |purged| purged + 1));
                wait(|done| open.truncate_after(Some(after), done)).unwrap();
            }
            Step::TruncateAll => {
                self.next = self.first();
                self.entries.clear();
                wait(|done| open.truncate_after(None, done)).unwrap();
            }
            Step::Purge { ahead } => self.purge(open, (self.first() + ahead).min(self.next.max(1) - 1)),
            Step::PurgeBeyond => self.purge(open, self.next + 3),
            Step::Vote(term) => {
                self.vote = Some(vec![term].into());
                wait(|done| open.save_vote(vec![term].into(), done)).unwrap();
            }
            Step::Committed(index) => {
                self.committed = Some(vec![index].into());
                open.save_committed(vec![index].into());
            }
            Step::Read { from, count, max_bytes } => {
                let from = (self.first() + from).min(self.next);
                let to = (from + count).min(self.next);
                let mut left = max_bytes;
                let fits = |(_, bytes): &(&u64, &Bytes)| {
                    let fits = bytes.len() <= left;
                    left = left.saturating_sub(bytes.len());
                    fits
                };
                let expected =
                    self.entries.range(from..to).take_while(fits).count().max(usize::from(from < to));
                let read = open.read(from, to, max_bytes).unwrap();
                assert!(
                    read.iter()
                        .map(|(at, bytes)| (at, bytes))
                        .eq(self.entries.range(from..to).take(expected))
                );
            }
            Step::Reopen => {
                drop(store.take());
                *store = Some(self.open(dir));
                self.check(store.as_ref().unwrap());
            }
        }
    }

    fn purge(&mut self, store: &LogStore, index: u64) {
        if self.purged.is_none_or(|purged| purged < index) {
            self.purged = Some(index);
            self.entries.retain(|at, _| *at > index);
            self.next = self.next.max(index + 1);
        }
        wait(|done| store.purge(index, entry(index, 9), done)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_behaves_like_a_list(steps in proptest::collection::vec(step(), 1..60), aside: bool) {
        let dir = folder();
        let mut model = Model { aside, ..Model::default() };
        let mut store = Some(model.open(dir.path()));
        for step in steps {
            model.run(step, dir.path(), &mut store);
        }
        model.check(store.as_ref().unwrap());
        model.run(Step::Reopen, dir.path(), &mut store);
    }
}

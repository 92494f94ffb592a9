//! Walks in the order of slots, while keys come and go.

use crate::bounds::{Log, key, put};
use crate::restored;
use lockstep::cache::{CacheConfig, Command, Condition, Op};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What happens between two steps of a walk.
#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    Delete(u8),
    Clear(u8),
    /// Another node goes on, from a snapshot.
    Restore,
    Scan(usize),
}

fn name(number: u8) -> String {
    format!("{}:{}", number % 3, number)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Put),
        4 => any::<u8>().prop_map(Step::Delete),
        1 => (0..3u8).prop_map(Step::Clear),
        1 => Just(Step::Restore),
        3 => (1..20usize).prop_map(Step::Scan),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A key that is there during the whole walk is met exactly once, and no key that never was.
    #[test]
    fn a_walk_meets_what_is_there_all_the_time(
        before in prop::collection::vec(any::<u8>(), 0..100),
        steps in prop::collection::vec(step(), 0..100),
        prefix in prop::sample::select(vec!["", "0:", "1:"]),
    ) {
        let mut log = Log::new(CacheConfig::default());
        for number in before {
            log.commit(Command::One(put(&name(number))));
        }
        let mut stayed: BTreeMap<String, usize> = BTreeMap::new();
        for (found, _) in log.cache.scan("", 0, usize::MAX).keys {
            stayed.insert(found.as_str().to_owned(), 0);
        }
        prop_assert_eq!(stayed.len() as u64, log.cache.len());
        let (mut from, mut is_over) = (0, false);
        // At last, the walk goes on to its end.
        for step in steps.into_iter().chain(std::iter::repeat_n(Step::Scan(50), 20)) {
            match step {
                Step::Put(number) => {
                    log.commit(Command::One(put(&name(number))));
                }
                Step::Delete(number) => {
                    stayed.remove(&name(number));
                    let (key, condition) = (key(&name(number)), Condition::Always);
                    log.commit(Command::One(Op::Delete { key, condition, previous: false }));
                }
                Step::Clear(number) => {
                    stayed.retain(|name, _| !name.starts_with(&format!("{number}:")));
                    log.commit(Command::Clear { prefix: Some(format!("{number}:")), unless: None });
                }
                Step::Restore => log.cache = restored(&log.cache),
                Step::Scan(slots) if !is_over => {
                    let scanned = log.cache.scan(prefix, from, slots);
                    for (found, _) in scanned.keys {
                        prop_assert!(log.cache.get(found.as_str()).is_some());
                        prop_assert!(found.as_str().starts_with(prefix));
                        stayed.entry(found.as_str().to_owned()).and_modify(|met| *met += 1);
                    }
                    (from, is_over) = (scanned.next, scanned.next == 0);
                }
                Step::Scan(_) => {}
            }
        }
        prop_assert!(is_over);
        for (name, met) in &stayed {
            prop_assert_eq!(*met, usize::from(name.starts_with(prefix)), "{}", name);
        }
        prop_assert_eq!(log.cache.scan("", u64::MAX, 5).keys.len(), 0);
    }
}

/// However many others there are: a client's small database, or what begins like its pattern.
#[test]
fn few_keys_among_many_are_met_at_once() {
    let mut log = Log::new(CacheConfig::default());
    for number in 0..1_000 {
        log.commit(Command::One(put(&format!("many:{number}"))));
    }
    for number in 0..3 {
        log.commit(Command::One(put(&format!("few:{number}"))));
    }
    let few = log.cache.scan("few:", 0, 3);
    assert_eq!((few.keys.len(), few.next), (3, 0));
    let not_all = log.cache.scan("few:", 0, 2);
    assert_eq!((not_all.keys.len(), not_all.next), (0, 2), "they would be more than what was asked for");
    assert_eq!(log.cache.scan("nobody:", 0, 1).next, 0);
}

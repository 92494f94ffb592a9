//! A small cache of its own in which commands are tried out before they are proposed.
//!
//! A script, or a command such as `RENAME`, decides by what it reads what it writes. That cannot be one operation of the log. So it is
//! carried out here, on copies of the keys that it reads, by the very state machine that applies the log. What it wrote is then
//! proposed as one log entry, which is carried out only if each key that was read is as it was: [`super::optimistic`].

use super::errors::{of_command, too_large};
use super::listing::Listing;
use super::plan::{Done, Plan, results};
use super::reply::Reply;
use super::run::bytes_of;
use super::work::Work;
use crate::cache::{
    Absence, Cache, CacheConfig, Command, CommandError, Condition, Found, Guard, Key, Kind, Op, Policy,
    Stamp, Ttl,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that may be written: more than a log entry can have.
const WRITTEN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Said of what one log entry cannot do.
pub(super) const TOO_MUCH: &str = "ERR it changes large values too often to be carried out in one step";

/// See the module.
#[derive(Debug)]
pub(super) struct Scratch {
    cache: Cache,
    now_ms: u64,
    /// What was read, and as what.
    read: BTreeMap<Key, Condition>,
    /// What was written, in its order, and whether it succeeded.
    written: Vec<(Op, bool)>,
    /// About how many bytes that takes.
    written_bytes: usize,
    /// What that is for the log entry.
    work: Work,
    /// What it was made of.
    origin: Origin,
    /// The keys that matched a pattern in a database.
    pub listings: BTreeMap<(u8, Bytes), Listing>,
    /// What had been done when a command about all keys came, for each of those.
    pub notes: Vec<Vec<Own>>,
    /// The keys that commands have read that only read.
    pub told: BTreeSet<Key>,
    /// For each command of a transaction, how many operations had been written by its end.
    pub ends: Vec<usize>,
    /// The positions of scripts of several clients that need more than there is.
    pub left: BTreeSet<usize>,
}

/// Keys as they were at a log time.
#[derive(Debug, Clone, Default)]
struct Origin {
    default_ttl_ms: Option<u64>,
    now_ms: u64,
    found: Vec<(Key, Result<Found, Absence>)>,
}

/// What became of a key that was written: whether it was there at first, and what it has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub key: Key,
    pub was_there: bool,
    pub now: Option<Kind>,
}

/// Something is needed that was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Keys(Vec<Key>),
    /// All keys that match a pattern, in a database.
    Listing(u8, Bytes),
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new(None, 0, Vec::new())
    }
}

impl Scratch {
    /// One with copies of these keys, as they were at this log time by the node's clock, or a little before.
    pub fn new(default_ttl_ms: Option<u64>, now_ms: u64, found: Vec<(Key, Result<Found, Absence>)>) -> Self {
        // What is there has not expired before the log says so. Whoever reads without a log entry would otherwise miss what others
        // still read afterwards: for as long as no majority lets the leader say that time has passed.
        let now_ms =
            found.iter().filter_map(|(_, found)| last_ms(found.as_ref().ok()?)).fold(now_ms, u64::min);
        let origin = Origin { default_ttl_ms, now_ms, found: found.clone() };
        let config = CacheConfig {
            policy: Policy::NoEviction,
            capacity_entries: 1_000_000,
            capacity_bytes: u64::MAX,
            default_ttl_ms,
            ..CacheConfig::default()
        };
        let mut scratch = Self {
            cache: Cache::new(config),
            now_ms,
            read: BTreeMap::new(),
            written: Vec::new(),
            written_bytes: 0,
            work: Work::default(),
            origin,
            listings: BTreeMap::new(),
            notes: Vec::new(),
            told: BTreeSet::new(),
            ends: Vec::new(),
            left: BTreeSet::new(),
        };
        for (key, found) in found {
            let condition = match found {
                Ok(found) => {
                    let ttl = lifetime_of(&found);
                    let (value, revision) = (found.value, found.info.revision);
                    scratch.work.found(key.clone(), value.bytes.len() as u64);
                    let (key, condition) = (key.clone(), Condition::Always);
                    // Its value was stored before, so it can be stored again.
                    let _ = scratch.apply(vec![Op::Put { key, value, ttl, condition, previous: false }]);
                    Condition::Revision(revision)
                }
                Err(_) => Condition::Absent,
            };
            scratch.read.insert(key, condition);
        }
        scratch
    }

    /// Log time.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What a key holds now.
    pub fn get(&self, key: &Key) -> Result<Option<Found>, Missing> {
        match self.read.contains_key(key) {
            true => Ok(self.cache.get(key.as_str())),
            false => Err(Missing::Keys(vec![key.clone()])),
        }
    }

    /// Carries out a command, and notes what it writes.
    pub fn carry_out(&mut self, plan: &Plan) -> Result<Reply, Missing> {
        let about_keys = plan.ops.iter().filter(|op| !matches!(op, Op::Publish { .. })).map(Op::key);
        let missing: Vec<Key> = about_keys.filter(|key| !self.read.contains_key(*key)).cloned().collect();
        if !missing.is_empty() {
            return Err(Missing::Keys(missing));
        }
        if plan.ops.is_empty() {
            return Ok(plan.shape.reply(&[], self.now_ms));
        }
        if !plan.writes() {
            self.told.extend(plan.ops.iter().map(|op| op.key().clone()));
        }
        // What cannot be proposed need not be kept.
        if plan.writes() && self.written_bytes > WRITTEN_BYTES_MAX {
            return Ok(too_large());
        }
        // Before it is done, because it takes memory here too.
        plan.ops.iter().filter(|op| op.is_write()).for_each(|op| self.work.add(op));
        if !self.work.fits() {
            return Ok(Reply::error(TOO_MUCH));
        }
        let done = match self.apply(plan.ops.clone()) {
            Ok(done) => done,
            Err(error) => return Ok(of_command(&error)),
        };
        for (op, done) in plan.ops.iter().zip(&done).filter(|(op, _)| op.is_write()) {
            self.written_bytes += bytes_of(op);
            self.written.push((op.clone(), done.is_ok()));
        }
        Ok(plan.shape.reply(&done, self.now_ms))
    }

    /// As it was when so many operations had been written.
    pub fn back_to(self, writes: usize) -> Self {
        let Self {
            origin: Origin { default_ttl_ms, now_ms, found }, listings, notes, told, ends, left, ..
        } = self;
        let new = Self::new(default_ttl_ms, now_ms, found);
        let mut scratch = Self { listings, notes, told, ends, left, ..new };
        for (op, succeeded) in self.written.into_iter().take(writes) {
            if succeeded {
                // It did before.
                let _ = scratch.apply(vec![op.clone()]);
            }
            scratch.work.add(&op);
            scratch.written_bytes += bytes_of(&op);
            scratch.written.push((op, succeeded));
        }
        scratch
    }

    /// How many operations it was written by.
    pub fn writes(&self) -> usize {
        self.written.len()
    }

    /// What became so far of the keys that were written.
    pub fn own(&self) -> Vec<Own> {
        let keys: BTreeSet<&Key> =
            self.written.iter().map(|(op, _)| op).filter(|op| op.writes_key()).map(Op::key).collect();
        let own = |key: &Key| Own {
            key: key.clone(),
            was_there: self.read.get(key).is_some_and(|condition| *condition != Condition::Absent),
            now: self.cache.get(key.as_str()).map(|found| found.value.kind()),
        };
        keys.into_iter().map(own).collect()
    }

    /// The same without what was written.
    pub fn forget_writes(mut self) -> Self {
        self.written.clear();
        self.written_bytes = 0;
        self
    }

    /// Whether one log entry can do all that was written.
    pub fn fits(&self) -> bool {
        self.work.fits()
    }

    /// What must hold for it to be true, and what it writes with whether that is to succeed.
    pub fn into_parts(self) -> (Vec<Guard>, Vec<(Op, bool)>) {
        let guards = self.read.into_iter().map(|(key, condition)| Guard::Key { key, condition });
        (guards.collect(), self.written)
    }

    fn apply(&mut self, ops: Vec<Op>) -> Result<Vec<Done>, CommandError> {
        let index = self.cache.index() + 1;
        let at =
            Stamp { index, at_ms: self.now_ms, idempotency_key: None, origin: None, touches: Vec::new() };
        self.cache.apply(at, Command::Sequence { guards: Vec::new(), ops }).outcome.map(results)
    }
}

/// The last moment at which a copy is there; `None` where it lives on from whenever it is made.
fn last_ms(found: &Found) -> Option<u64> {
    match lifetime_of(found) {
        Ttl::At(deadline_ms) => Some(deadline_ms.saturating_sub(1)),
        _ => None,
    }
}

/// The lifetime with which a copy ends when its original does.
pub(super) fn lifetime_of(found: &Found) -> Ttl {
    match (found.info.sliding_ms, found.info.expires_at_ms) {
        (0, Some(deadline_ms)) => Ttl::At(deadline_ms),
        (0, None) => Ttl::Never,
        (sliding_ms, _) => Ttl::Sliding(u64::from(sliding_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C4: a clock alone makes nothing expire, or somebody who read with it would miss what the next one still reads.
    #[test]
    fn what_is_there_is_seen_until_the_log_says_that_it_has_expired() {
        let key = Key::new("k").expect("a key");
        let mut cache = Cache::new(CacheConfig::default());
        let put = Op::Put {
            key: key.clone(),
            value: crate::cache::Value::new(Bytes::from("v"), None).expect("a value"),
            ttl: Ttl::Ms(500),
            condition: Condition::Always,
            previous: false,
        };
        let at = Stamp { index: 1, at_ms: 1_000, idempotency_key: None, origin: None, touches: Vec::new() };
        cache.apply(at, Command::One(put)).outcome.expect("it is stored");
        let copied = || vec![(key.clone(), Ok(cache.get("k").expect("it is there")))];
        let at = |now_ms| Scratch::new(None, now_ms, copied());
        for (clock_ms, now_ms) in [(1_000, 1_000), (1_499, 1_499), (1_500, 1_499), (90_000, 1_499)] {
            let scratch = at(clock_ms);
            assert_eq!(scratch.now_ms(), now_ms);
            assert!(scratch.get(&key).expect("it was read").is_some(), "{clock_ms}");
        }
        assert!(at(90_000).back_to(0).get(&key).expect("it was read").is_some());
    }
}

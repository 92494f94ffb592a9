//! A second implementation of the cache's rules: plain maps and lists, everything by linear search, a batch by
//! copying the whole state. Slow, and simple enough to be believed.

use crate::memories::Memories;
use crate::model_hashes::{check_value, string};
use crate::model_ops::op_key;
use crate::model_order::Place;
use lockstep::cache::{
    Applied, BatchFault, CacheConfig, Cause, Command, CommandError, EntryId, EntryInfo, Event, Found,
    InvalidField, Key, Op, Outcome, Policy, Record, Removal, RemovalCause, Stamp, Ttl, Value, limits,
};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone)]
pub struct Held {
    pub found: Found,
    pub used: u64,
    pub slot: usize,
    pub generation: u32,
    pub frequency: u64,
    pub sliding_ms: u64,
    pub place: Place,
}

impl Held {
    pub fn cost(&self, key: &Key) -> u64 {
        cost(key, &self.found.value, self.found.info.origin.as_deref())
    }
}

#[derive(Debug, Clone)]
pub struct Model {
    pub config: CacheConfig,
    pub index: u64,
    pub now_ms: u64,
    pub held: BTreeMap<Key, Held>,
    /// What clears removed and what still takes room.
    pub cleared: VecDeque<(Key, Held)>,
    pub free_per_apply_max: usize,
    /// Removals asked for: a key, or a prefix.
    pub graves: Vec<(Result<Key, String>, u64, u64)>,
    /// Keys that expired or were evicted, in order.
    pub losses: Vec<(Key, Removal)>,
    /// How each key was removed the last time, whatever the cache remembers of it.
    pub removed: BTreeMap<Key, Removal>,
    /// Of the request that is carried out.
    origin: Option<String>,
    slots: usize,
    free: Vec<usize>,
    generations: Vec<u32>,
    pub uses: u64,
    /// The priority of the last victim of `lfu`.
    pub age: u64,
    /// Keys that `s3fifo` evicted from its small queue; a gap for each that came back.
    pub ghosts: Vec<Option<Key>>,
    memories: Memories,
}

impl Model {
    pub fn new(config: CacheConfig) -> Self {
        Self {
            config,
            index: 0,
            now_ms: 0,
            held: BTreeMap::new(),
            cleared: VecDeque::new(),
            free_per_apply_max: limits::FREE_PER_APPLY_MAX,
            graves: Vec::new(),
            losses: Vec::new(),
            removed: BTreeMap::new(),
            origin: None,
            slots: 0,
            free: Vec::new(),
            generations: Vec::new(),
            uses: 0,
            age: 0,
            ghosts: Vec::new(),
            memories: Memories::default(),
        }
    }

    pub fn apply(&mut self, at: Stamp, command: Command) -> Applied {
        let mut events = Vec::new();
        self.index = at.index;
        self.origin = at.origin.filter(|origin| !origin.contains(','));
        self.now_ms = self.now_ms.max(at.at_ms);
        let now_ms = self.now_ms;
        self.memories.forget_old(now_ms);
        for touch in &at.touches {
            let EntryId { slot, generation } = touch.entry;
            let is_it = |held: &Held| held.slot == slot as usize && held.generation == generation;
            if let Some(key) = self.held.iter().find(|(_, held)| is_it(held)).map(|(key, _)| key.clone()) {
                self.read(&key, u64::from(touch.count));
            }
        }
        while let Some(next) = self.next_to_expire() {
            match next {
                Ok(key) => self.remove(&key, Cause::Expire, &mut events),
                Err(at) => self.free_cleared(at),
            }
        }
        for _ in 0..self.free_per_apply_max.min(self.cleared.len()) {
            self.free_cleared(0);
        }
        self.move_all();
        let answer = at.idempotency_key.as_ref().and_then(|id| self.memories.answer(id, &command));
        if let Some((outcome, replayed)) = answer {
            return Applied { outcome, replayed, events };
        }
        let before = self.clone();
        let events_before = events.len();
        let outcome = self.execute(command.clone(), &mut events);
        if outcome.is_err() {
            *self = before;
            events.truncate(events_before);
        }
        if matches!(outcome, Err(CommandError::CacheFull { .. })) {
            // All of it was not enough.
            while !self.cleared.is_empty() {
                self.free_cleared(0);
            }
        }
        while self.is_over() && (self.config.policy != Policy::NoEviction || !self.cleared.is_empty()) {
            if self.cleared.is_empty() { self.evict_one(&mut events) } else { self.free_cleared(0) }
        }
        self.settle();
        let passes = matches!(outcome, Err(CommandError::CacheFull { .. }));
        if let Some(id) = at.idempotency_key.filter(|_| !passes) {
            self.memories.remember(id, command, (at.index, now_ms), outcome.clone());
        }
        Applied { outcome, replayed: false, events }
    }

    pub fn get(&self, key: &Key) -> Option<&Found> {
        let found = &self.held.get(key)?.found;
        found.info.expires_at_ms.is_none_or(|deadline| deadline > self.now_ms).then_some(found)
    }

    /// Entries that take room.
    fn entries(&self) -> u64 {
        (self.held.len() + self.cleared.len()) as u64
    }

    /// Bytes that take room.
    pub fn bytes(&self) -> u64 {
        let cleared = self.cleared.iter().map(|(key, held)| (key, held));
        self.held.iter().chain(cleared).map(|(key, held)| held.cost(key)).sum()
    }

    pub fn grave(&self, key: &Key) -> Option<u64> {
        let own = self.graves.iter().rev().find(|(what, ..)| what.as_ref() == Ok(key));
        let covers = |what: &Result<Key, String>| what.as_ref().is_err_and(|p| key.as_str().starts_with(p));
        let grave = own.or_else(|| self.graves.iter().rev().find(|(what, ..)| covers(what)));
        grave.filter(|_| !self.held.contains_key(key)).map(|(_, revision, _)| *revision)
    }

    fn is_over(&self) -> bool {
        self.entries() > self.config.capacity_entries || self.bytes() > self.config.capacity_bytes
    }

    /// A key, or a position among what was cleared.
    fn next_to_expire(&self) -> Option<Result<Key, usize>> {
        let due = |held: &Held| {
            let deadline = held.found.info.expires_at_ms.filter(|deadline| *deadline <= self.now_ms)?;
            Some((deadline, held.slot))
        };
        let held = self.held.iter().filter_map(|(key, held)| Some((due(held)?, Ok(key.clone()))));
        let cleared = self.cleared.iter().enumerate();
        let cleared = cleared.filter_map(|(at, (_, held))| Some((due(held)?, Err(at))));
        held.chain(cleared).min_by_key(|(order, _)| *order).map(|(_, which)| which)
    }

    pub fn remove(&mut self, key: &Key, cause: Cause, events: &mut Vec<Event>) {
        let held = self.held.remove(key).expect("only what is held is removed");
        self.free_slot(held.slot);
        // A deadline that has passed is the cause, whatever else was on the way.
        let expired = held.found.info.expires_at_ms.is_some_and(|deadline| deadline <= self.now_ms);
        let cause = if expired { Cause::Expire } else { cause };
        let lost = match cause {
            Cause::Expire => Some(RemovalCause::Expire),
            Cause::Evict => Some(RemovalCause::Evict),
            Cause::Delete => None,
        };
        if let Some(cause) = lost {
            let removal = self.removed_now(key, cause);
            self.losses.push((key.clone(), removal));
        }
        events.push(Event::Removed { key: key.clone(), cause });
    }

    pub fn free_slot(&mut self, slot: usize) {
        self.generations[slot] += 1;
        self.forget_age();
        self.free.push(slot);
    }

    fn execute(&mut self, command: Command, events: &mut Vec<Event>) -> Result<Outcome, CommandError> {
        match command {
            Command::One(op) => {
                let mut outcomes = self.fitting_ops(vec![op], false, events)?;
                Ok(outcomes.remove(0))
            }
            Command::Sequence { guards, ops } => self.sequence(&guards, ops, events),
            Command::Batch(ref ops) => {
                if ops.is_empty() || ops.len() > limits::BATCH_OPS_MAX {
                    return Err(CommandError::InvalidBatch { op: None, fault: BatchFault::Length });
                }
                for (i, op) in ops.iter().enumerate() {
                    let writes =
                        |op: &Op| !matches!(op, Op::Get { .. } | Op::Look { .. } | Op::Publish { .. });
                    if writes(op) && ops[..i].iter().any(|o| writes(o) && op_key(o) == op_key(op)) {
                        return Err(CommandError::InvalidBatch {
                            op: Some(i as u32),
                            fault: BatchFault::RepeatedKey,
                        });
                    }
                }
                let outcomes = self.fitting_ops(ops.clone(), true, events)?;
                Ok(Outcome::Batch { revision: self.index, outcomes })
            }
            Command::Clear { prefix, unless } => Ok(self.clear(prefix, unless, events)),
            Command::Configure(change) => {
                let mut config = self.config.clone();
                config.policy = change.policy.unwrap_or(config.policy);
                config.capacity_entries = change.capacity_entries.unwrap_or(config.capacity_entries);
                config.capacity_bytes = change.capacity_bytes.unwrap_or(config.capacity_bytes);
                config.default_ttl_ms = change.default_ttl_ms.unwrap_or(config.default_ttl_ms);
                config.touch.enabled = change.touch_enabled.unwrap_or(config.touch.enabled);
                config.touch.interval_ms = change.touch_interval_ms.unwrap_or(config.touch.interval_ms);
                config.touch.max_per_flush = change.touch_max_per_flush.unwrap_or(config.touch.max_per_flush);
                if !limits::TOUCH_INTERVAL_MS.contains(&config.touch.interval_ms) {
                    return Err(invalid(None, InvalidField::TouchInterval));
                }
                if !(1..=limits::TOUCHES_MAX).contains(&config.touch.max_per_flush) {
                    return Err(invalid(None, InvalidField::TouchMaxPerFlush));
                }
                if config.capacity_entries == 0 {
                    return Err(invalid(None, InvalidField::CapacityEntries));
                }
                if config.capacity_bytes == 0 {
                    return Err(invalid(None, InvalidField::CapacityBytes));
                }
                if config.default_ttl_ms.is_some_and(|ttl| ttl == 0 || ttl > limits::TTL_MS_MAX) {
                    return Err(invalid(None, InvalidField::DefaultTtl));
                }
                if config != self.config {
                    let policy_changed = config.policy != self.config.policy;
                    self.config = config.clone();
                    events.push(Event::Configured { config: Box::new(config.clone()), policy_changed });
                }
                Ok(Outcome::Configured(config))
            }
            Command::Tick => Ok(Outcome::Ticked),
            Command::RaiseFeatureLevel { level } if level == limits::FEATURE_LEVEL => {
                Ok(Outcome::FeatureLevel(level))
            }
            Command::RaiseFeatureLevel { .. } => Err(invalid(None, InvalidField::FeatureLevel)),
            Command::OpenFork { .. } | Command::CloseFork { .. } | Command::Merge(_) => {
                unreachable!("tests/reconcile has an oracle of its own for forks and merges")
            }
            // No entry changes.
            Command::NoteAdminAction(_) => Ok(Outcome::Ticked),
            Command::Tokens(_) | Command::Sessions(_) => {
                unreachable!("their files in src/cache have tests of their own")
            }
        }
    }

    pub fn ops(
        &mut self,
        ops: Vec<Op>,
        batch: bool,
        events: &mut Vec<Event>,
    ) -> Result<Vec<Outcome>, CommandError> {
        let (entries_before, bytes_before) = (self.entries(), self.bytes());
        let mut first_overflow = None;
        let mut outcomes = Vec::new();
        for (i, op) in ops.into_iter().enumerate() {
            let position = batch.then_some(i as u32);
            let (entries, bytes) = (self.entries(), self.bytes());
            outcomes.push(self.op(op, position, events)?);
            let grew = self.entries() > entries.max(self.config.capacity_entries)
                || self.bytes() > bytes.max(self.config.capacity_bytes);
            if grew && first_overflow.is_none() {
                first_overflow = Some(position);
            }
        }
        let grew = self.entries() > entries_before.max(self.config.capacity_entries)
            || self.bytes() > bytes_before.max(self.config.capacity_bytes);
        if self.config.policy == Policy::NoEviction && grew {
            return Err(CommandError::CacheFull { op: first_overflow.flatten() });
        }
        Ok(outcomes)
    }

    pub fn op(
        &mut self,
        op: Op,
        position: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let revision = self.index;
        let key = op_key(&op).clone();
        let current = self.get(&key).cloned();
        match op {
            Op::Get { .. } => {
                if current.is_some() {
                    self.renew(&key);
                    if self.held[&key].place.policy().is_some() {
                        self.count_uses(&key, 1);
                    }
                }
                Ok(Outcome::Got(current))
            }
            Op::Put { value, ttl, condition, previous, .. } => {
                if matches!(ttl, Ttl::At(at_ms) if at_ms <= self.now_ms) {
                    return self.put_in_the_past(&key, (value, condition, previous), position, events);
                }
                let lifetime = self.lifetime_over(&key, ttl, position)?;
                self.check(&key, &condition, current.as_ref(), position)?;
                check_value(&value, position)?;
                let created = self.store(&key, value, lifetime, position, events)?;
                Ok(Outcome::Put { revision, created, previous: current.filter(|_| previous) })
            }
            Op::Delete { condition, previous, .. } => {
                self.check(&key, &condition, current.as_ref(), position)?;
                if current.is_none() {
                    return Ok(Outcome::NotFound(self.absence(&key)));
                }
                self.delete(&key, events);
                Ok(Outcome::Deleted { revision, previous: current.filter(|_| previous) })
            }
            Op::Incr { by, initial, ttl, condition, .. } => {
                let mut lifetime = self.lifetime(ttl, position)?;
                self.check(&key, &condition, current.as_ref(), position)?;
                let (mut number, mut content_type) = (initial, None);
                if let Some(found) = current {
                    let text = String::from_utf8(string(&found, position)?.to_vec()).unwrap_or_default();
                    let parsed = text.parse().ok().filter(|number: &i64| number.to_string() == text);
                    number = parsed.ok_or(CommandError::NotANumber { op: position })?;
                    content_type = found.value.content_type;
                    lifetime = self.renewed(&key);
                }
                let number = number.checked_add(by).ok_or(CommandError::Overflow { op: position })?;
                let value = Value { bytes: number.to_string().into(), content_type };
                let created = self.store(&key, value, lifetime, position, events)?;
                Ok(Outcome::Counter { revision, value: number, created })
            }
            Op::Persist { condition, .. } => {
                self.check(&key, &condition, current.as_ref(), position)?;
                Ok(self.set_lifetime(key, (None, 0), events))
            }
            further => self.further_op(further, current, position, events),
        }
    }

    /// A deadline, and by how much a use moves it.
    pub fn lifetime(&self, ttl: Ttl, op: Option<u32>) -> Result<(Option<u64>, u64), CommandError> {
        let (ttl_ms, sliding_ms) = match ttl {
            Ttl::Never | Ttl::Keep => (None, 0),
            Ttl::At(at_ms) if at_ms > self.now_ms => return Ok((Some(at_ms), 0)),
            Ttl::At(_) => return Err(invalid(op, InvalidField::Ttl)),
            Ttl::Default => (self.config.default_ttl_ms, 0),
            Ttl::Ms(ttl_ms) => (Some(ttl_ms), 0),
            Ttl::Sliding(ttl_ms) => (Some(ttl_ms), ttl_ms),
        };
        let longest = if sliding_ms > 0 { limits::SLIDING_TTL_MS_MAX } else { limits::TTL_MS_MAX };
        if ttl_ms.is_some_and(|ttl_ms| ttl_ms == 0 || ttl_ms > longest) {
            return Err(invalid(op, InvalidField::Ttl));
        }
        Ok((ttl_ms.map(|ttl_ms| self.now_ms + ttl_ms), sliding_ms))
    }

    pub fn store(
        &mut self,
        key: &Key,
        value: Value,
        (expires_at_ms, sliding_ms): (Option<u64>, u64),
        op: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<bool, CommandError> {
        let (bytes, capacity_bytes) = (cost(key, &value, self.origin.as_deref()), self.config.capacity_bytes);
        if bytes > capacity_bytes {
            return Err(CommandError::TooLarge { op, bytes, capacity_bytes });
        }
        if self.held.contains_key(key) && self.get(key).is_none() {
            self.remove(key, Cause::Expire, events);
        }
        // All writes of one log entry are one use.
        let again = self.held.get(key).is_some_and(|held| matches!(held.place, Place::Nowhere(_)));
        self.uses += u64::from(!again);
        let created = !self.held.contains_key(key);
        if created {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots += 1;
                self.generations.push(0);
                self.slots - 1
            });
            let info = EntryInfo {
                revision: self.index,
                created_revision: self.index,
                version: 0,
                created_at_ms: self.now_ms,
                modified_at_ms: self.now_ms,
                expires_at_ms,
                sliding_ms: 0,
                origin: None,
            };
            let found = Found { value: value.clone(), info };
            let generation = self.generations[slot];
            let place = Place::Nowhere(None);
            let held = Held { found, used: 0, slot, generation, frequency: 0, sliding_ms, place };
            self.held.insert(key.clone(), held);
        } else if !again {
            self.lift(key);
        }
        let held = self.held.get_mut(key).expect("it was just stored");
        if !again {
            held.used = self.uses;
            held.frequency = (held.frequency + 1).min(u64::from(u16::MAX));
        }
        held.sliding_ms = sliding_ms;
        held.found.value = value.clone();
        held.found.info.expires_at_ms = expires_at_ms;
        held.found.info.revision = self.index;
        held.found.info.modified_at_ms = self.now_ms;
        held.found.info.version += 1;
        held.found.info.sliding_ms = sliding_ms as u32;
        held.found.info.origin = self.origin.as_deref().map(Into::into);
        let info = held.found.info.clone();
        self.graves.retain(|(what, ..)| what.as_ref() != Ok(key));
        let record = Record::new(key, &value.bytes, value.content_type.as_deref(), self.origin.as_deref());
        events.push(Event::Put {
            record,
            expires_at_ms,
            sliding_ms: info.sliding_ms,
            created,
            version: info.version as u32,
            created_at_ms: info.created_at_ms,
            modified_at_ms: info.modified_at_ms,
        });
        Ok(created)
    }

    pub fn set_lifetime(
        &mut self,
        key: Key,
        lifetime: (Option<u64>, u64),
        events: &mut Vec<Event>,
    ) -> Outcome {
        if self.get(&key).is_none() {
            return Outcome::NotFound(self.absence(&key));
        }
        let (index, now_ms) = (self.index, self.now_ms);
        let held = self.held.get_mut(&key).expect("it is there");
        let (expires_at_ms, _) = lifetime;
        if (held.found.info.expires_at_ms, held.sliding_ms) != lifetime {
            (held.found.info.expires_at_ms, held.sliding_ms) = lifetime;
            held.found.info.revision = index;
            held.found.info.modified_at_ms = now_ms;
            held.found.info.version += 1;
            if self.held[&key].place.policy().is_some() {
                self.count_uses(&key, 1);
            }
            let sliding_ms = lifetime.1 as u32;
            self.held.get_mut(&key).expect("it is there").found.info.sliding_ms = sliding_ms;
            events.push(Event::Deadline { key: key.clone(), expires_at_ms, sliding_ms });
        }
        Outcome::Deadline { revision: self.held[&key].found.info.revision, expires_at_ms }
    }
}

pub fn cost(key: &Key, value: &Value, origin: Option<&str>) -> u64 {
    let media = value.content_type.as_ref().map_or(0, |media| media.len());
    let origin = origin.map_or(0, str::len);
    (key.as_str().len() + value.bytes.len() + media + origin) as u64 + limits::ENTRY_OVERHEAD_BYTES
}

pub fn invalid(op: Option<u32>, field: InvalidField) -> CommandError {
    CommandError::Invalid { op, field }
}

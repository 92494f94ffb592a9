//! The orders of eviction in the naive model: who goes next is found by looking at everybody.

use crate::model::{Held, Model};
use lockstep::cache::{Cause, Event, Key, Policy};

/// Whether in the main queue, since when, and how often used since.
type Queued = (bool, u64, u64);

/// Where an entry stands: in which policy's order, and what that policy noted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// Written by this log entry, not placed yet; the place before, if there was one.
    Nowhere(Option<(Policy, Option<Queued>)>),
    Recency(Policy),
    Priority(u64),
    Queue {
        main: bool,
        since: u64,
        hits: u64,
    },
}

impl Place {
    pub fn policy(self) -> Option<Policy> {
        match self {
            Place::Nowhere(_) => None,
            Place::Recency(policy) => Some(policy),
            Place::Priority(_) => Some(Policy::Lfu),
            Place::Queue { .. } => Some(Policy::S3Fifo),
        }
    }
}

impl Model {
    pub fn evict_one(&mut self, events: &mut Vec<Event>) {
        if self.held.values().all(|held| held.place.policy().is_none()) {
            self.settle();
        }
        let in_force = self.config.policy;
        let others = Policy::ALL.into_iter().filter(|policy| *policy != in_force);
        let here = |policy: Policy| self.held.values().any(|held| held.place.policy() == Some(policy));
        let policy = others.chain([in_force]).find(|policy| here(*policy)).expect("one has entries");
        let of = |f: &dyn Fn(&Held) -> (u64, u64)| {
            let all = self.held.iter().filter(|(_, held)| held.place.policy() == Some(policy));
            all.min_by_key(|(_, held)| f(held)).map(|(key, _)| key.clone()).expect("it has entries")
        };
        match policy {
            Policy::Lru | Policy::NoEviction => {
                let key = of(&|held| (held.used, 0));
                self.remove(&key, Cause::Evict, events);
            }
            Policy::Lfu => {
                let priority = |held: &Held| match held.place {
                    Place::Priority(priority) => priority,
                    _ => u64::MAX,
                };
                let key = of(&|held| (priority(held), held.used));
                let (priority, expired) = (priority(&self.held[&key]), self.get(&key).is_none());
                self.remove(&key, Cause::Evict, events);
                if !expired && self.held.values().any(|held| matches!(held.place, Place::Priority(_))) {
                    self.age = self.age.max(priority);
                }
            }
            Policy::S3Fifo => self.evict_from_queues(events),
        }
    }

    fn evict_from_queues(&mut self, events: &mut Vec<Event>) {
        for chances_given in 0.. {
            let queue = |wanted: bool| {
                let all = self.held.iter().filter_map(|(key, held)| match held.place {
                    Place::Queue { main, since, hits } if main == wanted => Some((since, hits, key.clone())),
                    _ => None,
                });
                let mut all: Vec<(u64, u64, Key)> = all.collect();
                all.sort();
                all
            };
            let (small, main) = (queue(false), queue(true));
            let bytes: u64 = main.iter().map(|(_, _, key)| self.held[key].cost(key)).sum();
            let (entries, capacity_bytes) = (self.config.capacity_entries, self.config.capacity_bytes);
            let is_over =
                main.len() as u64 > entries - entries / 10 || bytes > capacity_bytes - capacity_bytes / 10;
            let from_main = small.is_empty() || (is_over && !main.is_empty());
            let (_, hits, key) = if from_main { &main[0] } else { &small[0] };
            // After 32 second chances the head goes, used or not.
            if chances_given < 32 && *hits >= if from_main { 1 } else { 2 } {
                self.uses += 1;
                let (since, hits) = (self.uses, if from_main { hits - 1 } else { 0 });
                self.held.get_mut(key).expect("it is there").place = Place::Queue { main: true, since, hits };
                continue;
            }
            let expired = self.get(key).is_none();
            self.remove(key, Cause::Evict, events);
            if !from_main && !expired {
                let entries = (small.len() + main.len()) as u64;
                self.ghosts.push(Some(key.clone()));
                let limit = (entries - entries / 10) as usize;
                for _ in 0..2 {
                    if self.ghosts.len() > limit {
                        self.ghosts.remove(0);
                    }
                }
            }
            return;
        }
    }

    /// Counts reads of an entry that is placed.
    pub fn read(&mut self, key: &Key, count: u64) {
        self.renew(key);
        self.count_uses(key, count);
    }

    pub fn renew(&mut self, key: &Key) {
        let now_ms = self.now_ms;
        let held = self.held.get_mut(key).expect("it is there");
        if held.sliding_ms > 0 {
            held.found.info.expires_at_ms = Some(now_ms + held.sliding_ms);
        }
    }

    pub fn count_uses(&mut self, key: &Key, count: u64) {
        self.uses += 1;
        let uses = self.uses;
        let held = self.held.get_mut(key).expect("it is there");
        held.used = uses;
        held.frequency = (held.frequency + count).min(u64::from(u16::MAX));
        let (frequency, place) = (held.frequency, held.place);
        let place = match (self.config.policy, place) {
            (Policy::S3Fifo, Place::Queue { main, since, hits }) => {
                Place::Queue { main, since, hits: (hits + count.max(1)).min(3) }
            }
            (Policy::Lfu, Place::Priority(_)) => {
                // For a moment it is in no order, and alone it takes the age with it.
                self.lift(key);
                Place::Priority(self.age + frequency)
            }
            _ => return self.move_one(key),
        };
        self.held.get_mut(key).expect("it is there").place = place;
    }

    /// Takes an entry out of its order until it is placed again.
    pub fn lift(&mut self, key: &Key) {
        let held = self.held.get_mut(key).expect("it is there");
        let queued = match held.place {
            Place::Queue { main, since, hits } => Some((main, since, hits)),
            _ => None,
        };
        held.place = Place::Nowhere(held.place.policy().map(|policy| (policy, queued)));
        self.forget_age();
    }

    fn move_one(&mut self, key: &Key) {
        let mut held = self.held.remove(key).expect("it is there");
        self.move_held(&mut held);
        self.held.insert(key.clone(), held);
        self.forget_age();
    }

    fn move_held(&self, held: &mut Held) {
        let (used, frequency) = (held.used, held.frequency);
        held.place = match self.config.policy {
            policy @ (Policy::Lru | Policy::NoEviction) => Place::Recency(policy),
            Policy::Lfu => Place::Priority(self.age + frequency),
            Policy::S3Fifo => Place::Queue { main: frequency > 1, since: used, hits: (frequency - 1).min(3) },
        };
    }

    pub fn forget_age(&mut self) {
        let mut all = self.held.values().chain(self.cleared.iter().map(|(_, held)| held));
        if !all.any(|held| matches!(held.place, Place::Priority(_))) {
            self.age = 0;
        }
    }

    /// After a switch: what stands in another order comes into the one in force.
    pub fn move_all(&mut self) {
        let policy = self.config.policy;
        let others = self.held.iter().filter(|(_, held)| held.place.policy() != Some(policy));
        for key in others.map(|(key, _)| key.clone()).collect::<Vec<Key>>() {
            self.move_one(&key);
        }
        let mut cleared = std::mem::take(&mut self.cleared);
        for (_, held) in cleared.iter_mut().filter(|(_, held)| held.place.policy() != Some(policy)) {
            self.move_held(held);
        }
        self.cleared = cleared;
        self.forget_age();
        if policy != Policy::S3Fifo {
            self.ghosts.clear();
        }
    }

    /// Places what was written.
    pub fn settle(&mut self) {
        let written = self.held.iter().filter_map(|(key, held)| match held.place {
            Place::Nowhere(before) => Some((held.used, key.clone(), before)),
            _ => None,
        });
        let mut written: Vec<_> = written.collect();
        written.sort_by_key(|(used, ..)| *used);
        for (used, key, before) in written {
            let frequency = self.held[&key].frequency;
            let same = before.is_none_or(|(policy, _)| policy == self.config.policy);
            let place = match (self.config.policy, before) {
                (policy @ (Policy::Lru | Policy::NoEviction), _) => Place::Recency(policy),
                (Policy::Lfu, _) => Place::Priority(self.age + frequency),
                (Policy::S3Fifo, Some((_, Some((main, since, hits))))) if same => {
                    Place::Queue { main, since, hits: (hits + 1).min(3) }
                }
                (Policy::S3Fifo, Some(_)) => {
                    Place::Queue { main: frequency > 1, since: used, hits: (frequency - 1).min(3) }
                }
                (Policy::S3Fifo, None) => {
                    let ghost = self.ghosts.iter_mut().find(|ghost| ghost.as_ref() == Some(&key));
                    let main = ghost.is_some_and(|ghost| ghost.take().is_some());
                    Place::Queue { main, since: used, hits: 0 }
                }
            };
            self.held.get_mut(&key).expect("it is there").place = place;
        }
    }

    /// After a switch: whether something is left in another order.
    pub fn is_moving(&self) -> bool {
        let policy = self.config.policy;
        self.held.values().any(|held| held.place.policy() != Some(policy))
            || (policy != Policy::S3Fifo && !self.ghosts.is_empty())
    }
}

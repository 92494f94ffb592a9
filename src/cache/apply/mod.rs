//! Applying a log entry: the only thing that changes a cache.
//!
//! Every operation has two phases. Its own file checks it against the state and either refuses it by value or
//! says what is to be done, as a [`step::Step`]; performing a step cannot fail. So a batch is atomic for free,
//! and no input can stop a replica halfway.

mod batch;
mod check;
mod clear;
mod configure;
mod delete;
mod expire;
mod feature_level;
mod get;
mod incr;
mod once;
mod persist;
mod put;
mod room;
mod step;
mod touch;
mod upkeep;

use super::limits::MOVES_PER_APPLY_MAX;
use super::{Applied, Cache, Command, CommandError, Event, Op, Outcome, Stamp};
use check::Check;
use once::Once;
use room::Room;
use step::Step;

impl Cache {
    /// Applies one log entry. Total: whatever the input, it returns, and refuses by value.
    ///
    /// First time moves, reads are counted, what is due expires, and what a switch of the policy has left to do
    /// goes on; then the command; then what no longer fits is evicted.
    pub fn apply(&mut self, at: Stamp, command: Command) -> Applied {
        let mut events = Vec::new();
        if at.index <= self.index {
            let reason = format!("log entry {} was applied already or is none", at.index);
            return refused(CommandError::Invalid { op: None, field: "index".into(), reason }, events);
        }
        let was_ms = self.now_ms;
        self.index = at.index;
        self.now_ms = self.now_ms.max(at.at_ms);
        self.remembered.forget_old(self.now_ms);
        self.count_reads(&at.touches, was_ms);
        self.expire_due(&mut events);
        self.store.move_to_policy(MOVES_PER_APPLY_MAX);

        // The edge refuses it, and so does the leader: what has come here all the same is refused alike on every node.
        let needed = command.level();
        if needed > self.feature_level {
            self.stats.refused += 1;
            return refused(CommandError::FeatureLevel { needed, kept: self.feature_level }, events);
        }
        let ticket = match self.once(at.idempotency_key.as_deref(), &command) {
            Once::Fresh(ticket) => ticket,
            Once::Replayed(outcome) => {
                self.stats.replayed += 1;
                return Applied { outcome, replayed: true, events };
            }
            Once::Refused(error) => {
                self.stats.refused += 1;
                return refused(error, events);
            }
        };
        let before = self.size();
        let outcome = self.execute(command, &mut events);
        self.stats.refused += u64::from(outcome.is_err());
        self.evict_surplus(before, &mut events);
        self.store.finish();
        // A full cache passes, and then the same request may succeed: that refusal is no answer to keep.
        let passes = matches!(outcome, Err(CommandError::CacheFull { .. }));
        if let Some(ticket) = ticket.filter(|_| !passes) {
            self.remembered.remember(ticket.stamped(self.now_ms, &outcome));
        }
        Applied { outcome, replayed: false, events }
    }

    fn execute(&mut self, command: Command, events: &mut Vec<Event>) -> Result<Outcome, CommandError> {
        match command {
            Command::One(op) => self.execute_one(op, events),
            Command::Batch(ops) => self.execute_batch(ops, events),
            Command::Clear { prefix } => self.clear(prefix, events),
            Command::Configure(change) => self.configure(&change, events),
            Command::Tick => Ok(Outcome::Ticked),
            Command::RaiseFeatureLevel { level } => self.raise_feature_level(level),
        }
    }

    fn execute_one(&mut self, op: Op, events: &mut Vec<Event>) -> Result<Outcome, CommandError> {
        let check = Check::of_single(self);
        let step = check.op(op)?;
        let mut room = Room::of(self);
        room.count(self, &step, None);
        room.verdict(self)?;
        Ok(self.perform(step, events))
    }
}

impl Check<'_> {
    /// Checks an operation and says what it is to do.
    fn op(&self, op: Op) -> Result<Step, CommandError> {
        match op {
            Op::Get { key } => Ok(get::check(key)),
            Op::Put { key, value, ttl, condition, previous } => {
                put::check(self, key, &value, ttl, &condition, previous)
            }
            Op::Delete { key, condition, previous } => delete::check(self, key, &condition, previous),
            Op::Incr { key, by, initial, ttl, condition } => {
                incr::check(self, key, incr::Amount { by, initial }, ttl, &condition)
            }
            Op::Expire { key, ttl, condition } => expire::check(self, key, ttl, &condition),
            Op::Persist { key, condition } => persist::check(self, key, &condition),
            #[cfg(feature = "next-level")]
            Op::Double { key } => incr::check_double(self, key),
        }
    }
}

fn refused(error: CommandError, events: Vec<Event>) -> Applied {
    Applied { outcome: Err(error), replayed: false, events }
}

//! Applies a log entry: the only way to change a cache.
//!
//! Every operation has two phases. Its own file checks it against the state, and either returns an error or a
//! [`CheckedOp`], which says what to do. Performing a checked operation cannot fail. So a batch is atomic for free, and no
//! input can stop a replica halfway.

mod admin_log;
mod batch;
mod capacity_check;
mod check;
mod checked_op;
mod clear;
mod client_sessions;
mod configure;
mod dedup;
mod delete;
mod expire;
mod fold;
mod fork;
mod get;
mod hash;
mod incr;
mod incr_within;
mod maintenance;
mod merge;
mod publish;
mod put;
mod raise_feature_level;
mod sequence;
mod splice;
mod tokens;
mod touch;
mod work;

use super::limits::MOVES_PER_APPLY_MAX;
use super::{
    Applied, Cache, Command, CommandError, DeadlineCondition, Event, InvalidField, Op, Outcome, Stamp, Ttl,
};
use capacity_check::CapacityCheck;
use check::Check;
use checked_op::CheckedOp;
use dedup::Dedup;
use maintenance::Budget;

impl Cache {
    /// Applies one log entry. It is total: for every input it returns, with an error where it refuses.
    ///
    /// First, time advances, reads are counted, entries expire that are due, those that were cleared are freed, and entries
    /// move to the policy in force. Then the command is executed. Then entries are evicted that no longer fit.
    pub fn apply(&mut self, at: Stamp, command: Command) -> Applied {
        let mut events = Vec::new();
        if at.index <= self.index {
            return refused(CommandError::Invalid { op: None, field: InvalidField::Index }, events);
        }
        let was_ms = self.now_ms;
        self.index = at.index;
        self.now_ms = self.now_ms.max(at.at_ms);
        self.dedup.drop_expired(self.now_ms);
        self.count_reads(&at.touches, was_ms);
        self.expire_due(&mut events);
        self.end_due_sessions(&mut events);
        self.free_cleared();
        self.store.move_to_policy(MOVES_PER_APPLY_MAX);

        // The edge refuses it, and so does the leader: what has come here all the same is refused alike on every node.
        let needed = command.level();
        if needed > self.feature_level {
            self.stats.refused += 1;
            return refused(CommandError::FeatureLevel { needed, kept: self.feature_level }, events);
        }
        let ticket = match self.deduplicate(at.idempotency_key.as_ref(), &command) {
            Dedup::Fresh(ticket) => ticket,
            Dedup::Replayed(outcome) => {
                self.stats.replayed += 1;
                return Applied { outcome, replayed: true, events };
            }
            Dedup::Refused(error) => {
                self.stats.refused += 1;
                return refused(error, events);
            }
        };
        let before = self.size();
        let outcome = self.execute(command, at.origin.as_deref(), &mut events);
        self.stats.refused += u64::from(outcome.is_err());
        self.evict_surplus(before, &mut events);
        self.store.finish();
        // These are passing states: a retry may succeed, so the refusal is not stored.
        let may_pass = matches!(
            outcome,
            Err(CommandError::CacheFull { .. }
                | CommandError::MergeOutOfTurn { .. }
                | CommandError::LockHeld { .. }
                | CommandError::TooManySessions
                | CommandError::TooManyLocks
                | CommandError::AnotherMerge)
        );
        if let Some(ticket) = ticket.filter(|_| !may_pass) {
            self.dedup.insert(ticket.entry((self.index, self.now_ms), &outcome));
        }
        Applied { outcome, replayed: false, events }
    }

    fn execute(
        &mut self,
        command: Command,
        origin: Option<&str>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        match command {
            Command::One(op) => self.execute_one(op, origin, events),
            Command::Batch(ops) => self.execute_batch(ops, origin, events),
            Command::Sequence { guards, ops } => self.execute_sequence(&guards, ops, origin, events),
            Command::Clear { prefix, unless } => self.clear(prefix, unless, events),
            Command::Configure(change) => self.configure(&change, events),
            Command::Tick => Ok(Outcome::Ticked),
            Command::RaiseFeatureLevel { level } => self.raise_feature_level(level),
            Command::Merge(step) => self.merge(*step, events),
            Command::OpenFork { history, node, start_index } => {
                self.open_fork_of_leaving(history, node, start_index)
            }
            Command::CloseFork { history } => {
                self.close_fork(&history);
                Ok(Outcome::Ticked)
            }
            Command::Tokens(change) => self.change_tokens(*change),
            Command::Sessions(change) => self.change_sessions(*change, events),
            Command::NoteAdminAction(requested) => self.note_admin_action(*requested),
        }
    }

    fn execute_one(
        &mut self,
        op: Op,
        origin: Option<&str>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let check = Check::of_single(self, origin);
        let checked = check.op(op)?;
        let mut capacity = CapacityCheck::default();
        capacity.add(self, &checked, None);
        capacity.verdict(self, &mut Budget::for_writes())?;
        Ok(self.perform(checked, events))
    }
}

impl Check<'_> {
    /// Checks an operation against the state.
    fn op(&self, op: Op) -> Result<CheckedOp, CommandError> {
        match op {
            Op::Get { key } => Ok(get::check(key)),
            Op::Put { key, value, ttl, condition, previous } => {
                put::check(self, key, &value, ttl, &condition, previous)
            }
            Op::Delete { key, condition, previous } => delete::check(self, key, &condition, previous),
            Op::Incr { key, by, initial, ttl, condition } => {
                incr::check(self, key, incr::Amount { by, initial }, ttl, &condition)
            }
            Op::Expire { key, ttl, condition, only } => expire::check(self, key, ttl, &condition, only),
            Op::Persist { key, condition } => {
                expire::check(self, key, Ttl::Never, &condition, DeadlineCondition::Always)
            }
            Op::Append { key, bytes } => splice::check_append(self, key, &bytes),
            Op::SetRange { key, offset, bytes } => splice::check_set_range(self, key, offset, &bytes),
            Op::IncrDecimal { key, by } => incr::check_decimal(self, key, &by),
            Op::GetEx { key, ttl } => get::check_ex(self, key, ttl),
            Op::Look { key } => Ok(CheckedOp::Look { key }),
            Op::SetFields { key, fields, only_new } => hash::check_set(self, key, &fields, only_new),
            Op::DeleteFields { key, fields } => hash::check_delete(self, key, &fields),
            Op::IncrField { key, field, by } => hash::check_incr(self, key, field, by),
            Op::IncrFieldDecimal { key, field, by } => hash::check_incr_decimal(self, key, field, &by),
            Op::IncrWithin { key, step, saturates, ttl, keeps_deadline } => {
                let lifetime = incr_within::NewLifetime { ttl, keeps_deadline };
                incr_within::check(self, key, &step, saturates, lifetime)
            }
            Op::Publish { channel, message } => publish::check(self, channel, message),
            #[cfg(feature = "next-level")]
            Op::Double { key } => incr::check_double(self, key),
        }
    }
}

fn refused(error: CommandError, events: Vec<Event>) -> Applied {
    Applied { outcome: Err(error), replayed: false, events }
}

//! What the model remembers of requests with an idempotency key.

use lockstep::cache::{Command, CommandError, IdempotencyKey, Outcome, limits};

type Answer = Result<Outcome, CommandError>;

#[derive(Debug, Clone)]
struct Memory {
    key: String,
    command: Command,
    index: u64,
    at_ms: u64,
    answer: Answer,
}

#[derive(Debug, Clone, Default)]
pub struct Memories {
    kept: Vec<Memory>,
    /// Index of the newest request that is not remembered any more.
    newest_forgotten: u64,
}

impl Memories {
    pub fn forget_old(&mut self, now_ms: u64) {
        let is_old = |memory: &Memory| memory.at_ms + limits::DEDUP_MS_MAX <= now_ms;
        let old = self.kept.iter().filter(|memory| is_old(memory)).map(|memory| memory.index);
        self.newest_forgotten = old.fold(self.newest_forgotten, u64::max);
        self.kept.retain(|memory| !is_old(memory));
    }

    /// What a request is answered that is not carried out, and whether that is the answer of an earlier one.
    pub fn answer(&self, id: &IdempotencyKey, command: &Command) -> Option<(Answer, bool)> {
        match self.kept.iter().find(|memory| memory.key == id.text) {
            Some(memory) if memory.command == *command => Some((memory.answer.clone(), true)),
            Some(_) => Some((Err(CommandError::IdempotencyKeyReused), false)),
            None if id.sent_after.is_some_and(|sent_after| sent_after < self.newest_forgotten) => {
                Some((Err(CommandError::OutcomeForgotten), false))
            }
            None => None,
        }
    }

    pub fn remember(&mut self, id: IdempotencyKey, command: Command, at: (u64, u64), answer: Answer) {
        let (index, at_ms) = at;
        self.kept.push(Memory { key: id.text, command, index, at_ms, answer });
    }
}

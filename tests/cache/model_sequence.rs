//! The model's sequences: operations one after another, each by itself, and what watchers are told of them.

use crate::model::Model;
use crate::model_ops::op_key;
use lockstep::cache::{
    BatchFault, Cause, CommandError, Event, Guard, Key, KeyState, Op, OpRefusal, Outcome, Record, limits,
};

fn counts(guards: &[Guard]) -> Vec<u64> {
    let count = |guard: &Guard| if let Guard::Keys { count, .. } = guard { Some(*count) } else { None };
    guards.iter().filter_map(count).collect()
}

impl Model {
    /// An operation that is refused leaves nothing.
    pub fn sequence(
        &mut self,
        guards: &[Guard],
        ops: Vec<Op>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        if ops.is_empty()
            || ops.len() > limits::SEQUENCE_OPS_MAX
            || guards.len() > limits::SEQUENCE_GUARDS_MAX
            || counts(guards).len() > limits::PREFIX_GUARDS_MAX
            || counts(guards).into_iter().fold(0, u64::saturating_add) > limits::GUARDED_KEYS_MAX
        {
            return Err(CommandError::InvalidBatch { op: None, fault: BatchFault::Length });
        }
        for (at, guard) in guards.iter().enumerate() {
            let (key, condition) = match guard {
                Guard::Key { key, condition } => (key, condition),
                Guard::Keys { prefix, since, count } => {
                    let there = self.held.keys().filter(|key| key.as_str().starts_with(prefix));
                    let created: Vec<u64> =
                        there.filter_map(|key| Some(self.get(key)?.info.created_revision)).collect();
                    if created.len() as u64 != *count || created.iter().any(|created| created > since) {
                        return Err(CommandError::GuardFailed { guard: at as u32 });
                    }
                    continue;
                }
            };
            let current = self.get(key).cloned();
            match self.check(key, condition, current.as_ref(), None) {
                Err(CommandError::PreconditionFailed { .. }) => {
                    return Err(CommandError::GuardFailed { guard: at as u32 });
                }
                other => other?,
            }
        }
        let start = self.clone();
        let (mut results, mut told) = (Vec::new(), Vec::new());
        for op in ops {
            let (before, told_before) = (self.clone(), told.len());
            let key = op_key(&op).clone();
            let wants_value = match op {
                Op::Get { .. } | Op::GetEx { .. } => true,
                Op::Put { previous, .. } | Op::Delete { previous, .. } => previous,
                _ => false,
            };
            match self.fitting_ops(vec![op], false, &mut told) {
                Ok(mut outcomes) => results.push(Ok(outcomes.remove(0))),
                Err(error) => {
                    *self = before;
                    told.truncate(told_before);
                    if matches!(error, CommandError::CacheFull { .. }) {
                        while !self.cleared.is_empty() {
                            self.free_cleared(0);
                        }
                    }
                    let key = match self.get(&key) {
                        Some(found) => KeyState::Present {
                            info: found.info.clone(),
                            value: wants_value.then(|| found.value.clone()),
                        },
                        None => KeyState::Absent(self.absence(&key)),
                    };
                    results.push(Err(Box::new(OpRefusal { error, key })));
                }
            }
        }
        for at in 0..told.len() {
            let Some(key) = changed(&told[at]) else {
                events.push(told[at].clone());
                continue;
            };
            // Only the last event of a key is told, and it tells all that the key has.
            let of_key: Vec<&Event> =
                told.iter().filter(|event| changed(event) == Some(key.clone())).collect();
            if told[at + 1..].iter().any(|event| changed(event) == Some(key.clone())) {
                continue;
            }
            let was_there = start.get(&key).is_some();
            let only_deadlines = of_key.iter().all(|event| matches!(event, Event::Deadline { .. }));
            match &told[at] {
                Event::Removed { .. } if !was_there => {}
                last if only_deadlines || matches!(last, Event::Removed { .. }) => events.push(last.clone()),
                _ => events.push(self.whole(&key, !was_there)),
            }
        }
        Ok(Outcome::Sequence { revision: self.index, results })
    }

    /// What a key has at the end.
    fn whole(&self, key: &Key, created: bool) -> Event {
        let found = &self.held[key].found;
        let media = found.value.content_type.as_deref();
        Event::Put {
            record: Record::new(key, &found.value.bytes, media, found.info.origin.as_deref()),
            expires_at_ms: found.info.expires_at_ms,
            sliding_ms: found.info.sliding_ms,
            created,
            version: found.info.version as u32,
            created_at_ms: found.info.created_at_ms,
            modified_at_ms: found.info.modified_at_ms,
        }
    }
}

/// The key that an operation has changed.
fn changed(event: &Event) -> Option<Key> {
    match event {
        Event::Put { record, .. } => Some(record.to_key()),
        Event::Deadline { key, .. } | Event::Removed { key, cause: Cause::Delete } => Some(key.clone()),
        _ => None,
    }
}

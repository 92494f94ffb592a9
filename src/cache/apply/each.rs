//! Several operations that do not depend on each other, in one log entry: each is carried out or refused by itself.

use super::batch::{check_answers, check_shape};
use super::capacity_check::CapacityCheck;
use super::check::Check;
use super::maintenance::Budget;
use crate::cache::{Cache, CommandError, Event, Key, KeyState, Op, OpRefusal, Outcome};

impl Cache {
    pub(super) fn execute_each(
        &mut self,
        ops: Vec<Op>,
        origin: Option<&str>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        check_shape(&ops)?;
        if ops.iter().any(|op| op.reads().is_some()) {
            let stored = |op: &Op| match op {
                Op::Put { key, value, .. } => Some((key.clone(), value.bytes.len() as u64)),
                _ => None,
            };
            let stored = ops.iter().filter_map(stored).collect();
            check_answers(self, ops.iter().map(Op::reads), &stored)?;
        }
        let mut results = Vec::with_capacity(ops.len());
        let mut room = Budget::for_writes();
        for op in ops {
            results.push(self.execute_one_of_each(op, origin, &mut room, events));
        }
        self.stats.refused += results.iter().filter(|result| result.is_err()).count() as u64;
        Ok(Outcome::Each { revision: self.index, results })
    }

    fn execute_one_of_each(
        &mut self,
        op: Op,
        origin: Option<&str>,
        room: &mut Budget,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, Box<OpRefusal>> {
        let (key, wants_value) = (op.key().clone(), op.reads().is_some());
        let checked = Check::of_single(self, origin).op(op);
        let fits = |checked| {
            let mut capacity = CapacityCheck::default();
            capacity.add(self, &checked, None);
            capacity.verdict(self, room).map(|()| checked)
        };
        match checked.and_then(fits) {
            Ok(checked) => Ok(self.perform(checked, events)),
            Err(error) => Err(Box::new(OpRefusal { error, key: self.key_state(&key, wants_value) })),
        }
    }

    fn key_state(&self, key: &Key, wants_value: bool) -> KeyState {
        match self.get(key.as_str()) {
            Some(found) => KeyState::Present { info: found.info, value: wants_value.then_some(found.value) },
            None => KeyState::Absent(self.absence(key.as_str())),
        }
    }
}

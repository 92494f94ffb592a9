//! C2: log time rises with the index, over all nodes and all leaders, and is the same for everyone at one index.

use super::{Invariant, Sighting};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct LogTimeNeverBack {
    times: BTreeMap<u64, u64>,
}

impl Invariant for LogTimeNeverBack {
    fn name(&self) -> &'static str {
        "log time never goes back"
    }

    fn see(&mut self, Sighting { status, .. }: &Sighting) -> Result<(), String> {
        let (index, time) = (status.applied_index, status.log_time_ms);
        let before = self.times.range(..index).next_back();
        let after = self.times.range(index + 1..).next();
        let same = self.times.get_key_value(&index);
        let wrong = before.filter(|(_, known)| **known > time);
        let wrong =
            wrong.or(after.filter(|(_, known)| **known < time)).or(same.filter(|(_, known)| **known != time));
        if let Some((other, known)) = wrong {
            let node = &status.node.name;
            return Err(format!("at index {other} it was {known}, and at index {index} {node} says {time}"));
        }
        self.times.insert(index, time);
        Ok(())
    }
}

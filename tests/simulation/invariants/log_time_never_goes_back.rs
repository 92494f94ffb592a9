//! C2: log time never goes back as the index rises, on no node and from none to another.

use super::{Invariant, Sight};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct LogTime {
    at_index: BTreeMap<u64, u64>,
}

impl Invariant for LogTime {
    fn check(&mut self, sight: &Sight) -> Result<(), String> {
        let (index, now_ms) = (sight.applied, sight.log_time_ms);
        let before = self.at_index.range(..=index).next_back();
        let after = self.at_index.range(index..).next();
        let late = before.filter(|(_, before_ms)| **before_ms > now_ms);
        let early = after.filter(|(_, after_ms)| **after_ms < now_ms);
        if let Some((other, other_ms)) = late.or(early) {
            return Err(format!(
                "log time is {now_ms} at index {index} on machine {}, and {other_ms} at index {other}",
                sight.place
            ));
        }
        self.at_index.insert(index, now_ms);
        Ok(())
    }
}

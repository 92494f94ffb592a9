//! F1, F2: at each index every node tells of the same change, or of none, in this life or an earlier one.

use super::{Invariant, Sight};
use lockstep::replica::ChangeSet;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Changes {
    known: BTreeMap<u64, Option<ChangeSet>>,
}

impl Invariant for Changes {
    fn check(&mut self, sight: &Sight) -> Result<(), String> {
        let (from, page) = &sight.changes;
        let mut changes = page.changes.iter().peekable();
        for index in from + 1..=page.next_cursor {
            let told = changes.next_if(|change| change.index() == index).cloned();
            let known = self.known.entry(index).or_insert_with(|| told.clone());
            if *known != told {
                return Err(format!(
                    "machine {} tells of {told:?} at index {index}, another told of {known:?}",
                    sight.place
                ));
            }
        }
        match changes.next() {
            None => Ok(()),
            Some(change) => {
                Err(format!("machine {} tells of {change:?} out of order or too early", sight.place))
            }
        }
    }
}

//! In a term at most one node leads.

use super::{Invariant, Sighting};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct OneLeader {
    leaders: BTreeMap<u64, u64>,
}

impl Invariant for OneLeader {
    fn name(&self) -> &'static str {
        "one leader a term"
    }

    fn see(&mut self, Sighting { status, .. }: &Sighting) -> Result<(), String> {
        if status.role != "leader" {
            return Ok(());
        }
        let leader = *self.leaders.entry(status.term).or_insert(status.node.id);
        if leader == status.node.id {
            return Ok(());
        }
        Err(format!("nodes {leader} and {} both led in term {}", status.node.id, status.term))
    }
}

//! R1: in a term, one node leads, whatever crashes between: a vote that was given is never forgotten.

use super::{Invariant, Sight};
use crate::net::Place;
use lockstep::raft::Role;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Leaders {
    by_term: BTreeMap<u64, Place>,
}

impl Invariant for Leaders {
    fn check(&mut self, sight: &Sight) -> Result<(), String> {
        if sight.status.role != Role::Leader {
            return Ok(());
        }
        let term = sight.status.term;
        let leader = *self.by_term.entry(term).or_insert(sight.place);
        if leader == sight.place {
            return Ok(());
        }
        Err(format!("term {term} has two leaders: machine {leader} and machine {}", sight.place))
    }
}

//! What must hold at every moment, one property a file.

mod committed_is_never_lost;
mod equal_index_equal_changes;
mod equal_index_equal_digest;
mod log_time_never_goes_back;
mod one_leader_a_term;
mod positions_are_ordered;

use crate::net::Place;
use lockstep::cache::Digest;
use lockstep::raft::RaftStatus;
use lockstep::replica::Page;

/// A node as it is now.
pub struct Sight {
    pub place: Place,
    pub status: RaftStatus,
    pub applied: u64,
    /// Nothing waits for its disk. Where something does, the status may be behind what is applied.
    pub disk_is_idle: bool,
    /// What it has applied since it was last looked at, as far as it remembers.
    pub digests: Vec<(u64, Digest)>,
    /// What it tells those who watch of what follows an index.
    pub changes: (u64, Page),
    pub log_time_ms: u64,
}

/// A property; it may remember what it saw.
pub trait Invariant {
    /// Looks at a node that has changed.
    ///
    /// # Errors
    /// The property does not hold, in a sentence.
    fn check(&mut self, sight: &Sight) -> Result<(), String>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(one_leader_a_term::Leaders::default()),
        Box::new(committed_is_never_lost::Committed::default()),
        Box::new(positions_are_ordered::Positions),
        Box::new(equal_index_equal_digest::Digests::default()),
        Box::new(equal_index_equal_changes::Changes::default()),
        Box::new(log_time_never_goes_back::LogTime::default()),
    ]
}

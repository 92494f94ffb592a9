//! What clients asked, and what they were told.

use crate::net::Place;
use lockstep::api::Effect;
use lockstep::cache::{CommandError, Outcome};
use lockstep::node::{Consistency, NodeError, ReadAt, Written};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Stores a text that no other request stores; with `at`, only over that revision, or (`Some(0)`) over nothing.
    Put {
        key: String,
        value: String,
        at: Option<u64>,
    },
    Delete {
        key: String,
    },
    /// Adds one. All tries of a request have its name.
    Incr {
        key: String,
        request: String,
    },
    /// Stores one text under both keys.
    PutPair {
        value: String,
    },
    /// Stores something that soon expires.
    PutBrief {
        key: String,
        ms: u64,
    },
    Get {
        key: String,
        level: Consistency,
    },
    GetPair {
        level: Consistency,
    },
}

/// The keys of a pair.
pub const PAIR: [&str; 2] = ["pair-a", "pair-b"];

/// A value and its revision; `None` for none.
pub type Seen = Option<(u64, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Written {
        index: u64,
        replayed: bool,
        outcome: Outcome,
    },
    Refused {
        index: u64,
        error: CommandError,
    },
    Read {
        index: u64,
        seen: Vec<Seen>,
    },
    /// An error that says that nothing was done.
    NotDone(String),
    /// An error that leaves it open, or none at all.
    Unknown,
}

impl Answer {
    pub fn of_write(result: Result<Written, NodeError>) -> Self {
        match result {
            Ok(done) => Self::Written { index: done.index, replayed: done.replayed, outcome: done.outcome },
            Err(NodeError::Refused { error, index, .. }) => Self::Refused { index, error },
            Err(error) => Self::of_error(&error),
        }
    }

    pub fn of_read(result: Result<ReadAt<Vec<Seen>>, NodeError>) -> Self {
        match result {
            Ok(read) => Self::Read { index: read.index, seen: read.value },
            Err(error) => Self::of_error(&error),
        }
    }

    fn of_error(error: &NodeError) -> Self {
        match error.effect() {
            Effect::None => Self::NotDone(error.to_string()),
            Effect::Unknown => Self::Unknown,
        }
    }

    /// Where in the log the answer stands.
    pub fn index(&self) -> Option<u64> {
        match self {
            Self::Written { index, .. } | Self::Refused { index, .. } | Self::Read { index, .. } => {
                Some(*index)
            }
            Self::NotDone(_) | Self::Unknown => None,
        }
    }
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub struct Call {
    pub client: usize,
    pub place: Place,
    /// Which of the machine's processes was asked.
    pub life: u32,
    pub ask: Ask,
    /// The largest index that any answer had named by then.
    pub floor: u64,
    pub answer: Option<Answer>,
}

impl Call {
    /// Whether its answer must hold all that was answered before it was asked.
    pub fn is_linearizable(&self) -> bool {
        match &self.ask {
            // Leases hold, too: the machines' clocks differ by less than they allow for.
            Ask::Get { level, .. } | Ask::GetPair { level } => *level != Consistency::Stale,
            _ => true,
        }
    }

    pub fn is_write(&self) -> bool {
        !matches!(self.ask, Ask::Get { .. } | Ask::GetPair { .. })
    }
}

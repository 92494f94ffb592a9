//! The cache itself: pure, synchronous, deterministic. Same log, same bytes, on every node.

mod command;
mod config;
mod key;
pub mod limits;
mod outcome;

pub use command::{Command, Condition, ConfigChange, Op, Stamp, Ttl};
pub use config::{CacheConfig, Policy};
pub use key::{Key, KeyError, Value, ValueError};
pub use outcome::{Applied, Cause, CommandError, Event, Found, Outcome};

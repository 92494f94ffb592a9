//! Histories that fork and are brought together again, under clients and with nodes that are killed: what each branch told its
//! clients is linearizable together with the trunk that it grew from, nothing acknowledged is missing in the end, and no value
//! comes back that somebody was told is replaced.

mod clients;
mod judge;
mod rounds;

pub use rounds::{Act, play};

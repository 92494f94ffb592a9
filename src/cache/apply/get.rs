//! `get`: reads a key at this point of the log; in a batch, after the operations before it.

use super::step::Step;
use crate::cache::Key;

pub(super) fn check(key: Key) -> Step {
    Step::Read { key }
}

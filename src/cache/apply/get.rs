//! `get`: reads a key at this point of the log; in a batch, after the operations before it.

use super::checked_op::CheckedOp;
use crate::cache::Key;

pub(super) fn check(key: Key) -> CheckedOp {
    CheckedOp::Read { key }
}

//! `publish`: a message to those who watch a channel. It has its place in the log between the changes, so every node tells it, and in the
//! same order.

use super::check::Check;
use super::checked_op::CheckedOp;
use crate::cache::limits::VALUE_BYTES_MAX;
use crate::cache::{CommandError, InvalidField, Key};
use bytes::Bytes;

pub(super) fn check(check: &Check<'_>, channel: Key, message: Bytes) -> Result<CheckedOp, CommandError> {
    if message.len() > VALUE_BYTES_MAX {
        return Err(check.invalid(InvalidField::Value));
    }
    Ok(CheckedOp::Publish { channel, message })
}

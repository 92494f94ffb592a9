//! Nothing goes; a write that does not fit is refused (`apply/room.rs`).

use super::Order;

#[derive(Debug)]
pub(super) struct NoEviction;

impl Order for NoEviction {
    fn used(&mut self, _slot: u32) {}

    fn removed(&mut self, _slot: u32) {}

    fn victim(&self) -> Option<u32> {
        None
    }
}

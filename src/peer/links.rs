//! A switch that cuts this node off from its peers, for tests and for trying out a partition.
//!
//! While it is cut, no frame leaves or enters: requests wait until their deadline, what arrives is thrown
//! away, new connections are left unanswered. That is what a network does that drops every packet. On
//! healing, the connections of before are closed, so nothing half-sent goes on.

use tokio::sync::watch;

/// The switch; clones share it. It counts its own turns, so that a cut healed at once is still noticed; an
/// odd count means cut.
#[derive(Debug, Clone)]
pub struct Links(watch::Sender<u64>);

impl Default for Links {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Links {
    pub fn cut(&self) {
        self.turn(true);
    }

    pub fn heal(&self) {
        self.turn(false);
    }

    pub fn is_cut(&self) -> bool {
        is_cut(*self.0.borrow())
    }

    fn turn(&self, cut: bool) {
        self.0.send_if_modified(|turns| {
            let turned = is_cut(*turns) != cut;
            *turns += u64::from(turned);
            turned
        });
    }

    /// Turns so far: what [`Self::broken`] counts from.
    pub(super) fn turns(&self) -> u64 {
        *self.0.borrow()
    }

    /// Returns once the links are whole and have been cut since `turns` was read.
    pub(super) async fn broken(&self, since: u64) {
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = self.0.subscribe().wait_for(|turns| *turns > since && !is_cut(*turns)).await;
    }

    /// Returns once the links are whole.
    pub(super) async fn whole(&self) {
        let _ = self.0.subscribe().wait_for(|turns| !is_cut(*turns)).await;
    }
}

fn is_cut(turns: u64) -> bool {
    turns % 2 == 1
}

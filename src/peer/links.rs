//! A switch that cuts this node off from its peers, for tests and to try out a partition.
//!
//! While the links are cut, no frame leaves or enters: requests wait until their deadline, arriving frames are
//! discarded, and new connections get no response. A network that drops every packet behaves the same. When the links
//! are healed, the older connections are closed, so that no half-sent frame continues.

use tokio::sync::watch;

/// The epoch of links that are never healed again.
const SEVERED: u64 = u64::MAX;

/// The switch; clones share it. Its epoch rises with each cut and each heal, so that a cut that is healed immediately
/// is still noticed. The links are cut while the epoch is odd.
#[derive(Debug, Clone)]
pub struct Links(watch::Sender<u64>);

impl Default for Links {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Links {
    pub fn cut(&self) {
        self.switch(true);
    }

    pub fn heal(&self) {
        self.switch(false);
    }

    /// Cuts the links for good: this node must not take part in its cluster any more.
    pub fn sever(&self) {
        self.0.send_replace(SEVERED);
    }

    pub fn is_cut(&self) -> bool {
        is_cut(*self.0.borrow())
    }

    fn switch(&self, cut: bool) {
        self.0.send_if_modified(|epoch| {
            let changes = *epoch != SEVERED && is_cut(*epoch) != cut;
            *epoch += u64::from(changes);
            changes
        });
    }

    /// The number of cuts and heals so far, to pass to [`Self::was_cut`].
    pub(super) fn epoch(&self) -> u64 {
        *self.0.borrow()
    }

    /// Returns once the links have been cut after the epoch `since`, and healed again.
    pub(super) async fn was_cut(&self, since: u64) {
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = self.0.subscribe().wait_for(|epoch| *epoch > since && !is_cut(*epoch)).await;
    }

    /// Returns once the links are not cut.
    pub(super) async fn connected(&self) {
        let _ = self.0.subscribe().wait_for(|epoch| !is_cut(*epoch)).await;
    }
}

fn is_cut(epoch: u64) -> bool {
    epoch % 2 == 1
}

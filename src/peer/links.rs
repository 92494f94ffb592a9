//! A switch that cuts this node off from its peers, for tests and for trying out a partition.
//!
//! While it is cut, no frame leaves or enters: requests wait until their deadline, what arrives is thrown
//! away, new connections are left unanswered. That is what a network does that drops every packet. On
//! healing, the connections of before are closed, so nothing half-sent goes on.

use tokio::sync::watch;

/// The switch; clones share it.
#[derive(Debug, Clone)]
pub struct Links(watch::Sender<bool>);

impl Default for Links {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Links {
    pub fn cut(&self) {
        self.0.send_replace(true);
    }

    pub fn heal(&self) {
        self.0.send_replace(false);
    }

    pub fn is_cut(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once the links were cut and have been healed again.
    pub(super) async fn broken(&self) {
        let mut state = self.0.subscribe();
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = state.wait_for(|cut| *cut).await;
        let _ = state.wait_for(|cut| !*cut).await;
    }

    /// Returns once the links are whole.
    pub(super) async fn whole(&self) {
        let _ = self.0.subscribe().wait_for(|cut| !*cut).await;
    }
}

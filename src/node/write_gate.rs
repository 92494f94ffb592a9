//! After a recovery, clients' writes wait until the survivors have votes again: an acknowledged write must not be on one disk
//! only.

use super::inner::Inner;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::sleep;

/// How often a node that refuses writes counts the voters.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Whether clients' writes are proposed.
pub(super) struct WriteGate {
    /// How many voters there must be; 0 if writes are proposed.
    awaited: AtomicUsize,
    /// How many there are.
    voters: AtomicUsize,
}

impl WriteGate {
    /// Waits for so many voters; 0 for none.
    pub fn new(awaited: usize) -> Self {
        Self { awaited: AtomicUsize::new(awaited), voters: AtomicUsize::new(0) }
    }

    /// # Errors
    /// A sentence: writes are refused for now.
    pub fn pass(&self) -> Result<(), String> {
        match self.awaited.load(Relaxed) {
            0 => Ok(()),
            awaited => Err(format!(
                "the cluster was recovered and takes no writes until {awaited} nodes have votes; now it is {}",
                self.voters.load(Relaxed)
            )),
        }
    }
}

/// Opens the gate once there are enough voters.
pub(super) async fn open_gate(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let gate = &node.write_gate;
        let awaited = gate.awaited.load(Relaxed);
        let voters = node.consensus.status().members.iter().filter(|member| member.voter).count();
        gate.voters.store(voters, Relaxed);
        if voters >= awaited {
            if awaited > 0 {
                // Written down first: after a restart the gate is closed again otherwise.
                if let Err(error) = node.kept_identity.change(|identity| identity.voters_awaited = 0).await {
                    tracing::error!(error, "cannot write down that there are enough voters");
                }
                tracing::info!(voters, "there are enough voters: writes are accepted");
            }
            gate.awaited.store(0, Relaxed);
            return;
        }
        drop(node);
        sleep(POLL_INTERVAL).await;
    }
}

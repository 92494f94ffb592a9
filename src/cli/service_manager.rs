//! What a service manager is told, if there is one: see sd_notify(3). Without `NOTIFY_SOCKET` in the environment nothing is sent.

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Whether there is one.
pub(super) fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The node has its folder, and listens. It may wait for other nodes for hours, so that is not waited for.
pub(super) fn listening() {
    send(&[NotifyState::Ready, NotifyState::Status("waiting for the other nodes")]);
}

/// The node has its place in its cluster.
pub(super) fn serving() {
    send(&[NotifyState::Status("serving")]);
}

pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("handing over and finishing requests")]);
}

/// Says again and again that the program still runs, if the service manager wants to hear it.
pub(super) fn keep_alive(tasks: &mut JoinSet<()>) {
    let Some(limit) = watchdog_enabled() else { return };
    tasks.spawn(async move {
        loop {
            send(&[NotifyState::Watchdog]);
            sleep(limit / 3).await;
        }
    });
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::debug!(%error, "cannot tell the service manager");
    }
}

//! Runs blocking work, such as writing a snapshot, outside the threads that serve requests.

use std::cell::Cell;
use std::io;

thread_local! {
    static IN_PLACE: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread runs such work itself. The simulation needs that: it runs all nodes on one thread, because a
/// seed cannot decide when the system schedules another thread.
#[doc(hidden)]
pub fn offload_nothing_on_this_thread() {
    IN_PLACE.set(true);
}

/// Runs work on a thread that is allowed to block.
///
/// # Errors
/// It panicked, or the runtime is shutting down.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    if IN_PLACE.get() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

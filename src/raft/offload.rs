//! Work that takes a while, such as writing a snapshot, off the threads that carry requests.

use std::cell::Cell;
use std::io;

thread_local! {
    static IN_PLACE: Cell<bool> = const { Cell::new(false) };
}

/// From now on, what this thread would offload it does itself. A simulation, in which one thread is all
/// nodes, asks for it: when another thread gets its turn is the one thing no seed decides.
#[doc(hidden)]
pub fn offload_nothing_on_this_thread() {
    IN_PLACE.set(true);
}

/// Does the work on a thread where it may block.
///
/// # Errors
/// It panicked, or the runtime is shutting down.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    if IN_PLACE.get() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

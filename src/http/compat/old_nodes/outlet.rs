//! What is sent to an old node: no faster than it reads. Whoever has something to send waits; nothing is queued beyond a window.

use super::super::super::flow_window::FlowWindow;
use super::registry::OldNode;
use serde::Serialize;
use serde_json::value::to_raw_value;
use socketioxide::SendError;
use socketioxide::SocketError;
use socketioxide::extract::SocketRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Bytes that were given to the connection and are not written yet; one larger message is given alone.
const UNWRITTEN_MAX: u64 = 1024 * 1024;
/// The connection tells of each write. It is looked again in case the library took a frame before it wrote it.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The connection has ended.
#[derive(Debug)]
pub(super) struct Gone;

/// See the module.
pub(super) struct Outlet {
    page: SocketRef,
    flow: Arc<FlowWindow>,
    node: Arc<OldNode>,
    given: Mutex<Given>,
}

/// How many bytes an event takes on the connection. If it were more than that, the connection would seem to be behind for ever.
fn frame_bytes(event: &str, payload: &str) -> u64 {
    let text = r#"42["",]"#.len() + event.len() + payload.len();
    let head = match text {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    (text + head) as u64
}

/// How much was given since the connection had last written everything, and what it had written by then.
#[derive(Default)]
struct Given {
    bytes: u64,
    written_before: u64,
}

impl Given {
    fn unwritten(&mut self, written: u64) -> u64 {
        let unwritten = self.bytes.saturating_sub(written - self.written_before);
        if unwritten == 0 {
            *self = Self { bytes: 0, written_before: written };
        }
        unwritten
    }
}

impl Outlet {
    pub fn new(page: SocketRef, flow: Arc<FlowWindow>, node: Arc<OldNode>) -> Self {
        Self { page, flow, node, given: Mutex::default() }
    }

    /// Sends an event, once there is room. Those who send wait in order.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send(&self, event: &str, payload: &(impl Serialize + Sync)) -> Result<(), Gone> {
        // These types always have a JSON text.
        let payload = to_raw_value(payload).map_err(|_| Gone)?;
        let bytes = frame_bytes(event, payload.get());
        let mut given = self.given.lock().await;
        loop {
            let progress = self.flow.progress().notified();
            tokio::pin!(progress);
            // Before it is looked, so that no write is missed.
            progress.as_mut().enable();
            if given.unwritten(self.flow.written()) < UNWRITTEN_MAX {
                match self.page.emit(event, &payload) {
                    Ok(()) => {
                        given.bytes += bytes;
                        return Ok(());
                    }
                    Err(SendError::Socket(SocketError::InternalChannelFull)) => {}
                    Err(_) => return Err(Gone),
                }
            }
            tokio::select! {
                () = progress => {}
                () = sleep(LOOK_INTERVAL) => {}
                () = self.node.ended() => return Err(Gone),
            }
        }
    }

    /// Ends the connection.
    pub fn close(&self) {
        let _ = self.page.clone().disconnect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_counted_anew_once_everything_is() {
        let mut given = Given::default();
        assert_eq!(given.unwritten(500), 0, "pings, before anything was given");
        given.bytes += 100;
        assert_eq!((given.unwritten(500), given.unwritten(540)), (100, 60));
        assert_eq!(given.unwritten(1_000), 0);
        given.bytes += 10;
        assert_eq!(given.unwritten(1_000), 10);
    }
}

//! The snapshots that peers are sending to this node, chunk by chunk.
//!
//! A sender has several chunks in flight, and they may arrive in any order. One that is ahead waits for its turn, so the
//! file is written from front to end.

use super::offload::offload;
use super::types::Vote;
use crate::peer::{NodeId, Refusal};
use crate::storage::IncomingSnapshot;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// A transfer that receives nothing for this long is dropped, and its file removed. A sender starts over if a chunk is
/// not accepted within seconds, so it does not return to such a transfer. In between it may wait for its own disk.
const TRANSFER_IDLE_MAX: Duration = Duration::from_secs(60);
/// How far ahead of what was received a chunk may start, in bytes.
const AHEAD_MAX: u64 = 16 << 20;

/// One for each sender. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Transfers {
    by_sender: Arc<Mutex<HashMap<NodeId, Transfer>>>,
}

struct Transfer {
    /// Distinguishes this transfer from one that replaced it.
    id: Uuid,
    vote: Vote,
    bytes: u64,
    received: u64,
    /// When it started, or its newest chunk was written.
    last_progress: Instant,
    /// `None` while a chunk is being written.
    file: Option<IncomingSnapshot>,
    /// Wakes the chunks that wait: another one was written, or the transfer has ended.
    turn: Arc<Notify>,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.turn.notify_waiters();
    }
}

impl Transfers {
    /// Begins the transfer of a file of so many bytes. There is one leader at a time, so all other transfers are of no use
    /// any more and end.
    pub fn begin(&self, from: NodeId, vote: Vote, bytes: u64, file: IncomingSnapshot) {
        let (id, last_progress, turn) = (Uuid::new_v4(), Instant::now(), Arc::default());
        let transfer = Transfer { id, vote, bytes, received: 0, last_progress, file: Some(file), turn };
        let before = std::mem::replace(&mut *self.by_sender(), HashMap::from([(from, transfer)]));
        drop(before);
        tokio::spawn(drop_when_idle(Arc::downgrade(&self.by_sender), from, id));
    }

    /// Writes a chunk of the file that starts at `offset`, once all before it are written.
    ///
    /// # Errors
    /// A sentence for the peer. After a failed write the transfer has ended.
    pub async fn write(&self, from: NodeId, offset: u64, chunk: Bytes) -> Result<(), Refusal> {
        let length = chunk.len() as u64;
        let (id, mut file) = self.take_turn(from, offset, length).await?;
        let written = offload(move || file.write(&chunk).map(|()| file)).await;
        let mut transfers = self.by_sender();
        let Some(transfer) = transfers.get_mut(&from).filter(|transfer| transfer.id == id) else {
            return Err("the snapshot was replaced by another one".into());
        };
        match written
            .map_err(|error| error.to_string())
            .and_then(|file| file.map_err(|error| error.to_string()))
        {
            Ok(file) => {
                transfer.received += length;
                transfer.last_progress = Instant::now();
                transfer.file = Some(file);
                transfer.turn.notify_waiters();
                Ok(())
            }
            Err(error) => {
                transfers.remove(&from);
                Err(error)
            }
        }
    }

    /// Waits until a chunk is the next one, and takes the file.
    async fn take_turn(
        &self,
        from: NodeId,
        offset: u64,
        length: u64,
    ) -> Result<(Uuid, IncomingSnapshot), Refusal> {
        let mut mine = None;
        loop {
            let turn = {
                let mut transfers = self.by_sender();
                let transfer = transfers.get_mut(&from).ok_or("no snapshot was begun")?;
                if *mine.get_or_insert(transfer.id) != transfer.id {
                    return Err("the snapshot was replaced by another one".into());
                }
                let Transfer { received, bytes, .. } = *transfer;
                let fits = offset.checked_add(length).is_some_and(|end| end <= bytes);
                if !fits || offset < received || offset - received > AHEAD_MAX {
                    return Err(format!(
                        "a snapshot chunk of {length} bytes is at {offset}, after {received} of {bytes} bytes"
                    ));
                }
                if offset == received
                    && let Some(file) = transfer.file.take()
                {
                    return Ok((transfer.id, file));
                }
                // From now on no call is missed.
                transfer.turn.clone().notified_owned()
            };
            turn.await;
        }
    }

    /// Ends a transfer: its file, and the vote of the leader that has sent it.
    ///
    /// # Errors
    /// A sentence for the peer: the file is not complete. The transfer has ended.
    pub fn end(&self, from: NodeId) -> Result<(Vote, IncomingSnapshot), Refusal> {
        let mut transfer = self.by_sender().remove(&from).ok_or("no snapshot was begun")?;
        let Transfer { received, bytes, .. } = transfer;
        if received != bytes {
            return Err(format!("{received} of the snapshot's {bytes} bytes were received"));
        }
        let file = transfer.file.take().ok_or("a chunk of this snapshot is still being written")?;
        Ok((transfer.vote, file))
    }

    fn by_sender(&self) -> MutexGuard<'_, HashMap<NodeId, Transfer>> {
        self.by_sender.lock().expect("not poisoned")
    }
}

/// Drops a transfer that was broken off. Returns when the transfer ends.
async fn drop_when_idle(transfers: Weak<Mutex<HashMap<NodeId, Transfer>>>, from: NodeId, id: Uuid) {
    let mut until = Instant::now() + TRANSFER_IDLE_MAX;
    loop {
        sleep_until(until).await;
        let Some(transfers) = transfers.upgrade() else { return };
        let mut transfers = transfers.lock().expect("not poisoned");
        let Some(transfer) = transfers.get(&from).filter(|transfer| transfer.id == id) else { return };
        until = transfer.last_progress + TRANSFER_IDLE_MAX;
        if Instant::now() >= until {
            tracing::debug!(from, received = transfer.received, "a snapshot was broken off");
            transfers.remove(&from);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Snapshots;
    use tempfile::TempDir;
    use tokio::time::sleep;

    const SENDER: NodeId = 7;

    fn folder() -> (TempDir, Snapshots) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let snapshots = Snapshots::open(folder.path()).expect("a new folder opens");
        (folder, snapshots)
    }

    fn files(folder: &TempDir) -> usize {
        std::fs::read_dir(folder.path()).expect("a folder").count()
    }

    /// Its file uses disk space, so it is removed with the transfer.
    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_was_broken_off_is_dropped() {
        let (folder, snapshots) = folder();
        let transfers = Transfers::default();
        let begin = || transfers.begin(SENDER, Vote::new(1, 7), 9, snapshots.receive().expect("a file"));
        let id = || transfers.by_sender().get(&SENDER).map(|transfer| transfer.id);
        begin();
        let (before, first) = (files(&folder), id());
        sleep(TRANSFER_IDLE_MAX / 2).await;
        transfers.by_sender().get_mut(&SENDER).expect("in progress").last_progress = Instant::now();
        sleep(TRANSFER_IDLE_MAX * 3 / 4).await;
        assert_eq!((files(&folder), id()), (before, first), "it goes on");
        // A transfer that replaces it has its own timeout.
        begin();
        let second = id();
        assert_ne!(second, first);
        sleep(TRANSFER_IDLE_MAX * 3 / 4).await;
        assert_eq!((files(&folder), id()), (before, second));
        sleep(TRANSFER_IDLE_MAX / 2).await;
        assert_eq!((files(&folder), id()), (before - 1, None));
    }

    /// Chunks come in any order and are written in that of the file; one that was sent twice is refused.
    #[tokio::test]
    async fn chunks_wait_for_their_turn() {
        let (source_folder, source) = folder();
        let written = source.write(3, b"meta", |out| out.write_all(&[5; 100_000])).expect("a snapshot");
        let bytes = written.raw_chunk(0, usize::MAX >> 1).expect("it is read");
        let (_folder, snapshots) = folder();
        let transfers = Transfers::default();
        transfers.begin(SENDER, Vote::new(1, 7), bytes.len() as u64, snapshots.receive().expect("a file"));
        let chunks: Vec<(u64, Bytes)> = bytes
            .chunks(9_000)
            .enumerate()
            .map(|(at, chunk)| (9_000 * at as u64, Bytes::copy_from_slice(chunk)))
            .collect();
        let mut writing = Vec::new();
        for (offset, chunk) in chunks.iter().rev().cloned() {
            let transfers = transfers.clone();
            writing.push(tokio::spawn(async move { transfers.write(SENDER, offset, chunk).await }));
            tokio::task::yield_now().await;
        }
        for chunk in writing {
            chunk.await.expect("no panic").expect("it is written");
        }
        let (offset, chunk) = chunks[1].clone();
        let again = transfers.write(SENDER, offset, chunk).await.expect_err("it was written");
        assert!(again.contains("is at 9000"), "{again}");
        let (vote, file) = transfers.end(SENDER).expect("all of it came");
        assert_eq!(vote, Vote::new(1, 7));
        file.finish().expect("the file is as it was sent");
        drop(source_folder);
    }

    /// What cannot come any more is not waited for.
    #[tokio::test]
    async fn a_chunk_that_waits_ends_with_its_transfer() {
        let (_folder, snapshots) = folder();
        let transfers = Transfers::default();
        let begin = || transfers.begin(SENDER, Vote::new(1, 7), 30, snapshots.receive().expect("a file"));
        begin();
        let chunk = Bytes::from_static(b"ten bytes.");
        let ahead = {
            let (transfers, chunk) = (transfers.clone(), chunk.clone());
            tokio::spawn(async move { transfers.write(SENDER, 10, chunk).await })
        };
        tokio::task::yield_now().await;
        begin();
        let replaced = ahead.await.expect("no panic").expect_err("its transfer is gone");
        assert!(replaced.contains("replaced"), "{replaced}");
        let beyond = transfers.write(SENDER, 25, chunk).await.expect_err("it does not fit");
        assert!(beyond.contains("after 0 of 30 bytes"), "{beyond}");
        let missing = transfers.end(SENDER).map(|(vote, _)| vote).expect_err("nothing came");
        assert!(missing.contains("0 of the snapshot's 30 bytes"), "{missing}");
        assert!(transfers.write(SENDER, 0, Bytes::new()).await.is_err(), "it has ended");
    }
}

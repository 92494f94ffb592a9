//! Backups that a node makes by itself: one each interval, in a folder of its own, of which the newest are kept.
//!
//! Every node with this setting makes them, whether it leads or not. If only the leader did, the backups of a cluster would be
//! spread over its nodes by who led when, and with a machine its part of them would be lost. Whoever wants one copy gives the
//! setting to one node.
//!
//! A backup has everything that was acknowledged before it was begun: the node must be able to answer linearizable reads. One
//! that is cut off makes none, because many equal backups would push those from before out. One that was detached makes none
//! either: its state is not the cluster's.

mod folder;
mod name;
mod schedule;

use crate::lineage::HistoryKind;
use crate::node::Node;
use crate::storage::{FolderLock, OpenError};
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use folder::Folder;
use name::Name;
use schedule::Schedule;
use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a node that is not ready is asked again.
const READY_POLL: Duration = Duration::from_secs(1);

/// The backups of one node. Clones share them.
#[derive(Debug, Clone)]
pub struct Backups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Folder,
    schedule: Schedule,
    keep: usize,
    /// The newest backup, also of an earlier process.
    newest: Mutex<Option<Backup>>,
    /// Backups that were due and could not be made.
    failures: AtomicU64,
}

/// A backup that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// When it was begun.
    pub at: DateTime<Utc>,
    /// The last log index in it.
    pub index: u64,
    pub bytes: u64,
}

impl Backups {
    /// Takes a folder that is there for backups, of which `keep` are kept. Removes what an earlier process did not finish.
    ///
    /// # Errors
    /// [`OpenError`]: it is not there, cannot be written, or another node has it.
    pub fn open(path: &Path, every: Duration, keep: usize) -> Result<Self, OpenError> {
        let folder = Folder::open(path)?;
        let newest = folder.newest();
        Ok(Self(Arc::new(Inner {
            folder,
            schedule: Schedule { every },
            keep,
            newest: Mutex::new(newest),
            failures: AtomicU64::new(0),
        })))
    }

    /// Whether a folder could be taken for backups, without changing it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn check(path: &Path) -> Result<(), OpenError> {
        folder::check(path)
    }

    /// Time from one backup to the next.
    pub fn every(&self) -> Duration {
        self.0.schedule.every
    }

    /// The newest backup.
    pub fn newest(&self) -> Option<Backup> {
        *self.0.newest.lock().expect("no panic while held")
    }

    /// How many backups were due since this process started and could not be made.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Relaxed)
    }

    /// Makes backups of this node as long as it is polled.
    pub async fn keep_making(&self, node: &Node) -> Infallible {
        if node.lineage().current().kind == HistoryKind::Detached {
            tracing::warn!(
                "no backups are made as long as this node is detached: its state is not the cluster's"
            );
            return pending().await;
        }
        self.run(async || self.make(node).await).await
    }

    /// Has one made whenever it is due.
    async fn run(&self, mut make: impl AsyncFnMut() -> Result<Backup>) -> Infallible {
        let Inner { schedule, failures, .. } = &*self.0;
        let age = self.newest().map(|newest| (Utc::now() - newest.at).to_std().unwrap_or_default());
        let mut due = Instant::now() + schedule.first_wait(age);
        let mut in_a_row = 0;
        loop {
            tokio::time::sleep_until(due).await;
            let began = Instant::now();
            due = match make().await {
                Ok(Backup { index, bytes, .. }) => {
                    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(index, bytes, took_ms, "a backup was saved");
                    in_a_row = 0;
                    began + schedule.every
                }
                Err(error) => {
                    in_a_row += 1;
                    let pause = schedule.pause_after(in_a_row);
                    let again_s = pause.as_secs();
                    tracing::warn!(
                        error = format!("{error:#}"),
                        again_s,
                        "a backup that is due cannot be made; it is tried again"
                    );
                    // Whoever sees the count finds the reason in the log.
                    failures.fetch_add(1, Relaxed);
                    Instant::now() + pause
                }
            };
        }
    }

    /// Makes one, and removes what is more than are kept. If this is dropped before it is ready, nothing is left.
    async fn make(&self, node: &Node) -> Result<Backup> {
        self.wait_until_ready(node).await.context("this node cannot tell what the cluster has")?;
        let at = Utc::now();
        let snapshot = node.snapshot().await?;
        let (backups, wanted) = (self.0.clone(), Arc::new(()));
        let still = Arc::downgrade(&wanted);
        let saving = move || backups.folder.save(&snapshot, at, || still.strong_count() > 0);
        let backup = tokio::task::spawn_blocking(saving).await??;
        drop(wanted);
        *self.0.newest.lock().expect("no panic while held") = Some(backup);
        let backups = self.0.clone();
        tokio::task::spawn_blocking(move || backups.folder.remove_oldest(backups.keep, backup)).await?;
        Ok(backup)
    }

    /// A node that has just started, or whose leader is changing, is ready soon.
    async fn wait_until_ready(&self, node: &Node) -> Result<()> {
        let until = Instant::now() + self.0.schedule.ready_wait();
        loop {
            match node.ready().await {
                Err(error) if Instant::now() >= until => return Err(error.into()),
                Err(_) => sleep(READY_POLL).await,
                Ok(()) => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::cell::RefCell;

    fn backups(folder: &Path, every: Duration) -> Backups {
        Backups::open(folder, every, 3).expect("a folder")
    }

    /// When backups are made in this time, where each takes 10 s and those of these numbers fail.
    async fn made(backups: &Backups, limit: Duration, failing: &[usize]) -> Vec<u64> {
        let (began, times) = (Instant::now(), RefCell::new(Vec::new()));
        let make = async || {
            times.borrow_mut().push(began.elapsed().as_secs());
            let fails = failing.contains(&times.borrow().len());
            sleep(Duration::from_secs(10)).await;
            if fails {
                bail!("the disk is full");
            }
            Ok(Backup { at: Utc::now(), index: 1, bytes: 1 })
        };
        let _ = tokio::time::timeout(limit, backups.run(make)).await;
        times.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn the_interval_is_from_beginning_to_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let backups = backups(folder.path(), Duration::from_secs(3600));
        assert_eq!(made(&backups, Duration::from_secs(8000), &[]).await, [0, 3600, 7200]);
        assert_eq!(backups.failures(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_tried_again_sooner_and_then_less_often() {
        let folder = tempfile::tempdir().expect("a folder");
        let backups = backups(folder.path(), Duration::from_secs(3600));
        let times = made(&backups, Duration::from_secs(5000), &[1, 2, 3]).await;
        assert_eq!(times, [0, 70, 200, 450, 4050]);
        assert_eq!(backups.failures(), 3);
    }

    /// A restart neither makes one at once nor waits a whole interval again.
    #[tokio::test(start_paused = true)]
    async fn the_schedule_goes_on_from_the_newest_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = Name { at: Utc::now() - Duration::from_secs(1000), index: 7 };
        std::fs::write(folder.path().join(name.to_string()), "four").expect("written");
        let backups = backups(folder.path(), Duration::from_secs(3600));
        let newest = backups.newest().expect("it is found");
        assert_eq!((newest.index, newest.bytes), (7, 4));
        let times = made(&backups, Duration::from_secs(3000), &[]).await;
        // The name has whole seconds, and the wall clock goes on.
        assert!(matches!(times[..], [2595..=2600]), "{times:?}");
    }
}

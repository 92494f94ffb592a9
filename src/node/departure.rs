//! Leaving the cluster on purpose, and what a node refuses meanwhile.
//!
//! A node that is detached goes on alone, in a history of its own, with all that the cluster had decided when it left. The
//! others must know what becomes of the entries that both have then, so first they begin to note which of them go. Then they
//! remove the node. What it was about to do is in its folder, so a restart goes on with it. Only once the node has proof that
//! it is no member any more does it stop taking part: a node that merely believes it could be one vote too many.
//!
//! Then it has to be opened again, on a folder that holds the start of its own history: see `detached_folder.rs`.

use super::access::Principal;
use super::admin::AdminRequest;
use super::error::NodeError;
use super::identity::{Detached, Identity};
use super::inner::Inner;
use crate::api::{Consistency, Detachment};
use crate::cache::Command;
use crate::lineage::{HistoryKind, LineageError};
use crate::raft::MemberState;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How long a node that is alone may take for a log entry.
const NOTE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the others are asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How far a node is that leaves its cluster on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaving {
    /// Id of the history that it begins.
    pub history: String,
    /// The highest index that it has heard of.
    pub heard_of: u64,
    /// The index up to which it had applied the log when the others noted what goes; `null` as long as they may not.
    pub noted: Option<u64>,
    /// An index up to which it shares the log with the others; `null` as long as it may be a member.
    pub left_at: Option<u64>,
    pub from: Detached,
}

/// What a node that leaves its cluster, or comes back to it, refuses.
pub(super) struct Departure {
    /// Whether it is about to leave or to come back.
    is_busy: AtomicBool,
    no_writes: AtomicBool,
    no_reads: AtomicBool,
    reopen: watch::Sender<bool>,
    /// Counts up when whoever is about to leave, or to stay, has to give up.
    attempt: AtomicU64,
}

impl Departure {
    /// That of a node which starts, and may have begun to leave earlier.
    pub fn new(leaving: Option<&Leaving>) -> Self {
        let is_leaving = leaving.is_some_and(|leaving| leaving.noted.is_some());
        Self {
            is_busy: AtomicBool::new(leaving.is_some()),
            no_writes: AtomicBool::new(is_leaving),
            no_reads: AtomicBool::new(false),
            reopen: watch::Sender::new(false),
            attempt: AtomicU64::new(0),
        }
    }

    /// # Errors
    /// [`NodeError::Conflict`]: it has begun already.
    pub fn begin(&self) -> Result<(), NodeError> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            let reason = "this node is about to leave its cluster, or to come back, already";
            return Err(NodeError::Conflict(reason.into()));
        }
        Ok(())
    }

    /// Whoever is about to leave, or to stay, gives up.
    pub fn interrupt(&self) {
        self.attempt.fetch_add(1, Ordering::AcqRel);
    }

    fn attempt(&self) -> u64 {
        self.attempt.load(Ordering::Acquire)
    }

    fn is_interrupted(&self, attempt: u64) -> bool {
        self.attempt() != attempt
    }

    /// It stays where it is.
    pub fn end(&self) {
        self.no_writes.store(false, Ordering::Release);
        self.no_reads.store(false, Ordering::Release);
        self.is_busy.store(false, Ordering::Release);
    }

    pub fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// From here on writes are refused. Those under way may still end.
    pub fn stop_writes(&self) {
        self.no_writes.store(true, Ordering::Release);
    }

    /// Writes are refused as soon as the node has begun to leave: what its clients have written belongs to both sides.
    pub fn allows_writes(&self) -> Result<(), NodeError> {
        if self.no_writes.load(Ordering::Acquire) {
            let reason =
                "this node is about to leave its cluster, or to come back, and takes no writes meanwhile";
            return Err(NodeError::Unavailable(reason.into()));
        }
        Ok(())
    }

    /// Reads are refused for the moment in which the node goes over to another log: it could not promise that a later read
    /// sees as much.
    pub fn allows_reads(&self) -> Result<(), NodeError> {
        if self.no_reads.load(Ordering::Acquire) {
            let reason = "this node is about to go on with another log";
            return Err(NodeError::Unavailable(reason.into()));
        }
        Ok(())
    }

    /// Returns once the node has to be stopped and opened again.
    pub async fn reopens(&self) {
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = self.reopen.subscribe().wait_for(|reopen| *reopen).await;
    }

    /// Ends the service of this node until it has been opened again.
    pub fn go(&self) {
        self.no_writes.store(true, Ordering::Release);
        self.no_reads.store(true, Ordering::Release);
        self.reopen.send_replace(true);
    }
}

/// Goes on with what the node was about to do when it stopped.
pub(super) async fn go_on_leaving(inner: Weak<Inner>) {
    let Some(node) = inner.upgrade() else { return };
    let Some(leaving) = node.identity.leaving.clone() else { return };
    let attempt = node.departure.attempt();
    let done = match leaving.noted {
        // An earlier attempt to be removed may have succeeded.
        Some(noted) => node.leave(leaving, noted, true, attempt).await,
        None => {
            node.stay(leaving, attempt).await;
            Ok(())
        }
    };
    if let Err(error) = done {
        tracing::warn!(%error, "this node has not left its cluster");
    }
}

/// On a node that has come back: closes the fork to the history that it had alone.
pub(super) async fn close_own_fork(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let Some(history) = node.identity.comes_from.clone() else { return };
        if node.admin(&Principal::Program, AdminRequest::CloseFork { history }).await.is_ok()
            && node.kept_identity.change(|identity| identity.comes_from = None).await.is_ok()
        {
            return;
        }
        drop(node);
        sleep(RETRY_PAUSE).await;
    }
}

impl Inner {
    /// Whether this node goes on in a history of its own, alone.
    pub(super) fn is_detached(&self) -> bool {
        self.identity.lineage.current().kind == HistoryKind::Detached
    }

    /// How this node is detached, if it is.
    pub(super) fn detachment(&self) -> Option<Detachment> {
        let history = self.identity.lineage.current();
        let from = self.identity.detached.as_ref().filter(|_| self.is_detached())?;
        Some(Detachment {
            history: history.id.clone(),
            fork_index: history.fork_index,
            since_ms: history.began_at_ms,
            entries: self.consensus.replica().applied_index().saturating_sub(history.start_index),
            urls: from.urls.clone(),
            forced: from.forced,
        })
    }

    /// Leaves the cluster on purpose. When this returns, the node has to be opened again. Goes on if its caller does not wait.
    /// `forced`: without asking the others, who count it as a silent member then.
    ///
    /// # Errors
    /// [`NodeError`]: it stays a member.
    pub(super) async fn detach(self: &Arc<Self>, by: &Principal, forced: bool) -> Result<(), NodeError> {
        self.refuse_when_draining()?;
        self.refuse_when_out_of_service()?;
        self.refuse_when_superseded(Consistency::Linearizable)?;
        let conflict = |reason: &str| Err(NodeError::Conflict(reason.into()));
        if self.is_detached() {
            return conflict("this node is detached already");
        }
        let members = self.consensus.status().members;
        let (mine, others): (Vec<MemberState>, Vec<MemberState>) =
            members.into_iter().partition(|member| member.id == self.identity.node_id);
        let Some(me) = mine.first() else { return conflict("this node is not a member of the cluster yet") };
        if !others.iter().any(|other| other.voter) {
            return conflict("this node is the only one with a vote: there is nobody to leave");
        }
        if forced && self.audit.health.has_majority() {
            return conflict("a majority of the voters answers this node: it can be detached without force");
        }
        let heard_of = self.consensus.replica().with_cache(crate::cache::Cache::highest_index);
        // Before anything is done: is there room for one more history?
        self.next_start_index(heard_of)?;
        if forced {
            // Whoever waits for a majority to leave in order, or to stay, has waited long enough.
            self.departure.interrupt();
            self.departure.is_busy.store(true, Ordering::Release);
        } else {
            self.departure.begin()?;
        }
        let attempt = self.departure.attempt();
        let urls = others.into_iter().map(|other| other.member.http).filter(|url| !url.is_empty());
        let from = Detached { node_id: self.identity.node_id, voter: me.voter, urls: urls.collect(), forced };
        let (node, by) = (self.clone(), by.clone());
        let leaving = tokio::spawn(async move {
            let left = node.begin_to_leave(from, by, heard_of, attempt).await;
            if let Err(error) = &left {
                tracing::warn!(%error, "this node has not left its cluster");
            }
            left
        });
        leaving.await.unwrap_or_else(|error| Err(NodeError::Fatal(error.to_string())))
    }

    async fn begin_to_leave(
        self: &Arc<Self>,
        from: Detached,
        by: Principal,
        heard_of: u64,
        attempt: u64,
    ) -> Result<(), NodeError> {
        let forced = from.forced;
        let history = uuid::Uuid::new_v4().to_string();
        let mut leaving = Leaving { history, heard_of, noted: None, left_at: None, from };
        self.departure.stop_writes();
        // Those under way are decided first, so this node has what its clients were told.
        self.admission.idle().await;
        if forced {
            // All of its log counts.
            return self.leave_at(leaving, self.consensus.status().last_log_index, attempt).await;
        }
        if let Err(reason) = self.keep_leaving(&leaving, attempt).await {
            self.end_departure(attempt);
            return Err(NodeError::Fatal(reason));
        }
        match self.have_noted(&leaving, &by).await {
            Ok(index) => {
                leaving.noted = Some(index);
                if let Err(reason) = self.keep_leaving(&leaving, attempt).await {
                    self.stay_later(leaving, attempt);
                    return Err(NodeError::Fatal(reason));
                }
                self.leave(leaving, index, false, attempt).await
            }
            Err(error) => {
                self.stay_later(leaving, attempt);
                Err(error)
            }
        }
    }

    /// Where a history of this node's own would begin.
    fn next_start_index(&self, heard_of: u64) -> Result<u64, NodeError> {
        let lineage = &self.identity.lineage;
        let next = lineage.fork(String::new(), HistoryKind::Detached, heard_of, heard_of, 0, "");
        let full = |error: LineageError| NodeError::Conflict(error.to_string());
        Ok(next.map_err(full)?.current().start_index)
    }

    /// Has the others note what becomes of the entries that this node will have, too, if they let whoever asks. Returns the
    /// index up to which this node has applied the log since.
    async fn have_noted(&self, leaving: &Leaving, by: &Principal) -> Result<u64, NodeError> {
        let Leaving { history, heard_of, .. } = leaving;
        let (node, start_index) = (self.identity.node_id, self.next_start_index(*heard_of)?);
        let open = AdminRequest::OpenFork { node, history: history.clone(), start_index };
        self.admin(by, open).await?;
        let look = |cache: &crate::cache::Cache| (cache.index(), cache.fork(history).is_some());
        let (index, is_open) = self.read(Consistency::Linearizable, None, None, look).await?.value;
        if !is_open {
            let reason = "the cluster notes what goes for as many other sides as it can: reconcile them, or give one up with \
                          `lockstep reconcile forget`";
            return Err(NodeError::Conflict(reason.into()));
        }
        Ok(index)
    }

    /// Has itself removed, for as long as it takes. `in_doubt`: it may have been removed already.
    async fn leave(
        self: &Arc<Self>,
        leaving: Leaving,
        noted: u64,
        mut in_doubt: bool,
        attempt: u64,
    ) -> Result<(), NodeError> {
        let me = self.identity.node_id;
        while !self.audit.health.is_removed() {
            match self.admin(&Principal::Program, AdminRequest::Remove { id: me }).await {
                Ok(_) => break,
                Err(NodeError::Conflict(reason)) if !in_doubt || self.stays_member().await => {
                    self.stay_later(leaving, attempt);
                    return Err(NodeError::Conflict(reason));
                }
                Err(error) => {
                    in_doubt |= !matches!(error, NodeError::Unavailable(_));
                    tracing::info!(%error, "this node is about to leave its cluster, and not removed yet");
                }
            }
            if self.departure.is_interrupted(attempt) || self.supersession.is_superseded() {
                return Err(NodeError::Unavailable(
                    "this node has stopped leaving its cluster in order".into(),
                ));
            }
            sleep(RETRY_PAUSE).await;
        }
        // No read sees more than the node has afterwards.
        self.departure.no_reads.store(true, Ordering::Release);
        let applied = self.consensus.replica().applied_index();
        self.leave_at(leaving, applied.max(noted), attempt).await
    }

    /// Whether this node is a member for sure, and no removal is under way. A leader that answers a read has all that can still be
    /// decided in its log.
    async fn stays_member(&self) -> bool {
        let read = self.read(Consistency::Linearizable, None, None, |_| ()).await;
        read.is_ok()
            && self.consensus.replica().has_member(self.identity.node_id)
            && !self.consensus.status().joint
    }

    async fn leave_at(&self, leaving: Leaving, index: u64, attempt: u64) -> Result<(), NodeError> {
        let left = Leaving { left_at: Some(index), ..leaving };
        if let Err(reason) = self.keep_leaving(&left, attempt).await {
            // The folder cannot be written, so the node fails in a moment. After a restart it tries again.
            self.end_departure(attempt);
            return Err(NodeError::Fatal(reason));
        }
        tracing::warn!(
            index,
            history = left.history,
            "this node leaves its cluster, and goes on alone from here"
        );
        if !left.from.forced {
            self.end_forwarding().await;
        }
        self.links.sever();
        self.departure.go();
        Ok(())
    }

    fn stay_later(self: &Arc<Self>, leaving: Leaving, attempt: u64) {
        if self.departure.is_interrupted(attempt) {
            return;
        }
        // Clients need not wait for that.
        self.departure.no_writes.store(false, Ordering::Release);
        let node = self.clone();
        tokio::spawn(async move { node.stay(leaving, attempt).await });
    }

    /// Remains a member: the others need to note nothing.
    async fn stay(&self, leaving: Leaving, attempt: u64) {
        let close = AdminRequest::CloseFork { history: leaving.history.clone() };
        // So that a restart does not leave after all.
        let leaving = Leaving { noted: None, ..leaving };
        let mut kept = self.keep_leaving(&leaving, attempt).await;
        while let Err(error) = self.admin(&Principal::Program, close.clone()).await {
            tracing::debug!(%error, "the fork that this node had opened is not closed yet");
            sleep(RETRY_PAUSE).await;
            if self.departure.is_interrupted(attempt) || self.supersession.is_superseded() {
                return;
            }
        }
        let history = leaving.history;
        let forget = |identity: &mut Identity| {
            let is_mine = identity.leaving.as_ref().is_some_and(|leaving| leaving.history == history);
            if is_mine {
                identity.leaving = None;
            }
        };
        kept = kept.and(self.kept_identity.change(forget).await);
        if let Err(error) = kept {
            tracing::error!(error, "cannot write down that this node stays in its cluster");
        }
        self.end_departure(attempt);
    }

    /// On a detached node: from here on whatever goes is noted, because whatever it has may become common.
    pub(super) async fn note_all(&self, left: String) -> Result<(), NodeError> {
        let node = self.identity.node_id;
        let command = Command::OpenFork { history: left, node, start_index: 0 };
        let proposed = self.propose_own(command, Instant::now() + NOTE_TIMEOUT).await;
        let failed = |error| NodeError::Unavailable(format!("this node cannot note what goes: {error:?}"));
        proposed.map(drop).map_err(failed)
    }

    /// Writes down how far this attempt is, unless a later one has begun.
    async fn keep_leaving(&self, leaving: &Leaving, attempt: u64) -> Result<(), String> {
        let leaving = Some(leaving.clone());
        let keep = |identity: &mut Identity| {
            if !self.departure.is_interrupted(attempt) {
                identity.leaving = leaving;
            }
        };
        self.kept_identity.change(keep).await?;
        match self.departure.is_interrupted(attempt) {
            true => Err("another attempt has taken over".into()),
            false => Ok(()),
        }
    }

    fn end_departure(&self, attempt: u64) {
        if !self.departure.is_interrupted(attempt) {
            self.departure.end();
        }
    }
}

//! Tells an old node what the cluster does: all operations, whole, in the order of the log, in the words of the original server.

use super::super::super::state::AppState;
use super::super::items::Item;
use super::super::strategy;
use super::super::sync_history::id_of;
use super::super::value::shown;
use super::full_sync;
use super::outlet::{Gone, Outlet};
use super::owed::Owed;
use super::registry::OldNode;
use super::told::Told as Keys;
use super::writer::Answer;
use crate::api::ErrorCode;
use crate::cache::{Cause, Event};
use crate::front::truncate;
use crate::node::{ChangeSet, Principal, Session, WatchFilter, WatchItem};
use crate::replica::OldNodeOperation;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// The pause before the node's state is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Payload of `cache-operation`, as nodes of the original server send it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Operation {
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    pub node_id: String,
    /// Log time in milliseconds.
    pub timestamp: u64,
    pub operation_id: String,
    pub index: u64,
}

/// Which keys the node was told of.
#[derive(Default)]
pub(super) struct Told(Mutex<Keys>);

impl Told {
    pub fn note(&self, key: &str) {
        self.keys().note(key);
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.0.lock().expect("no panic while held")
    }

    /// Tells the node to forget everything.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn tell_clear(&self, outlet: &Outlet, session: &Session, index: u64) -> Result<(), Gone> {
        self.keys().note_all();
        let operation = Operation { kind: "clear", ..Operation::at(session, index, "clear") };
        outlet.send("cache-operation", &operation).await
    }

    /// Tells the node what is stored under a key at this index; nothing if `item` is `None`.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn tell_state(
        &self,
        outlet: &Outlet,
        session: &Session,
        key: &str,
        item: Option<Item>,
        index: u64,
    ) -> Result<(), Gone> {
        self.note(key);
        let value = item.map(Item::into_value);
        let kind = if value.is_some() { "set" } else { "delete" };
        let key = Some(key.to_owned());
        let operation = Operation { kind, key, value, ..Operation::at(session, index, "state") };
        outlet.send("cache-operation", &operation).await
    }
}

impl Operation {
    /// One of this node, which no change has brought about.
    fn at(session: &Session, index: u64, what: &str) -> Self {
        let cluster = format!("{} {what} {}", session.lineage().cluster_id(), uuid::Uuid::new_v4());
        let timestamp = crate::replica::wall_ms();
        let (node_id, operation_id) = (session.node_name().to_owned(), id_of(&cluster, index, 0));
        Self { node_id, operation_id, timestamp, index, ..Self::default() }
    }
}

/// Tells one old node.
pub(super) struct Teller {
    pub node: Arc<OldNode>,
    pub outlet: Arc<Outlet>,
    pub told: Arc<Told>,
    pub state: AppState,
    pub principal: Principal,
}

impl Teller {
    /// Tells the whole state, and then every operation, until the connection has ended.
    pub async fn run(self) {
        tokio::select! {
            biased;
            () = self.node.ended() => {}
            // Whatever it waits for, the end of the connection ends it.
            _gone = self.tell() => {}
        }
    }

    async fn tell(&self) -> Result<(), Gone> {
        // Of a node that comes back, it is known what it has heard.
        let mut owed = Owed::to_one_that_heard(self.node.told_up_to());
        loop {
            let Some(session) = self.state.session(self.principal.clone()) else {
                sleep(RETRY_PAUSE).await;
                continue;
            };
            let from = Some(self.node.told_up_to()).filter(|index| *index > 0);
            let Ok(mut watch) = session.watch(WatchFilter::prefix(""), from).await else {
                sleep(RETRY_PAUSE).await;
                continue;
            };
            // (If it missed changes, the watch says so.)
            if matches!(owed, Owed::State | Owed::StateAndRemovals) {
                if !self.tell_all(&session, owed == Owed::StateAndRemovals).await? {
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
                owed = Owed::Nothing;
            }
            self.note_told(owed, watch.cursor());
            loop {
                let item = tokio::select! {
                    item = watch.next() => item,
                    () = self.node.resync.notified() => {
                        if self.start_over(&session).await? {
                            owed = Owed::Nothing;
                        } else {
                            self.node.resync.notify_one();
                            sleep(RETRY_PAUSE).await;
                        }
                        continue;
                    }
                };
                match item {
                    WatchItem::Changes(changes) => {
                        for change in changes {
                            self.tell_change(&session, &change).await?;
                            self.note_told(owed, change.index());
                        }
                    }
                    WatchItem::Bookmark { index, .. } => self.note_told(owed, index),
                    // It was too slow, or away for too long.
                    WatchItem::Resync { up_to, .. } => {
                        tracing::info!(node = %truncate(&self.node.id, 128), "an old node gets the whole state anew: what it missed is no longer kept");
                        owed = Owed::Afresh;
                        if self.start_over(&session).await? {
                            owed = Owed::Nothing;
                        } else {
                            self.node.resync.notify_one();
                        }
                        self.note_told(owed, up_to);
                    }
                    WatchItem::Closed { code: Some(code), reason, .. } => {
                        let refusal = Answer::refusal(code, reason);
                        self.outlet.send("cache-error", &refusal).await?;
                        self.outlet.close();
                        return Ok(());
                    }
                    WatchItem::Closed { resume, .. } => {
                        self.note_told(owed, resume);
                        sleep(RETRY_PAUSE).await;
                        break;
                    }
                }
            }
        }
    }

    fn note_told(&self, owed: Owed, index: u64) {
        if let Some(index) = owed.told_up_to(index) {
            self.node.note_told(index);
        }
    }

    /// The whole state, on top of what the node has; false if it cannot be read now.
    async fn tell_all(&self, session: &Session, is_unknown: bool) -> Result<bool, Gone> {
        if is_unknown && full_sync::tell_removals(&self.outlet, &self.told, session).await?.is_none() {
            return Ok(false);
        }
        let is_told = full_sync::tell_state(&self.outlet, &self.told, session).await?;
        if is_told {
            self.node.note_synced();
        }
        Ok(is_told)
    }

    /// The whole state instead of what the node has; false if it cannot be read now. What the node has sent is in the cluster, or
    /// was refused.
    async fn start_over(&self, session: &Session) -> Result<bool, Gone> {
        let Ok(index) = session.catch_up().await else { return Ok(false) };
        self.told.tell_clear(&self.outlet, session, index).await?;
        self.tell_all(session, false).await
    }

    async fn tell_change(&self, session: &Session, change: &ChangeSet) -> Result<(), Gone> {
        for (position, event) in change.events().iter().enumerate() {
            if !self.must_hear(change.old_node_operation(), event) {
                continue;
            }
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            self.tell_event(session, change, event, position).await?;
        }
        Ok(())
    }

    /// The node knows of its own operations, unless they may have crossed with what it was told.
    fn must_hear(&self, origin: Option<&OldNodeOperation>, event: &Event) -> bool {
        let is_own = origin.is_some_and(|origin| origin.node_id() == self.node.id);
        let mut keys = self.told.keys();
        match event {
            Event::Put { record, .. } => !is_own || keys.may_have_crossed(record.key()),
            Event::Removed { key, cause: Cause::Delete } => !is_own || keys.may_have_crossed(key.as_str()),
            Event::Removed { .. } => true,
            Event::Cleared { .. } => !is_own || keys.may_have_crossed_any(),
            Event::Configured { policy_changed, .. } => *policy_changed && !is_own,
            // It has no times to live, and is told when one is over.
            Event::Deadline { .. } | Event::Merged { .. } => false,
            // It knows no sessions, and no channels.
            Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::Locked { .. }
            | Event::Unlocked { .. }
            | Event::Message { .. } => false,
        }
    }

    async fn tell_event(
        &self,
        session: &Session,
        change: &ChangeSet,
        event: &Event,
        position: u32,
    ) -> Result<(), Gone> {
        let mut operation =
            Operation { timestamp: change.at_ms(), index: change.index(), ..Operation::default() };
        operation.operation_id = id_of(session.lineage().cluster_id(), change.index(), position);
        // The node would ignore what has its own id.
        match change.old_node_operation().filter(|origin| origin.node_id() != self.node.id) {
            Some(origin) => {
                operation.node_id = origin.node_id().to_owned();
                if position == 0 {
                    operation.operation_id = origin.operation_id().to_owned();
                }
            }
            None => {
                let by = change.by().map(|id| session.member_name(id));
                operation.node_id = by.unwrap_or_else(|| session.node_name().to_owned());
            }
        }
        let mut needs_state = false;
        match event {
            Event::Put { record, .. } => {
                self.told.note(record.key());
                operation.kind = "set";
                operation.key = Some(record.key().to_owned());
                let Ok((value, is_base64)) = shown(&record.value()) else { return Ok(()) };
                (operation.value, operation.encoding) = (Some(value), is_base64.then_some("base64"));
            }
            Event::Removed { key, .. } => {
                self.told.note(key.as_str());
                (operation.kind, operation.key) = ("delete", Some(key.as_str().to_owned()));
            }
            Event::Cleared { prefix, .. } => {
                self.told.keys().note_all();
                operation.kind = "clear";
                // It cannot clear a part. So it clears all, and gets the rest anew.
                needs_state = prefix.as_ref().is_some_and(|prefix| !prefix.is_empty());
            }
            Event::Configured { config, .. } => {
                operation.kind = "strategy-change";
                operation.strategy = Some(strategy::name(config.policy));
            }
            Event::Deadline { .. }
            | Event::Merged { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::Locked { .. }
            | Event::Unlocked { .. }
            | Event::Message { .. } => return Ok(()),
        }
        self.outlet.send("cache-operation", &operation).await?;
        self.node.counts.told.fetch_add(1, SeqCst);
        if needs_state && !self.tell_all(session, false).await? {
            self.node.resync.notify_one();
        }
        Ok(())
    }
}

/// That a node cannot be attached.
pub(super) fn refusal(message: &str) -> Answer {
    Answer::refusal(ErrorCode::Busy, message)
}

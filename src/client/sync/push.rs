//! Sends local changes.

use super::cluster::{BatchDone, FoundKey, KeyState, OpDone, Place};
use super::decide::ChangeKind;
use super::hash::hash_of;
use super::histories::is_other_history;
use super::journal::Step;
use super::judge::is_equal;
use super::local::{How, added};
use super::options::{Direction, Rules};
use super::pull::cause_of;
use super::queue::Queue;
use super::record::{BatchItem, BatchRecord, InFlight, Intent};
use super::room::{BatchRoom, op_of};
use super::state::{Core, Remote, Shared};
use super::turn::Turn;
use super::types::{ChangeCause, ChangeOrigin, SyncChange, SyncError, SyncValue};
use crate::api::{Effect, ErrorCode, OpRequest};
use crate::client::ClientError;
use std::collections::HashMap;

/// Whether the changes of a group are to be sent now.
pub(super) type Due<'a> = &'a (dyn Fn(&Rules) -> bool + Send + Sync);

impl Shared {
    /// Sends batches again whose outcome is not known, under the same idempotency keys.
    pub(super) async fn repeat(&self) -> Result<(), SyncError> {
        let core = self.core.lock().await;
        let open: Vec<BatchRecord> = core.journal.batches.values().cloned().collect();
        let history = core.journal.history().to_owned();
        drop(core);
        for batch in open {
            if batch.history != history {
                self.look_after(&batch).await?;
                continue;
            }
            match self.request(&batch).await {
                Ok(done) => self.finish(&batch, done).await?,
                // The cluster is in another history: first that has to be gone over to.
                Err(error) if is_other_history(&error) => return Err(error),
                Err(SyncError::Cluster(error)) if !passes(&error) => self.look_after(&batch).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what waits, in rounds: what is refused is decided anew by what the cluster has then.
    ///
    /// # Errors
    /// [`SyncError`]: no node could be reached, or an outcome is unknown. The changes are kept.
    pub(super) async fn send(&self, due: Due<'_>) -> Result<(), SyncError> {
        let mut rounds = HashMap::new();
        loop {
            let waiting = self.waiting(&mut *self.core.lock().await, due, &rounds);
            if waiting.is_empty() {
                return Ok(());
            }
            self.learn(&waiting).await?;
            self.have_resolved(&waiting).await?;
            let priority = |key: &str| self.groups.of(key).map_or(0, |rules| rules.priority);
            let mut queue = Queue::new(waiting.clone(), priority);
            let mut failed = None;
            while let Some(batch) = self.next_batch(&mut queue, &mut failed).await? {
                self.carry_out(&batch).await?;
            }
            // A cache failed: the other keys went on meanwhile.
            if let Some(error) = failed {
                return Err(error);
            }
            // Whatever became of it, a key gets no more rounds than this.
            for key in waiting {
                *rounds.entry(key).or_insert(0_u32) += 1;
            }
        }
    }

    /// Keys with a local change that can be sent, oldest first. Marks those that have used up their rounds.
    fn waiting(&self, core: &mut Core, due: Due<'_>, rounds: &HashMap<String, u32>) -> Vec<String> {
        let mut found: Vec<(u64, String)> = Vec::new();
        let mut stuck = Vec::new();
        for (key, record) in &core.journal.keys {
            let Some(intent) = record.intent.as_ref().filter(|_| record.in_flight.is_none()) else {
                continue;
            };
            let rules = self.groups.of(key).filter(|rules| rules.direction != Direction::Down);
            if !rules.is_some_and(due) || core.is_stopped(key) {
                continue;
            }
            match rounds.get(key).is_some_and(|rounds| *rounds > self.options.retries) {
                true => stuck.push(key.clone()),
                false => found.push((intent.seq, key.clone())),
            }
        }
        for key in stuck {
            core.note(&key).stuck = Some("the key changed again and again".into());
        }
        found.sort_unstable();
        found.into_iter().map(|(_, key)| key).collect()
    }

    /// Reads what has to be known to decide: keys of which nothing is known, and values that were only told of.
    async fn learn(&self, keys: &[String]) -> Result<(), SyncError> {
        let core = self.core.lock().await;
        let is_open = |key: &&String| match core.noted(key) {
            Some(remote) => remote.is_to_be_read(),
            None => core.record(key).is_none_or(|record| record.base.is_none()),
        };
        let open: Vec<String> = keys.iter().filter(is_open).cloned().collect();
        drop(core);
        if open.is_empty() {
            return Ok(());
        }
        let (states, mut core) = self.read_keys(&open).await?;
        for (key, state) in open.iter().zip(states) {
            core.note_remote(key, Remote::new(state));
        }
        Ok(())
    }

    /// Decides about keys from the queue until a batch is full, and notes it.
    async fn next_batch(
        &self,
        queue: &mut Queue,
        failed: &mut Option<SyncError>,
    ) -> Result<Option<BatchRecord>, SyncError> {
        let mut core = self.core.lock().await;
        let core = &mut *core;
        let mut items: Vec<BatchItem> = Vec::new();
        let mut turn = Turn::default();
        let mut room = BatchRoom::default();
        queue.next_batch();
        while items.len() < self.options.batch_size {
            let Some(key) = queue.pop() else { break };
            let record = core.record(&key);
            if record.is_none_or(|record| record.intent.is_none() || record.in_flight.is_some()) {
                continue;
            }
            // Learned of too late: the next round.
            if core.noted(&key).is_some_and(Remote::is_to_be_read) {
                continue;
            }
            let item = match self.item_for(core, &key, &mut turn).await {
                Ok(Some(item)) => item,
                Ok(None) => continue,
                Err(error) => {
                    *failed = Some(error);
                    continue;
                }
            };
            if !room.take(&op_of(&item, core.journal.history())) {
                queue.put_back(key);
                break;
            }
            items.push(item);
        }
        if items.is_empty() {
            turn.end(core).await?;
            return Ok(None);
        }
        let id = uuid::Uuid::new_v4().to_string();
        let history = core.journal.history().to_owned();
        let batch = BatchRecord { id: id.clone(), history, sent_after: core.known_index(), items };
        for BatchItem { key, intent, .. } in &batch.items {
            let record = core.journal.record(key);
            record.in_flight = Some(InFlight { id: id.clone(), intent: intent.clone() });
            record.intent = None;
            turn.touched.insert(key.clone());
        }
        core.journal.batches.insert(id.clone(), batch.clone());
        // Before it is sent: after a crash the same batch is sent again, under the same key.
        let step = Step { begin: Some(&id), ..Step::default() };
        if let Err(error) = core.journal.write(&turn.touched, step).await {
            give_back(core, &batch);
            core.journal.batches.remove(&id);
            return Err(error.into());
        }
        Ok(Some(batch))
    }

    async fn request(&self, batch: &BatchRecord) -> Result<BatchDone, SyncError> {
        let ops: Vec<OpRequest> = batch.items.iter().map(|item| op_of(item, &batch.history)).collect();
        let sent_after = Place { index: batch.sent_after, history: batch.history.clone() };
        let done = self.ask(self.cluster.batch(&ops, &batch.id, &sent_after)).await?;
        if done.results.len() == ops.len() {
            return Ok(done);
        }
        let reason = "it has another number of results than of operations".into();
        Err(ClientError::Garbled { url: "/v1/batch".into(), reason }.into())
    }

    /// Sends a batch, and sees to its answer.
    async fn carry_out(&self, batch: &BatchRecord) -> Result<(), SyncError> {
        let error = match self.request(batch).await {
            Ok(done) => return self.finish(batch, done).await,
            Err(SyncError::Cluster(error)) if error.effect() == Effect::None => error,
            // Unknown: the batch stays open, and is repeated.
            Err(error) => return Err(error),
        };
        let mut core = self.core.lock().await;
        let core = &mut *core;
        give_back(core, batch);
        core.journal.batches.remove(&batch.id);
        // What a node said is about the changes. What something on the way to it says, a proxy, may pass.
        let is_ours = matches!(*error, ClientError::Problem(_))
            && !passes(&error)
            && !matches!(error.code(), ErrorCode::Unauthorized | ErrorCode::OtherHistory);
        if is_ours {
            blame(core, batch, &error);
        }
        let keys = batch.items.iter().map(|item| item.key.clone()).collect();
        core.journal.write(&keys, Step { end: Some(&batch.id), ..Step::default() }).await?;
        if is_ours { Ok(()) } else { Err(SyncError::Cluster(error)) }
    }

    /// Sees to the answer of a batch: each operation by itself.
    async fn finish(&self, batch: &BatchRecord, done: BatchDone) -> Result<(), SyncError> {
        let mut core = self.core.lock().await;
        let core = &mut *core;
        if !core.is_in(&done.history) {
            // It stays open, and is looked after in that history.
            return Err(SyncError::OtherHistory);
        }
        core.heard_of = core.heard_of.max(done.revision);
        let mut turn = Turn::default();
        for (item, result) in batch.items.iter().zip(done.results) {
            // If a cache fails the batch stays open, and its answer is asked for again.
            let done = self.finish_one(core, &batch.id, item, result, done.revision, &mut turn).await;
            turn.mind(done);
        }
        self.end_batch(core, batch, turn).await
    }

    async fn end_batch(&self, core: &mut Core, batch: &BatchRecord, turn: Turn) -> Result<(), SyncError> {
        if turn.has_failed() {
            return turn.end(core).await;
        }
        core.journal.batches.remove(&batch.id);
        Ok(core.journal.write(&turn.touched, Step { end: Some(&batch.id), ..Step::default() }).await?)
    }

    async fn finish_one(
        &self,
        core: &mut Core,
        batch: &str,
        item: &BatchItem,
        result: OpDone,
        revision: u64,
        turn: &mut Turn,
    ) -> Result<(), SyncError> {
        let BatchItem { key, intent, .. } = item;
        if !core.record(key).is_some_and(|record| record.is_in_flight(batch)) {
            return Ok(());
        }
        let number = match result {
            OpDone::Done { number } => number,
            OpDone::Refused { code, detail, state } => {
                restore(core, key, batch);
                turn.touched.insert(key.clone());
                if code != ErrorCode::PreconditionFailed {
                    core.note(key).stuck = Some(format!("{code}: {detail}"));
                }
                core.note_remote(key, Remote::new(state));
                return Ok(());
            }
        };
        let value = match number {
            None => intent.value.clone(),
            Some(number) => Some(self.counted(core, key, number).await?),
        };
        let is_newer = core.record(key).is_some_and(|record| record.intent.is_some());
        // The other caches get it; if one has a change of its own, that is the next local change.
        if !is_newer {
            let everywhere = self.groups.of(key).is_some_and(Rules::mirrors);
            self.put(core, key, value.as_ref(), How { everywhere, ..How::default() }).await?;
        }
        let known = core.noted(key).cloned();
        let modified_at_ms = self.log_now_ms(core);
        let version = core.record(key).and_then(|record| record.base.as_ref()).map_or(0, |base| base.version);
        let state = match &value {
            None => KeyState::Absent { gone: None, as_of: revision },
            Some(value) => {
                let value = Some(value.clone());
                KeyState::Found(FoundKey {
                    revision,
                    version: version + 1,
                    modified_at_ms,
                    origin: None,
                    value,
                })
            }
        };
        let mut base = Remote::new(state).base(value.as_ref().map(hash_of), core.journal.history());
        if number.is_some() {
            // Its content type was not told: what the stream says of this revision is still news.
            base.at = revision.saturating_sub(1);
        }
        let record = core.journal.record(key);
        (record.base, record.in_flight) = (Some(base), None);
        turn.touched.insert(key.clone());
        let cause = if value.is_some() { ChangeCause::Set } else { ChangeCause::Delete };
        let (name, origin) = (key.clone(), ChangeOrigin::Local);
        self.tell(SyncChange::Key { key: name, cause, origin, revision: Some(revision), value });
        let newer = known.filter(|known| known.index() > revision);
        let is_dirty = core.record(key).is_some_and(|record| record.is_dirty());
        if newer.is_none() || !is_dirty {
            core.notes.remove(key);
        }
        match newer.filter(|_| !is_dirty) {
            Some(known) => {
                let cause = cause_of(&known);
                self.take(core, key, known, cause, false, turn).await
            }
            None => Ok(()),
        }
    }

    /// What a counter has, with the type that its value had here.
    async fn counted(&self, core: &Core, key: &str, number: i64) -> Result<SyncValue, SyncError> {
        let known = core.noted(key).and_then(Remote::value).cloned();
        let before = match known {
            Some(known) => Some(known),
            None => self.caches.current(key).await?,
        };
        Ok(SyncValue::of_number(number, before.and_then(|value| value.content_type)))
    }

    /// A batch whose idempotency key is not remembered any more: what the cluster has tells what became of it, except of additions.
    async fn look_after(&self, batch: &BatchRecord) -> Result<(), SyncError> {
        let core = self.core.lock().await;
        let is_open =
            |item: &&BatchItem| core.record(&item.key).is_some_and(|record| record.is_in_flight(&batch.id));
        let keys: Vec<String> = batch.items.iter().filter(is_open).map(|item| item.key.clone()).collect();
        drop(core);
        let (states, mut core) = self.read_keys(&keys).await?;
        let core = &mut *core;
        let mut turn = Turn::default();
        for (key, state) in keys.into_iter().zip(states) {
            let done = self.look_after_one(core, &key, &batch.id, Remote::new(state), &mut turn).await;
            turn.mind(done);
        }
        self.end_batch(core, batch, turn).await
    }

    async fn look_after_one(
        &self,
        core: &mut Core,
        key: &str,
        batch: &str,
        remote: Remote,
        turn: &mut Turn,
    ) -> Result<(), SyncError> {
        let sent = core.record(key).and_then(|record| record.in_flight.as_ref());
        let Some(InFlight { intent, .. }) = sent.filter(|sent| sent.id == batch).cloned() else {
            return Ok(());
        };
        let is_newer = core.record(key).is_some_and(|record| record.intent.is_some());
        let is_add = intent.kind == ChangeKind::Add;
        let is_done = match intent.kind {
            ChangeKind::Delete => remote.found().is_none(),
            _ => is_equal(&intent, &remote),
        };
        match (is_add || is_done, is_newer) {
            (false, _) => {
                restore(core, key, batch);
                core.note_remote(key, remote);
            }
            (true, false) => {
                let cause = cause_of(&remote);
                self.settle(core, key, remote, cause, turn).await?;
            }
            (true, true) if is_add => core.note_remote(key, remote),
            // The newer change knew what this one made.
            (true, true) => {
                let base = remote.base(remote.hash.clone(), core.journal.history());
                core.journal.record(key).base = Some(base);
                core.notes.remove(key);
            }
        }
        if is_add {
            core.tell_unknown(key, intent.by);
        }
        if is_add || is_done {
            core.journal.record(key).in_flight = None;
        }
        turn.touched.insert(key.to_owned());
        Ok(())
    }
}

/// Whether an error passes by itself: the same request may succeed later, on this node or another.
fn passes(error: &ClientError) -> bool {
    matches!(
        error.code(),
        ErrorCode::Busy
            | ErrorCode::RateLimited
            | ErrorCode::Unavailable
            | ErrorCode::OutcomeUnknown
            | ErrorCode::Fatal
            | ErrorCode::Superseded
            | ErrorCode::Detached
    )
}

/// The whole batch was refused: the operation at fault is stuck, and so the others can go on.
fn blame(core: &mut Core, batch: &BatchRecord, error: &ClientError) {
    let at = match error {
        ClientError::Problem(problem) => problem.op.and_then(|op| usize::try_from(op).ok()),
        _ => None,
    };
    let guilty = at.and_then(|at| batch.items.get(at)).map_or(&batch.items[..], std::slice::from_ref);
    for item in guilty {
        core.note(&item.key).stuck = Some(format!("{}: {error}", error.code()));
    }
}

/// The batch was not carried out: its changes wait again.
fn give_back(core: &mut Core, batch: &BatchRecord) {
    for item in &batch.items {
        restore(core, &item.key, &batch.id);
    }
}

/// A change was not carried out: it waits again. A newer one of the same key takes its place, or adds to it.
fn restore(core: &mut Core, key: &str, batch: &str) {
    let record = core.journal.record(key);
    let Some(InFlight { intent: sent, .. }) = record.in_flight.take_if(|sent| sent.id == batch) else {
        return;
    };
    record.intent = Some(match record.intent.take() {
        None => sent,
        Some(newer) if newer.kind == ChangeKind::Add => {
            let sum: Option<Intent> = added(&sent, newer.clone());
            // That it makes a number was seen to when it was accepted.
            sum.unwrap_or(newer)
        }
        Some(newer) => newer,
    });
}

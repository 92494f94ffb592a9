//! Brings what an old node sends into the log. Operations on one key keep their order, the others go side by side, so that a
//! disk's flush serves many. An operation's id is its idempotency key: the node may send it to several nodes of the cluster, and again.

use super::super::super::api_error::ApiError;
use super::super::super::state::AppState;
use super::super::items::Item;
use super::incoming::{Incoming, Packet, Unreadable, items_of};
use super::outlet::Outlet;
use super::registry::OldNode;
use super::teller::Told;
use super::tries::Tries;
use crate::api::{Effect, ErrorCode};
use crate::cache::{Command, Key};
use crate::front::{LineRate, truncate};
use crate::node::{Principal, WriteRequest};
use crate::replica::OldNodeOperation;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use socketioxide::extract::AckSender;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

/// Operations of one old node that are being written at a time.
const WRITING_MAX: usize = 64;
/// How long an operation is tried, from its arrival. It is less than a ping of the connection may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same after one could not be written, until one can be again.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Log lines about refused operations in a second.
static REFUSALS: LineRate = LineRate::new(10);
const LOGGED_BYTES: usize = 128;

/// A message of an old node. The window has counted its bytes.
pub(super) struct Received {
    pub packet: Packet,
    pub bytes: u64,
    pub is_full_sync: bool,
    pub ack: AckSender,
    pub at: Instant,
}

/// Payload of `cache-error`, and of an acknowledgement.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether nothing was changed, or that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<&'static str>,
    /// The log entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
}

impl Answer {
    pub fn refusal(code: ErrorCode, message: impl Into<String>) -> Self {
        let effect = match code.effect() {
            Effect::Unknown => "unknown",
            _ => "none",
        };
        let (code, message) = (Some(code.as_str()), Some(message.into()));
        let (operation_id, kind, key, index) = Default::default();
        Self { success: false, operation_id, kind, key, code, message, effect: Some(effect), index }
    }

    fn done(operation_id: String, index: u64) -> Self {
        let (kind, key, code, message, effect) = Default::default();
        Self {
            success: true,
            operation_id: Some(operation_id),
            kind,
            key,
            code,
            message,
            effect,
            index: Some(index),
        }
    }
}

/// One that is about to be written.
struct Job {
    incoming: Incoming,
    bytes: u64,
    ack: AckSender,
    at: Instant,
}

/// One that was written, or not.
struct Done {
    job: Job,
    outcome: Result<u64, ApiError>,
}

/// Writes for one old node.
pub(super) struct Writer {
    pub node: Arc<OldNode>,
    pub outlet: Arc<Outlet>,
    pub told: Arc<Told>,
    pub state: AppState,
    pub principal: Principal,
    /// Whether the newest operation could not be written in time.
    pub fails: AtomicBool,
}

impl Writer {
    /// Writes until the connection has ended and everything that was received is dealt with. `release` is called for each message.
    pub async fn run(self, mut queue: UnboundedReceiver<Received>, release: impl Fn(u64)) {
        self.node.turn().await;
        let mut writing = FuturesUnordered::new();
        let mut keys: HashSet<Key> = HashSet::new();
        let mut next: Option<Job> = None;
        let mut open = true;
        while open || next.is_some() || !writing.is_empty() {
            if let Some(job) = next.take_if(|job| may_start(job, &keys, writing.len())) {
                keys.extend(job.incoming.key().cloned());
                writing.push(self.write(job));
                continue;
            }
            tokio::select! {
                biased;
                Some(done) = writing.next(), if !writing.is_empty() => {
                    let done: Done = done;
                    if let Some(key) = done.job.incoming.key() {
                        keys.remove(key);
                    }
                    let bytes = done.job.bytes;
                    self.answer(done).await;
                    release(bytes);
                }
                received = queue.recv(), if open && next.is_none() => match received {
                    None => open = false,
                    Some(received) if received.is_full_sync => {
                        // It is about many keys: those before it come first.
                        while let Some(done) = writing.next().await {
                            let bytes = done.job.bytes;
                            self.answer(done).await;
                            release(bytes);
                        }
                        keys.clear();
                        let bytes = received.bytes;
                        self.take_in(received).await;
                        release(bytes);
                    }
                    Some(received) => {
                        let bytes = received.bytes;
                        next = self.read(received).await;
                        if next.is_none() {
                            release(bytes);
                        }
                    }
                },
            }
        }
    }

    /// `None` if there is nothing to write; then that was answered.
    async fn read(&self, received: Received) -> Option<Job> {
        self.node.counts.received.fetch_add(1, SeqCst);
        let Received { packet, bytes, ack, at, .. } = received;
        match Incoming::parse(&packet, self.state.front.limits.value_bytes) {
            // As with the original server: what comes back to where it began is not carried out again.
            Ok(incoming) if self.is_member(&incoming.node_id) => None,
            Ok(incoming) => Some(Job { incoming, bytes, ack, at }),
            Err(Unreadable { operation_id, kind, key, error }) => {
                let problem = error.problem();
                let refusal = Answer::refusal(problem.code, problem.detail.clone());
                let changed = key.clone();
                self.refuse(Answer { operation_id, kind, key, ..refusal }, Some(ack)).await;
                match changed {
                    Some(key) => self.correct(&key).await,
                    None => self.node.resync.notify_one(),
                }
                None
            }
        }
    }

    fn is_member(&self, name: &str) -> bool {
        self.state.session(self.principal.clone()).is_some_and(|session| session.node_name() == name)
    }

    async fn write(&self, job: Job) -> Done {
        let Incoming { node_id, operation_id, command, .. } = &job.incoming;
        let key = OldNodeOperation::key(node_id, operation_id);
        let outcome = self.carry_out(command, Some(key), job.at).await;
        Done { job, outcome }
    }

    /// Writes a command, again as long as that is safe and there is time.
    async fn carry_out(&self, command: &Command, key: Option<String>, at: Instant) -> Result<u64, ApiError> {
        let patience = if self.fails.load(SeqCst) { Instant::now() + SHORT_PATIENCE } else { at + PATIENCE };
        let mut tries = Tries::default();
        loop {
            // The node's next connection waits until this one's operations are dealt with.
            let ended = self.node.ended_at().map(|at| at + PATIENCE);
            if ended.is_some_and(|end| Instant::now() >= end) {
                let reason = "the connection has ended, and what came before took too long";
                return Err(tries.verdict(ApiError::new(ErrorCode::Unavailable, reason)));
            }
            let patience = ended.map_or(patience, |end| patience.min(end));
            let error = match self.state.session(self.principal.clone()) {
                None => ApiError::waiting(),
                Some(session) => {
                    let left = patience.saturating_duration_since(Instant::now()).max(SHORT_PATIENCE);
                    let request = WriteRequest {
                        idempotency_key: key.clone().map(Into::into),
                        limit: Some(left),
                        ..command.clone().into()
                    };
                    match session.write(request).await {
                        Ok(written) => {
                            self.fails.store(false, SeqCst);
                            return Ok(written.index);
                        }
                        Err(error) => error.into(),
                    }
                }
            };
            if let Err(error) = tries.failed(error, key.is_some(), Instant::now() < patience) {
                let is_lost = [ErrorCode::Busy, ErrorCode::Unavailable, ErrorCode::OutcomeUnknown];
                if is_lost.contains(&error.problem().code) {
                    self.fails.store(true, SeqCst);
                }
                return Err(error);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn answer(&self, Done { job, outcome }: Done) {
        let Job { incoming, ack, .. } = job;
        let error = match outcome {
            Ok(index) => {
                // Whoever does not ask for it is not told.
                let _ = ack.send(&Answer::done(incoming.operation_id, index));
                return;
            }
            Err(error) => error,
        };
        let problem = error.problem();
        let key = incoming.key().cloned();
        let answer = Answer {
            operation_id: Some(incoming.operation_id),
            kind: Some(incoming.kind),
            key: key.as_ref().map(|key| key.as_str().to_owned()),
            ..Answer::refusal(problem.code, problem.detail.clone())
        };
        self.refuse(answer, Some(ack)).await;
        // The node has what the cluster has not, so it is told what the cluster has.
        match (problem.code, key) {
            (ErrorCode::Busy | ErrorCode::Unavailable | ErrorCode::OutcomeUnknown, _) | (_, None) => {
                self.node.resync.notify_one();
            }
            (_, Some(key)) => self.correct(key.as_str()).await,
        }
    }

    /// Tells the node what the cluster has under a key; of all keys if that cannot be read now.
    async fn correct(&self, key: &str) {
        let Some(session) = self.state.session(self.principal.clone()) else { return };
        match session.entries(key.to_owned(), None, 1, 1).await {
            Ok(read) => {
                let entry = read.value.entries.first().filter(|entry| entry.key.as_str() == key);
                let item = entry.and_then(|entry| Item::of(entry).ok());
                let _ = self.told.tell_state(&self.outlet, &session, key, item, read.index).await;
            }
            Err(_) => self.node.resync.notify_one(),
        }
    }

    async fn refuse(&self, answer: Answer, ack: Option<AckSender>) {
        self.node.counts.refused.fetch_add(1, SeqCst);
        if let Some(omitted) = REFUSALS.admit() {
            let short = |text: &Option<String>| {
                truncate(text.as_deref().unwrap_or_default(), LOGGED_BYTES).to_string()
            };
            tracing::warn!(
                node = %truncate(&self.node.id, LOGGED_BYTES),
                operation = short(&answer.operation_id),
                code = answer.code.unwrap_or_default(),
                omitted,
                "an operation of an old node is refused: {}",
                short(&answer.message)
            );
        }
        if let Some(ack) = ack {
            let _ = ack.send(&answer);
        }
        // If it is gone, the log has the line.
        let _ = self.outlet.send("cache-error", &answer).await;
    }

    /// Takes in a full-sync: what the cluster does not have. It overwrites nothing, because nothing in it says which is newer.
    async fn take_in(&self, received: Received) {
        let items = match items_of(&received.packet, self.state.front.limits.value_bytes) {
            Ok(items) => items,
            Err(error) => {
                let problem = error.problem();
                let refusal = Answer::refusal(problem.code, problem.detail.clone());
                let kind = Some("full-sync".to_owned());
                return self.refuse(Answer { kind, ..refusal }, Some(received.ack)).await;
            }
        };
        let (mut kept, mut taken) = (0_u64, 0_u64);
        let writes = items.into_iter().map(async |item| match item {
            Ok(op) => {
                let key = op.key().as_str().to_owned();
                let command = Command::One(op);
                self.carry_out(&command, None, Instant::now()).await.map_err(|error| (key, Box::new(error)))
            }
            Err(refused) => Err(refused),
        });
        let mut writes = futures::stream::iter(writes).buffered(WRITING_MAX);
        while let Some(written) = writes.next().await {
            match written {
                Ok(_) => taken += 1,
                Err((_, error)) if error.problem().code == ErrorCode::PreconditionFailed => kept += 1,
                Err((key, error)) => {
                    let problem = error.problem();
                    let refusal = Answer::refusal(problem.code, problem.detail.clone());
                    let kind = Some("full-sync".to_owned());
                    self.refuse(Answer { kind, key: Some(key), ..refusal }, None).await;
                }
            }
        }
        tracing::info!(node = %truncate(&self.node.id, LOGGED_BYTES), taken, kept, "an old node sent its state");
        if kept > 0 {
            let message =
                format!("{kept} keys of the full-sync are in the cluster already, which keeps its values");
            let refusal = Answer::refusal(ErrorCode::PreconditionFailed, message);
            let kind = Some("full-sync".to_owned());
            self.refuse(Answer { kind, ..refusal }, None).await;
            self.node.resync.notify_one();
        }
    }
}

/// Whether a job can begin: no other is about its key, and what is about all keys is alone.
fn may_start(job: &Job, keys: &HashSet<Key>, writing: usize) -> bool {
    match job.incoming.key() {
        None => writing == 0,
        // Without a key, the one that is being written is about all.
        Some(key) => writing < WRITING_MAX && keys.len() == writing && !keys.contains(key),
    }
}

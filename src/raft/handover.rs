//! A leader hands its leadership over: it proposes nothing meanwhile, and asks a voter to become a candidate as soon as that
//! has the whole log. If the voter is not elected within an election timeout, the leader proposes again. As in Ongaro's
//! dissertation on Raft (section 3.10).
//!
//! openraft can do this too, but a leader whose successor is not elected then proposes nothing for the rest of its term,
//! and its heartbeats keep the others from electing another one.

use super::lease::Lease;
use super::machine::Machine;
use super::network::Networks;
use super::timing::Timing;
use super::types::{Types, Vote};
use super::wire::{WireTransferRequest, WireTransferResponse, log_id};
use crate::peer::{Lane, Method, NodeId};
use crate::replica::{Member, from_postcard, to_bytes};
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, ServerState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How often somebody who waits for the end of a hand-over looks.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// How far behind a voter may be that leadership is handed over to, as the time that it takes to catch up. Nobody can write for
/// longer than that while it takes over.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether this node hands its leadership over. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Handover {
    is_under_way: Arc<AtomicBool>,
    /// There is one attempt at a time, which begins then at the earliest.
    turn: Arc<Mutex<Option<Instant>>>,
}

/// An attempt, until it is dropped.
struct Attempt<'a>(&'a AtomicBool);

impl<'a> Attempt<'a> {
    fn begin(is_under_way: &'a AtomicBool) -> Self {
        is_under_way.store(true, Ordering::Relaxed);
        Self(is_under_way)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Handover {
    /// Whether this node should propose nothing. A proposal that slips through does no harm, but the successor may lack it,
    /// and is then not elected.
    pub fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Relaxed)
    }

    /// Waits until no attempt is under way.
    pub async fn over(&self) {
        while self.is_under_way() {
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Hands the leadership over to a voter, if this node leads. If the voter does not take it, this returns once this node has
    /// proposed again for an election timeout, so that writes go on between two attempts; at once if it is urgent, because nobody
    /// writes any more. The voter is asked by `latest`, or not at all.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn attempt(
        &self,
        to: NodeId,
        member: &Member,
        leader: Leader<'_>,
        is_urgent: bool,
        latest: Instant,
    ) -> Result<Attempted, String> {
        let Ok(mut turn) = timeout_at(latest, self.turn(is_urgent)).await else {
            return Ok(Attempted::NotAsked);
        };
        let asked = Instant::now();
        if timeout_at(latest.min(asked + CATCH_UP_TIMEOUT), leader.until_stored(to)).await.is_err() {
            tracing::warn!(to = member.name, "leadership was not handed over: that node is too far behind");
            return Ok(Attempted::NotAsked);
        }
        // By then the voter may have as much to store again.
        let behind = asked.elapsed() * 2;
        let attempt = Attempt::begin(&self.is_under_way);
        let round_trip = leader.networks.round_trips().median(to).unwrap_or_default();
        let until = Instant::now() + leader.timing.handover_timeout(round_trip) + behind;
        let patience = leader.timing.takeover_patience() + behind;
        let is_over = match timeout_at(until, leader.hand_over(to, member, patience, until)).await {
            Ok(is_over) => is_over?,
            Err(_) => {
                tracing::warn!(to = member.name, "leadership was not taken in time: this node goes on");
                false
            }
        };
        drop(attempt);
        if is_over {
            return Ok(Attempted::Over);
        }
        let next = Instant::now() + leader.timing.election_timeout();
        *turn = Some(next);
        drop(turn);
        if !is_urgent {
            sleep_until(next).await;
        }
        Ok(Attempted::Asked)
    }

    /// Waits for the turn, and for the end of the pause after the attempt before.
    async fn turn(&self, is_urgent: bool) -> MutexGuard<'_, Option<Instant>> {
        loop {
            let turn = self.turn.lock().await;
            match *turn {
                Some(next) if !is_urgent && next > Instant::now() => {
                    drop(turn);
                    sleep_until(next).await;
                }
                _ => return turn,
            }
        }
    }
}

/// What came of an attempt to hand leadership over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// This node does not lead any more, which its status may show a moment later.
    Over,
    /// The voter was asked, and was not elected in time. It may still be.
    Asked,
    /// The voter was too far behind to be asked: nothing has happened.
    NotAsked,
}

/// What a leader needs to hand its leadership over.
pub(super) struct Leader<'a> {
    pub raft: &'a Raft<Types, Machine>,
    pub networks: &'a Networks,
    pub lease: &'a Lease,
    pub timing: &'a Timing,
}

impl Leader<'_> {
    /// Waits until a voter has stored what this node had in its log when it was asked. Writes go on meanwhile.
    async fn until_stored(&self, to: NodeId) {
        let mut metrics = self.raft.metrics();
        let last = metrics.borrow_watched().last_log_index;
        loop {
            let stored = {
                let now = metrics.borrow_watched();
                let matched = now.replication.as_ref().and_then(|peers| peers.get(&to).copied().flatten());
                now.state != ServerState::Leader || matched.map(|matched| matched.index()) >= last
            };
            if stored || metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks a voter to become a candidate, and waits until this node does not lead any more. Returns false if the voter can't.
    async fn hand_over(
        &self,
        to: NodeId,
        member: &Member,
        patience: Duration,
        until: Instant,
    ) -> Result<bool, String> {
        // Requests are carried out in order: this one comes after all that was proposed.
        let state = self.raft.with_raft_state(|state| {
            let leads = state.server_state == ServerState::Leader;
            leads.then(|| (*state.vote_ref(), state.log_ids.last().copied()))
        });
        let Some((vote, last_log_id)) = state.await.map_err(|error| error.to_string())? else {
            return Ok(true);
        };
        // Before the voter is asked, and for the rest of the term, because it may become a candidate later, too.
        self.lease.revoke(vote.leader_id().term);
        tracing::info!(to = member.name, "handing leadership over");
        let request = WireTransferRequest {
            from_leader: vote.into(),
            to,
            last_log_id: log_id(last_log_id),
            patience_ms: patience.as_millis() as u64,
        };
        if let Err(reason) = self.ask(member, &request, until).await {
            tracing::warn!(to = member.name, reason, "leadership was not taken: this node goes on");
            return Ok(false);
        }
        self.until_another_leads(vote).await;
        Ok(true)
    }

    /// Asks a voter to become a candidate. The error says why it does not.
    async fn ask(
        &self,
        member: &Member,
        request: &WireTransferRequest,
        until: Instant,
    ) -> Result<(), String> {
        let client = self.networks.shared(request.to, member, Lane::Control);
        let limit = until.saturating_duration_since(Instant::now());
        let answer = client.call(Method::TransferLeader, to_bytes(request), limit).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let answer: WireTransferResponse =
            from_postcard("an answer to a transfer request", &answer).map_err(|error| error.to_string())?;
        match answer {
            WireTransferResponse::Accepted => Ok(()),
            WireTransferResponse::VoteChanged { .. } => Err("it knows a later leader".into()),
            WireTransferResponse::LogNotFlushed { .. } => Err("it does not have the whole log yet".into()),
        }
    }

    /// Returns once this node no longer leads by this vote.
    async fn until_another_leads(&self, vote: Vote) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let leads = {
                let now = metrics.borrow_watched();
                now.state == ServerState::Leader && now.vote == vote
            };
            if !leads || metrics.changed().await.is_err() {
                return;
            }
        }
    }
}

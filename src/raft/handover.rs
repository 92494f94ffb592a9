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
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

/// How often somebody who waits for the end of a hand-over looks.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Whether this node hands its leadership over. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Handover {
    is_under_way: Arc<AtomicBool>,
    /// There is one attempt at a time, and a pause before the next one.
    turn: Arc<Mutex<()>>,
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

    /// Hands the leadership over to a voter, if this node leads. Returns true once it does not lead any more. Otherwise it returns
    /// false once this node has proposed again for an election timeout, so that writes go on between two attempts.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn attempt(&self, to: NodeId, member: &Member, leader: Leader<'_>) -> Result<bool, String> {
        let _turn = self.turn.lock().await;
        let attempt = Attempt::begin(&self.is_under_way);
        let round_trip = leader.networks.round_trips().median(to).unwrap_or_default();
        let until = Instant::now() + leader.timing.handover_timeout(round_trip);
        let is_over = match timeout_at(until, leader.hand_over(to, member, until)).await {
            Ok(is_over) => is_over?,
            Err(_) => {
                tracing::warn!(to = member.name, "leadership was not taken in time: this node goes on");
                false
            }
        };
        drop(attempt);
        if !is_over {
            sleep(leader.timing.election_timeout()).await;
        }
        Ok(is_over)
    }
}

/// What a leader needs to hand its leadership over.
pub(super) struct Leader<'a> {
    pub raft: &'a Raft<Types, Machine>,
    pub networks: &'a Networks,
    pub lease: &'a Lease,
    pub timing: &'a Timing,
}

impl Leader<'_> {
    /// Asks a voter to become a candidate, and waits until this node does not lead any more. Returns false if the voter can't.
    async fn hand_over(&self, to: NodeId, member: &Member, until: Instant) -> Result<bool, String> {
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
        let request = WireTransferRequest { from_leader: vote.into(), to, last_log_id: log_id(last_log_id) };
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

//! What a node does without being asked: learn the log time, let time pass, give a new cluster its
//! settings, keep the log short, ask for its own vote, finish what another leader began. Each task ends when the node is gone.

use super::admin::AdminRequest;
use super::error::NodeError;
use super::options::Origin;
use super::own_reads::Before;
use super::start::Inner;
use super::write::Times;
use crate::cache::{CacheConfig, Command, ConfigChange};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::RaftStatus;
use crate::replica::{Envelope, from_postcard};
use crate::storage::LogStore;
use bytes::Bytes;
use futures::future::join_all;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// A log of so many bytes is short, whatever the cache holds.
const LOG_BYTES_MIN: u64 = 64 << 20;
/// How long a node may take to tell its log time.
const CLOCK_LIMIT: Duration = Duration::from_millis(300);
/// How long a new leader that knows no log time waits for nodes that do not answer, before it takes them
/// for gone: a machine that died does not say so.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// How often a follower compares its log time with the leader's, before and after it knows it.
const CLOCK_SYNC_FIRST: Duration = Duration::from_millis(50);
const CLOCK_SYNC: Duration = Duration::from_secs(5);
/// Longest sleep of the ticker, and the pause before it looks again: together with a commit they bound how
/// late an expiry is.
const TICK_LOOK: Duration = Duration::from_millis(50);
/// How often the log's length is looked at. Large values bring it 50 MB a second, all of it in memory.
const LOG_LOOK: Duration = Duration::from_millis(200);
const PROMOTION_LOOK: Duration = Duration::from_millis(500);
const CHANGE_LOOK: Duration = Duration::from_secs(1);
const CHANGE_LIMIT: Duration = Duration::from_secs(5);

/// Keeps this node's log time close to the cluster's.
pub(super) async fn keep_clock(inner: Weak<Inner>) {
    // Since when this node leads without knowing the log time.
    let mut leading_since = None;
    loop {
        let Some(node) = inner.upgrade() else { return };
        let anchored = node.consensus.clock().is_anchored();
        if node.consensus.is_leader() {
            let since = *leading_since.get_or_insert_with(Instant::now);
            if !anchored {
                anchor_leader(&node, since).await;
            }
        } else {
            leading_since = None;
            let leader = node.consensus.leader().filter(|leader| *leader != node.identity.node_id);
            if let Some(leader) = leader
                && let Reading::At(log_ms) = ask_clock(&node, leader).await
            {
                node.consensus.clock().anchor(log_ms);
            }
        }
        let anchored = node.consensus.clock().is_anchored();
        drop(node);
        sleep(if anchored { CLOCK_SYNC } else { CLOCK_SYNC_FIRST }).await;
    }
}

/// What a node says when it is asked for the log time.
enum Reading {
    At(u64),
    /// It does not know, or does not run.
    Unknown,
    /// It may run and know: it just does not answer.
    Silent,
}

/// A leader that has just started takes the log time of whoever is running. When nobody knows it, the
/// whole cluster has started, and the wall clock is what is left. A node that is silent may be one that knows,
/// so it is waited for, though not for ever.
async fn anchor_leader(node: &Inner, leading_since: Instant) {
    let me = node.identity.node_id;
    let others = node.consensus.status().members.into_iter().filter(|member| member.id != me);
    let readings = join_all(others.map(|member| ask_clock(node, member.id))).await;
    let known = readings.iter().filter_map(|reading| match reading {
        Reading::At(log_ms) => Some(*log_ms),
        Reading::Unknown | Reading::Silent => None,
    });
    let silent = readings.iter().any(|reading| matches!(reading, Reading::Silent));
    match known.max() {
        Some(log_ms) => node.consensus.clock().anchor(log_ms),
        None if silent && leading_since.elapsed() < SILENCE_LIMIT => {}
        None => node.consensus.clock().anchor_to_wall(),
    }
}

async fn ask_clock(node: &Inner, id: NodeId) -> Reading {
    let Some(client) = node.peers.client(&node.consensus, id, Lane::Control) else { return Reading::Unknown };
    match client.call(Method::Clock, Bytes::new(), CLOCK_LIMIT).await {
        Ok(answer) => match from_postcard::<Option<u64>>("a clock reading", &answer) {
            Ok(Some(log_ms)) => Reading::At(log_ms),
            Ok(None) | Err(_) => Reading::Unknown,
        },
        Err(PeerError::NotListening(_) | PeerError::OtherCluster(_) | PeerError::Refused(_)) => {
            Reading::Unknown
        }
        Err(PeerError::Unreachable(_) | PeerError::Lost | PeerError::TimedOut) => Reading::Silent,
    }
}

/// Lets time pass in the log when something is due and no write brings the time along.
pub(super) async fn keep_ticking(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let due_ms = node.consensus.replica().with_cache(crate::cache::Cache::next_due_ms);
        let now_ms = node.consensus.clock().now_ms();
        if let (true, Some(due_ms), Some(now_ms)) = (node.consensus.is_leader(), due_ms, now_ms)
            && due_ms <= now_ms
        {
            let tick = Envelope { idempotency_key: None, command: Command::Tick };
            // Whatever becomes of it, the next look decides anew; after a failure, not at once.
            if node
                .propose_here(
                    0,
                    tick.encode(),
                    &Before::default(),
                    Times::at_once(Instant::now() + Duration::from_secs(1)),
                )
                .await
                .is_ok()
            {
                continue;
            }
        }
        let wait_ms = due_ms.zip(now_ms).map_or(u64::MAX, |(due, now)| due.saturating_sub(now));
        drop(node);
        sleep(TICK_LOOK.min(Duration::from_millis(wait_ms.max(1)))).await;
    }
}

/// Gives a new cluster the settings it was founded with: its first command.
pub(super) async fn give_first_settings(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let replica = node.consensus.replica();
        // Log time is 0 until the first command is applied.
        if replica.with_cache(crate::cache::Cache::now_ms) > 0 {
            return;
        }
        let config = node.identity.founding.as_ref().map(|founding| founding.config.clone());
        if let (true, Some(config)) = (node.consensus.is_leader(), config) {
            let command = Command::Configure(ConfigChange::from(config));
            let envelope = Envelope { idempotency_key: Some("the cluster's first settings".into()), command };
            let _ = node
                .propose_here(
                    0,
                    envelope.encode(),
                    &Before::default(),
                    Times::at_once(Instant::now() + Duration::from_secs(2)),
                )
                .await;
        }
        drop(node);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Tells, once the cluster's settings are known, which of those that this node was started with do not hold.
pub(super) async fn tell_of_other_settings(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        // Log time is 0 until the first command is applied, which brings the settings.
        let (now_ms, config) =
            node.consensus.replica().with_cache(|cache| (cache.now_ms(), cache.config().clone()));
        if now_ms > 0 {
            for (setting, given, holds) in differing(&node.options.given, &config) {
                tracing::warn!(
                    setting,
                    given,
                    holds,
                    "this node was started with a setting that the cluster does not have; `lockstep config` changes it"
                );
            }
            return;
        }
        drop(node);
        sleep(Duration::from_millis(100)).await;
    }
}

/// The settings that were given and differ from those that hold: name, what was given, what holds.
fn differing(given: &ConfigChange, config: &CacheConfig) -> Vec<(&'static str, String, String)> {
    let ttl = |ttl: Option<u64>| ttl.map_or_else(|| "none".to_owned(), |ttl| ttl.to_string());
    let pairs = [
        (
            "capacity_entries",
            given.capacity_entries.map(|n| n.to_string()),
            config.capacity_entries.to_string(),
        ),
        ("capacity_bytes", given.capacity_bytes.map(|n| n.to_string()), config.capacity_bytes.to_string()),
        ("policy", given.policy.map(|policy| policy.name().to_owned()), config.policy.name().to_owned()),
        ("default_ttl_ms", given.default_ttl_ms.map(ttl), ttl(config.default_ttl_ms)),
    ];
    let other = pairs.into_iter().filter_map(|(name, given, holds)| Some((name, given?, holds)));
    other.filter(|(_, given, holds)| given != holds).collect()
}

/// Has the membership say by which name and URL this node was started: others send clients there.
pub(super) async fn keep_own_record(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let (me, options) = (node.identity.node_id, &node.options);
        if let Some(known) = node.consensus.member(me) {
            let name = options.name.clone().unwrap_or_else(|| known.name.clone());
            // A node without an HTTP server has no URL to tell of.
            let http = Some(options.http_advertise.clone()).filter(|http| !http.is_empty());
            let http = http.unwrap_or_else(|| known.http.clone());
            if name == known.name && http == known.http {
                return;
            }
            match node.admin(AdminRequest::Update { id: me, name: name.clone(), http: http.clone() }).await {
                Ok(_) => tracing::info!(name, http, "the membership has this node's new name and URL"),
                Err(error @ (NodeError::Conflict(_) | NodeError::NotFound(_))) => {
                    tracing::warn!(%error, name, http, "the membership keeps this node's old name and URL");
                    return;
                }
                Err(error) => tracing::debug!(%error, "the membership does not have this node's new URL yet"),
            }
        }
        drop(node);
        sleep(PROMOTION_LOOK).await;
    }
}

/// Asks for a snapshot when the log has grown larger than what the cache holds, and lets go of what the snapshot covers. So
/// the log takes about as much again, and a snapshot is written for as many bytes as were written to the log.
pub(super) async fn keep_log_short(inner: Weak<Inner>) {
    let mut asked_at = 0;
    loop {
        let Some(node) = inner.upgrade() else { return };
        let RaftStatus { snapshot_index: snapshot, purged_index: purged, .. } = node.consensus.status();
        // Half of what the cache holds: a snapshot writes twice the log's bytes then. The log costs memory, too.
        let half = node.consensus.replica().with_cache(crate::cache::Cache::bytes) / 2;
        let limit = half.clamp(LOG_BYTES_MIN, node.options.limits.log_bytes.max(LOG_BYTES_MIN));
        if node.store.log_bytes() > limit {
            if snapshot > purged {
                let _ = node.consensus.purge(snapshot).await;
            }
            // What is not applied yet would stay anyway, and is bounded as writes under way are.
            let applied = node.consensus.replica().applied_index();
            if snapshot >= asked_at && applied_bytes(&node.store, applied) > limit {
                asked_at = applied;
                let _ = node.consensus.snapshot().await;
            }
        }
        drop(node);
        sleep(LOG_LOOK).await;
    }
}

/// Bytes of the log's entries up to this one, about: as if all entries were of one size.
fn applied_bytes(log: &LogStore, applied: u64) -> u64 {
    let (bytes, state) = (log.log_bytes(), log.state());
    let entries = state.last_index.map_or(0, |last| last + 1 - state.first_index);
    let part = (applied + 1).saturating_sub(state.first_index).min(entries);
    u64::try_from(u128::from(bytes) * u128::from(part) / u128::from(entries.max(1))).unwrap_or(bytes)
}

/// A node that joined asks for its vote until it has one.
pub(super) async fn ask_for_vote(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let me = node.identity.node_id;
        let wants = matches!(node.options.origin, Origin::Join { stay_learner: false, .. });
        let votes = |status: &RaftStatus| status.members.iter().any(|member| member.id == me && member.voter);
        let status = node.consensus.status();
        if !wants || votes(&status) {
            return;
        }
        // Only once the membership that names this node has arrived: then most of the log has.
        if status.members.iter().any(|member| member.id == me)
            && let Err(error) = node.admin(AdminRequest::Promote { id: me }).await
        {
            tracing::debug!(%error, "no vote yet");
        }
        drop(node);
        sleep(PROMOTION_LOOK).await;
    }
}

/// A change of the voters takes two steps. A leader that finds the first taken and nobody who takes the second
/// takes it: until then two majorities must agree on everything. One that would lose its own vote by that hands
/// over first, as in any removal.
pub(super) async fn finish_changes(inner: Weak<Inner>) {
    let mut joint_since = None;
    loop {
        let Some(node) = inner.upgrade() else { return };
        let (joint, term) = (node.consensus.status().joint, node.consensus.term());
        // Seen before under this leader: one that is on its own way has been given time for it.
        if joint && joint_since == Some(term) && node.consensus.is_leader() {
            tracing::info!("a change of the membership has stopped half way");
            let deadline = Instant::now() + CHANGE_LIMIT;
            let done = if node.consensus.is_losing_vote() {
                timeout_at(deadline, node.transfer(None, deadline)).await.map(|done| format!("{done:?}"))
            } else {
                timeout_at(deadline, node.consensus.finish_change()).await.map(|done| format!("{done:?}"))
            };
            tracing::info!(?done, "went on with it");
        }
        joint_since = joint.then_some(term);
        drop(node);
        sleep(CHANGE_LOOK).await;
    }
}

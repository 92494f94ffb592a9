//! The background tasks of a node: learn the log time, propose ticks, propose a new cluster's settings, update its own
//! member record, compact the log, ask for its own promotion, and complete a membership change that another leader
//! began. Each task ends when the node is dropped.

use super::access::Principal;
use super::admin::AdminRequest;
use super::error::NodeError;
use super::inner::Inner;
use super::options::Origin;
use super::own_reads::ReadsBefore;
use crate::cache::{CacheConfig, Command, ConfigChange};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::{Deadlines, RaftOptions, RaftStatus};
use crate::replica::{Envelope, from_postcard};
use crate::storage::LogStore;
use bytes::Bytes;
use futures::future::join_all;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Timeout of a request for a node's log time.
const CLOCK_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a new leader that does not know the log time waits for nodes that do not answer. After that it treats them
/// as dead, because a dead machine sends no refusal.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a follower copies the leader's log time, before and after it knows it.
const FIRST_CLOCK_SYNC_INTERVAL: Duration = Duration::from_millis(50);
const CLOCK_SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// How often the ticker checks whether a tick is due. With the time of a commit, this bounds how late an entry expires.
const TICK_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often the size of the log is checked. Large values can add 50 MB a second to it, all of it in memory.
const LOG_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Fewer entries are not worth a purge, unless the log is too large.
const PURGED_AT_ONCE: u64 = 1_024;
const PROMOTION_POLL_INTERVAL: Duration = Duration::from_millis(500);
const CHANGE_POLL_INTERVAL: Duration = Duration::from_secs(1);
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps this node's log time close to the leader's.
pub(super) async fn sync_clock(inner: Weak<Inner>) {
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
        sleep(if anchored { CLOCK_SYNC_INTERVAL } else { FIRST_CLOCK_SYNC_INTERVAL }).await;
    }
}

/// A node's answer to a request for the log time.
enum Reading {
    At(u64),
    /// The node does not know it, or does not run.
    Unknown,
    /// The node does not answer. It may run and know the time.
    Silent,
}

/// Sets the clock of a leader that has just started, by the log time of a node that was running. If no node knows it,
/// the whole cluster has just started, and the wall clock is used. A silent node may know it, so the leader waits for
/// it, up to [`SILENCE_TIMEOUT`].
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
        None if silent && leading_since.elapsed() < SILENCE_TIMEOUT => {}
        None => node.consensus.clock().anchor_to_wall(),
    }
}

async fn ask_clock(node: &Inner, id: NodeId) -> Reading {
    let Some(client) = node.consensus.peer(id, Lane::Control) else { return Reading::Unknown };
    let limit = node.consensus.timing().limit(CLOCK_TIMEOUT);
    match client.call(Method::Clock, Bytes::new(), limit).await {
        Ok(answer) => match from_postcard::<Option<u64>>("a clock reading", &answer) {
            Ok(Some(log_ms)) => Reading::At(log_ms),
            Ok(None) | Err(_) => Reading::Unknown,
        },
        Err(
            PeerError::NotListening(_)
            | PeerError::OtherCluster(_)
            | PeerError::OtherHistory(_)
            | PeerError::Refused(_),
        ) => Reading::Unknown,
        Err(PeerError::Unreachable(_) | PeerError::Lost | PeerError::TimedOut) => Reading::Silent,
    }
}

/// On the leader: proposes a tick when an entry is due to expire and no write moves log time forward.
pub(super) async fn propose_ticks(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let due_ms = node.consensus.replica().with_cache(crate::cache::Cache::next_due_ms);
        let now_ms = node.consensus.clock().now_ms();
        let wait_ms = due_ms.zip(now_ms).map(|(due, now)| due.saturating_sub(now));
        if wait_ms == Some(0) && node.consensus.is_leader() {
            let tick = Envelope::from(Command::Tick);
            // Whatever the result, the next check decides again; after a failure only after a pause.
            if node
                .propose_here(
                    0,
                    tick.encode(),
                    &ReadsBefore::default(),
                    Deadlines::at_once(Instant::now() + Duration::from_secs(1)),
                )
                .await
                .is_ok()
            {
                continue;
            }
        }
        drop(node);
        // What is due already waits for the leader.
        let soon = wait_ms.filter(|ms| *ms > 0).map_or(TICK_POLL_INTERVAL, Duration::from_millis);
        sleep(soon.min(TICK_POLL_INTERVAL)).await;
    }
}

/// Proposes the settings that a new cluster was founded with. They are its first command.
pub(super) async fn propose_first_settings(inner: Weak<Inner>) {
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
            let envelope = Envelope {
                idempotency_key: Some("the cluster's first settings".into()),
                ..Envelope::from(command)
            };
            let _ = node
                .propose_here(
                    0,
                    envelope.encode(),
                    &ReadsBefore::default(),
                    Deadlines::at_once(Instant::now() + Duration::from_secs(2)),
                )
                .await;
        }
        drop(node);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Once the cluster's settings are known, warns about each setting that this node was started with and that differs.
pub(super) async fn warn_of_other_settings(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        // Log time is 0 until the first command is applied, which contains the settings.
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

/// The given settings that differ from the cluster's: name, given value, the cluster's value.
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

/// Updates this node's name and URL in the membership if it was started with others: clients are sent to that URL.
pub(super) async fn update_own_record(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let (me, options) = (node.identity.node_id, &node.options);
        if let Some(known) = node.consensus.member(me) {
            let name = options.name.clone().unwrap_or_else(|| known.name.clone());
            // A node without an HTTP server has no URL.
            let http = Some(options.http_advertise.clone()).filter(|http| !http.is_empty());
            let http = http.unwrap_or_else(|| known.http.clone());
            if name == known.name && http == known.http {
                return;
            }
            match node
                .admin(
                    &Principal::Program,
                    AdminRequest::Update { id: me, name: name.clone(), http: http.clone() },
                )
                .await
            {
                Ok(_) => tracing::info!(name, http, "the membership has this node's new name and URL"),
                Err(error @ (NodeError::Conflict(_) | NodeError::NotFound(_))) => {
                    tracing::warn!(%error, name, http, "the membership keeps this node's old name and URL");
                    return;
                }
                Err(error) => tracing::debug!(%error, "the membership does not have this node's new URL yet"),
            }
        }
        drop(node);
        sleep(PROMOTION_POLL_INTERVAL).await;
    }
}

/// Purges what the snapshot covers, but for the entries that are to be kept. When the log is too large for the cache that it
/// would restore, it keeps none of them, and takes a snapshot. So the size of the log stays proportional to that of the cache.
pub(super) async fn compact_log(inner: Weak<Inner>) {
    let mut asked_at = 0;
    loop {
        let Some(node) = inner.upgrade() else { return };
        let RaftStatus { snapshot_index: snapshot, purged_index: purged, .. } = node.consensus.status();
        let (bytes, entries) = node.consensus.replica().with_cache(|cache| (cache.bytes(), cache.len()));
        let limit = node.options.limits.log_limit(bytes, entries);
        let too_large = node.store.log_bytes() > limit;
        if let Some(index) = purge_to(&node.options.raft, too_large, snapshot, purged) {
            let _ = node.consensus.purge(index).await;
        }
        if too_large {
            // Only applied entries count: the others would stay in any case, and the limit on writes in flight bounds
            // them.
            let applied = node.consensus.replica().applied_index();
            if snapshot >= asked_at && applied_bytes(&node.store, applied) > limit {
                asked_at = applied;
                let _ = node.consensus.snapshot().await;
            }
        }
        drop(node);
        sleep(LOG_POLL_INTERVAL).await;
    }
}

/// Up to which index to purge, if there is enough to purge for it to be worth the work.
fn purge_to(raft: &RaftOptions, too_large: bool, snapshot: u64, purged: u64) -> Option<u64> {
    let (kept, least) = match too_large {
        true => (0, 1),
        false => (raft.entries_kept, (raft.snapshot_entries / 4).clamp(1, PURGED_AT_ONCE)),
    };
    let index = snapshot.saturating_sub(kept);
    (index >= purged.saturating_add(least)).then_some(index)
}

/// About how many bytes the log's entries up to `applied` have, as if all entries had the same size.
fn applied_bytes(log: &LogStore, applied: u64) -> u64 {
    let (bytes, state) = (log.log_bytes(), log.state());
    let entries = state.last_index.map_or(0, |last| last + 1 - state.first_index);
    let part = (applied + 1).saturating_sub(state.first_index).min(entries);
    u64::try_from(u128::from(bytes) * u128::from(part) / u128::from(entries.max(1))).unwrap_or(bytes)
}

/// On a node that joined the cluster: asks to be promoted until it has a vote.
pub(super) async fn request_promotion(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade() else { return };
        let me = node.identity.node_id;
        let joins = matches!(node.options.origin, Origin::Join { stay_learner: false, .. });
        let wants = node.identity.wants_vote.unwrap_or(joins);
        let votes = |status: &RaftStatus| status.members.iter().any(|member| member.id == me && member.voter);
        let status = node.consensus.status();
        if !wants || votes(&status) {
            return;
        }
        // Only after the membership that contains this node has arrived: by then most of the log has.
        if status.members.iter().any(|member| member.id == me)
            && let Err(error) = node.admin(&Principal::Program, AdminRequest::Promote { id: me }).await
        {
            tracing::debug!(%error, "no vote yet");
        }
        drop(node);
        sleep(PROMOTION_POLL_INTERVAL).await;
    }
}

/// Completes membership changes. A change of the voters takes two steps, and between them every decision needs two
/// majorities. A leader that finds a joint membership and no one who takes the second step takes it. If that would
/// remove its own vote, it hands leadership over first, as for any removal.
pub(super) async fn finish_membership_changes(inner: Weak<Inner>) {
    let mut joint_since = None;
    loop {
        let Some(node) = inner.upgrade() else { return };
        let (joint, term) = (node.consensus.status().joint, node.consensus.term());
        // It was joint at the last check, too, under this leader, so a change in progress has had time to finish.
        if joint && joint_since == Some(term) && node.consensus.is_leader() {
            tracing::info!("a change of the membership has stopped half way");
            let deadline = Instant::now() + CHANGE_TIMEOUT;
            let done = if node.consensus.is_losing_vote() {
                timeout_at(deadline, node.transfer(None, deadline)).await.map(|done| format!("{done:?}"))
            } else {
                timeout_at(deadline, node.consensus.finish_change()).await.map(|done| format!("{done:?}"))
            };
            tracing::info!(?done, "went on with it");
        }
        joint_since = joint.then_some(term);
        drop(node);
        sleep(CHANGE_POLL_INTERVAL).await;
    }
}

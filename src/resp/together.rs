//! Scripts that wait for the same key at this node. Whoever's turn it is carries out all of them, one after another on the same copies, and
//! proposes what they wrote as one log entry. So many clients of a hot key wait for few log entries, whatever their number.
//!
//! Each script succeeds or fails by itself. Where they cannot be carried out together, each is carried out alone.

use super::client::Client;
use super::errors::Replied;
use super::lua::Script;
use super::optimistic::{self, Done, Work, carry_out_all};
use super::queue::Queued;
use super::reply::Reply;
use super::turns::deadline;
use crate::cache::Key;
use crate::node::{Principal, Session};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// Scripts that are carried out together.
const TOGETHER_MAX: usize = 128;

/// A script that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub number: u64,
    key: Key,
    script: Arc<Script>,
    principal: Principal,
    touches: bool,
    seen_index: u64,
    tell: oneshot::Sender<Told>,
}

/// What whoever has carried it out says of a script.
#[derive(Debug)]
enum Told {
    /// Its reply, and the index of the log entry.
    Done(Reply, u64),
    /// Nothing was done for it: it has to be carried out alone.
    Alone,
}

/// Numbers for those that wait.
static NEWEST: AtomicU64 = AtomicU64::new(0);

impl Waiter {
    /// Whether two can be carried out together: on the same key, by the same right.
    pub fn goes_with(&self, other: &Self) -> bool {
        let is_wanted = !self.tell.is_closed();
        is_wanted
            && self.key == other.key
            && self.touches == other.touches
            && self.principal == other.principal
    }
}

/// Carries out a script, perhaps with others.
pub(super) async fn carry_out(client: &mut Client, session: &Session, script: Arc<Script>) -> Replied {
    // Whoever asks for old reads, or must be told which changes are its own, is alone.
    let is_plain = client.consistency.is_none() && client.min_index.is_none() && client.tracking.is_none();
    let Some(key) = script.names.iter().min().filter(|_| is_plain).cloned() else {
        return alone(client, session, script).await;
    };
    let until = deadline();
    let shared = client.shared.clone();
    let stripe = shared.turns.of(&key);
    let number = NEWEST.fetch_add(1, Relaxed);
    let (tell, mut told) = oneshot::channel();
    let (principal, touches, seen_index) = (client.principal.clone(), client.touches, client.seen_index);
    stripe.add(Waiter { number, key, script: script.clone(), principal, touches, seen_index, tell });
    let turn = tokio::select! {
        biased;
        told = &mut told => return finish(client, session, script, told).await,
        turn = stripe.wait(until) => turn,
    };
    // Whoever has taken it tells what became of it.
    let Some(own) = stripe.remove(number) else {
        drop(turn);
        return finish(client, session, script, told.await).await;
    };
    let _turn = turn?;
    // What comes while it is other nodes' turn is carried out with it.
    sleep_until((Instant::now() + session.wait_for_key(&own.key)).min(until)).await;
    let mut all = vec![own];
    all.extend(stripe.take_with(&all[0], TOGETHER_MAX - 1));
    if all.len() == 1 {
        drop(all);
        return optimistic::carry_out_in_turn(
            client,
            session,
            script.names.clone(),
            &[],
            Work::Script(script),
            until,
        )
        .await
        .map(|done| done.map_or(Reply::Null, |done| done.reply));
    }
    drive(client, session, all, until).await;
    finish(client, session, script, told.await).await
}

/// Carries out all of these, and tells each what became of it.
async fn drive(client: &mut Client, session: &Session, all: Vec<Waiter>, until: Instant) {
    // None may be told of a state older than one that it has seen.
    let own_index = client.seen_index;
    client.seen_index = all.iter().map(|waiter| waiter.seen_index).max().unwrap_or(own_index);
    let mut keys: Vec<Key> = all.iter().flat_map(|waiter| waiter.script.names.iter().cloned()).collect();
    keys.sort_unstable();
    keys.dedup();
    let queue: Vec<Queued> = all.iter().map(|waiter| Queued::Script(waiter.script.clone())).collect();
    let work = Work::Together(Arc::new(queue));
    let done = optimistic::carry_out_in_turn(client, session, keys, &[], work, until).await;
    client.seen_index = own_index;
    let (replies, index, left) = match done {
        Ok(Some(Done { reply: Reply::Array(replies), moment, left, .. })) => (replies, moment.index(), left),
        Err(failed @ Reply::Error(_)) if is_of_all(&failed) => (vec![failed; all.len()], 0, BTreeSet::new()),
        // One of them may be the reason.
        _ => (Vec::new(), 0, BTreeSet::new()),
    };
    let mut replies = replies.into_iter();
    for (at, waiter) in all.into_iter().enumerate() {
        let reply = replies.next().filter(|_| !left.contains(&at));
        let told = reply.map_or(Told::Alone, |reply| Told::Done(reply, index));
        // Whoever has left is not told.
        let _ = waiter.tell.send(told);
    }
}

/// Whether an error is the cluster's, and would be that of each.
fn is_of_all(error: &Reply) -> bool {
    let Reply::Error(text) = error else { return false };
    text.starts_with("UNAVAILABLE ") || text.starts_with("OUTCOMEUNKNOWN ")
}

async fn finish(
    client: &mut Client,
    session: &Session,
    script: Arc<Script>,
    told: Result<Told, oneshot::error::RecvError>,
) -> Replied {
    match told {
        Ok(Told::Done(reply, index)) => {
            client.note_written(index);
            Ok(reply)
        }
        Ok(Told::Alone) => alone(client, session, script).await,
        Err(_) => Err(Reply::error("OUTCOMEUNKNOWN the script may have been carried out: this node stops")),
    }
}

async fn alone(client: &mut Client, session: &Session, script: Arc<Script>) -> Replied {
    carry_out_all(client, session, script.names.clone(), Work::Script(script)).await
}

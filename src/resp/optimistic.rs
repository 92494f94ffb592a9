//! Carries out what decides by what it reads what it writes, without a lock: it is tried out on copies, and what it wrote is proposed as
//! one log entry that is carried out only if each key that was read is as it was. If one is not, it is tried again.
//!
//! What it read may have been old: then the entry is not carried out. If it wrote nothing, what it read is compared with the
//! newest state. So its reply is that of one moment in any case.

use super::client::{COMMAND_TIMEOUT, Client};
use super::composite::Composite;
use super::errors::{Replied, failed, of_command, of_node, too_large};
use super::lua::{self, Script};
use super::plan::results;
use super::queue::Queued;
use super::reply::Reply;
use super::scratch::{Missing, Scratch};
use super::walk;
use crate::api::Consistency;
use crate::cache::limits::{SEQUENCE_GUARDS_MAX, SEQUENCE_OPS_MAX};
use crate::cache::{Absence, Command, CommandError, Condition, Found, Guard, Key, Op};
use crate::node::{NodeError, Session};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How often it is tried while others change what it reads.
const TRIES: usize = 64;
/// How often it may turn out to need more keys.
const LOADS_MAX: usize = 1_024;
/// Bytes of the values that it may read.
const VALUES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is carried out.
pub(super) enum Work<'a> {
    Composite(&'a Composite),
    /// A transaction.
    Queue(&'a [Queued]),
    Script(Arc<Script>),
}

impl Work<'_> {
    async fn carry_out(&self, mut scratch: Scratch) -> (Scratch, Result<Reply, Missing>) {
        match self {
            Self::Composite(composite) => {
                let done = composite.carry_out(&mut scratch);
                (scratch, done)
            }
            Self::Queue(queue) => {
                let done: Result<Vec<Reply>, Missing> =
                    queue.iter().map(|queued| queued.carry_out(&mut scratch)).collect();
                (scratch, done.map(Reply::Array))
            }
            Self::Script(script) => {
                let script = script.clone();
                // It computes for a while, which no other task should wait for.
                match spawn_blocking(move || lua::run(&script, scratch)).await {
                    Ok(done) => done,
                    Err(error) => (
                        Scratch::default(),
                        Ok(Reply::error(format!("ERR the script was not carried out: {error}"))),
                    ),
                }
            }
        }
    }
}

/// Carries it out. `keys` are those that it is known to need, `guards` what must hold besides; nothing if that does not.
pub(super) async fn carry_out(
    client: &mut Client,
    session: &Session,
    keys: Vec<Key>,
    guards: &[Guard],
    work: Work<'_>,
) -> Result<Option<Reply>, Reply> {
    let mut needed = Needed { keys: keys.into_iter().collect(), listings: BTreeSet::new() };
    // What others of this node's clients write waits, or each would undo the work of the others.
    let shared = client.shared.clone();
    let _turn = match needed.keys.first() {
        Some(key) => Some(shared.turns.wait(key).await?),
        None => None,
    };
    let mut newest = client.seen_index;
    let default_ttl_ms = session.known_config().default_ttl_ms;
    let until = Instant::now() + COMMAND_TIMEOUT;
    for round in 0..TRIES {
        if Instant::now() > until {
            break;
        }
        let mut loads = 0;
        let (scratch, reply) = loop {
            let is_first = round == 0 && loads == 0;
            let touches = client.touches && is_first;
            let loaded = needed.load(&stale(session, newest), default_ttl_ms, touches).await?;
            let (scratch, done) = work.carry_out(loaded).await;
            match done {
                Ok(reply) => break (scratch, reply),
                Err(missing) => needed.add(missing),
            }
            loads += 1;
            if loads > LOADS_MAX || needed.keys.len() > SEQUENCE_GUARDS_MAX {
                return Err(Reply::error("ERR it needs too many keys that it has not declared"));
            }
        };
        let fits = scratch.fits();
        let (mut read, written) = scratch.into_parts();
        read.extend(guards.iter().cloned());
        if written.is_empty() {
            match unchanged(session, &read, guards).await? {
                Held::All => return Ok(Some(reply)),
                Held::NotGuards => return Ok(None),
                Held::NotReads(index) => newest = index,
            }
            continue;
        }
        if written.len() > SEQUENCE_OPS_MAX {
            return Err(too_large());
        }
        if !fits {
            return Err(Reply::error("ERR it changes large values too often to be carried out in one step"));
        }
        let (ops, succeeded): (Vec<Op>, Vec<bool>) = written.into_iter().unzip();
        match session.write(Command::Sequence { guards: read, ops }).await {
            Ok(written) => {
                client.note_written(written.index);
                let done = results(written.outcome);
                let surprise =
                    done.iter().zip(succeeded).find(|(done, succeeded)| done.is_err() && *succeeded);
                return match surprise {
                    // The copies know nothing of how full the cache is.
                    Some((Err(refusal), _)) => Err(of_command(&refusal.error)),
                    _ => Ok(Some(reply)),
                };
            }
            Err(error) => match error.error {
                NodeError::Refused { error: CommandError::GuardFailed { .. }, index, .. } => {
                    newest = index;
                    if !guards.is_empty() && matches!(unchanged(session, &[], guards).await?, Held::NotGuards)
                    {
                        return Ok(None);
                    }
                }
                error => return Err(of_node(&error)),
            },
        }
    }
    Err(Reply::error("UNAVAILABLE nothing was done: others changed what it reads, again and again"))
}

/// The same without guards.
pub(super) async fn carry_out_all(
    client: &mut Client,
    session: &Session,
    keys: Vec<Key>,
    work: Work<'_>,
) -> Replied {
    Ok(carry_out(client, session, keys, &[], work).await?.unwrap_or(Reply::Null))
}

fn stale(session: &Session, newest: u64) -> Session {
    session.clone().with_consistency(Consistency::Stale).not_before(Some(newest).filter(|index| *index > 0))
}

/// What has to be read.
struct Needed {
    keys: BTreeSet<Key>,
    listings: BTreeSet<(u8, bytes::Bytes)>,
}

impl Needed {
    fn add(&mut self, missing: Missing) {
        match missing {
            Missing::Keys(keys) => self.keys.extend(keys),
            Missing::Listing(database, pattern) => {
                self.listings.insert((database, pattern));
            }
        }
    }

    /// Copies of all of it, as it is at one moment.
    async fn load(
        &self,
        session: &Session,
        default_ttl_ms: Option<u64>,
        touches: bool,
    ) -> Result<Scratch, Reply> {
        let keys: Vec<Key> = self.keys.iter().cloned().collect();
        let read = session.get_many_as(&keys, |_| touches, VALUES_BYTES_MAX).await.map_err(failed)?;
        if read.value.len() < keys.len() {
            return Err(Reply::error("ERR the values that it reads are too large"));
        }
        let now_ms = read.now_ms;
        let mut scratch = Scratch::new(default_ttl_ms, now_ms, keys.into_iter().zip(read.value));
        for (database, pattern) in &self.listings {
            let listing = walk::keys(*database, session, pattern).await?;
            scratch.listings.insert((*database, pattern.clone()), listing);
        }
        Ok(scratch)
    }
}

enum Held {
    All,
    NotGuards,
    /// What was read is not so at this index.
    NotReads(u64),
}

/// Whether all of it holds by now.
async fn unchanged(session: &Session, read: &[Guard], guards: &[Guard]) -> Result<Held, Reply> {
    let all: Vec<&Guard> = guards.iter().chain(read).collect();
    if all.is_empty() {
        return Ok(Held::All);
    }
    let keys: Vec<Key> = all.iter().map(|guard| guard.key.clone()).collect();
    let now = session.get_many_as(&keys, |_| false, u64::MAX).await.map_err(failed)?;
    let held: Vec<bool> =
        all.iter().zip(&now.value).map(|(guard, found)| holds(&guard.condition, found)).collect();
    Ok(match (held[..guards.len()].contains(&false), held.contains(&false)) {
        (true, _) => Held::NotGuards,
        (false, true) => Held::NotReads(now.index),
        (false, false) => Held::All,
    })
}

/// Whether a condition holds that reads and `WATCH` have made.
fn holds(condition: &Condition, found: &Result<Found, Absence>) -> bool {
    match (condition, found) {
        (Condition::Revision(revision), Ok(found)) => found.info.revision == *revision,
        (Condition::Absent, Err(_)) => true,
        (Condition::AbsentSince(index), Err(absence)) => absence.is_since(*index),
        _ => false,
    }
}

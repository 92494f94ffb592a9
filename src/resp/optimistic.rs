//! Carries out what decides by what it reads what it writes, without a lock: it is tried out on copies, and what it wrote is proposed as
//! one log entry that is carried out only if each key that was read is as it was. If one is not, it is tried again.
//!
//! What it read may have been old: then the entry is not carried out. If it wrote nothing, what it read is compared with the
//! newest state. So its reply is that of one moment in any case.

use super::allowance::{Allowance, computed};
use super::client::Client;
use super::composite::Composite;
use super::errors::{Replied, failed, of_command, of_node, too_large};
use super::glob::Pattern;
use super::listing::Listing;
use super::lua::{self, Ran, Script, TIME_MAX};
use super::plan::results;
use super::queue::{self, Queued, Tried};
use super::reply::Reply;
use super::scratch::{Missing, Own, Scratch, TOO_MUCH};
use super::turns::deadline;
use super::whole::Moment;
use crate::api::Consistency;
use crate::cache::limits::{SEQUENCE_GUARDS_MAX, SEQUENCE_OPS_MAX};
use crate::cache::{Absence, Command, CommandError, Condition, Found, Guard, Key, Op};
use crate::node::{NodeError, Session};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How often it is tried while others change what it reads.
const TRIES: usize = 64;
/// How often it may turn out to need more keys.
const LOADS_MAX: usize = 1_024;
/// Keys of a listing that are read with one of them, at first. Their values may be large, so there are twice as many each time.
const LISTED_KEYS: usize = 16;
const LISTED_KEYS_MAX: usize = 1_024;
/// The same for scripts of several clients. Those that need more are carried out alone.
const TOGETHER_LOADS_MAX: usize = 2;
/// Bytes of the values that it may read.
const VALUES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is carried out.
pub(super) enum Work<'a> {
    Composite(&'a Composite),
    /// A transaction.
    Queue(Arc<Vec<Queued>>),
    Script(Arc<Script>),
    /// Scripts of several clients: as many of the first as the time is for.
    Together(Arc<Vec<Queued>>),
}

impl Work<'_> {
    /// Whether it can compute for long.
    fn is_long(&self) -> bool {
        !matches!(self, Self::Composite(_))
    }

    /// `loads`: whether what is missing can be had. It may compute for so long; scripts of several clients for as long as each may. All end
    /// then. Says how long it has computed.
    async fn carry_out(
        &self,
        mut scratch: Scratch,
        loads: bool,
        time: Duration,
        until: Instant,
    ) -> (Tried, Duration) {
        let until = until.into_std();
        match self {
            Self::Composite(composite) => {
                let done = composite.carry_out(&mut scratch);
                ((scratch, done), Duration::ZERO)
            }
            Self::Queue(queue) => {
                let queue = queue.clone();
                apart(move || queue::carry_out(&queue, scratch, Allowance::of(time, until))).await
            }
            Self::Together(queue) => {
                let queue = queue.clone();
                apart(move || queue::carry_out_first(&queue, scratch, loads, until)).await
            }
            Self::Script(script) => {
                let script = script.clone();
                apart(move || match lua::run(&script, scratch, Allowance::of(time, until)) {
                    (scratch, Ran::Done(reply)) => (scratch, Ok(reply)),
                    // What it wrote before it failed is not carried out.
                    (scratch, Ran::Failed(reply)) => (scratch.forget_writes(), Ok(reply)),
                    (scratch, Ran::Missing(missing)) => (scratch, Err(missing)),
                })
                .await
            }
        }
    }
}

/// It computes for a while, which no other task should wait for. Says for how long.
async fn apart(work: impl FnOnce() -> Tried + Send + 'static) -> (Tried, Duration) {
    let timed = || {
        let before = computed();
        let tried = work();
        (tried, computed().saturating_sub(before))
    };
    spawn_blocking(timed).await.unwrap_or_else(|error| {
        let failed = Reply::error(format!("ERR the script was not carried out: {error}"));
        ((Scratch::default(), Ok(failed)), Duration::ZERO)
    })
}

/// What was carried out.
pub(super) struct Done {
    pub reply: Reply,
    pub moment: Moment,
    /// What had been done when a command about all keys came, for each of those.
    pub notes: Vec<Vec<Own>>,
    /// The positions of scripts of several clients that were not carried out.
    pub left: BTreeSet<usize>,
}

/// Carries it out. `keys` are those that it is known to need, `guards` what must hold besides; nothing if that does not.
pub(super) async fn carry_out(
    client: &mut Client,
    session: &Session,
    keys: Vec<Key>,
    guards: &[Guard],
    work: Work<'_>,
) -> Result<Option<Done>, Reply> {
    let until = deadline();
    // What others of this node's clients write waits, or each would undo the work of the others.
    let shared = client.shared.clone();
    let _turn = match keys.iter().min() {
        Some(key) => Some(shared.turns.of(key).wait(until).await?),
        None => None,
    };
    carry_out_in_turn(client, session, keys, guards, work, until).await
}

/// The same for whoever has the turn of the first key.
pub(super) async fn carry_out_in_turn(
    client: &mut Client,
    session: &Session,
    keys: Vec<Key>,
    guards: &[Guard],
    work: Work<'_>,
    until: Instant,
) -> Result<Option<Done>, Reply> {
    let mut needed = Needed { keys: keys.into_iter().collect(), listings: BTreeSet::new() };
    let permits = client.shared.script_permits.clone();
    let _permit = match work.is_long() {
        true => Some(timeout_at(until, permits.acquire()).await.map_err(|_| too_many_scripts())?),
        false => None,
    };
    let loads_max = if matches!(work, Work::Together(_)) { TOGETHER_LOADS_MAX } else { LOADS_MAX };
    let mut newest = client.seen_index;
    let default_ttl_ms = session.known_config().default_ttl_ms;
    'tries: for round in 0..TRIES {
        if round > 0
            && let Some(key) = needed.keys.first()
        {
            // Other nodes want to change the same, each in its turn.
            sleep_until((Instant::now() + session.wait_for_key(key)).min(until)).await;
        }
        if Instant::now() > until {
            break;
        }
        let (mut loads, mut time) = (0, TIME_MAX);
        let (mut scratch, reply) = loop {
            let is_first = round == 0 && loads == 0;
            let touches = client.touches && is_first;
            let Some(loaded) = needed.load(session, newest, default_ttl_ms, touches).await? else {
                continue 'tries;
            };
            let ((scratch, done), took) = work.carry_out(loaded, loads < loads_max, time, until).await;
            // It begins anew with what it has turned out to need, and all that is one computation.
            time = time.saturating_sub(took);
            match done {
                Ok(reply) => break (scratch, reply),
                Err(missing) => {
                    let more = LISTED_KEYS.saturating_mul(1 << loads.min(16)).min(LISTED_KEYS_MAX);
                    needed.add(missing, &scratch.listings, more);
                }
            }
            if Instant::now() > until {
                return Err(Reply::error(
                    "UNAVAILABLE nothing was done: it took too long to read the keys that it has not declared",
                ));
            }
            loads += 1;
            if loads > loads_max || needed.keys.len() > SEQUENCE_GUARDS_MAX {
                return Err(Reply::error("ERR it needs too many keys that it has not declared"));
            }
        };
        let fits = scratch.fits();
        let (notes, ends) = (std::mem::take(&mut scratch.notes), std::mem::take(&mut scratch.ends));
        let left = std::mem::take(&mut scratch.left);
        let told = std::mem::take(&mut scratch.told);
        let listings: Vec<Listing> = std::mem::take(&mut scratch.listings).into_values().collect();
        let (mut read, written) = scratch.into_parts();
        if written.is_empty() {
            // What was listed was the newest, and what was read with it is of the same moment.
            let moment = listings.first().map(|listing| listing.index);
            let checked = if moment.is_some() { &[][..] } else { &read };
            match unchanged(session, checked, guards).await? {
                Held::All(index) => {
                    let index = moment.unwrap_or(index);
                    client.note_seen(index);
                    client.note_read(&told, index);
                    return Ok(Some(Done { reply, moment: Moment::After(index), notes, left }));
                }
                Held::NotGuards => return Ok(None),
                Held::NotReads(index) => newest = index,
            }
            continue;
        }
        if written.len() > SEQUENCE_OPS_MAX {
            return Err(too_large());
        }
        if !fits {
            return Err(Reply::error(TOO_MUCH));
        }
        for listing in &listings {
            read.push(listing.guard()?);
        }
        read.extend(guards.iter().cloned());
        let (ops, succeeded): (Vec<Op>, Vec<bool>) = written.into_iter().unzip();
        match session.write(Command::Sequence { guards: read, ops }).await {
            Ok(written) => {
                client.note_written(written.index);
                // It can have changed itself what it had read.
                client.note_read(&told, written.index.saturating_sub(1));
                let done = results(written.outcome);
                let surprises =
                    done.iter().zip(succeeded).enumerate().filter_map(|(at, (done, succeeded))| {
                        // The copies know nothing of how full the cache is.
                        done.as_ref()
                            .err()
                            .filter(|_| succeeded)
                            .map(|refusal| (at, of_command(&refusal.error)))
                    });
                let reply = with_refusals(reply, &ends, surprises);
                return Ok(Some(Done { reply, moment: Moment::Within(written.index), notes, left }));
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

/// A reply, where these operations were refused. `ends`: how many operations there were up to the end of each part of the reply.
fn with_refusals(reply: Reply, ends: &[usize], refused: impl Iterator<Item = (usize, Reply)>) -> Reply {
    let mut reply = reply;
    for (at, refusal) in refused {
        let part = ends.partition_point(|end| *end <= at);
        match &mut reply {
            Reply::Array(parts) if part < ends.len() && parts.len() == ends.len() => {
                // The first one counts.
                if !matches!(parts[part], Reply::Error(_)) {
                    parts[part] = refusal;
                }
            }
            _ => return refusal,
        }
    }
    reply
}

pub(super) fn too_many_scripts() -> Reply {
    Reply::error("UNAVAILABLE nothing was done: too many scripts at a time")
}

/// The same without guards.
pub(super) async fn carry_out_all(
    client: &mut Client,
    session: &Session,
    keys: Vec<Key>,
    work: Work<'_>,
) -> Replied {
    Ok(carry_out(client, session, keys, &[], work).await?.map_or(Reply::Null, |done| done.reply))
}

fn stale(session: &Session, newest: u64) -> Session {
    session.clone().with_consistency(Consistency::Stale).not_before(Some(newest).filter(|index| *index > 0))
}

/// What has to be read.
struct Needed {
    keys: BTreeSet<Key>,
    listings: BTreeSet<(u8, Bytes)>,
}

impl Needed {
    /// `listings`: what was listed before. What needs one of those keys is taken to need so many, from that one on.
    fn add(&mut self, missing: Missing, listings: &BTreeMap<(u8, Bytes), Listing>, more: usize) {
        match missing {
            Missing::Keys(keys) => {
                let next = |key: &Key| -> Vec<Key> {
                    listings.values().flat_map(|listing| listing.from(key, more)).collect()
                };
                let next: Vec<Key> = keys.iter().flat_map(next).collect();
                self.keys.extend(keys.into_iter().chain(next));
            }
            Missing::Listing(database, pattern) => {
                self.listings.insert((database, pattern));
            }
        }
    }

    /// Copies of all of it, as it is at one moment: perhaps an old one, not older than the index `newest`, if nothing is listed. `None`: what
    /// was changed meanwhile is not known any more.
    async fn load(
        &self,
        session: &Session,
        newest: u64,
        default_ttl_ms: Option<u64>,
        touches: bool,
    ) -> Result<Option<Scratch>, Reply> {
        let mut listings = BTreeMap::new();
        for (database, pattern) in &self.listings {
            let listing = Listing::read(*database, session, &Pattern::parse(pattern)?).await?;
            listings.insert((*database, pattern.clone()), listing);
        }
        let listed = listings.values().map(|listing| listing.index).max();
        let session = stale(session, newest.max(listed.unwrap_or(0)));
        let keys: Vec<Key> = self.keys.iter().cloned().collect();
        let read = session.get_many_as(&keys, |_| touches, VALUES_BYTES_MAX).await.map_err(failed)?;
        if read.value.len() < keys.len() {
            return Err(Reply::error("ERR the values that it reads are too large"));
        }
        let now_ms = read.now_ms;
        for listing in listings.values_mut() {
            if !listing.follow(&session, read.index).await? {
                return Ok(None);
            }
        }
        let mut scratch = Scratch::new(default_ttl_ms, now_ms, keys.into_iter().zip(read.value).collect());
        scratch.listings = listings;
        Ok(Some(scratch))
    }
}

enum Held {
    /// All of it, at this index.
    All(u64),
    NotGuards,
    /// What was read is not so at this index.
    NotReads(u64),
}

/// Whether all of it holds by now.
async fn unchanged(session: &Session, read: &[Guard], guards: &[Guard]) -> Result<Held, Reply> {
    let mut keys = Vec::new();
    let mut conditions = Vec::new();
    for guard in guards.iter().chain(read) {
        if let Guard::Key { key, condition } = guard {
            keys.push(key.clone());
            conditions.push(condition);
        }
    }
    if keys.is_empty() {
        return Ok(Held::All(0));
    }
    let now = session.get_many_as(&keys, |_| false, u64::MAX).await.map_err(failed)?;
    let held: Vec<bool> =
        conditions.iter().zip(&now.value).map(|(condition, found)| holds(condition, found)).collect();
    Ok(match (held[..guards.len()].contains(&false), held.contains(&false)) {
        (true, _) => Held::NotGuards,
        (false, true) => Held::NotReads(now.index),
        (false, false) => Held::All(now.index),
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

//! Plays a node's log again, entry by entry, on the cache and on the naive model of all eviction policies, and compares:
//! every answer, what is there at the end, and the digest that the cluster reached.

use crate::model::Model;
use lockstep::cache::{Cache, CacheConfig, Cause, Event, Stamp};
use lockstep::raft::decode_entry;
use lockstep::replica::{Envelope, decode_touches};
use lockstep::storage::{LogOptions, LogStore};
use openraft::EntryPayload;
use std::path::Path;

const READ_BYTES: usize = 4 * 1024 * 1024;

/// What was compared.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Replayed {
    pub entries: u64,
    pub commands: u64,
    pub evicted: u64,
    pub expired: u64,
    pub touches: u64,
}

/// Replays the whole log in this folder, whose node has ended, up to the index and digest that the cluster reached.
///
/// # Errors
/// The log does not begin at its beginning, or something differs.
pub fn replay(folder: &Path, index: u64, digest: &str) -> Result<Replayed, String> {
    let store = LogStore::open(folder, LogOptions::default()).map_err(|error| error.to_string())?;
    let mut cache = Cache::new(CacheConfig::default());
    let mut model = Model::new(CacheConfig::default());
    let mut replayed = Replayed { entries: 0, commands: 0, evicted: 0, expired: 0, touches: 0 };
    let mut next = store.state().first_index;
    if next > 1 {
        return Err(format!("the log begins at {next}: it was cut, and cannot be replayed"));
    }
    while next <= index {
        let records = store.read(next, index + 1, READ_BYTES).map_err(|error| error.to_string())?;
        if records.is_empty() {
            return Err(format!("the log ends before {next}, the cluster reached {index}"));
        }
        for (at, bytes) in records {
            apply(&mut cache, &mut model, at, bytes, &mut replayed)?;
            next = at + 1;
        }
    }
    store.close();
    compare(&cache, &model)?;
    let reached = cache.digest().to_string();
    if cache.index() == index && reached == digest {
        Ok(replayed)
    } else {
        Err(format!(
            "replayed to {} with digest {reached}, the cluster has {digest} at {index}",
            cache.index()
        ))
    }
}

fn apply(
    cache: &mut Cache,
    model: &mut Model,
    index: u64,
    bytes: bytes::Bytes,
    replayed: &mut Replayed,
) -> Result<(), String> {
    let entry = decode_entry(bytes).map_err(|error| error.to_string())?;
    replayed.entries += 1;
    let EntryPayload::Normal(proposal) = entry.payload else {
        cache.advance(index);
        model.index = index;
        return Ok(());
    };
    let Envelope { idempotency_key, origin, command } =
        Envelope::decode(&proposal.body).map_err(|error| error.to_string())?;
    let touches = decode_touches(&proposal.touches).unwrap_or_default();
    replayed.commands += 1;
    replayed.touches += touches.len() as u64;
    let stamp = Stamp { index, at_ms: proposal.at_ms, idempotency_key, origin, touches };
    let by_model = model.apply(stamp.clone(), command.clone());
    let by_cache = cache.apply(stamp, command.clone());
    if by_cache != by_model {
        let events = by_cache.events.iter().zip(&by_model.events).enumerate();
        let first = events.clone().find(|(_, (cache, model))| cache != model);
        return Err(match first.filter(|_| by_cache.outcome == by_model.outcome) {
            Some((place, (cache, model))) => format!(
                "at index {index}, {command:?}: event {place} of the cache is {cache:?}, of the model {model:?}"
            ),
            None => {
                format!("at index {index}, {command:?}: the cache says {by_cache:?}, the model {by_model:?}")
            }
        });
    }
    let is = |event: &Event, wanted| matches!(event, Event::Removed { cause, .. } if *cause == wanted);
    let count = |cause| by_cache.events.iter().filter(|event| is(event, cause)).count() as u64;
    replayed.evicted += count(Cause::Evict);
    replayed.expired += count(Cause::Expire);
    Ok(())
}

fn compare(cache: &Cache, model: &Model) -> Result<(), String> {
    if cache.len() != model.held.len() as u64 {
        return Err(format!("the cache holds {} entries, the model {}", cache.len(), model.held.len()));
    }
    for (key, held) in &model.held {
        // What is due and not removed yet is seen by nobody.
        let due = held.found.info.expires_at_ms.is_some_and(|at| at <= model.now_ms);
        let found = cache.get(key.as_str());
        if found.as_ref() != Some(&held.found).filter(|_| !due) {
            return Err(format!("{key:?}: the cache holds {found:?}, the model {:?}", held.found));
        }
    }
    Ok(())
}

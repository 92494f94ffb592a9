//! What watchers are told of a sequence: nobody sees a state in the midst of a log entry, so each key that it changed has one
//! event, for what it has at the end, and none if it was absent before and is absent at the end. (That an entry had expired
//! before is told besides.)

use crate::cache::{Cache, Cause, Event};
use std::collections::BTreeMap;

/// What a sequence did to one key.
#[derive(Debug, Clone, Copy)]
struct Changes {
    count: usize,
    /// Where the last event of the key is.
    last: usize,
    /// Whether its value was changed, too.
    wrote: bool,
    /// Whether it was absent before.
    is_new: bool,
}

/// Folds the events from a position on.
pub(super) fn fold(cache: &Cache, events: &mut Vec<Event>, start: usize) {
    if events.len() - start < 2 {
        return;
    }
    let mut keys: BTreeMap<Vec<u8>, Changes> = BTreeMap::new();
    for (position, event) in events.iter().enumerate().skip(start) {
        let Some((key, wrote)) = folded(event) else { continue };
        match keys.get_mut(key) {
            Some(changes) => {
                let wrote = changes.wrote || wrote;
                *changes = Changes { count: changes.count + 1, last: position, wrote, ..*changes };
            }
            None => {
                let is_new = matches!(event, Event::Put { created: true, .. });
                keys.insert(key.to_vec(), Changes { count: 1, last: position, wrote, is_new });
            }
        }
    }
    if keys.values().all(|changes| changes.count == 1) {
        return;
    }
    let mut position = 0;
    events.retain_mut(|event| {
        let at = position;
        position += 1;
        if at < start {
            return true;
        }
        let changes = folded(event).and_then(|(key, _)| keys.get(key)).copied();
        let Some(changes) = changes else { return true };
        if at < changes.last {
            return false;
        }
        if changes.count > 1 && changes.wrote {
            tell_whole(cache, event, changes.is_new);
        }
        !(changes.is_new && matches!(event, Event::Removed { .. }))
    });
}

/// The key of an event that may be one of several, and whether it is about the value.
fn folded(event: &Event) -> Option<(&[u8], bool)> {
    match event {
        Event::Put { record, .. } => Some((record.key_bytes(), true)),
        Event::Removed { key, cause: Cause::Delete } => Some((key.as_str().as_bytes(), true)),
        Event::Deadline { key, .. } => Some((key.as_str().as_bytes(), false)),
        _ => None,
    }
}

/// Makes the last event of a key one that tells all that it has, unless it is gone.
fn tell_whole(cache: &Cache, event: &mut Event, created: bool) {
    let key = match event {
        Event::Put { record, .. } => record.key().to_owned(),
        Event::Deadline { key, .. } => key.as_str().to_owned(),
        _ => return,
    };
    let Some((_, entry)) = cache.store.find(&key) else { return };
    *event = Event::Put {
        record: entry.record.clone(),
        expires_at_ms: entry.expires_at_ms(),
        sliding_ms: entry.sliding_ms,
        created,
        version: entry.version,
        created_at_ms: entry.created_at_ms.get(),
        modified_at_ms: entry.modified_at_ms.get(),
    };
}

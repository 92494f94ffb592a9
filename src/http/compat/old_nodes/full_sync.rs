//! The whole state for an old node, in pages of bounded size. What changes meanwhile follows as operations.

use super::super::items::Item;
use super::outlet::{Gone, Outlet};
use super::teller::Told;
use crate::api::Consistency;
use crate::node::{EntriesPage, Session};
use crate::replica::wall_ms;
use serde::Serialize;

/// Items of a page, and bytes of their values, at most; one larger value is a page of its own.
const ITEMS_MAX: usize = 256;
const BYTES_MAX: u64 = 256 * 1024;
/// Removed keys that are read at a time.
const REMOVED_MAX: usize = 1_024;

/// Payload of `cache-sync`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheSync {
    #[serde(rename = "type")]
    kind: &'static str,
    data: Vec<Item>,
    node_id: String,
    /// This node's wall clock, in milliseconds.
    timestamp: u64,
    /// From 1.
    page: u64,
    /// Whether more pages follow.
    more: bool,
    index: u64,
}

/// Sends the pages; false if the state cannot be read now. The first page has everything that was acknowledged before.
///
/// # Errors
/// [`Gone`].
pub(super) async fn tell_state(outlet: &Outlet, told: &Told, session: &Session) -> Result<bool, Gone> {
    let mut after = None;
    let mut page = 0;
    let mut session = session.clone();
    loop {
        let read = session.entries(String::new(), after.take(), ITEMS_MAX, BYTES_MAX).await;
        let Ok(read) = read else { return Ok(false) };
        let EntriesPage { entries, more, .. } = read.value;
        for entry in &entries {
            told.note(entry.key.as_str());
        }
        let data: Vec<Item> = entries.iter().filter_map(|entry| Item::of(entry).ok()).collect();
        after = entries.last().map(|last| last.key.as_str().to_owned());
        page += 1;
        let (node_id, timestamp) = (session.node_name().to_owned(), wall_ms());
        let sync = CacheSync { kind: "full-sync", data, node_id, timestamp, page, more, index: read.index };
        outlet.send("cache-sync", &sync).await?;
        if !more {
            return Ok(true);
        }
        // What changes after the first page follows.
        session = session.with_consistency(Consistency::Stale);
    }
}

/// Tells which keys were removed, as far as the cluster remembers, to a node that may have them still; `None` if that cannot be
/// read now.
///
/// # Errors
/// [`Gone`].
pub(super) async fn tell_removals(
    outlet: &Outlet,
    told: &Told,
    session: &Session,
) -> Result<Option<()>, Gone> {
    let mut after = 0;
    loop {
        let Ok(removed) = session.removed_keys(after, REMOVED_MAX).await else { return Ok(None) };
        let Some((_, last)) = removed.last() else { return Ok(Some(())) };
        after = *last;
        for (key, revision) in removed {
            told.tell_state(outlet, session, key.as_str(), None, revision).await?;
        }
    }
}

//! The part of the cache that a page is shown: the first items by key, or a page of them on request, also the newest changed first.

use super::items::Item;
use crate::api::Consistency;
use crate::cache::Key;
use crate::node::{EntriesPage, KeysPage, ListKeys, Session, SessionError};
use serde::{Deserialize, Deserializer, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tokio::sync::Semaphore;

/// Items of a state, and bytes of their values, at most.
const ITEMS_MAX: usize = 100;
const ITEM_BYTES_MAX: u64 = 256 * 1024;
/// Keys that are looked at at a time to find the newest.
const LOOK_KEYS: usize = 4_096;
/// How many such searches go on at a time; each looks at all keys.
static SEARCHES: Semaphore = Semaphore::const_new(2);
const NEWEST: &str = "newest";

/// What a page asks for with `get-cache-state`; anything else counts as nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    limit: Option<usize>,
    /// `next` of the state before.
    pub after: Option<String>,
    #[serde(deserialize_with = "known_or_key")]
    pub order: Order,
}

/// In which order items are shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    #[default]
    Key,
    /// The newest changed first.
    Newest,
}

fn known_or_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Order, D::Error> {
    let order = Option::<String>::deserialize(deserializer)?;
    Ok(if order.as_deref() == Some(NEWEST) { Order::Newest } else { Order::Key })
}

/// The items, and what follows.
pub(super) struct StatePage {
    pub items: Vec<Item>,
    pub total: u64,
    pub index: u64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Newest first, and by key within a log entry.
type Rank = (Reverse<u64>, Key);

impl Wanted {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(ITEMS_MAX).clamp(1, ITEMS_MAX)
    }

    /// Whether its cursor is one of its order.
    pub fn has_sense(&self) -> bool {
        self.order == Order::Key || self.after.as_deref().is_none_or(|after| rank_of(after).is_some())
    }

    /// # Errors
    /// [`SessionError`]; there is no older state instead of a current one.
    pub async fn read(&self, session: &Session) -> Result<StatePage, SessionError> {
        if self.order == Order::Newest {
            return self.read_newest(session).await;
        }
        let read = session.entries(String::new(), self.after.clone(), self.limit(), ITEM_BYTES_MAX).await?;
        let EntriesPage { entries, more, total } = read.value;
        let next = entries.last().filter(|_| more).map(|last| last.key.as_str().to_owned());
        let items = entries.iter().filter_map(|entry| Item::of(entry).ok()).collect();
        Ok(StatePage { items, total, index: read.index, next })
    }

    /// There is no index of what was changed when, because writes would pay for it. So all keys are looked at.
    async fn read_newest(&self, session: &Session) -> Result<StatePage, SessionError> {
        // Nobody closes it.
        let _turn = SEARCHES.acquire().await.ok();
        let (limit, after) = (self.limit(), self.after.as_deref().and_then(rank_of));
        let mut newest: BinaryHeap<Rank> = BinaryHeap::new();
        let (mut last, mut index, mut follow) = (None, None, false);
        let mut looking = session.clone();
        loop {
            let request = ListKeys { after: last.take(), limit: LOOK_KEYS, ..ListKeys::default() };
            let read = looking.list(request).await?;
            index.get_or_insert(read.index);
            let KeysPage { keys, more } = read.value;
            last = keys.last().map(|last| last.key.as_str().to_owned());
            for listed in keys {
                let rank = (Reverse(listed.info.entry.revision), listed.key);
                if after.as_ref().is_some_and(|after| rank <= *after) {
                    continue;
                }
                newest.push(rank);
                if newest.len() > limit {
                    newest.pop();
                    follow = true;
                }
            }
            if !more {
                break;
            }
            tokio::task::yield_now().await;
            looking = looking.with_consistency(Consistency::Stale);
        }
        let (mut items, mut bytes, mut next) = (Vec::new(), 0, None);
        let mut ranks = newest.into_sorted_vec().into_iter().peekable();
        while let Some((Reverse(revision), key)) = ranks.next() {
            let read = looking.entries(key.as_str().to_owned(), None, 1, 1).await?;
            if let Some(entry) = read.value.entries.first().filter(|entry| entry.key == key) {
                bytes += entry.found.value.bytes.len() as u64;
                items.extend(Item::of(entry).ok());
            }
            let is_full = bytes >= ITEM_BYTES_MAX && ranks.peek().is_some();
            if is_full || (ranks.peek().is_none() && follow) {
                next = Some(format!("{revision}:{}", key.as_str()));
            }
            if is_full {
                break;
            }
        }
        let total = session.totals().entries;
        Ok(StatePage { items, total, index: index.unwrap_or_default(), next })
    }
}

/// The rank that a cursor names.
fn rank_of(cursor: &str) -> Option<Rank> {
    let (revision, key) = cursor.split_once(':')?;
    Some((Reverse(revision.parse().ok()?), Key::new(key).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_place_in_the_order() {
        let newer = rank_of("7:a").unwrap();
        let older = rank_of("5:z:1").unwrap();
        assert!(newer < older && older < rank_of("5:zz").unwrap());
        assert_eq!(older.1.as_str(), "z:1");
        for wrong in ["", "a", "x:a", "7:", "-1:a"] {
            assert!(rank_of(wrong).is_none(), "{wrong}");
        }
        assert_eq!(Wanted { limit: Some(5_000), ..Wanted::default() }.limit(), ITEMS_MAX);
    }
}

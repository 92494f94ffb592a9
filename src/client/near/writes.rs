//! Writes through a near cache: reads that want [`Want::Session`](super::Want::Session) see them from then on.

use super::options::{Held, NearEntry};
use super::reads::micros;
use super::{Flying, Inner, NearCache};
use crate::api::{Counter, IncrRequest};
use crate::cache::Ttl;
use crate::client::error::ClientError;
use crate::client::kv::{PutOptions, Stored};
use crate::client::position::{Cursor, Position};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

impl NearCache {
    /// Stores a value in the cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put(&self, key: &str, value: Bytes, options: &PutOptions) -> Result<Stored, ClientError> {
        self.put_since(key, value, options, None).await
    }

    /// `absent_since`: only if the key is absent, and has been since then.
    pub(super) async fn put_since(
        &self,
        key: &str,
        value: Bytes,
        options: &PutOptions,
        absent_since: Option<&Cursor>,
    ) -> Result<Stored, ClientError> {
        let writing = Writing::of(&self.inner, key);
        let written = self.inner.client.put_at(key, value.clone(), options, absent_since).await?;
        let entry =
            NearEntry { value, content_type: options.content_type.clone(), revision: written.value.revision };
        let held = Some(Arc::new(entry));
        match options.ttl {
            // The cluster's own TTL is not known here.
            Ttl::Default | Ttl::At(_) | Ttl::Keep => writing.done(&written.at, None),
            Ttl::Never => writing.done(&written.at, Some((held, None))),
            Ttl::Ms(ms) | Ttl::Sliding(ms) => writing.done(&written.at, Some((held, Some(ms)))),
        }
        Ok(written.value)
    }

    /// Removes a key from the cluster; false when there was none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, key: &str, if_revision: Option<u64>) -> Result<bool, ClientError> {
        let writing = Writing::of(&self.inner, key);
        let written = self.inner.client.delete_at(key, if_revision).await?;
        writing.done(&written.at, Some((None, None)));
        Ok(written.value)
    }

    /// Adds to a counter in the cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn incr(&self, key: &str, request: &IncrRequest) -> Result<Counter, ClientError> {
        let writing = Writing::of(&self.inner, key);
        let written = self.inner.client.incr_at(key, request).await?;
        writing.done(&written.at, None);
        Ok(written.value)
    }
}

/// A write on its way. If it ends without an answer it may have been done, so the key is dropped.
struct Writing<'a> {
    flying: Flying<'a>,
    is_done: bool,
}

impl<'a> Writing<'a> {
    fn of(inner: &'a Inner, key: &'a str) -> Self {
        Self { flying: inner.join(key), is_done: false }
    }

    /// What the key has by it and for how many milliseconds at least, if both are known.
    fn done(mut self, at: &Position, held: Option<(Held, Option<u64>)>) {
        self.is_done = true;
        let Flying { inner, key, joined } = &self.flying;
        let sent_at = inner.local(at.sent_at);
        let mut state = inner.change();
        if !inner.is_ours(&mut state, &at.history) {
            return;
        }
        let expires_at = |ttl_ms: u64| sent_at.saturating_add(micros(Duration::from_millis(ttl_ms)));
        // The write that is answered again was done earlier: others may have changed the key since then.
        let held = held.filter(|_| !at.replayed && inner.options.holds(key));
        let held = held.map(|(held, ttl_ms)| (held, ttl_ms.map(expires_at)));
        state.written(key, *joined, at.index, sent_at, held);
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.flying.inner.change().store.remove(self.flying.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{HistoryName, WatchMessage};
    use crate::client::http::Client;
    use crate::client::near::{NearOptions, Want};
    use std::time::Instant;

    const HISTORY: &str = "11111111-1111";

    #[test]
    fn a_write_that_is_answered_again_is_no_news_of_the_key() {
        let client = Client::new(&["http://127.0.0.1:1".into()], Duration::from_secs(1)).expect("a client");
        let near = NearCache::new(client, NearOptions::default());
        let history = HistoryName { number: 1, id: HISTORY.into() };
        let message = WatchMessage::Subscribed { index: 5, at_ms: 1, cluster_id: "c".into(), history };
        near.inner.change().hear(message, 0, &NearOptions::default());
        for replayed in [false, true] {
            let at = Position {
                index: 15,
                history: HISTORY.into(),
                time_ms: None,
                sent_at: Instant::now(),
                replayed,
            };
            Writing::of(&near.inner, "k").done(&at, Some((None, None)));
            assert_eq!(near.get_now("k", Want::Any), if replayed { None } else { Some(None) });
            near.flush();
        }
    }
}

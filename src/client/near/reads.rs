//! Reads of a near cache.

use super::freshness::LocalTime;
use super::options::{Held, NearEntry, Want};
use super::state::Answer;
use super::{Flying, Inner};
use crate::api::{Consistency, ErrorCode};
use crate::client::error::ClientError;
use crate::client::position::Positioned;
use crate::client::read::{ReadOptions, Reading};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

impl Inner {
    /// What is held of a key, if that is good enough.
    pub(super) fn held(&self, key: &str, want: Want) -> Option<Held> {
        if want == Want::Linearizable {
            return None;
        }
        let now = self.now();
        let state = self.look();
        let slot = state.store.get(key)?;
        if !state.is_enough(slot, want, now) {
            if matches!(want, Want::MaxStale(_)) {
                self.too_old.store(true, Ordering::Relaxed);
            }
            return None;
        }
        // Most hits find it set: writing it again would take the line from the other cores.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(slot.held.clone())
    }

    /// Asks the cluster.
    pub(super) async fn ask(&self, key: &str, want: Want) -> Result<Held, ClientError> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        if let Some(held) = self.ask_with_others(key, want).await {
            return Ok(held);
        }
        match self.ask_alone(key, want).await {
            // What it may not be older than means nothing at that node, which may be one that the cluster goes on without: a majority
            // tells.
            Err(error) if error.code() == ErrorCode::OtherHistory && want != Want::Linearizable => {
                Ok(self.ask_alone(key, Want::Linearizable).await?.value)
            }
            answer => Ok(answer?.value),
        }
    }

    /// Asks a majority, and tells where in the log the answer is from.
    pub(super) async fn ask_majority(&self, key: &str) -> Result<Positioned<Held>, ClientError> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.ask_alone(key, Want::Linearizable).await
    }

    /// The answer of a read that somebody else has begun, if there is one that is good enough.
    async fn ask_with_others(&self, key: &str, want: Want) -> Option<Held> {
        let since = match want {
            Want::Any => LocalTime::MIN,
            Want::MaxStale(bound) => self.now().saturating_sub(micros(bound)),
            Want::Linearizable | Want::Session => return None,
        };
        let mut reading = self.look().shared(key, since)?;
        // Without an answer, whoever asked has given up.
        let answered = reading.wait_for(Option::is_some).await.ok()?;
        answered.clone()
    }

    async fn ask_alone(&self, key: &str, want: Want) -> Result<Positioned<Held>, ClientError> {
        let asked = self.ask_once(key, want, true).await?;
        Ok(match asked.value {
            Some(held) => Positioned { value: held, at: asked.at },
            // That was the answer of another history: what is known here means nothing there.
            None => {
                let asked = self.ask_once(key, Want::Linearizable, false).await?;
                Positioned { value: asked.value.flatten(), at: asked.at }
            }
        })
    }

    /// `None`: the node is in another history, in which the revision that is known here means nothing. `with_known`: a value that is
    /// held need not be sent again.
    async fn ask_once(
        &self,
        key: &str,
        want: Want,
        with_known: bool,
    ) -> Result<Positioned<Option<Held>>, ClientError> {
        let is_linearizable = matches!(want, Want::Linearizable | Want::MaxStale(_));
        let flying = self.join(key);
        let (tell, reading) = watch::channel(None);
        let (known, options) = {
            let mut state = self.change();
            let known = state.store.get(key).filter(|_| with_known).and_then(|slot| slot.held.clone());
            if is_linearizable {
                state.share(key, flying.joined, self.now(), reading);
            }
            let consistency = if is_linearizable { Consistency::Linearizable } else { Consistency::Stale };
            let not_before = if is_linearizable { None } else { state.not_before(want) };
            let unless_revision = known.as_ref().map(|entry| entry.revision);
            (known, ReadOptions { consistency, not_before, unless_revision })
        };
        let read = self.client.read(key, &options).await?;
        let at = read.at.clone();
        let held = self.keep(&flying, known, read, is_linearizable);
        if held.is_some() {
            tell.send_replace(held.clone());
        }
        Ok(Positioned { value: held, at })
    }

    /// Takes over an answer, and returns what the key has by it.
    fn keep(
        &self,
        flying: &Flying<'_>,
        known: Held,
        read: Positioned<Reading>,
        is_linearizable: bool,
    ) -> Option<Held> {
        let Positioned { value, at } = read;
        let sent_at = self.local(at.sent_at);
        let is_unchanged = matches!(value, Reading::Unchanged { .. });
        let (held, ttl_ms) = match value {
            Reading::Found(found) => {
                let ttl_ms = found.meta.ttl_ms;
                let revision = found.meta.revision;
                let entry = NearEntry { value: found.value, content_type: found.content_type, revision };
                (Some(Arc::new(entry)), ttl_ms)
            }
            Reading::Unchanged { ttl_ms } => (known, ttl_ms),
            Reading::Absent(_) => (None, None),
        };
        let mut state = self.change();
        let is_ours = match is_linearizable {
            true => self.is_ours(&mut state, &at.history),
            // A node that the cluster goes on without answers so, too, and says nothing about the others.
            false => state.is_ours(&at.history),
        };
        if !is_ours {
            return (!is_unchanged).then_some(held);
        }
        if is_unchanged {
            self.validated.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(time_ms) = at.time_ms.filter(|_| is_linearizable) {
            state.fresh.sample(sent_at, time_ms);
        }
        if self.options.holds(flying.key) {
            // The TTL was counted after the request was sent.
            let expires_at = ttl_ms.map(|ms| sent_at.saturating_add(micros(Duration::from_millis(ms))));
            let answer = Answer { held: held.clone(), index: at.index, sent_at, expires_at, is_linearizable };
            state.keep(flying.key, flying.joined, answer);
        }
        Some(held)
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

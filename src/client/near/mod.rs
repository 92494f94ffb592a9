//! A near cache: a cache in this process that the cluster keeps fresh, and whose answers are never older than asked for.
//!
//! It follows the cluster's changes, and drops or updates what has changed. Each read says how old its answer may be ([`Want`]). The
//! age counts from when a majority of the nodes confirmed what the stream of changes had told, not from when a message arrived. If
//! the stream is lost the age grows, and bounded reads ask the cluster.
//!
//! ```no_run
//! use lockstep::client::Client;
//! use lockstep::client::near::{NearCache, NearOptions, Want};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(&["http://127.0.0.1:5000".into()], Duration::from_secs(10))?;
//! let near = NearCache::new(client, NearOptions { prefixes: vec!["user:".into()], ..NearOptions::default() });
//! near.start().await?;
//! if let Some(entry) = near.get("user:1", Want::MaxStale(Duration::from_secs(2))).await? {
//!     println!("{} bytes at revision {}", entry.value.len(), entry.revision);
//! }
//! # Ok(())
//! # }
//! ```

mod fills;
mod follow;
mod freshness;
mod options;
mod reads;
mod state;
#[cfg(test)]
mod state_test;
mod store;
mod writes;

pub use fills::{FillError, FillOptions, Filled, Filling};
pub use options::{Held, NearEntry, NearOptions, NearStats, Want};

use super::error::ClientError;
use super::http::Client;
use fills::Fills;
use freshness::LocalTime;
use state::{Joined, State};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinSet;

/// A cache in this process that the cluster keeps fresh. Share it in an [`Arc`]. When it is dropped it stops to follow the cluster.
pub struct NearCache {
    inner: Arc<Inner>,
    fills: Fills,
    started: OnceCell<JoinSet<()>>,
}

/// What the tasks share.
struct Inner {
    client: Client,
    options: NearOptions,
    /// Its clock begins here.
    begun_at: Instant,
    state: RwLock<State>,
    hits: AtomicU64,
    misses: AtomicU64,
    validated: AtomicU64,
    /// Reads with a bound found something too old since the last probe.
    too_old: AtomicBool,
    /// An answer said that the cluster is in another history than the stream.
    has_left: Notify,
}

impl NearCache {
    pub fn new(client: Client, options: NearOptions) -> Self {
        let state = RwLock::new(State::new(&options));
        let inner = Arc::new(Inner {
            client,
            options,
            begun_at: Instant::now(),
            state,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            validated: AtomicU64::new(0),
            too_old: AtomicBool::new(false),
            has_left: Notify::new(),
        });
        Self { inner, fills: Fills::default(), started: OnceCell::new() }
    }

    /// Begins to follow the cluster's changes, and returns when it does. Before that nothing is held, and reads ask the cluster.
    ///
    /// # Errors
    /// [`ClientError`]: the nodes refuse the watch, or none could be reached in the client's time. It can be called again.
    pub async fn start(&self) -> Result<(), ClientError> {
        self.started.get_or_try_init(|| follow::start(Arc::clone(&self.inner))).await?;
        Ok(())
    }

    /// What is held of a key, if that is good enough; `None`: the cluster has to be asked. Never waits.
    pub fn get_now(&self, key: &str, want: Want) -> Option<Held> {
        self.inner.held(key, want)
    }

    /// A key's value, or `None` if there is no such key: from here if that is good enough, otherwise from the cluster.
    ///
    /// # Errors
    /// [`ClientError`]; never something older instead.
    pub async fn get(&self, key: &str, want: Want) -> Result<Held, ClientError> {
        match self.inner.held(key, want) {
            Some(held) => Ok(held),
            None => self.inner.ask(key, want).await,
        }
    }

    /// Drops everything that is held.
    pub fn flush(&self) {
        self.inner.change().flush();
    }

    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    pub fn stats(&self) -> NearStats {
        let inner = &self.inner;
        let (now, state) = (inner.now(), inner.look());
        let age_us = state.fresh.confirmed_at().map(|at| u64::try_from(now - at).unwrap_or(0));
        NearStats {
            hits: inner.hits.load(Ordering::Relaxed),
            misses: inner.misses.load(Ordering::Relaxed),
            validated: inner.validated.load(Ordering::Relaxed),
            discarded: state.discarded,
            evictions: state.store.evictions,
            entries: state.store.len(),
            bytes: state.store.bytes(),
            age: age_us.map(Duration::from_micros),
        }
    }
}

impl Inner {
    fn now(&self) -> LocalTime {
        self.local(Instant::now())
    }

    fn local(&self, at: Instant) -> LocalTime {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.begun_at) {
            Some(after) => micros(after),
            None => -micros(self.begun_at.duration_since(at)),
        }
    }

    fn look(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no panic while held")
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("no panic while held")
    }

    /// Whether what a majority answered is of the history that is followed. If not, nothing that is held is worth anything, and the
    /// stream has to begin anew.
    fn is_ours(&self, state: &mut State, history: &str) -> bool {
        let is_ours = state.is_ours(history);
        if !is_ours {
            state.leave_history();
            self.has_left.notify_one();
        }
        is_ours
    }

    fn join<'a>(&'a self, key: &'a str) -> Flying<'a> {
        Flying { inner: self, key, joined: self.change().join(key) }
    }
}

/// Notes what the stream tells of a key while it is read or written.
struct Flying<'a> {
    inner: &'a Inner,
    key: &'a str,
    joined: Joined,
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.inner.change().leave(self.key, self.joined);
    }
}

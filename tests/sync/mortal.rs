//! A process that dies at one of its calls to the outside, before or after that call is done; every later call fails.

use crate::world::MapCache;
use futures::FutureExt;
use futures::future::BoxFuture;
use lockstep::client::sync::{BoxError, LocalCache, MemoryStorage, SyncStorage, SyncValue};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The life of a process.
pub struct Mortal {
    calls: AtomicUsize,
    dead: AtomicBool,
    die_at: usize,
    after: bool,
}

impl Mortal {
    pub fn immortal() -> Self {
        Self::new(usize::MAX, false)
    }

    /// It dies at its n-th call.
    pub fn new(die_at: usize, after: bool) -> Self {
        Self { calls: AtomicUsize::new(0), dead: AtomicBool::new(false), die_at, after }
    }

    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// `None` if it is dead before the call is answered.
    pub async fn call<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if self.is_dead() {
            return None;
        }
        let is_last = self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.die_at;
        if is_last && !self.after {
            self.kill();
            return None;
        }
        let result = work.await;
        if is_last {
            self.kill();
        }
        Some(result).filter(|_| !self.is_dead())
    }
}

/// What a process has to do with, and outlives it.
pub struct MortalCache {
    pub cache: Arc<MapCache>,
    pub mortal: Arc<Mortal>,
}

impl MortalCache {
    fn call<'a, T: Send + 'a>(
        &'a self,
        work: BoxFuture<'a, Result<T, BoxError>>,
    ) -> BoxFuture<'a, Result<T, BoxError>> {
        async { self.mortal.call(work).await.unwrap_or_else(|| Err("the process is dead".into())) }.boxed()
    }
}

impl LocalCache for MortalCache {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<SyncValue>, BoxError>> {
        self.call(self.cache.get(key))
    }

    fn set<'a>(&'a self, key: &'a str, value: SyncValue) -> BoxFuture<'a, Result<(), BoxError>> {
        self.call(self.cache.set(key, value))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.call(self.cache.delete(key))
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        self.call(self.cache.keys())
    }
}

/// A storage that a process writes to until it dies.
pub struct MortalStorage {
    pub storage: Arc<MemoryStorage>,
    pub mortal: Arc<Mortal>,
}

impl MortalStorage {
    fn call<'a, T: Send + 'a>(&'a self, work: BoxFuture<'a, io::Result<T>>) -> BoxFuture<'a, io::Result<T>> {
        let dead = || Err(io::Error::other("the process is dead"));
        async move { self.mortal.call(work).await.unwrap_or_else(dead) }.boxed()
    }
}

impl SyncStorage for MortalStorage {
    fn load(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        self.call(self.storage.load())
    }

    fn append(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        self.call(self.storage.append(lines))
    }

    fn replace(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        self.call(self.storage.replace(lines))
    }

    fn set_aside(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        self.call(self.storage.set_aside(lines))
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        self.storage.close()
    }
}

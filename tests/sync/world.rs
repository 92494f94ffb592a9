//! A model of a cluster, and synchronizers on it with a cache and a storage that outlive them. Time stands still until nothing else
//! is to be done.

use crate::model::{EPOCH_MS, Model};
use crate::model_client::ModelClient;
use futures::FutureExt;
use futures::future::BoxFuture;
use lockstep::client::sync::{
    BoxError, CacheSynchronizer, LocalCache, MemoryStorage, SyncChange, SyncOptions, SyncValue,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A local cache: a map.
#[derive(Default)]
pub struct MapCache {
    map: Mutex<BTreeMap<String, SyncValue>>,
    /// Whether it takes no values.
    pub full: AtomicBool,
    /// A key that it neither takes nor tells.
    pub broken: Mutex<Option<String>>,
}

impl MapCache {
    /// Changes it behind the synchronizer's back.
    pub fn put(&self, key: &str, value: &str) {
        self.map.lock().expect("no panic").insert(key.to_owned(), SyncValue::text(value));
    }

    pub fn remove(&self, key: &str) {
        self.map.lock().expect("no panic").remove(key);
    }

    fn refuse(&self, key: &str) -> Result<(), BoxError> {
        match self.broken.lock().expect("no panic").as_deref() {
            Some(broken) if broken == key => Err("the cache cannot have this key".into()),
            _ => Ok(()),
        }
    }

    pub fn text(&self, key: &str) -> Option<String> {
        self.texts().remove(key)
    }

    pub fn values(&self) -> BTreeMap<String, SyncValue> {
        self.map.lock().expect("no panic").clone()
    }

    pub fn texts(&self) -> BTreeMap<String, String> {
        let text = |value: &SyncValue| String::from_utf8_lossy(&value.bytes).into_owned();
        self.values().iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }
}

impl LocalCache for MapCache {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<SyncValue>, BoxError>> {
        async move {
            self.refuse(key)?;
            Ok(self.map.lock().expect("no panic").get(key).cloned())
        }
        .boxed()
    }

    fn set<'a>(&'a self, key: &'a str, value: SyncValue) -> BoxFuture<'a, Result<(), BoxError>> {
        async move {
            self.refuse(key)?;
            if self.full.load(Ordering::SeqCst) {
                return Err("the cache takes no values".into());
            }
            self.map.lock().expect("no panic").insert(key.to_owned(), value);
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        async move {
            self.remove(key);
            Ok(())
        }
        .boxed()
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        async { Ok(self.values().into_keys().collect()) }.boxed()
    }
}

/// A synchronizer with a cache and a storage, which a new one can take over.
pub struct Site {
    pub sync: CacheSynchronizer,
    pub cache: Arc<MapCache>,
    pub storage: Arc<MemoryStorage>,
}

pub struct World {
    pub model: Model,
    begun: Instant,
}

impl World {
    pub fn new() -> Self {
        Self { model: Model::new(), begun: Instant::now() }
    }

    /// A machine's clock that is so far ahead of log time.
    pub fn clock(&self, skew_ms: i64) -> Arc<dyn Fn() -> i64 + Send + Sync> {
        let begun = self.begun;
        Arc::new(move || EPOCH_MS + skew_ms + begun.elapsed().as_millis() as i64)
    }

    pub fn now_ms(&self) -> i64 {
        self.clock(0)()
    }

    /// What tests have in common.
    pub fn options(&self) -> SyncOptions {
        SyncOptions { sync_interval: Duration::ZERO, clock: self.clock(0), ..SyncOptions::default() }
    }

    /// One that is not connected yet.
    pub fn site(&self, options: SyncOptions) -> Site {
        self.site_on(options, Arc::default(), Arc::default())
    }

    pub fn site_on(&self, options: SyncOptions, cache: Arc<MapCache>, storage: Arc<MemoryStorage>) -> Site {
        let options = SyncOptions { storage: storage.clone(), ..options };
        let sync = CacheSynchronizer::new(ModelClient::new(&self.model), options).expect("options");
        sync.register_cache(cache.clone());
        Site { sync, cache, storage }
    }

    /// One with a storage of its own kind.
    pub fn site_with(&self, options: SyncOptions, cache: Arc<MapCache>) -> Site {
        let sync = CacheSynchronizer::new(ModelClient::new(&self.model), options).expect("options");
        sync.register_cache(cache.clone());
        Site { sync, cache, storage: Arc::default() }
    }

    pub async fn connected(&self, options: SyncOptions) -> Site {
        let site = self.site(options);
        site.sync.connect("node-1").await.expect("a connection");
        site.sync.sync().await.expect("a sync");
        site
    }
}

impl Site {
    pub async fn set(&self, key: &str, value: &str) {
        self.sync.set(key, SyncValue::text(value)).await.expect("it is kept");
    }

    pub async fn sync(&self) {
        self.sync.sync().await.expect("a sync");
    }

    pub async fn pending(&self) -> usize {
        self.sync.status().await.pending
    }

    pub async fn conflicts(&self) -> u64 {
        self.sync.status().await.conflicts
    }

    pub async fn close(&self) {
        self.sync.close().await.expect("it closes");
    }
}

/// Lets time pass, and everything that is due meanwhile.
pub async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Lets everything run that needs no time.
pub async fn settle() {
    pass(1).await;
}

/// A change in a few words.
pub fn words(change: &SyncChange) -> String {
    match change {
        SyncChange::Key { key, cause, origin, .. } => format!("{cause:?} {key} {origin:?}"),
        SyncChange::Resync => "Resync".into(),
    }
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

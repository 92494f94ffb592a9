//! Caches and callbacks that fail, clocks that are set, and changes that meet each other.

use crate::model::Fault;
use crate::world::{MapCache, World, map, pass, settle};
use futures::FutureExt;
use futures::future::BoxFuture;
use lockstep::client::sync::{
    BoxError, CacheSynchronizer, LocalCache, SyncChange, SyncError, SyncOptions, SyncValue,
};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_change_in_a_cache_beside_an_addition_is_not_lost() {
    let world = World::new();
    world.model.put("n", "5");
    world.model.put("m", "5");
    let site = world.connected(world.options()).await;
    site.cache.put("n", "10");
    site.sync.add("n", 1).await.expect("it is kept");
    site.sync.add("m", 1).await.expect("it is kept");
    site.cache.put("m", "100");
    site.sync().await;
    settle().await;
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("m", "100"), ("n", "11")]));
    assert_eq!(site.cache.texts(), world.model.texts());
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn additions_are_told_from_changes_after_a_restart() {
    let world = World::new();
    world.model.put("n", "5");
    let site = world.connected(world.options()).await;
    for _ in 0..2 {
        site.sync.add("n", 1).await.expect("it is kept");
    }
    world.model.put("n", "20");
    site.close().await;
    let next = world.site_on(world.options(), site.cache.clone(), site.storage.clone());
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    assert_eq!(world.model.texts(), map(&[("n", "22")]));
    assert_eq!(next.cache.texts(), world.model.texts());
    next.close().await;
}

/// A cache that fails for one key, or for the list of its keys.
#[derive(Default)]
struct Picky {
    inner: MapCache,
    takes_all: AtomicBool,
    hides_keys: AtomicBool,
}

impl LocalCache for Picky {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<SyncValue>, BoxError>> {
        match key {
            "unreadable" => async { Err("it cannot be read".into()) }.boxed(),
            _ => self.inner.get(key),
        }
    }

    fn set<'a>(&'a self, key: &'a str, value: SyncValue) -> BoxFuture<'a, Result<(), BoxError>> {
        match key == "large" && !self.takes_all.load(Ordering::SeqCst) {
            true => async { Err("it is too large".into()) }.boxed(),
            false => self.inner.set(key, value),
        }
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.inner.delete(key)
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        match self.hides_keys.load(Ordering::SeqCst) {
            true => async { Err("its keys cannot be listed".into()) }.boxed(),
            false => self.inner.keys(),
        }
    }
}

async fn cache_error(sync: &CacheSynchronizer) -> String {
    match sync.sync().await {
        Err(SyncError::Cache(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_cache_refuses_stops_neither_the_others_nor_local_changes() {
    let world = World::new();
    for key in ["a", "large", "z"] {
        world.model.put(key, "1");
    }
    let cache = Arc::new(Picky::default());
    let site = world.site(world.options());
    site.sync.register_cache(cache.clone());
    site.sync.connect("node-1").await.expect("a connection");
    site.set("mine", "1").await;
    assert_eq!(cache_error(&site.sync).await, "it is too large");
    assert_eq!(cache.inner.texts(), map(&[("a", "1"), ("mine", "1"), ("z", "1")]));
    assert_eq!(world.model.texts()["mine"], "1");
    world.model.put("large", "2");
    settle().await;
    site.set("mine", "2").await;
    assert_eq!(cache_error(&site.sync).await, "it is too large");
    assert_eq!(world.model.texts()["mine"], "2");
    cache.takes_all.store(true, Ordering::SeqCst);
    site.sync().await;
    assert_eq!(cache.inner.texts(), map(&[("a", "1"), ("large", "2"), ("mine", "2"), ("z", "1")]));
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_cannot_be_read_stops_no_other_key() {
    let world = World::new();
    let cache = Arc::new(Picky::default());
    let site = world.connected(world.options()).await;
    site.sync.register_cache(cache.clone());
    cache.inner.put("unreadable", "1");
    cache.inner.put("good", "1");
    assert_eq!(cache_error(&site.sync).await, "it cannot be read");
    assert_eq!(world.model.texts(), map(&[("good", "1")]));
    cache.inner.remove("unreadable");
    cache.hides_keys.store(true, Ordering::SeqCst);
    site.set("mine", "1").await;
    assert_eq!(cache_error(&site.sync).await, "its keys cannot be listed");
    assert_eq!(world.model.texts(), map(&[("good", "1"), ("mine", "1")]));
    cache.hides_keys.store(false, Ordering::SeqCst);
    site.sync().await;
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_ends_no_ttl() {
    for knows_log_time in [false, true] {
        let world = World::new();
        let ahead = Arc::new(AtomicI64::new(0));
        let (clock, shift) = (world.clock(0), ahead.clone());
        let clock = Arc::new(move || clock() + shift.load(Ordering::SeqCst));
        let options = SyncOptions { clock, ..world.options() };
        let site = match knows_log_time {
            true => world.connected(options).await,
            false => world.site(options),
        };
        let hour = Duration::from_secs(3_600);
        site.sync.set_for("cart", SyncValue::text("full"), hour).await.expect("it is kept");
        ahead.store(48 * 3_600_000, Ordering::SeqCst);
        pass(1_000).await;
        site.sync.connect("node-1").await.expect("a connection");
        site.sync().await;
        assert_eq!(world.model.texts(), map(&[("cart", "full")]), "{knows_log_time}");
        assert_eq!(site.cache.texts(), world.model.texts());
        site.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_ends_neither_the_stream_nor_the_syncs() {
    let world = World::new();
    let panics = Arc::new(AtomicUsize::new(0));
    let told = Arc::new(Mutex::new(Vec::new()));
    let (left, errors) = (panics.clone(), told.clone());
    let options = SyncOptions {
        sync_interval: Duration::from_secs(1),
        on_change: Arc::new(move |change: &SyncChange| {
            let is_last = left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            assert!(is_last.is_err(), "the callback fails on {change:?}");
        }),
        on_error: Arc::new(move |error: &SyncError| errors.lock().expect("no panic").push(error.to_string())),
        ..world.options()
    };
    let site = world.connected(options).await;
    panics.store(1, Ordering::SeqCst);
    world.model.put("a", "1");
    pass(3_000).await;
    world.model.put("b", "1");
    pass(3_000).await;
    assert_eq!(site.cache.texts(), map(&[("a", "1"), ("b", "1")]));
    // The next one is in a sync.
    world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::Slow(10)));
    site.cache.put("mine", "1");
    panics.store(1, Ordering::SeqCst);
    pass(5_000).await;
    site.cache.put("later", "1");
    pass(5_000).await;
    assert_eq!(world.model.texts().get("later").map(String::as_str), Some("1"));
    let told = told.lock().expect("no panic").clone();
    assert_eq!(told.iter().filter(|error| error.contains("the callback fails")).count(), 2, "{told:?}");
    world.model.bookmark();
    settle().await;
    assert!(site.sync.status().await.connected);
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_refuses_leaves_no_change_stuck() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    site.set("k", "1").await;
    world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::Proxy));
    let refused = site.sync.sync().await;
    assert!(matches!(refused, Err(SyncError::Cluster(_))), "{refused:?}");
    assert!(site.sync.details().await.stuck.is_empty());
    world.model.heal();
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("k", "1")]));
    site.close().await;
}

//! A process that dies at any of its calls to the outside: before or after it, once or twice, with a storage that loses its end.

use crate::model_client::ModelClient;
use crate::mortal::{Mortal, MortalCache, MortalStorage};
use crate::world::{MapCache, Site, World, pass};
use lockstep::client::sync::{CacheSynchronizer, MemoryStorage, SyncError, SyncOptions, SyncValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the application was told to be kept.
#[derive(Default)]
struct Accepted {
    sets: Vec<(&'static str, &'static str)>,
    added: i64,
    /// Of the call that was not answered.
    maybe_added: i64,
}

struct Process {
    sync: CacheSynchronizer,
    accepted: Accepted,
}

impl Process {
    async fn set(&mut self, key: &'static str, value: &'static str) -> Result<(), SyncError> {
        self.sync.set(key, SyncValue::text(value)).await?;
        self.accepted.sets.push((key, value));
        Ok(())
    }

    async fn add(&mut self, by: i64) -> Result<(), SyncError> {
        self.accepted.maybe_added = by;
        self.sync.add("n", by).await?;
        self.accepted.added += by;
        self.accepted.maybe_added = 0;
        Ok(())
    }

    async fn live(&mut self, world: &World) -> Result<(), SyncError> {
        self.set("offline", "1").await?;
        self.add(1).await?;
        self.sync.connect("node-1").await?;
        self.set("a", "1").await?;
        self.set("b", "loses").await?;
        self.add(5).await?;
        pass(100).await;
        world.model.put("b", "wins");
        self.sync.sync().await?;
        self.set("a", "2").await?;
        self.sync.delete("c").await?;
        self.add(7).await?;
        world.model.put("d", "theirs");
        self.sync.sync().await
    }
}

/// Where everything that outlives a process is.
#[derive(Default)]
struct Left {
    cache: Arc<MapCache>,
    storage: Arc<MemoryStorage>,
}

fn process(world: &World, left: &Left, mortal: &Arc<Mortal>) -> CacheSynchronizer {
    let mortal = mortal.clone();
    let storage = Arc::new(MortalStorage { storage: left.storage.clone(), mortal: mortal.clone() });
    let options = SyncOptions { storage, batch_size: 2, ..world.options() };
    let client = ModelClient { mortal: mortal.clone(), ..ModelClient::new(&world.model) };
    let sync = CacheSynchronizer::new(client, options).expect("options");
    sync.register_cache(Arc::new(MortalCache { cache: left.cache.clone(), mortal }));
    sync
}

/// A process that changes keys, meets a conflict, and syncs, until it is through or dead.
async fn live(world: &World, left: &Left, mortal: &Arc<Mortal>) -> Accepted {
    let mut process = Process { sync: process(world, left, mortal), accepted: Accepted::default() };
    if let Err(error) = process.live(world).await {
        assert!(mortal.is_dead(), "{error}");
    }
    mortal.kill();
    // What has begun does nothing any more.
    let _ = process.sync.close().await;
    process.accepted
}

/// Another process takes over what is left, and has nothing to do in the end.
async fn revive(world: &World, left: &Left) -> Site {
    let site = world.site_on(world.options(), left.cache.clone(), left.storage.clone());
    site.sync.connect("node-1").await.expect("a connection");
    site.sync().await;
    site.sync().await;
    assert_eq!(site.pending().await, 0);
    assert_eq!(left.cache.values(), world.model.values(), "the cache and the cluster agree");
    site.close().await;
    site
}

fn prepare() -> (World, Left) {
    let world = World::new();
    for key in ["b", "c"] {
        world.model.put(key, "base");
    }
    (world, Left::default())
}

fn check(world: &World, accepted: &Accepted, what: &str) {
    let remote = world.model.texts();
    let last = |key: &str| accepted.sets.iter().rev().find(|(each, _)| *each == key).map(|(_, value)| *value);
    if last("offline").is_some() {
        assert_eq!(remote["offline"], "1", "{what}");
    }
    if let Some(value) = last("a") {
        assert!(remote["a"].as_str() >= value, "{what}: a is {}", remote["a"]);
    }
    if last("b").is_some() && remote.contains_key("d") {
        assert_eq!(remote["b"], "wins", "{what}");
    }
    let n: i64 = remote.get("n").map_or(0, |n| n.parse().expect("a number"));
    let Accepted { added, maybe_added, .. } = accepted;
    assert!(n == *added || n == added + maybe_added, "{what}: {n}, of {added} and perhaps {maybe_added}");
}

async fn dies_at_each_call(after: bool) {
    for die_at in 1.. {
        let (world, left) = prepare();
        let mortal = Arc::new(Mortal::new(die_at, after));
        let accepted = live(&world, &left, &mortal).await;
        revive(&world, &left).await;
        check(&world, &accepted, &format!("death at call {die_at}"));
        if mortal.calls() < die_at {
            assert!(die_at > 60, "{die_at} calls");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_before_any_of_its_calls_loses_nothing_and_does_nothing_twice() {
    dies_at_each_call(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_after_any_of_its_calls_loses_nothing_and_does_nothing_twice() {
    dies_at_each_call(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_once_more_while_it_takes_over_loses_nothing_either() {
    for die_at in (5..120).step_by(9) {
        for again in (1..40).step_by(2) {
            let (world, left) = prepare();
            let accepted = live(&world, &left, &Arc::new(Mortal::new(die_at, true))).await;
            let second = Arc::new(Mortal::new(again, again % 4 == 1));
            let sync = process(&world, &left, &second);
            let took_over = match sync.connect("node-1").await {
                Ok(()) => sync.sync().await,
                refused => refused,
            };
            assert!(took_over.is_ok() || second.is_dead());
            second.kill();
            let _ = sync.close().await;
            revive(&world, &left).await;
            check(&world, &accepted, &format!("death at call {die_at}, and at call {again}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_loses_its_end_costs_no_more_than_what_was_in_it() {
    let (world, left) = prepare();
    live(&world, &left, &Arc::new(Mortal::immortal())).await;
    let total = left.storage.lines().len();
    assert!(total > 10, "{total} lines");
    for lost in 1..=total {
        for half in [false, true] {
            let (world, mut left) = prepare();
            live(&world, &left, &Arc::new(Mortal::immortal())).await;
            let mut lines = left.storage.lines();
            let cut = lines.split_off(total - lost);
            if half {
                lines.push(cut[0][..cut[0].len() / 2].to_owned());
            }
            left.storage = Arc::new(MemoryStorage::with_lines(lines));
            let site = revive(&world, &left).await;
            assert_eq!(site.sync.details().await.damaged, usize::from(half));
            assert_eq!(left.storage.aside().len(), usize::from(half));
            assert_eq!(world.model.texts()["a"], "2", "{lost} lines lost");
            assert_eq!(world.model.texts()["d"], "theirs");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_line_anywhere_is_set_aside_and_told_and_the_rest_counts() {
    const DEATH: usize = 60;
    let (world, left) = prepare();
    live(&world, &left, &Arc::new(Mortal::new(DEATH, true))).await;
    for at in 0..left.storage.lines().len() {
        let (world, mut left) = prepare();
        live(&world, &left, &Arc::new(Mortal::new(DEATH, true))).await;
        let mut lines = left.storage.lines();
        let byte = lines[at].as_bytes()[30];
        lines[at].replace_range(30..31, &char::from(byte ^ 1).to_string());
        left.storage = Arc::new(MemoryStorage::with_lines(lines));
        let told = Arc::new(AtomicUsize::new(0));
        let counted = told.clone();
        let on_damage = Arc::new(move |lines: &[String]| {
            counted.fetch_add(lines.len(), Ordering::SeqCst);
        });
        let options = SyncOptions { on_damage, ..world.options() };
        let site = world.site_on(options, left.cache.clone(), left.storage.clone());
        site.sync.connect("node-1").await.expect("a connection");
        site.sync().await;
        assert_eq!((told.load(Ordering::SeqCst), left.storage.aside().len()), (1, 1), "line {at}");
        assert_eq!(site.pending().await, 0);
        assert_eq!(left.cache.texts(), world.model.texts(), "line {at}");
        site.close().await;
    }
}

//! The eight edge cases, by the names that the TypeScript tests have.

use crate::model::Fault;
use crate::world::{World, map, pass, settle};
use lockstep::cache::RemovalCause;
use lockstep::client::sync::{
    FileStorage, Policy, Resolution, SyncError, SyncOptions, SyncStorage, SyncValue,
};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn network_partitions() {
    let world = World::new();
    world.model.put("shared", "1");
    let options = SyncOptions { sync_interval: Duration::from_secs(1), ..world.options() };
    let site = world.connected(options).await;
    world.model.fail(|_| Some(Fault::Refused));
    world.model.cut();
    pass(20_000).await;
    assert!(!site.sync.status().await.connected);
    assert_eq!(site.sync.details().await.staleness_ms, None);
    site.set("mine", "made in the partition").await;
    world.model.put("theirs", "made on the other side");
    assert_eq!(site.cache.text("shared").as_deref(), Some("1"), "what is here can be read on");
    assert_eq!(site.pending().await, 1);
    world.model.heal();
    pass(20_000).await;
    let all =
        map(&[("mine", "made in the partition"), ("shared", "1"), ("theirs", "made on the other side")]);
    assert_eq!(site.cache.texts(), all);
    assert_eq!(world.model.texts(), all);
    // The model sends bookmarks only when it is asked to.
    world.model.bookmark();
    settle().await;
    let status = site.sync.status().await;
    assert_eq!((status.connected, status.pending, status.conflicts), (true, 0, 0));
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn concurrent_updates() {
    let world = World::new();
    world.model.put("k", "base");
    let mut sites = Vec::new();
    for at in 0..3 {
        let site = world.connected(world.options()).await;
        sites.push((at, site));
    }
    for (at, site) in &sites {
        site.set("k", &format!("site {at}")).await;
    }
    let syncs = sites.iter().map(|(_, site)| site.sync());
    futures::future::join_all(syncs).await;
    settle().await;
    let winner = world.model.texts()["k"].clone();
    assert!(winner.starts_with("site "), "{winner}");
    let mut conflicts = 0;
    for (_, site) in &sites {
        assert_eq!(site.cache.text("k"), Some(winner.clone()));
        assert_eq!(site.pending().await, 0);
        conflicts += site.conflicts().await;
        site.close().await;
    }
    assert_eq!(conflicts, 2);
}

#[tokio::test(start_paused = true)]
async fn clock_skew() {
    let world = World::new();
    world.model.put("k", "base");
    const HOUR: i64 = 3_600_000;
    let skewed = |skew| SyncOptions { clock: world.clock(skew), ..world.options() };
    let ahead = world.connected(skewed(HOUR)).await;
    let behind = world.connected(skewed(-HOUR)).await;
    let offset = ahead.sync.details().await.clock.expect("it is known");
    assert!((offset.0 + HOUR).abs() <= offset.1, "{offset:?}");
    ahead.set("k", "earlier, by a clock that is ahead").await;
    pass(100).await;
    behind.set("k", "later, by a clock that is behind").await;
    behind.sync().await;
    ahead.sync().await;
    let later = map(&[("k", "later, by a clock that is behind")]);
    assert_eq!(world.model.texts(), later);
    settle().await;
    assert_eq!(ahead.cache.texts(), later);
    // A wall clock that is set while it runs is noticed before times are compared.
    let shift = Arc::new(AtomicU64::new(0));
    let (clock, now) = (world.clock(0), shift.clone());
    let clock = Arc::new(move || clock() + i64::try_from(now.load(Ordering::SeqCst)).expect("it is small"));
    let jumping = world.connected(SyncOptions { clock, ..world.options() }).await;
    shift.store(7_200_000, Ordering::SeqCst);
    jumping.set("k", "earlier, by a clock that was set").await;
    pass(100).await;
    world.model.put("k", "the last one");
    settle().await;
    jumping.sync().await;
    assert_eq!(world.model.texts(), map(&[("k", "the last one")]));
    for site in [ahead, behind, jumping] {
        site.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn data_corruption() {
    let world = World::new();
    world.model.put("good", "1");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let on_file = |path| -> Arc<dyn SyncStorage> { Arc::new(FileStorage::new(path)) };
    let options = SyncOptions { storage: on_file(path.clone()), ..world.options() };
    let first = world.site_with(options, Arc::default());
    for key in ["kept", "damaged", "last"] {
        first.set(key, "1").await;
    }
    first.close().await;
    let text = std::fs::read_to_string(&path).expect("the journal");
    assert_eq!(text.lines().count(), 3);
    let text = text.replace("\"damaged\"", "\"damagex\"");
    std::fs::write(&path, &text[..text.len() - 10]).expect("it is written");
    let told = Arc::new(AtomicUsize::new(0));
    let counted = told.clone();
    let options = SyncOptions {
        storage: on_file(path.clone()),
        on_damage: Arc::new(move |lines| {
            counted.fetch_add(lines.len(), Ordering::SeqCst);
        }),
        ..world.options()
    };
    let second = world.site_with(options, Arc::default());
    second.sync.connect("node-1").await.expect("a connection");
    second.sync().await;
    assert_eq!(world.model.texts(), map(&[("good", "1"), ("kept", "1")]));
    assert_eq!(told.load(Ordering::SeqCst), 2);
    assert_eq!(second.sync.details().await.damaged, 2);
    let aside = std::fs::read_to_string(folder.path().join("journal.damaged")).expect("what was set aside");
    assert_eq!(aside.lines().count(), 2);
    second.close().await;
}

#[tokio::test(start_paused = true)]
async fn node_failures() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    for round in 0..3 {
        // The stream's node dies, and so does every other request's.
        let calls = AtomicUsize::new(0);
        let dies = Arc::new(AtomicBool::new(true));
        let is_dying = dies.clone();
        world.model.fail(move |seen| {
            let is_hit = seen.kind == "watch" && is_dying.swap(false, Ordering::SeqCst);
            let is_slow = calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            if is_hit { Some(Fault::Refused) } else { is_slow.then_some(Fault::Slow(400)) }
        });
        world.model.cut();
        site.set(&format!("mine {round}"), "1").await;
        world.model.put(&format!("theirs {round}"), "1");
        site.sync().await;
        pass(5_000).await;
        assert!(site.sync.status().await.connected, "round {round}");
    }
    assert_eq!(site.cache.texts().len(), 6);
    assert_eq!(site.cache.texts(), world.model.texts());
    let index = world.model.state().index;
    assert_eq!(site.sync.details().await.place, Some(index), "the stream went on from its place");
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn partial_updates() {
    let world = World::new();
    let site = world.connected(SyncOptions { batch_size: 4, ..world.options() }).await;
    for at in 0..12 {
        site.set(&format!("k{at}"), "1").await;
    }
    let batches = AtomicUsize::new(0);
    world.model.fail(move |seen| {
        let is_late = seen.kind == "batch" && batches.fetch_add(1, Ordering::SeqCst) >= 2;
        is_late.then_some(Fault::Refused)
    });
    site.sync.sync().await.expect_err("it is refused");
    assert_eq!(world.model.texts().len(), 8, "whole batches only");
    assert_eq!(site.pending().await, 4, "and the others wait");
    world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::After));
    site.sync.sync().await.expect_err("its outcome is unknown");
    assert_eq!(site.pending().await, 4, "what has no answer confirms nothing");
    world.model.heal();
    site.sync().await;
    assert_eq!(site.pending().await, 0);
    assert!(
        world.model.state().entries.values().all(|stored| stored.version == 1),
        "nothing was written twice"
    );
    assert_eq!(site.cache.texts(), world.model.texts());
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn version_conflicts() {
    let world = World::new();
    let base = world.model.put("k", "1");
    world.model.put("untouched", "1");
    let versions: Arc<Mutex<Vec<_>>> = Arc::default();
    let seen = versions.clone();
    let resolve = move |conflict: lockstep::client::sync::Conflict| {
        seen.lock().expect("no panic").push((conflict.base.flatten(), conflict.remote.revision));
        let text = |value: &Option<SyncValue>| {
            String::from_utf8_lossy(&value.as_ref().expect("a value").bytes).into_owned()
        };
        let both = format!("{}, {}", text(&conflict.local.value), text(&conflict.remote.value));
        Box::pin(async move { Ok(Resolution::Value(SyncValue::text(both))) }) as _
    };
    let options =
        SyncOptions { conflict: Policy::Custom, resolve: Some(Arc::new(resolve)), ..world.options() };
    let site = world.connected(options).await;
    site.set("k", "2 here").await;
    let theirs = world.model.put("k", "2 there");
    settle().await;
    // Between the decision and its batch the key changes once more.
    let again = Arc::new(AtomicU64::new(0));
    let (model, changed) = (world.model.clone(), again.clone());
    world.model.fail(move |seen| {
        if seen.kind == "batch" && changed.load(Ordering::SeqCst) == 0 {
            changed.store(model.put("k", "3 there"), Ordering::SeqCst);
        }
        None
    });
    site.sync().await;
    let again = again.load(Ordering::SeqCst);
    let expected = [(Some(base), Some(theirs)), (Some(theirs), Some(again))];
    assert_eq!(*versions.lock().expect("no panic"), expected);
    assert_eq!(world.model.texts()["k"], "2 here, 2 there, 3 there");
    assert_eq!(site.cache.texts(), world.model.texts());
    assert_eq!(site.conflicts().await, 2);
    assert_eq!(world.model.state().entries["untouched"].version, 1);
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn recovery_scenarios() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let options = || SyncOptions { storage: Arc::new(FileStorage::new(&path)), ..world.options() };
    for key in ["a", "b"] {
        world.model.put(key, "1");
    }
    let first = world.site_with(options(), Arc::default());
    first.sync.connect("node-1").await.expect("a connection");
    first.sync().await;
    first.set("offline", "kept").await;
    first.close().await;
    // While it was away: changes that are not kept any more, and a delete.
    world.model.remove("a", RemovalCause::Delete);
    world.model.put("b", "2");
    world.model.forget();
    world.model.put("c", "1");
    let second = world.site_with(options(), first.cache.clone());
    second.sync.connect("node-1").await.expect("a connection");
    second.sync().await;
    assert_eq!(second.cache.texts(), map(&[("b", "2"), ("c", "1"), ("offline", "kept")]));
    assert_eq!(second.cache.texts(), world.model.texts());
    second.close().await;
    // The place was noted: what comes next is read from there, and everything once for the cache that is new to the process.
    world.model.put("d", "1");
    let pages = world.model.requests("page");
    let third = world.site_with(options(), second.cache.clone());
    third.sync.connect("node-1").await.expect("a connection");
    third.sync().await;
    assert_eq!(third.cache.text("d").as_deref(), Some("1"));
    assert!(world.model.requests("page") - pages <= 1);
    third.close().await;
    // A backup was restored, in which nothing of this has happened.
    world.model.state().entries.clear();
    world.model.put("restored", "1");
    let index = world.model.state().index;
    world.model.fork(index);
    let fourth = world.site_with(options(), third.cache.clone());
    fourth.sync.connect("node-1").await.expect("a connection");
    fourth.sync().await;
    assert_eq!(fourth.cache.texts(), map(&[("restored", "1")]));
    fourth.close().await;
    world.model.state().cluster_id = "another".into();
    let wrong = world.site_with(options(), Arc::default());
    let refused = wrong.sync.connect("node-1").await.expect_err("it is another cluster");
    assert!(matches!(refused, SyncError::OtherCluster { .. }), "{refused}");
    wrong.close().await;
}

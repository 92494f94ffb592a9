//! Conflicts, additions, and outcomes that are not known.

use crate::model::Fault;
use crate::world::{World, map, pass, settle};
use futures::FutureExt;
use lockstep::cache::RemovalCause;
use lockstep::client::sync::{
    Conflict, DecidedConflict, Policy, Resolution, Resolve, SyncError, SyncOptions, SyncValue, Winner,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

fn resolving(
    answer: impl Fn(&Conflict) -> Result<Resolution, &'static str> + Send + Sync + 'static,
) -> Option<Resolve> {
    Some(Arc::new(move |conflict| {
        let answer = answer(&conflict).map_err(Into::into);
        async move { answer }.boxed()
    }))
}

fn text(value: Option<&SyncValue>) -> String {
    value.map(|value| String::from_utf8_lossy(&value.bytes).into_owned()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn newest_oldest_and_custom_decide_conflicts_and_each_is_told_with_its_loser() {
    let merged = |conflict: &Conflict| {
        let both =
            format!("{}+{}", text(conflict.local.value.as_ref()), text(conflict.remote.value.as_ref()));
        Ok(Resolution::Value(SyncValue::text(both)))
    };
    let cases: [(Policy, Option<Resolve>, Option<&str>, Winner); 6] = [
        (Policy::Newest, None, Some("remote"), Winner::Remote),
        (Policy::Oldest, None, Some("local"), Winner::Local),
        (Policy::Custom, resolving(|_| Ok(Resolution::Local)), Some("local"), Winner::Local),
        (Policy::Custom, resolving(|_| Ok(Resolution::Remote)), Some("remote"), Winner::Remote),
        (Policy::Custom, resolving(merged), Some("local+remote"), Winner::Merged),
        (Policy::Custom, resolving(|_| Ok(Resolution::Delete)), None, Winner::Merged),
    ];
    for (conflict, resolve, expected, winner) in cases {
        let world = World::new();
        world.model.put("k", "base");
        let told: Arc<Mutex<Vec<DecidedConflict>>> = Arc::default();
        let heard = told.clone();
        let on_conflict =
            Arc::new(move |decided: &DecidedConflict| heard.lock().expect("no panic").push(decided.clone()));
        let site = world.connected(SyncOptions { conflict, resolve, on_conflict, ..world.options() }).await;
        site.set("k", "local").await;
        pass(100).await;
        world.model.put_value("k", SyncValue::text("remote"), Some("app-2"));
        settle().await;
        site.sync().await;
        assert_eq!(world.model.texts().get("k").map(String::as_str), expected);
        assert_eq!(site.cache.values(), world.model.values());
        assert_eq!((site.conflicts().await, site.pending().await), (1, 0));
        let told = told.lock().expect("no panic").clone();
        assert_eq!(told.len(), 1);
        let Conflict { local, remote, .. } = &told[0].conflict;
        assert_eq!(
            (text(local.value.as_ref()), text(remote.value.as_ref())),
            ("local".into(), "remote".into())
        );
        assert_eq!((remote.origin.as_deref(), told[0].winner), (Some("app-2"), winner));
        site.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_is_deferred_or_whose_resolver_fails_waits() {
    let world = World::new();
    for key in ["k", "other", "wild"] {
        world.model.put(key, "base");
    }
    let decided = Arc::new(AtomicBool::new(false));
    let now = decided.clone();
    let resolve = resolving(move |conflict| match conflict.key.as_str() {
        "other" => Err("no idea"),
        "wild" => panic!("of the application"),
        _ if now.load(Ordering::SeqCst) => Ok(Resolution::Local),
        _ => Ok(Resolution::Defer),
    });
    let site = world.connected(SyncOptions { conflict: Policy::Custom, resolve, ..world.options() }).await;
    for key in ["k", "other", "wild", "third"] {
        site.set(key, "local").await;
    }
    for key in ["k", "other", "wild"] {
        world.model.put(key, "remote");
    }
    settle().await;
    site.sync().await;
    let unresolved = site.sync.details().await.unresolved;
    let expected = [("k", "deferred"), ("other", "resolve failed: no idea"), ("wild", "resolve panicked")];
    assert_eq!(unresolved, expected.map(|(key, why)| (key.to_owned(), why.to_owned())));
    assert_eq!(site.pending().await, 3);
    assert!(site.sync.status().await.last_sync_ms > 0);
    assert_eq!(world.model.texts()["third"], "local", "the rest went on");
    decided.store(true, Ordering::SeqCst);
    site.sync.retry(Some("k")).await;
    site.sync().await;
    assert_eq!(world.model.texts()["k"], "local");
    assert_eq!(world.model.texts()["other"], "remote");
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_local_change_that_is_older_than_the_delete_of_its_key_loses() {
    let world = World::new();
    for key in ["older", "newer", "evicted"] {
        world.model.put(key, "base");
    }
    let site = world.connected(world.options()).await;
    world.model.fail(|seen| (seen.kind == "watch").then_some(Fault::Refused));
    world.model.cut();
    site.set("older", "local").await;
    pass(1000).await;
    world.model.remove("older", RemovalCause::Delete);
    world.model.remove("newer", RemovalCause::Delete);
    site.set("evicted", "local").await;
    world.model.remove("evicted", RemovalCause::Evict);
    pass(1000).await;
    site.set("newer", "local").await;
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("evicted", "local"), ("newer", "local")]));
    assert_eq!(site.cache.texts(), world.model.texts());
    site.close().await;
    let unheard = world.site(world.options());
    unheard.sync.connect("node-2").await.expect_err("no stream of changes begins");
    world.model.heal();
    // Met for the first time: of unknown age, so the delete that the cluster remembers wins.
    let late = world.site(world.options());
    late.cache.put("older", "a copy from long ago");
    late.cache.put("never", "there");
    late.sync.connect("node-2").await.expect("a connection");
    late.sync().await;
    assert_eq!(late.cache.text("older"), None);
    assert_eq!(world.model.texts().get("older"), None);
    assert_eq!(world.model.texts()["never"], "there");
    late.close().await;
}

#[tokio::test(start_paused = true)]
async fn additions_of_all_sides_are_summed_up() {
    let world = World::new();
    world.model.put_value("n", SyncValue { bytes: "10".into(), content_type: None }, None);
    let site = world.connected(world.options()).await;
    site.sync.add("n", 5).await.expect("it is kept");
    site.sync.add("n", 2).await.expect("it is kept");
    assert_eq!(site.cache.text("n").as_deref(), Some("17"));
    world.model.put_value("n", SyncValue::text("100"), None);
    site.sync().await;
    settle().await;
    assert_eq!(world.model.texts()["n"], "107");
    assert_eq!(site.cache.values(), world.model.values(), "with the type that the others gave it");
    site.sync.add("fresh", 1).await.expect("it is kept");
    site.sync().await;
    assert_eq!(world.model.texts()["fresh"], "1");
    site.sync.add("n", i64::MAX).await.expect_err("the sum is no number");
    site.set("fresh", "text").await;
    let refused = site.sync.add("fresh", 1).await.expect_err("it is text");
    assert!(matches!(refused, SyncError::NotANumber(_)));
    assert_eq!(site.conflicts().await, 0);
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_outcome_is_unknown_is_repeated_and_an_addition_is_counted_once() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    site.sync.add("n", 5).await.expect("it is kept");
    world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::After));
    site.sync.sync().await.expect_err("its outcome is unknown");
    assert_eq!(world.model.texts()["n"], "5");
    assert_eq!(site.pending().await, 1);
    site.sync.add("n", 1).await.expect("it is kept");
    world.model.heal();
    // In another process, after a crash.
    let next = world.site_on(world.options(), Arc::default(), site.storage.clone());
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    assert_eq!(world.model.texts()["n"], "6");
    assert_eq!(next.pending().await, 0);
    assert_eq!(next.cache.values(), world.model.values());
    next.close().await;
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_an_outcome_is_looked_up_and_an_addition_is_not_repeated() {
    let world = World::new();
    world.model.put("set2", "x");
    let site = world.connected(world.options()).await;
    site.sync.add("n", 5).await.expect("it is kept");
    site.set("set1", "mine").await;
    site.set("set2", "mine").await;
    world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::After));
    site.sync.sync().await.expect_err("its outcome is unknown");
    world.model.heal();
    world.model.put("set2", "later");
    pass(11 * 60_000).await;
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("n", "5"), ("set1", "mine"), ("set2", "later")]));
    assert_eq!(site.sync.details().await.unknown, [("n".to_owned(), 5)]);
    assert_eq!(site.pending().await, 0);
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_again_and_again_is_stuck_and_the_others_go_on() {
    let world = World::new();
    world.model.put("k", "base");
    let options = SyncOptions { conflict: Policy::Oldest, retries: 2, ..world.options() };
    let site = world.connected(options).await;
    site.set("k", "local").await;
    site.set("other", "local").await;
    pass(10).await;
    let model = world.model.clone();
    world.model.fail(move |seen| {
        // Somebody is always faster.
        if seen.kind == "batch" {
            let index = model.state().index;
            model.put("k", &format!("remote {index}"));
        }
        None
    });
    // The stream would say that the key changed, which is something new.
    world.model.cut();
    site.sync().await;
    let stuck = site.sync.details().await.stuck;
    assert_eq!(stuck.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["k"]);
    assert_eq!(world.model.texts()["other"], "local");
    assert_eq!(site.pending().await, 1);
    assert!(world.model.requests("batch") <= 5);
    world.model.heal();
    site.sync.retry(None).await;
    site.sync().await;
    assert_eq!(world.model.texts()["k"], "local");
    site.close().await;
}

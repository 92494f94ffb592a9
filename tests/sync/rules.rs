//! What goes to which side, and when.

use crate::model::Fault;
use crate::world::{MapCache, Site, World, map, pass, settle, words};
use lockstep::api::ErrorCode;
use lockstep::cache::RemovalCause;
use lockstep::client::sync::{
    Direction, Group, MissingKeys, Mode, Policy, SyncError, SyncEvent, SyncOptions, SyncValue,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn what_only_one_side_has_goes_to_the_other() {
    let world = World::new();
    world.model.put("there", "1");
    let site = world.site(world.options());
    site.cache.put("here", "2");
    site.sync.connect("node-1").await.expect("a connection");
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("here", "2"), ("there", "1")]));
    assert_eq!(site.cache.values(), world.model.values());
    let status = site.sync.status().await;
    assert_eq!(status.peers, ["n1", "n2", "n3"]);
    assert_eq!((status.connected, status.pending, status.conflicts), (true, 0, 0));
    assert_eq!(status.last_sync_ms, world.now_ms());
    site.close().await;
    let closed = site.sync.set("k", SyncValue::text("x")).await.expect_err("it is closed");
    assert!(matches!(closed, SyncError::Closed));
}

#[tokio::test(start_paused = true)]
async fn changes_of_others_come_at_once_with_what_they_are() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    let mut changes = site.sync.changes();
    world.model.put("a", "1");
    settle().await;
    assert_eq!(site.cache.text("a").as_deref(), Some("1"));
    world.model.remove("a", RemovalCause::Delete);
    world.model.put("b:1", "1");
    world.model.put("b:2", "1");
    world.model.clear("b:");
    settle().await;
    assert_eq!(site.cache.texts(), map(&[]));
    site.set("c", "mine").await;
    world.model.resync();
    settle().await;
    site.close().await;
    let mut seen = Vec::new();
    while let Some(change) = changes.next().await {
        seen.push(words(&change));
    }
    let expected = [
        "Set a Remote",
        "Delete a Remote",
        "Set b:1 Remote",
        "Set b:2 Remote",
        "Clear b:1 Remote",
        "Clear b:2 Remote",
        "Set c Local",
        "Resync",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn who_reads_changes_too_slowly_is_told_that_some_were_missed() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    let mut changes = site.sync.changes();
    for at in 0..10_001 {
        world.model.put("k", &at.to_string());
    }
    settle().await;
    assert_eq!(changes.next().await.as_ref().map(words).as_deref(), Some("Resync"));
    world.model.put("later", "1");
    assert_eq!(changes.next().await.as_ref().map(words).as_deref(), Some("Set later Remote"));
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn several_caches_get_each_others_changes_and_one_that_comes_later_gets_all() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    let second = Arc::new(MapCache::default());
    site.sync.register_cache(second.clone());
    site.cache.put("a", "from the first");
    second.put("b", "from the second");
    site.sync().await;
    assert_eq!(site.cache.texts(), map(&[("a", "from the first"), ("b", "from the second")]));
    assert_eq!(second.texts(), site.cache.texts());
    second.put("a", "changed by the second");
    site.sync().await;
    assert_eq!(site.cache.text("a").as_deref(), Some("changed by the second"));
    assert_eq!(site.conflicts().await, 0);
    let third = Arc::new(MapCache::default());
    site.sync.register_cache(third.clone());
    site.sync().await;
    assert_eq!(third.values(), site.cache.values());
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_cache_has_no_more_is_no_delete_unless_it_is_to_be_one() {
    let world = World::new();
    for key in ["a", "b", "c"] {
        world.model.put(key, "1");
    }
    let site = world.connected(world.options()).await;
    site.cache.remove("a");
    site.sync().await;
    assert_eq!(world.model.texts().len(), 3);
    site.sync.delete("b").await.expect("it is kept");
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("a", "1"), ("c", "1")]));
    site.close().await;
    let strict = || SyncOptions { missing_keys: MissingKeys::Delete, ..world.options() };
    let site = world.connected(strict()).await;
    site.cache.remove("c");
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("a", "1")]));
    site.close().await;
    // A process that begins with an empty cache has deleted nothing.
    let restarted = world.site_on(strict(), Arc::default(), site.storage.clone());
    restarted.sync.connect("node-1").await.expect("a connection");
    restarted.sync().await;
    restarted.sync().await;
    assert_eq!(world.model.texts(), map(&[("a", "1")]));
    assert_eq!(restarted.cache.texts(), world.model.texts());
    restarted.close().await;
}

/// What no cache held is not deleted, nor what this side only reads.
#[tokio::test(start_paused = true)]
async fn a_missing_key_is_deleted_only_where_a_cache_had_it() {
    let world = World::new();
    let groups = vec![
        Group { mode: Mode::Cached, ..Group::new("cached", &["cached:"]) },
        Group { direction: Direction::Down, ..Group::new("down", &["down:"]) },
    ];
    let options =
        || SyncOptions { missing_keys: MissingKeys::Delete, groups: groups.clone(), ..world.options() };
    let site = world.connected(options()).await;
    site.set("cached:1", "1").await;
    site.sync().await;
    site.close().await;
    // It begins with an empty cache, and hears of a change of what it does not hold.
    let restarted = world.site_on(options(), Arc::default(), site.storage.clone());
    restarted.sync.connect("node-1").await.expect("a connection");
    restarted.sync().await;
    world.model.put("cached:1", "2");
    world.model.put("down:1", "1");
    settle().await;
    restarted.cache.remove("down:1");
    for _ in 0..2 {
        restarted.sync().await;
    }
    world.model.put("down:1", "2");
    settle().await;
    restarted.sync().await;
    assert_eq!(world.model.texts(), map(&[("cached:1", "2"), ("down:1", "2")]));
    assert_eq!(restarted.cache.texts(), map(&[("down:1", "2")]));
    assert_eq!(restarted.pending().await, 0);
    restarted.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_operation_that_a_batch_is_refused_for_is_stuck_and_the_others_go_on() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    site.set("allowed", "1").await;
    site.set("secret", "1").await;
    world.model.fail(|seen| {
        let at = seen.ops.iter().position(|op| crate::model_batch::key_of(op) == "secret")?;
        Some(Fault::AtOp(ErrorCode::Forbidden, u32::try_from(at).expect("it is small")))
    });
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("allowed", "1")]));
    let stuck = site.sync.details().await.stuck;
    assert_eq!(stuck.len(), 1);
    assert!(stuck[0].0 == "secret" && stuck[0].1.starts_with("forbidden"), "{stuck:?}");
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn more_local_changes_than_may_wait_are_rejected() {
    let world = World::new();
    let site = world.site(SyncOptions { max_pending: 2, ..world.options() });
    site.set("a", "1").await;
    site.set("b", "1").await;
    site.set("a", "2").await;
    let refused = site.sync.set("c", SyncValue::text("1")).await.expect_err("it is full");
    assert!(matches!(refused, SyncError::PendingFull(2)));
    assert_eq!(site.cache.text("c"), None);
    assert_eq!(site.pending().await, 2);
}

async fn hint(site: &Site, value: Option<&str>, timestamp: i64, node: &str, version: u64) {
    let value = value.map(SyncValue::text);
    let event = SyncEvent { key: "k".into(), value, timestamp, node: node.into(), version };
    site.sync.handle_update(event).await.expect("it is taken or ignored");
}

#[tokio::test(start_paused = true)]
async fn hints_are_shown_at_once_ignored_if_not_newer_and_checked_by_the_next_sync() {
    let world = World::new();
    let revision = world.model.put("k", "1");
    let site = world.connected(world.options()).await;
    let shown = || site.cache.text("k");
    hint(&site, Some("old"), world.now_ms() - 60_000, "app", 1).await;
    assert_eq!(shown().as_deref(), Some("1"));
    hint(&site, Some("of a node, but older"), world.now_ms() + 1, "n2", revision).await;
    assert_eq!(shown().as_deref(), Some("1"));
    pass(10).await;
    let at = world.now_ms();
    for _ in 0..2 {
        hint(&site, Some("newer"), at, "app", 1).await;
        assert_eq!(shown().as_deref(), Some("newer"));
    }
    pass(10).await;
    hint(&site, Some("newest"), world.now_ms(), "app", 1).await;
    hint(&site, Some("between, and late"), at + 1, "app", 1).await;
    assert_eq!(shown().as_deref(), Some("newest"));
    assert_eq!(site.pending().await, 0, "a hint is no local change");
    site.sync().await;
    assert_eq!(shown().as_deref(), Some("1"), "the cluster knows nothing of it");
    assert_eq!(world.model.texts(), map(&[("k", "1")]));
    pass(10).await;
    hint(&site, None, world.now_ms(), "app", 1).await;
    assert_eq!(shown(), None);
    site.sync().await;
    assert_eq!(shown().as_deref(), Some("1"));
    site.set("k", "local").await;
    pass(10).await;
    hint(&site, Some("against a local change"), world.now_ms(), "app", 1).await;
    assert_eq!(shown().as_deref(), Some("local"));
    site.close().await;
}

/// What was changed in a cache itself beside an addition is a change.
#[tokio::test(start_paused = true)]
async fn a_change_in_a_cache_beside_an_addition_is_not_lost() {
    for is_before in [false, true] {
        let world = World::new();
        world.model.put("n", "5");
        let site = world.connected(world.options()).await;
        world.model.fail(|_| Some(Fault::Refused));
        if is_before {
            site.cache.put("n", "10");
        }
        site.sync.add("n", 1).await.expect("it is kept");
        if !is_before {
            assert_eq!(site.cache.text("n").as_deref(), Some("6"));
            site.cache.put("n", "100");
        }
        world.model.heal();
        site.sync().await;
        let expected = map(&[("n", if is_before { "11" } else { "100" })]);
        assert_eq!((world.model.texts(), site.cache.texts()), (expected.clone(), expected));
        assert_eq!((site.pending().await, site.conflicts().await), (0, 0));
        site.close().await;
    }
}

/// One key that a cache cannot have stops nothing else, and is taken over once it can.
#[tokio::test(start_paused = true)]
async fn one_key_that_a_cache_refuses_stops_nothing_else() {
    for is_new in [true, false] {
        let world = World::new();
        let site = world.site(world.options());
        let break_it = || *site.cache.broken.lock().expect("no panic") = Some("broken".into());
        let write = || {
            for key in ["a", "broken", "z"] {
                world.model.put(key, "theirs");
            }
        };
        if is_new {
            break_it();
            write();
        }
        site.sync.connect("node-1").await.expect("a connection");
        let first = site.sync.sync().await;
        assert_eq!(first.is_err(), is_new);
        if !is_new {
            break_it();
            world.model.cut();
            write();
        }
        site.set("mine", "1").await;
        for _ in 0..3 {
            site.sync.sync().await.expect_err("a cache failed");
        }
        assert_eq!(world.model.texts().get("mine").map(String::as_str), Some("1"), "it is sent");
        assert_eq!(
            (site.cache.text("a").as_deref(), site.cache.text("z").as_deref()),
            (Some("theirs"), Some("theirs"))
        );
        assert_eq!(site.pending().await, 0);
        *site.cache.broken.lock().expect("no panic") = None;
        site.sync().await;
        assert_eq!(site.cache.texts(), world.model.texts());
        site.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn groups_have_prefixes_directions_and_priorities() {
    let world = World::new();
    for key in ["down:1", "up:1", "cached:1", "cached:2", "private"] {
        world.model.put(key, "theirs");
    }
    let groups = vec![
        Group { direction: Direction::Down, ..Group::new("down", &["down:"]) },
        Group { direction: Direction::Up, conflict: Some(Policy::Oldest), ..Group::new("up", &["up:"]) },
        Group { mode: Mode::Cached, ..Group::new("cached", &["cached:"]) },
        Group { priority: -1, ..Group::new("low", &["low:"]) },
        Group { priority: 5, ..Group::new("high", &["high:", "urgent:"]) },
    ];
    let site = world.site(SyncOptions { batch_size: 2, groups, ..world.options() });
    site.cache.put("cached:1", "old copy");
    site.cache.put("mine", "is in no group");
    site.sync.connect("node-1").await.expect("a connection");
    site.sync().await;
    let expected = map(&[("cached:1", "theirs"), ("down:1", "theirs"), ("mine", "is in no group")]);
    assert_eq!(site.cache.texts(), expected);
    for key in ["down:2", "nowhere"] {
        let refused = site.sync.set(key, SyncValue::text("x")).await.expect_err("it is not sent");
        assert!(matches!(refused, SyncError::NotSynchronized(_)));
    }
    for lane in ["low", "urgent"] {
        for at in 0..20 {
            site.set(&format!("{lane}:{at}"), "x").await;
        }
    }
    site.set("up:1", "mine, and unseen").await;
    site.set("up:2", "mine").await;
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = order.clone();
    world.model.fail(move |request| {
        if request.kind == "batch" {
            let initial = |op| crate::model_batch::key_of(op).chars().next();
            seen.lock().expect("no panic").push(request.ops.iter().filter_map(initial).collect());
        }
        None
    });
    site.sync().await;
    let order = order.lock().expect("no panic").clone();
    assert_eq!(order[..9], ["uu", "uu", "uu", "uu", "uu", "uu", "uu", "ll", "uu"]);
    assert_eq!(world.model.texts()["up:2"], "mine");
    assert_eq!(world.model.texts()["up:1"], "theirs", "the older one wins, and nothing of others is taken");
    world.model.put("cached:2", "new");
    world.model.put("cached:1", "new");
    settle().await;
    let of = |key| site.cache.text(key);
    assert_eq!((of("cached:1").as_deref(), of("cached:2")), (Some("new"), None));
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_that_passes_before_the_change_is_sent_ends_it() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    for (key, ms) in [("short", 500), ("long", 60_000)] {
        site.sync.set_for(key, SyncValue::text("x"), Duration::from_millis(ms)).await.expect("it is kept");
    }
    pass(1000).await;
    site.sync().await;
    assert_eq!(world.model.texts(), map(&[("long", "x")]));
    let deadline = world.model.state().entries["long"].deadline.expect("it has one");
    assert!(
        i64::try_from(deadline).expect("it fits") <= world.now_ms() + 59_000,
        "it counts from when it was set"
    );
    assert_eq!(site.cache.text("short"), None);
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn syncs_come_by_themselves_one_at_a_time_and_groups_may_come_less_often() {
    let world = World::new();
    let groups = vec![
        Group { every: Duration::from_secs(10), ..Group::new("rare", &["rare:"]) },
        Group::new("rest", &[""]),
    ];
    let options = SyncOptions { sync_interval: Duration::from_secs(1), groups, ..world.options() };
    let site = world.site(options);
    site.sync.connect("node-1").await.expect("a connection");
    pass(1500).await;
    site.set("rare:1", "1").await;
    site.cache.put("k", "1");
    pass(1000).await;
    assert_eq!(world.model.texts(), map(&[("k", "1")]));
    pass(10_000).await;
    assert_eq!(world.model.texts(), map(&[("k", "1"), ("rare:1", "1")]));
    site.cache.put("k", "2");
    let requests = world.model.requests("batch");
    let both =
        async { tokio::join!(site.sync(), site.sync(), async { site.cache.put("k", "3") }, site.sync()) };
    both.await;
    assert_eq!(world.model.texts()["k"], "3");
    assert!(world.model.requests("batch") - requests <= 2);
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_fails_is_told_and_what_was_accepted_is_sent_later() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    let broken = Arc::new(crate::mortal::MortalCache {
        cache: Arc::default(),
        mortal: Arc::new(crate::mortal::Mortal::new(1, false)),
    });
    site.set("before", "1").await;
    site.sync.register_cache(broken);
    let failed = site.sync.set("k", SyncValue::text("1")).await.expect_err("the second cache fails");
    assert!(matches!(failed, SyncError::Cache(_)), "{failed}");
    assert_eq!(site.pending().await, 2, "but it is kept");
    site.sync.sync().await.expect_err("it cannot look through that cache");
    site.close().await;
    let next = world.site_on(world.options(), site.cache.clone(), site.storage.clone());
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    assert_eq!(world.model.texts(), map(&[("before", "1"), ("k", "1")]));
    next.close().await;
}

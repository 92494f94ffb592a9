//! What happens while something else is under way.

use crate::model::Fault;
use crate::world::{World, map, pass, settle};
use lockstep::cache::RemovalCause;
use lockstep::client::sync::{Group, Mode, SyncOptions, SyncValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

#[tokio::test(start_paused = true)]
async fn what_a_cache_could_not_take_while_changes_were_read_is_read_again() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    world.model.fail(|seen| (seen.kind == "changes").then_some(Fault::Slow(500)));
    let meanwhile = async {
        pass(100).await;
        // The answer that is on its way knows nothing of this.
        site.cache.full.store(true, Ordering::SeqCst);
        world.model.put("missed", "1");
        settle().await;
        site.cache.full.store(false, Ordering::SeqCst);
        pass(1000).await;
        world.model.put("later", "1");
        settle().await;
    };
    tokio::join!(site.sync(), meanwhile);
    assert_eq!(site.cache.texts(), map(&[("later", "1")]));
    site.sync().await;
    assert_eq!(site.cache.texts(), map(&[("later", "1"), ("missed", "1")]));
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_addition_to_what_was_changed_unseen_learns_its_type() {
    let world = World::new();
    world.model.put_value("n", SyncValue { bytes: "10".into(), content_type: None }, None);
    let site = world.connected(world.options()).await;
    site.sync.add("n", 5).await.expect("it is kept");
    let (model, once) = (world.model.clone(), AtomicBool::new(true));
    world.model.fail(move |seen| {
        if seen.kind == "batch" && once.swap(false, Ordering::SeqCst) {
            model.put_value("n", SyncValue::text("100"), None);
        }
        None
    });
    site.sync().await;
    settle().await;
    site.sync().await;
    assert_eq!(world.model.values()["n"], SyncValue::text("105"));
    assert_eq!(site.cache.values(), world.model.values());
    assert_eq!(site.pending().await, 0);
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_made_while_a_batch_is_under_way_are_neither_lost_nor_done_twice() {
    for fault in [Fault::SlowRefused(500), Fault::Slow(500), Fault::Late(500)] {
        let world = World::new();
        for key in ["deleted", "set"] {
            world.model.put(key, "7");
        }
        let site = world.connected(world.options()).await;
        site.sync.add("added", 5).await.expect("it is kept");
        site.sync.delete("deleted").await.expect("it is kept");
        site.set("set", "10").await;
        let once = AtomicBool::new(true);
        world
            .model
            .fail(move |seen| (seen.kind == "batch" && once.swap(false, Ordering::SeqCst)).then_some(fault));
        let meanwhile = async {
            pass(100).await;
            for key in ["added", "deleted", "set"] {
                site.sync.add(key, 2).await.expect("it is kept");
            }
        };
        let (first, ()) = tokio::join!(site.sync.sync(), meanwhile);
        assert_eq!(first.is_ok(), matches!(fault, Fault::Slow(_)), "{fault:?}: {first:?}");
        pass(1000).await;
        site.sync().await;
        settle().await;
        let expected = map(&[("added", "7"), ("deleted", "2"), ("set", "12")]);
        assert_eq!(world.model.texts(), expected, "{fault:?}");
        assert_eq!(site.cache.values(), world.model.values(), "{fault:?}");
        assert_eq!((site.pending().await, site.conflicts().await), (0, 0), "{fault:?}");
        site.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_of_a_key_with_a_local_change_is_not_forgotten_by_a_crash() {
    let world = World::new();
    world.model.put("deleted", "1");
    let site = world.connected(world.options()).await;
    world.model.remove("deleted", RemovalCause::Delete);
    settle().await;
    // One change is sent, and its answer is lost; another waits.
    site.set("sent", "mine").await;
    world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::After));
    site.sync.sync().await.expect_err("its outcome is unknown");
    site.sync.delete("deleted").await.expect("it is kept");
    pass(100).await;
    // Both are changed by others, which is only noted; then a change that is taken over moves the place on.
    world.model.remove("sent", RemovalCause::Delete);
    world.model.put("deleted", "2");
    world.model.put("other", "1");
    settle().await;
    assert_eq!(site.sync.details().await.place, Some(world.model.state().index));
    world.model.heal();
    let next = world.site_on(world.options(), site.cache.clone(), site.storage.clone());
    drop(site);
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    let expected = map(&[("deleted", "2"), ("other", "1")]);
    assert_eq!((world.model.texts(), next.cache.texts()), (expected.clone(), expected));
    assert_eq!(next.pending().await, 0);
    next.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_key_is_not_raised_by_an_older_change_of_a_process_that_was_restarted() {
    let world = World::new();
    for key in ["deleted", "expired", "sent"] {
        world.model.put(key, "1");
    }
    let site = world.connected(world.options()).await;
    site.set("sent", "older").await;
    world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::After));
    site.sync.sync().await.expect_err("its outcome is unknown");
    world.model.fail(|_| Some(Fault::Refused));
    world.model.cut();
    site.set("deleted", "older").await;
    site.set("expired", "older").await;
    pass(1000).await;
    world.model.remove("expired", RemovalCause::Expire);
    for key in ["deleted", "sent"] {
        world.model.remove(key, RemovalCause::Delete);
    }
    world.model.heal();
    // Its cache is new to it, so it reads everything.
    let next = world.site_on(world.options(), site.cache.clone(), site.storage.clone());
    drop(site);
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    let expected = map(&[("expired", "older")]);
    assert_eq!((world.model.texts(), next.cache.texts()), (expected.clone(), expected));
    assert_eq!((next.pending().await, next.conflicts().await), (0, 1));
    next.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_after_a_sync_skips_nothing() {
    let world = World::new();
    world.model.fail(|seen| (seen.kind == "watch").then_some(Fault::Slow(500)));
    let site = world.site(world.options());
    let meanwhile = async {
        pass(100).await;
        site.sync().await;
        // Read by no sync, and told by no stream.
        world.model.put("missed", "1");
        pass(1000).await;
        world.model.put("later", "1");
        settle().await;
    };
    let (connected, ()) = tokio::join!(site.sync.connect("node-1"), meanwhile);
    connected.expect("a connection");
    site.sync().await;
    assert_eq!(site.cache.texts(), map(&[("later", "1"), ("missed", "1")]));
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_read_keeps_what_was_agreed_of_cached_keys_that_are_not_held() {
    let world = World::new();
    let group = Group { mode: Mode::Cached, ..Group::new("cached", &[""]) };
    let options = || SyncOptions { groups: vec![group.clone()], ..world.options() };
    let site = world.connected(options()).await;
    for at in 0..1_500 {
        site.set(&format!("k{at}"), "1").await;
    }
    site.sync().await;
    site.close().await;
    let next = world.site_on(options(), Default::default(), site.storage.clone());
    world.model.put("k1", "theirs");
    world.model.remove("k2", RemovalCause::Delete);
    world.model.forget();
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    assert_eq!(next.cache.texts(), BTreeMap::new());
    for key in ["k0", "k1", "k2"] {
        next.set(key, "2").await;
    }
    next.sync().await;
    assert_eq!(["k0", "k1", "k2"].map(|key| world.model.texts()[key].clone()), ["2", "2", "2"]);
    assert_eq!((next.pending().await, next.conflicts().await), (0, 0));
    next.close().await;
}

/// Nodes forget what became of a batch when many others have come since, and clocks of machines are set.
#[tokio::test(start_paused = true)]
async fn an_addition_whose_outcome_is_forgotten_is_not_counted_twice() {
    for is_done in [true, false] {
        let world = World::new();
        world.model.put("sold", "7");
        let set = Arc::new(AtomicI64::new(0));
        let (clock, ahead) = (world.clock(0), set.clone());
        let options = SyncOptions {
            clock: Arc::new(move || clock() + ahead.load(Ordering::SeqCst)),
            ..world.options()
        };
        let site = world.connected(options).await;
        site.sync.add("sold", 1).await.expect("it is kept");
        site.set("k", "mine").await;
        let fault = if is_done { Fault::After } else { Fault::Before };
        world.model.fail(move |seen| (seen.kind == "batch").then_some(fault));
        site.sync.sync().await.expect_err("its outcome is unknown");
        world.model.put("other", "1");
        world.model.forget_batches();
        world.model.heal();
        pass(7_200_000).await;
        set.store(-7_100_000, Ordering::SeqCst);
        site.sync().await;
        settle().await;
        site.sync().await;
        let sold = if is_done { "8" } else { "7" };
        assert_eq!(world.model.texts(), map(&[("k", "mine"), ("other", "1"), ("sold", sold)]));
        assert_eq!(site.cache.values(), world.model.values());
        let details = site.sync.details().await;
        assert_eq!((details.unknown, details.status.pending), (vec![("sold".to_owned(), 1)], 0));
        site.close().await;
    }
}

/// Two histories can have two entries with one revision.
#[tokio::test(start_paused = true)]
async fn what_is_answered_in_another_history_is_not_taken_for_the_known_one() {
    for (kind, is_open) in [("changes", false), ("read", false), ("batch", false), ("batch", true)] {
        let world = World::new();
        let site = world.connected(world.options()).await;
        let fork = world.model.state().index;
        site.set("sent", "mine").await;
        if is_open {
            world.model.fail(|seen| (seen.kind == "batch").then_some(Fault::After));
            site.sync.sync().await.expect_err("its outcome is unknown");
        }
        let (model, once) = (world.model.clone(), AtomicBool::new(true));
        world.model.fail(move |seen| {
            if seen.kind == kind && once.swap(false, Ordering::SeqCst) {
                model.fork(fork);
                model.put("sent", "theirs");
            }
            None
        });
        site.sync().await;
        let history = world.model.state().history().to_owned();
        assert_eq!(site.sync.details().await.history, Some(history), "{kind} {is_open}");
        assert_eq!(site.cache.values(), world.model.values(), "{kind} {is_open}");
        assert_eq!((site.pending().await, site.conflicts().await), (0, 1), "{kind} {is_open}");
        site.close().await;
    }
}

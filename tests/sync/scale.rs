//! How many requests and log entries it takes, against the model.

use crate::model::Fault;
use crate::world::{World, pass};
use lockstep::client::sync::SyncOptions;

#[tokio::test(start_paused = true)]
async fn the_first_sync_of_10_000_equal_keys_takes_few_requests_and_no_log_entry() {
    let world = World::new();
    let site = world.site(world.options());
    for at in 0..10_000 {
        world.model.put(&format!("key:{at}"), &format!("value {at}"));
        site.cache.put(&format!("key:{at}"), &format!("value {at}"));
    }
    let index = world.model.state().index;
    site.sync.connect("node-1").await.expect("a connection");
    site.sync().await;
    assert_eq!(world.model.state().index, index);
    let requests = world.model.all_requests();
    assert!(requests <= 12, "{requests} requests");
    assert_eq!((site.pending().await, site.conflicts().await), (0, 0));
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_queued_writes_with_51_conflicts_take_at_most_four_requests() {
    let world = World::new();
    for at in 0..100 {
        world.model.put(&format!("k{at}"), "old");
    }
    let site = world.connected(world.options()).await;
    world.model.fail(|_| Some(Fault::Refused));
    world.model.cut();
    for at in 0..100 {
        site.set(&format!("k{at}"), "local").await;
        pass(1).await;
    }
    for at in 0..51 {
        world.model.put(&format!("k{at}"), "remote");
    }
    world.model.fail(|seen| (seen.kind == "watch").then_some(Fault::Refused));
    pass(5000).await;
    let (requests, index) = (world.model.all_requests(), world.model.state().index);
    site.sync().await;
    let requests = world.model.all_requests() - requests;
    assert!(requests <= 4, "{requests} requests");
    assert_eq!(world.model.state().index - index, 1);
    assert_eq!((site.conflicts().await, site.pending().await), (51, 0));
    assert_eq!(world.model.texts().values().filter(|value| *value == "remote").count(), 51);
    assert_eq!(site.cache.values(), world.model.values());
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn two_thousand_keys_of_20_kb_are_sent_and_read_in_parts_that_fit() {
    let world = World::new();
    let site = world.site(SyncOptions { batch_size: 1024, ..world.options() });
    let value = "x".repeat(20_000);
    for at in 0..2_000 {
        site.cache.put(&format!("big:{at}"), &format!("{at}{value}"));
    }
    site.sync.connect("node-1").await.expect("a connection");
    site.sync().await;
    let batches = world.model.requests("batch");
    assert!(batches < 30, "{batches} batches");
    let other = world.connected(world.options()).await;
    assert_eq!(other.cache.values(), site.cache.values());
    assert_eq!(world.model.texts().len(), 2_000);
    for site in [site, other] {
        site.close().await;
    }
}

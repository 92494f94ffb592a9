//! Which cluster it is, in which history, and what happens without one.

use crate::model::Fault;
use crate::world::{World, map, pass, settle};
use futures::FutureExt;
use futures::future::BoxFuture;
use lockstep::client::sync::{MemoryStorage, SyncError, SyncOptions, SyncStorage, SyncValue};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn without_a_node_connect_fails_and_offline_it_goes_on_by_itself() {
    let world = World::new();
    world.model.fail(|_| Some(Fault::Refused));
    let strict = world.site(world.options());
    let refused = strict.sync.connect("node-1").await.expect_err("nobody answers");
    assert!(matches!(refused, SyncError::Cluster(_)), "{refused}");
    assert!(!strict.sync.status().await.connected);
    let options = SyncOptions { offline: true, sync_interval: Duration::from_secs(1), ..world.options() };
    let site = world.site(options);
    site.sync.connect("node-1").await.expect("it goes on trying");
    site.set("k", "kept").await;
    pass(5_000).await;
    assert_eq!(site.pending().await, 1);
    world.model.heal();
    pass(30_000).await;
    assert_eq!(world.model.texts(), map(&[("k", "kept")]));
    world.model.bookmark();
    settle().await;
    assert!(site.sync.status().await.connected);
    let other = site.sync.connect("another name").await.expect_err("it has a name");
    assert!(matches!(other, SyncError::OtherName(_)));
    strict.sync.connect("node-1").await.expect("it can be called again");
    for site in [site, strict] {
        site.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_cluster_and_an_older_history_are_refused_and_a_later_one_is_gone_over_to() {
    let world = World::new();
    for key in ["kept", "lost", "dirty"] {
        world.model.put(key, "1");
    }
    let site = world.connected(world.options()).await;
    let fork = world.model.state().index;
    world.model.put("lost", "2");
    world.model.put("dirty", "2");
    settle().await;
    site.set("dirty", "mine").await;
    site.close().await;
    let old = world.model.state().histories.clone();
    world.model.fork(fork);
    world.model.put("dirty", "other");
    world.model.put("kept", "1");
    pass(1000).await;
    let next = world.site_on(world.options(), site.cache.clone(), site.storage.clone());
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    assert_eq!(next.cache.texts(), map(&[("dirty", "other"), ("kept", "1")]));
    assert_eq!(next.cache.values(), world.model.values());
    assert_eq!(next.conflicts().await, 1);
    next.close().await;
    let again = || world.site_on(world.options(), site.cache.clone(), site.storage.clone());
    let newest = std::mem::replace(&mut world.model.state().histories, old);
    let refused = again().sync.connect("node-1").await.expect_err("it is an older history");
    assert!(matches!(refused, SyncError::OlderHistory), "{refused}");
    world.model.state().histories = newest;
    world.model.state().histories.last_mut().expect("there is one").detached = true;
    let refused = again().sync.connect("node-1").await.expect_err("the node has left its cluster");
    assert!(matches!(refused, SyncError::Detached), "{refused}");
    world.model.state().histories[0].id = "of-another".into();
    world.model.state().histories.truncate(1);
    let refused = again().sync.connect("node-1").await.expect_err("it is another history");
    assert!(matches!(refused, SyncError::OtherHistory), "{refused}");
    world.model.state().cluster_id = "another".into();
    let refused = again().sync.connect("node-1").await.expect_err("it is another cluster");
    assert!(matches!(refused, SyncError::OtherCluster { .. }), "{refused}");
    assert_eq!(next.cache.texts(), map(&[("dirty", "other"), ("kept", "1")]), "nothing was done");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_changes_while_it_is_connected_is_gone_over_to_by_the_next_sync() {
    let world = World::new();
    world.model.put("a", "1");
    let site = world.connected(world.options()).await;
    let fork = world.model.state().index;
    world.model.put("b", "1");
    settle().await;
    assert_eq!(site.cache.text("b").as_deref(), Some("1"));
    world.model.fork(fork);
    world.model.put("c", "1");
    site.set("d", "mine").await;
    site.sync().await;
    assert_eq!(site.cache.texts(), map(&[("a", "1"), ("c", "1"), ("d", "mine")]));
    pass(1000).await;
    world.model.put("e", "1");
    settle().await;
    assert_eq!(site.cache.text("e").as_deref(), Some("1"), "the stream is in the new history");
    site.sync().await;
    assert_eq!(site.cache.values(), world.model.values());
    site.close().await;
}

#[tokio::test(start_paused = true)]
async fn with_presence_the_synchronizers_see_each_other() {
    let world = World::new();
    let present = || SyncOptions { presence: true, ..world.options() };
    let (one, two) = (world.site(present()), world.site(present()));
    one.sync.connect("app-1").await.expect("a connection");
    two.sync.connect("app-2").await.expect("a connection");
    assert_eq!(two.sync.status().await.peers, ["n1", "n2", "n3", "app-1"]);
    // A session that has ended is opened again.
    world.model.state().sessions.clear();
    pass(6_000).await;
    assert_eq!(world.model.state().sessions.len(), 2);
    one.close().await;
    assert_eq!(world.model.state().sessions.len(), 1);
    two.close().await;
}

/// A disk that is full now and then.
struct Full {
    inner: MemoryStorage,
    full: AtomicBool,
}

impl Full {
    fn check(&self) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl SyncStorage for Full {
    fn load(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        self.inner.load()
    }

    fn append(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        async {
            // The first half of a line gets there.
            let half = lines.first().map(|line| line[..line.len() / 2].to_owned());
            if let Err(full) = self.check() {
                self.inner.append(half.into_iter().collect()).await?;
                return Err(full);
            }
            self.inner.append(lines).await
        }
        .boxed()
    }

    fn replace(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        async {
            self.check()?;
            self.inner.replace(lines).await
        }
        .boxed()
    }

    fn set_aside(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        self.inner.set_aside(lines)
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        self.inner.close()
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_disk_had_no_room_for_is_not_accepted_and_not_sent() {
    let world = World::new();
    world.model.put("theirs", "1");
    let storage = Arc::new(Full { inner: MemoryStorage::default(), full: AtomicBool::new(false) });
    let options = SyncOptions { storage: storage.clone(), ..world.options() };
    let site = world.site_with(options.clone(), Arc::default());
    site.sync.connect("node-1").await.expect("a connection");
    site.set("kept", "1").await;
    storage.full.store(true, Ordering::SeqCst);
    for key in ["kept", "refused"] {
        let refused = site.sync.set(key, SyncValue::text("2")).await.expect_err("the disk is full");
        assert!(matches!(refused, SyncError::Storage(_)), "{refused}");
    }
    assert_eq!(site.cache.texts(), map(&[("kept", "1")]));
    site.sync.sync().await.expect_err("what is sent has to be noted before");
    assert_eq!(world.model.texts(), map(&[("theirs", "1")]));
    storage.full.store(false, Ordering::SeqCst);
    site.sync().await;
    let both = map(&[("kept", "1"), ("theirs", "1")]);
    assert_eq!((world.model.texts(), site.cache.texts()), (both.clone(), both.clone()));
    site.close().await;
    // The half lines are gone with the next whole journal.
    let next = world.site_with(options, site.cache.clone());
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    assert_eq!(next.sync.details().await.damaged, 0);
    assert_eq!(world.model.texts(), both);
    next.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_goes_on_when_nobody_waits_for_it() {
    let world = World::new();
    let site = world.connected(world.options()).await;
    world.model.fail(|_| Some(Fault::Slow(500)));
    site.set("k", "1").await;
    let begun = site.sync.sync().now_or_never();
    assert!(begun.is_none(), "it takes a while");
    pass(5_000).await;
    assert_eq!(world.model.texts(), map(&[("k", "1")]));
    assert_eq!(site.pending().await, 0);
    // Closing ends what waits for the cluster, and keeps what was not sent.
    site.set("later", "1").await;
    let sync = site.sync.sync();
    let close = async {
        pass(100).await;
        site.close().await;
    };
    let (ended, ()) = tokio::join!(sync, close);
    assert!(matches!(ended, Err(SyncError::Closed)), "{ended:?}");
    world.model.heal();
    let next = world.site_on(world.options(), site.cache.clone(), site.storage.clone());
    next.sync.connect("node-1").await.expect("a connection");
    next.sync().await;
    assert_eq!(world.model.texts(), map(&[("k", "1"), ("later", "1")]));
    next.close().await;
}

//! The synchronizer on three processes that are killed, and how many requests it needs there.

use crate::support::{Cluster, until};
use crate::world::MapCache;
use lockstep::api::{Consistency, OpRequest};
use lockstep::client::Client;
use lockstep::client::sync::{
    Asked, BatchDone, CacheSynchronizer, ChangesPage, ClusterLineage, Group, KeysPage, KeysRead, Place,
    SyncCluster, SyncError, SyncFeed, SyncOptions, SyncValue,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn client(cluster: &Cluster) -> Client {
    let urls: Vec<String> = cluster.nodes.iter().map(|node| node.http.clone()).collect();
    Client::new(&urls, LIMIT).expect("URLs")
}

/// A client whose requests are counted. Streams are none.
struct Counted {
    client: Client,
    requests: Arc<AtomicUsize>,
}

impl Counted {
    fn one(&self) -> &Client {
        self.requests.fetch_add(1, Ordering::SeqCst);
        &self.client
    }
}

impl SyncCluster for Counted {
    fn lineage(&self) -> Asked<'_, ClusterLineage> {
        SyncCluster::lineage(self.one())
    }

    fn time_ms(&self) -> Asked<'_, i64> {
        self.one().time_ms()
    }

    fn nodes(&self) -> Asked<'_, Vec<(String, bool)>> {
        SyncCluster::nodes(self.one())
    }

    fn read<'a>(&'a self, keys: &'a [String]) -> Asked<'a, KeysRead> {
        SyncCluster::read(self.one(), keys)
    }

    fn page<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Asked<'a, KeysPage> {
        self.one().page(prefix, after, limit)
    }

    fn changes<'a>(&'a self, since: &'a Place, prefix: &'a str, limit: usize) -> Asked<'a, ChangesPage> {
        SyncCluster::changes(self.one(), since, prefix, limit)
    }

    fn batch<'a>(
        &'a self,
        ops: &'a [OpRequest],
        idempotency_key: &'a str,
        sent_after: &'a Place,
    ) -> Asked<'a, BatchDone> {
        SyncCluster::batch(self.one(), ops, idempotency_key, sent_after)
    }

    fn watch(
        &self,
        prefixes: &[String],
        from: Option<Place>,
        cluster_id: Option<String>,
    ) -> Box<dyn SyncFeed> {
        SyncCluster::watch(&self.client, prefixes, from, cluster_id)
    }

    fn open_session<'a>(&'a self, name: &'a str, ttl: Duration) -> Asked<'a, u64> {
        SyncCluster::open_session(self.one(), name, ttl)
    }

    fn renew_session(&self, id: u64) -> Asked<'_, bool> {
        SyncCluster::renew_session(self.one(), id)
    }

    fn end_session(&self, id: u64) -> Asked<'_, ()> {
        SyncCluster::end_session(self.one(), id)
    }

    fn sessions<'a>(&'a self, prefix: &'a str) -> Asked<'a, Vec<String>> {
        SyncCluster::sessions(self.one(), prefix)
    }
}

struct Site {
    sync: CacheSynchronizer,
    cache: Arc<MapCache>,
    requests: Arc<AtomicUsize>,
}

/// A synchronizer of the keys with a prefix.
fn site(cluster: &Cluster, prefix: &str, options: SyncOptions) -> Site {
    let (requests, cache) = (Arc::new(AtomicUsize::new(0)), Arc::new(MapCache::default()));
    let counted = Counted { client: client(cluster), requests: requests.clone() };
    let options = SyncOptions { groups: vec![Group::new("own", &[prefix])], ..options };
    let sync = CacheSynchronizer::new(counted, options).expect("options");
    sync.register_cache(cache.clone());
    Site { sync, cache, requests }
}

fn by_hand() -> SyncOptions {
    SyncOptions { sync_interval: Duration::ZERO, ..SyncOptions::default() }
}

async fn log_index(cluster: &Cluster) -> u64 {
    client(cluster).log_time().await.expect("log time").value.index
}

async fn term(cluster: &Cluster) -> u64 {
    client(cluster).status().await.expect("a status").term
}

/// What the cluster has of the keys with a prefix.
async fn remote(cluster: &Cluster, prefix: &str) -> BTreeMap<String, SyncValue> {
    let (client, mut all, mut after) = (client(cluster), BTreeMap::new(), None::<String>);
    loop {
        let page = client.entries(prefix, after.as_deref(), 10_000, Consistency::Linearizable).await;
        let page = page.expect("a page").value;
        for entry in page.entries {
            let lockstep::api::WireValue::Text { value } = entry.entry.value else { panic!("it is text") };
            let value = SyncValue { bytes: value.into(), content_type: entry.entry.content_type };
            all.insert(entry.key, value);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Syncs until it is through: nodes are killed meanwhile.
async fn synced(sync: &CacheSynchronizer) {
    until("a sync", || async {
        match sync.sync().await {
            Ok(()) => true,
            Err(SyncError::Cluster(_)) => false,
            Err(other) => panic!("{other}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_synchronizers_meet_in_a_cluster_while_nodes_are_killed() {
    let mut cluster = Cluster::start(3, &[]).await;
    let often = || SyncOptions { sync_interval: Duration::from_millis(200), ..SyncOptions::default() };
    let sites = [site(&cluster, "s:", often()), site(&cluster, "s:", often())];
    for (name, site) in ["one", "two"].iter().zip(&sites) {
        site.sync.connect(name).await.expect("a connection");
    }
    let mut killed = 0;
    for at in 0..60 {
        let Site { sync, .. } = &sites[at % 2];
        let value = SyncValue::text(format!("value {at}"));
        sync.set(&format!("s:{}", at % 20), value).await.expect("it is kept");
        sync.add("s:count", 1).await.expect("it is kept");
        if at == 20 || at == 50 {
            killed = cluster.leader().await;
            cluster.nodes[killed].kill();
        }
        if at == 40 {
            cluster.nodes[killed].start();
            cluster.all_ready().await;
        }
        if at % 5 == 0 {
            synced(sync).await;
        }
    }
    for site in &sites {
        synced(&site.sync).await;
    }
    let [one, two] = &sites;
    until("both caches to be equal, and nothing to wait", || async {
        let waiting = one.sync.status().await.pending + two.sync.status().await.pending;
        waiting == 0 && one.cache.values() == two.cache.values()
    })
    .await;
    assert_eq!(one.cache.values().len(), 21);
    assert_eq!(one.cache.text("s:count").as_deref(), Some("60"));
    assert_eq!(one.cache.values(), remote(&cluster, "s:").await);
    for site in &sites {
        assert_eq!(site.sync.details().await.unknown, []);
        site.sync.close().await.expect("it closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_synchronized_in_few_requests_and_log_entries() {
    let cluster = Cluster::start(3, &[]).await;
    many_small_keys(&cluster).await;
    large_values(&cluster).await;
    queued_writes(&cluster).await;
}

/// The first sync of 10,000 keys that both sides have.
async fn many_small_keys(cluster: &Cluster) {
    let first = site(cluster, "m:", SyncOptions { batch_size: 1024, ..by_hand() });
    for at in 0..10_000 {
        first.cache.put(&format!("m:{at}"), &format!("value {at}"));
    }
    first.sync.connect("one").await.expect("a connection");
    synced(&first.sync).await;
    assert_eq!(first.sync.status().await.pending, 0);
    first.sync.close().await.expect("it closes");
    let (before, index) = (term(cluster).await, log_index(cluster).await);
    let second = site(cluster, "m:", by_hand());
    for (key, value) in first.cache.texts() {
        second.cache.put(&key, &value);
    }
    second.sync.connect("two").await.expect("a connection");
    synced(&second.sync).await;
    let requests = second.requests.load(Ordering::SeqCst);
    let entries = log_index(cluster).await - index;
    println!("10,000 equal keys: {requests} requests, {entries} log entries");
    assert!(requests <= 12, "{requests} requests");
    // On a busy machine there may be an election meanwhile, and a leader begins with an entry of its own.
    let elections = term(cluster).await - before;
    assert!(entries <= elections, "{entries} log entries, {elections} elections");
    let status = second.sync.status().await;
    assert_eq!((status.pending, status.conflicts), (0, 0));
    second.sync.close().await.expect("it closes");
}

/// 2,000 keys of 20 kB, there and back.
async fn large_values(cluster: &Cluster) {
    let first = site(cluster, "big:", SyncOptions { batch_size: 1024, ..by_hand() });
    let value = "x".repeat(20_000);
    for at in 0..2_000 {
        first.cache.put(&format!("big:{at}"), &format!("{at}{value}"));
    }
    first.sync.connect("one").await.expect("a connection");
    synced(&first.sync).await;
    let sent = first.requests.load(Ordering::SeqCst);
    let second = site(cluster, "big:", by_hand());
    second.sync.connect("two").await.expect("a connection");
    synced(&second.sync).await;
    let read = second.requests.load(Ordering::SeqCst);
    println!("2,000 keys of 20 kB: sent in {sent} requests, read in {read}");
    assert!(sent <= 40 && read <= 16, "{sent} and {read} requests");
    assert_eq!(second.cache.values().len(), 2_000);
    assert!(second.cache.values() == first.cache.values(), "both have the same");
    for site in [first, second] {
        site.sync.close().await.expect("it closes");
    }
}

/// 100 queued writes, 51 of them to keys that others have changed meanwhile.
async fn queued_writes(cluster: &Cluster) {
    let others = client(cluster);
    let text = lockstep::client::PutOptions {
        content_type: Some("text/plain".into()),
        ..lockstep::client::PutOptions::default()
    };
    for at in 0..100 {
        others.put(&format!("q:{at}"), "old".into(), &text).await.expect("it is written");
    }
    let site = site(cluster, "q:", by_hand());
    // Not connected: nothing is heard until the sync.
    synced(&site.sync).await;
    for at in 0..100 {
        site.sync.set(&format!("q:{at}"), SyncValue::text("local")).await.expect("it is kept");
    }
    for at in 0..51 {
        others.put(&format!("q:{at}"), "remote".into(), &text).await.expect("it is written");
    }
    let (requests, index) = (site.requests.load(Ordering::SeqCst), log_index(cluster).await);
    synced(&site.sync).await;
    let requests = site.requests.load(Ordering::SeqCst) - requests;
    let entries = log_index(cluster).await - index;
    println!("100 queued writes with 51 conflicts: {requests} requests, {entries} log entries");
    assert!(requests <= 4, "{requests} requests");
    let status = site.sync.status().await;
    assert_eq!((status.conflicts, status.pending), (51, 0));
    let all = remote(cluster, "q:").await;
    assert_eq!(all.values().filter(|value| value.bytes == "remote").count(), 51);
    assert_eq!(all, site.cache.values());
    site.sync.close().await.expect("it closes");
}

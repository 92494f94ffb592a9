//! The change feed of a cluster: every node tells the same, and a place is good on each of them.

use crate::support::{Cluster, until};
use lockstep::api::{Told, WireEvent};
use lockstep::client::Client;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What one watcher was told.
#[derive(Default)]
struct Heard {
    begin: u64,
    changes: BTreeMap<u64, Vec<WireEvent>>,
    /// After the first index, up to the second.
    missed: Vec<(u64, u64)>,
    place: u64,
    restarts: usize,
}

/// Watches until it is told of an index that is not known yet when it begins.
async fn watch(urls: Vec<String>, first: usize, until: Arc<AtomicU64>) -> Heard {
    let client = Client::new(&urls, Duration::from_secs(60)).unwrap().starting_at(first);
    let mut watching = client.watch("", Some(0), true);
    let mut heard = Heard::default();
    while heard.place < until.load(Ordering::Acquire) {
        let told = watching.next().await.expect("somebody can be asked");
        let place = told.index();
        assert!(place >= heard.place, "it goes back from {} to {told:?}", heard.place);
        match told {
            Told::Subscribed { .. } => heard.restarts += 1,
            Told::Change { index, events, .. } => {
                assert!(index > heard.place, "{index} is told again");
                heard.changes.insert(index, events);
            }
            Told::Resync { from, index } => heard.missed.push((from, index)),
            Told::Bookmark { .. } | Told::Cut { .. } => {}
        }
        heard.place = place;
    }
    heard
}

/// F1, F2: three watchers that go from node to node while nodes are killed and stopped hear the same, and each hears all that
/// it is not told to have missed. What they hear makes up the state.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_all_nodes_hear_the_same() {
    let settings = ["--snapshot-entries", "400", "--entries-kept", "200", "--capacity-entries", "60"];
    let mut cluster = Cluster::start(3, &settings).await;
    let urls: Vec<String> = cluster.nodes.iter().map(|node| node.http.clone()).collect();
    let end = Arc::new(AtomicU64::new(u64::MAX));
    let watchers: Vec<_> =
        (0..3).map(|first| tokio::spawn(watch(urls.clone(), first, end.clone()))).collect();

    let seed: u64 = rand::random();
    println!("seed {seed}");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            tokio::spawn(write(
                urls.clone(),
                SmallRng::seed_from_u64(seed.wrapping_add(writer)),
                stop.clone(),
            ))
        })
        .collect();
    for round in 0..6 {
        let leader = cluster.leader().await;
        let away = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
        if round < 3 {
            cluster.nodes[away].kill();
        } else {
            cluster.nodes[away].signal(libc::SIGTERM);
            cluster.nodes[away].wait();
        }
        let other = &cluster.nodes[(away + 1) % 3];
        let applied = async || cluster.status(other).await["applied_index"].as_u64().unwrap();
        // So far that the one that is away is sent a snapshot in some of the rounds.
        let far = applied().await + if round % 2 == 0 { 1_000 } else { 100 };
        until("the others go on", async || applied().await > far).await;
        cluster.nodes[away].start();
        cluster.all_ready().await;
    }
    stop.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.put_surely(&cluster.nodes[0], "last", "one").await;
    let listed = cluster.request(Method::GET, &cluster.nodes[0], "/v1/keys?limit=10000", "").await;
    let listed: serde_json::Value = listed.json().await.unwrap();
    end.store(listed["index"].as_u64().unwrap(), Ordering::Release);

    let mut all: BTreeMap<u64, Vec<WireEvent>> = BTreeMap::new();
    let mut heard = Vec::new();
    for watcher in watchers {
        heard.push(watcher.await.unwrap());
    }
    for one in &heard {
        for (index, events) in &one.changes {
            let before = all.entry(*index).or_insert_with(|| events.clone());
            assert_eq!(before, events, "two nodes tell of different changes at {index}");
        }
    }
    let complete = heard.iter().filter(|one| one.missed.is_empty()).count();
    for one in &heard {
        println!("{} changes, {} subscriptions, missed {:?}", one.changes.len(), one.restarts, one.missed);
        assert!(one.restarts > 1, "it was made to go to another node");
        for index in all.keys().filter(|index| (one.begin + 1..=one.place).contains(index)) {
            let missed = one.missed.iter().any(|(from, to)| (from + 1..=*to).contains(index));
            assert!(missed || one.changes.contains_key(index), "{index} was not told to one of them");
        }
    }
    // Killed nodes forget what came before their snapshot, so it may be that each has missed something.
    if complete > 0 {
        let keys = listed["keys"].as_array().unwrap().iter();
        let keys: BTreeMap<&str, u64> =
            keys.map(|key| (key["key"].as_str().unwrap(), key["revision"].as_u64().unwrap())).collect();
        let replayed = replay(&all);
        let replayed: BTreeMap<&str, u64> =
            replayed.iter().map(|(key, index)| (key.as_str(), *index)).collect();
        assert_eq!(replayed, keys);
    }
    cluster.digests_agree().await;
}

/// The keys, and the index of the last change of each.
fn replay(all: &BTreeMap<u64, Vec<WireEvent>>) -> BTreeMap<String, u64> {
    let mut keys = BTreeMap::new();
    for (index, events) in all {
        for event in events {
            match event {
                WireEvent::Put { key, created, .. } => {
                    assert_eq!(keys.insert(key.clone(), *index).is_none(), *created, "{key} at {index}");
                }
                WireEvent::Lifetime { key, .. } => {
                    assert!(keys.insert(key.clone(), *index).is_some(), "{key} at {index}");
                }
                WireEvent::Delete { key } | WireEvent::Expire { key } | WireEvent::Evict { key } => {
                    assert!(keys.remove(key).is_some(), "{key} at {index}");
                }
                WireEvent::Clear { prefix, removed } => {
                    let before = keys.len();
                    keys.retain(|key, _| !key.starts_with(prefix.as_deref().unwrap_or_default()));
                    assert_eq!((before - keys.len()) as u64, *removed, "at {index}");
                }
                WireEvent::Config { .. } => {}
            }
        }
    }
    keys
}

/// Writes of every kind to one node after another, whatever becomes of them.
async fn write(urls: Vec<String>, mut random: SmallRng, stop: Arc<AtomicBool>) {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build().unwrap();
    while !stop.load(Ordering::Acquire) {
        let key = format!("{}:{}", ["user", "order"][random.random_range(0..2)], random.random_range(0..50));
        let url = &urls[random.random_range(0..3)];
        let kv = format!("{url}/v1/kv/{key}");
        let request = match random.random_range(0..20) {
            0 => http.delete(kv),
            1 => http.put(format!("{kv}?ttl_ms=50")).body("soon gone"),
            2 => http.post(format!("{kv}/expire")).body(r#"{"ttl_ms": 200}"#),
            3 => http.delete(format!("{url}/v1/kv?prefix=user:1")),
            4 => {
                let other = random.random_range(0..50);
                let ops = json!([{"op": "put", "key": format!("user:{other}"), "value": "b"},
                                 {"op": "delete", "key": format!("order:{other}")}]);
                http.post(format!("{url}/v1/batch")).body(json!({ "ops": ops }).to_string())
            }
            _ => http.put(kv).body(random.random::<u32>().to_string()),
        };
        if request.send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A node that hangs is left for another, and nothing is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_leaves_a_node_that_falls_silent() {
    let cluster = Cluster::start(3, &[]).await;
    let silent = cluster.follower().await;
    let other = &cluster.nodes[(silent + 1) % 3];
    let urls = [cluster.nodes[silent].http.clone(), other.http.clone()];
    // Less than it takes to notice the silence.
    let client = Client::new(&urls, Duration::from_secs(5)).unwrap();
    let mut watching = client.watch("k", None, true);
    watching.next().await.unwrap();
    cluster.nodes[silent].signal(libc::SIGSTOP);
    cluster.put_surely(other, "k", "v").await;
    let told = loop {
        match watching.next().await.expect("the other node can be asked") {
            Told::Change { events, .. } => break events,
            _ => continue,
        }
    };
    cluster.nodes[silent].signal(libc::SIGCONT);
    assert!(matches!(&told[..], [WireEvent::Put { key, .. }] if key == "k"), "{told:?}");
}

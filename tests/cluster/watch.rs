//! The change feed of a cluster: every node tells the same, and a place is good on each of them.

use crate::support::{Cluster, Node, until};
use eventsource_stream::Eventsource;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use lockstep::api::{WatchMessage, WireEvent};
use lockstep::client::{Client, WatchOptions};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

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
    let mut watching = client.watch(WatchOptions::prefix("", Some(0)));
    let mut heard = Heard::default();
    while heard.place < until.load(Ordering::Acquire) {
        let told = watching.next().await.expect("somebody can be asked");
        let place = told.index();
        assert!(place >= heard.place, "it goes back from {} to {told:?}", heard.place);
        match told {
            WatchMessage::Subscribed { .. } => heard.restarts += 1,
            WatchMessage::Change { index, events, .. } => {
                assert!(index > heard.place, "{index} is told again");
                heard.changes.insert(index, events);
            }
            WatchMessage::Resync { from, index, .. } => heard.missed.push((from, index)),
            WatchMessage::Bookmark { .. } | WatchMessage::Closed { .. } => {}
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
    let listed_at = listed["index"].as_u64().unwrap();
    end.store(listed_at, Ordering::Release);

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
        // A key may run out after it was listed, and a watcher hear of that too.
        all.retain(|index, _| *index <= listed_at);
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
                WireEvent::Config { .. }
                | WireEvent::Session { .. }
                | WireEvent::SessionEnd { .. }
                | WireEvent::Lock { .. }
                | WireEvent::Unlock { .. } => {}
            }
        }
    }
    keys
}

/// Writes of every kind to one node after another, whatever becomes of them.
async fn write(urls: Vec<String>, mut random: SmallRng, stop: Arc<AtomicBool>) {
    let http = lockstep::client::plain_http().timeout(Duration::from_secs(2)).build().unwrap();
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
    let mut watching = client.watch(WatchOptions::prefix("k", None));
    watching.next().await.unwrap();
    cluster.nodes[silent].signal(libc::SIGSTOP);
    cluster.put_surely(other, "k", "v").await;
    let told = loop {
        match watching.next().await.expect("the other node can be asked") {
            WatchMessage::Change { events, .. } => break events,
            _ => continue,
        }
    };
    cluster.nodes[silent].signal(libc::SIGCONT);
    assert!(matches!(&told[..], [WireEvent::Put { key, .. }] if key == "k"), "{told:?}");
}

/// What a node tells who watches there, and nowhere else.
struct Listener(BoxStream<'static, Value>);

impl Listener {
    async fn at(node: &Node) -> Self {
        Self::from(node, None).await
    }

    async fn from(node: &Node, place: Option<&Value>) -> Self {
        let from = place.map(|place| format!("?from={place}")).unwrap_or_default();
        let url = format!("{}/v1/watch{from}", node.http);
        let response = lockstep::client::plain_http().build().unwrap().get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let told = response.bytes_stream().eventsource();
        let told = told.map(|event| serde_json::from_str(&event.unwrap().data).unwrap());
        let mut listener = Self(told.boxed());
        assert_eq!(listener.next().await["type"], "subscribed");
        listener
    }

    async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(Duration::from_secs(30), self.0.next()).await;
        next.expect("it is told something in time").expect("it is told why before the end")
    }

    /// What it is told when it is cut off.
    async fn end(&mut self) -> Value {
        loop {
            let told = self.next().await;
            if told["type"] == "cut" {
                return told;
            }
        }
    }
}

/// F5: at a node that hears no more of what the others do, a watcher does not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_lost_touch_sends_its_watchers_away() {
    let cluster = Cluster::start(3, &[]).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let mut at_leader = Listener::at(&cluster.nodes[leader]).await;
    let mut at_follower = Listener::at(&cluster.nodes[follower]).await;
    cluster.put_surely(&cluster.nodes[leader], "k", "v").await;
    let change = at_follower.next().await;
    assert_eq!((&change["type"], &change["events"][0]["key"]), (&json!("change"), &json!("k")));
    assert_eq!(at_follower.next().await["type"], "bookmark", "nothing happens, and it knows that");

    for gone in (0..3).filter(|node| *node != follower) {
        cluster.nodes[gone].signal(libc::SIGSTOP);
    }
    let cut = at_follower.end().await;
    assert!(cut["resume"].as_u64() >= change["index"].as_u64(), "{cut}");
    for gone in (0..3).filter(|node| *node != follower) {
        cluster.nodes[gone].signal(libc::SIGCONT);
    }
    cluster.all_ready().await;
    // Who goes on elsewhere misses nothing, and neither does who was told nothing while its node slept.
    let third = (0..3).find(|node| ![leader, follower].contains(node)).unwrap();
    cluster.put_surely(&cluster.nodes[third], "k", "w").await;
    let mut elsewhere = Listener::from(&cluster.nodes[third], Some(&cut["resume"])).await;
    for listener in [&mut at_leader, &mut elsewhere] {
        loop {
            let told = listener.next().await;
            if told["type"] == "cut" {
                *listener = Listener::from(&cluster.nodes[third], Some(&told["resume"])).await;
            }
            if told["events"][0]["value"] == "w" {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_sends_its_watchers_away() {
    let cluster = Cluster::start(3, &[]).await;
    let (leader, removed) = (cluster.leader().await, cluster.follower().await);
    let mut listener = Listener::at(&cluster.nodes[removed]).await;
    let id = cluster.status(&cluster.nodes[removed]).await["node"]["id"].as_u64().unwrap();
    let done =
        cluster.request(Method::DELETE, &cluster.nodes[leader], &format!("/v1/members/{id}"), "").await;
    assert!(done.status().is_success(), "{}", done.text().await.unwrap());
    listener.end().await;
}

/// Whether the cluster has come to a place is found out beside what else a page is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_nobody_knows_holds_up_no_other_subscription() {
    let cluster = Cluster::start(3, &[]).await;
    let node = &cluster.nodes[cluster.follower().await];
    for other in cluster.nodes.iter().filter(|other| other.name != node.name) {
        other.signal(libc::SIGSTOP);
    }
    let url = format!("{}/v1/live", node.http.replace("http", "ws"));
    let (mut page, _) = connect_async(url).await.unwrap();
    for subscribe in [json!({"id": "far", "from": 1_000_000}), json!({"id": "here"})] {
        page.send(Message::text(json!({"subscribe": subscribe}).to_string())).await.unwrap();
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Message::Text(text) = page.next().await.unwrap().unwrap() {
            let one: Value = serde_json::from_str(&text).unwrap();
            told.push((one["id"].as_str().unwrap().to_owned(), one["type"].as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(told[0], ("here".into(), "subscribed".into()), "{told:?}");
    assert_eq!(told[1], ("far".into(), "refused".into()), "{told:?}");
    for other in &cluster.nodes {
        other.signal(libc::SIGCONT);
    }
}

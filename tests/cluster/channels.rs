//! Messages of Redis clients on a cluster of real processes.

use super::redis::{Redis, is_none};
use super::support::Cluster;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a client has sent: every message, and whether it knows that it was carried out.
type Sent = BTreeMap<String, bool>;

/// Sends messages wherever it gets through.
fn send(client: usize, ports: &[u16], until: Instant) -> Sent {
    let (mut sent, mut redis, mut at) = (Sent::new(), None, client);
    while Instant::now() < until {
        let Some(connection) = &mut redis else {
            at += 1;
            redis = Redis::connect(ports[at % ports.len()]);
            continue;
        };
        let message = format!("{client}-{}", sent.len());
        match connection.ask(&format!("PUBLISH news {message}")) {
            Some(reply) if reply.starts_with(':') => drop(sent.insert(message, true)),
            Some(reply) if is_none(&reply) => {}
            Some(reply) => {
                assert!(reply.starts_with("-OUTCOMEUNKNOWN "), "{reply}");
                sent.insert(message, false);
            }
            None => {
                sent.insert(message, false);
                redis = None;
            }
        }
    }
    sent
}

/// Everything that is told there, up to the last message.
fn heard(mut redis: Redis) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let told: Vec<String> = (0..4).map(|_| redis.next().expect("it is told")).collect();
        assert_eq!(told[..3], ["*3", "message", "news"]);
        if told[3] == "last" {
            return heard;
        }
        heard.push(told[3].clone());
    }
}

/// Every node tells the same messages in the same order: each once, whether its sender knows of it or not, and none that was answered is
/// missing.
#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_tell_the_same_messages_though_the_leader_dies() {
    let (mut cluster, ports) = Cluster::with_redis().await;
    let leader = cluster.leader().await;
    let others: Vec<u16> = (0..3).filter(|node| *node != leader).map(|node| ports[node]).collect();
    let hearing: Vec<_> = others
        .iter()
        .map(|port| {
            let mut redis = Redis::connect(*port).expect("it listens");
            assert_eq!(redis.ask("SUBSCRIBE news").as_deref(), Some("*3"));
            let rest: Vec<Option<String>> = (0..3).map(|_| redis.next()).collect();
            assert_eq!(rest[2].as_deref(), Some(":1"));
            tokio::task::spawn_blocking(move || heard(redis))
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(4);
    let sending: Vec<_> = (0..3)
        .map(|client| {
            let ports = ports.clone();
            tokio::task::spawn_blocking(move || send(client, &ports, until))
        })
        .collect();
    // Some messages are under way at any time.
    cluster.nodes[leader].kill();
    assert_ne!(cluster.leader().await, leader);
    let mut sent = Sent::new();
    for client in sending {
        sent.extend(client.await.expect("no panic"));
    }
    let last = others[0];
    let told = tokio::task::spawn_blocking(move || Redis::connect(last)?.ask("PUBLISH news last"));
    assert_eq!(told.await.expect("no panic").as_deref(), Some(":1"));
    let mut all = Vec::new();
    for node in hearing {
        all.push(node.await.expect("no panic"));
    }
    assert_eq!(all[0], all[1]);
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    all[0].iter().for_each(|message| *counts.entry(message).or_default() += 1);
    for (message, count) in &counts {
        assert!(*count == 1 && sent.contains_key(*message), "{message} was told {count} times");
    }
    let known: Vec<&String> = sent.iter().filter(|(_, known)| **known).map(|(message, _)| message).collect();
    assert!(known.len() > 100, "{}", known.len());
    assert!(known.iter().all(|message| counts.contains_key(message)));
}

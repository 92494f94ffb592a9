//! `GET /v1/changes` and `GET /v1/time`.

use crate::server::{Server, limits};
use lockstep::cache::{Command, Condition, DeadlineCondition, Key, Op, Ttl};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

async fn changes(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/v1/changes?{query}")).await;
    assert_eq!(answer.status(), 200, "{query}");
    answer.json().await.unwrap()
}

/// What a client has that follows by asking.
#[derive(Default)]
struct Mirror(BTreeMap<String, (u64, String)>);

impl Mirror {
    fn take(&mut self, answer: &Value) {
        for change in answer["changes"].as_array().unwrap() {
            let text = |name: &str| change[name].as_str().map(str::to_owned);
            if let Some(prefix) = text("prefix") {
                let cleared_at = change["gone"]["revision"].as_u64().unwrap();
                self.0.retain(|key, (revision, _)| !key.starts_with(&prefix) || *revision > cleared_at);
            } else if change["found"] == true {
                let value = (change["revision"].as_u64().unwrap(), text("value").unwrap());
                self.0.insert(text("key").unwrap(), value);
            } else {
                self.0.remove(&text("key").unwrap());
            }
        }
    }
}

/// F6: whoever asks for what changed has what the cluster has, or is told that something is missing.
#[tokio::test]
async fn whoever_asks_again_and_again_has_everything() {
    let server = Server::start().await;
    server.configure(json!({"capacity_entries": 40})).await;
    let (mut mirror, mut since) = (Mirror::default(), 0);
    for round in 0..60_u64 {
        for number in 0..7 {
            let key = (round * 31 + number * 17) % 50;
            match (round + number) % 6 {
                0 => drop(server.send(Method::DELETE, &format!("/v1/kv/k{key}"), &[], "").await),
                1 if number == 3 => {
                    drop(server.send(Method::DELETE, &format!("/v1/kv?prefix=k{}", key % 5), &[], "").await);
                }
                2 => drop(server.put(&format!("k{key}?ttl_ms=1"), "short").await),
                _ => drop(server.put(&format!("k{key}"), &format!("{round}-{number}")).await),
            }
        }
        // Sometimes a small page, after which more is left.
        loop {
            let limit = if round % 3 == 0 { "&limit=3" } else { "" };
            let answer = changes(&server, &format!("since={since}&values=true{limit}")).await;
            assert_eq!(answer["complete"], true);
            let keys: Vec<&str> = answer["changes"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|change| change["key"].as_str())
                .collect();
            let mut once = keys.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), keys.len(), "each key once: {keys:?}");
            mirror.take(&answer);
            since = answer["next"].as_u64().unwrap();
            if answer["more"] == false {
                break;
            }
        }
    }
    let answer = changes(&server, &format!("since={since}&values=true")).await;
    mirror.take(&answer);
    let page: Value = server.get("/v1/keys?values=true&limit=1000").await.json().await.unwrap();
    let kept: BTreeMap<String, (u64, String)> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("key"), (entry["revision"].as_u64().unwrap(), text("value")))
        })
        .collect();
    // What has expired in between is told with a later log entry.
    mirror.0.retain(|_, (_, value)| value != "short");
    let kept: BTreeMap<_, _> = kept.into_iter().filter(|(_, (_, value))| value != "short").collect();
    assert_eq!(mirror.0, kept);
    server.stop().await;
}

#[tokio::test]
async fn what_changed_is_told_with_what_it_has_now() {
    let server = Server::start().await;
    server.put("a%2F1", "one").await;
    let since = server.node.status().await.applied_index;
    server.put("a%2F2", "two").await;
    server.put("a%2F2", "three").await;
    server.put("b%2F1", "other").await;
    server.send(Method::DELETE, "/v1/kv/a%2F1", &[], "").await;
    let answer = changes(&server, &format!("since={since}&prefix=a/")).await;
    let told = answer["changes"].as_array().unwrap();
    assert_eq!(told.len(), 2, "{answer}");
    assert_eq!(
        (&told[0]["key"], &told[0]["version"], told[0].get("value")),
        (&json!("a/2"), &json!(2), None)
    );
    assert_eq!(told[0]["bytes"], 5);
    assert_eq!((&told[1]["key"], &told[1]["gone"]["cause"]), (&json!("a/1"), &json!("delete")));
    assert_eq!((&answer["next"], &answer["more"]), (&answer["index"], &json!(false)));
    let nothing = changes(&server, &format!("since={}", answer["next"])).await;
    assert_eq!(nothing["changes"], json!([]));

    for (query, code) in [
        ("", "invalid_query"),
        ("since=x", "invalid_query"),
        ("since=1&limit=0", "invalid_query"),
        ("since=1&limit=10001", "invalid_query"),
        ("since=1&values=maybe", "invalid_query"),
        ("since=1@0badcafe0", "other_history"),
        ("since=1000000", "conflict"),
    ] {
        server.refused(Method::GET, &format!("/v1/changes?{query}"), &[], "", code).await;
    }
    server.stop().await;
}

/// F6: what is no longer kept is said to be missing.
#[tokio::test]
async fn behind_the_window_it_is_incomplete() {
    let server = Server::start_with(limits(), |mut options| {
        options.limits.watch_bytes = 5_000;
        options
    })
    .await;
    for number in 0..200 {
        server.put("k", &format!("{number:0>100}")).await;
    }
    let answer = changes(&server, "since=3").await;
    assert_eq!((&answer["complete"], &answer["changes"]), (&json!(false), &json!([])));
    let newest = changes(&server, &format!("since={}", answer["index"].as_u64().unwrap() - 1)).await;
    assert_eq!((&newest["complete"], newest["changes"].as_array().unwrap().len()), (&json!(true), 1));
    server.stop().await;
}

/// An answer ends after the value that brings it to its limit in bytes, and says where to go on.
#[tokio::test]
async fn large_values_are_told_in_parts() {
    let mut large = limits();
    large.front.value_bytes = 1_000_000;
    let server = Server::start_with(large, |options| options).await;
    for number in 0..12 {
        server.put(&format!("k{number:02}"), &"x".repeat(1_000_000)).await;
    }
    let (mut since, mut keys, mut parts) = (0, Vec::new(), 0);
    loop {
        let answer = changes(&server, &format!("since={since}&values=true")).await;
        let told = answer["changes"].as_array().unwrap();
        keys.extend(told.iter().map(|change| change["key"].as_str().unwrap().to_owned()));
        since = answer["next"].as_u64().unwrap();
        parts += 1;
        if answer["more"] == false {
            break;
        }
    }
    keys.sort();
    let expected: Vec<String> = (0..12).map(|number| format!("k{number:02}")).collect();
    assert_eq!((keys, parts), (expected, 2));
    server.stop().await;
}

#[tokio::test]
async fn log_time_goes_on_where_nothing_is_written() {
    let server = Server::start().await;
    server.put("k", "v").await;
    let time = async || -> (u64, u64) {
        let answer: Value = server.get("/v1/time").await.json().await.unwrap();
        (answer["time_ms"].as_u64().unwrap(), answer["index"].as_u64().unwrap())
    };
    let (first, index) = time().await;
    let mut latest = first;
    while latest < first + 20 {
        let (now, at) = time().await;
        assert!(now >= latest && at == index);
        latest = now;
    }
    server.refused(Method::GET, "/v1/time?x=1", &[], "", "invalid_query").await;
    server.stop().await;
}

/// The last removal is told, also where the state has forgotten it and still knows an older one.
#[tokio::test]
async fn the_removal_that_is_told_is_the_last_one() {
    let server = Server::start().await;
    server.configure(json!({"capacity_entries": 1})).await;
    server.put("a", "1").await;
    server.send(Method::DELETE, "/v1/kv?all=true", &[], "").await;
    server.put("a", "2").await;
    let since = server.node.status().await.applied_index;
    // The first evicts `a`. The second evicts `wzi`, which has the same place in the table of the keys that were lost.
    server.put("wzi", "3").await;
    let evicted_at = server.node.status().await.applied_index;
    server.put("other", "4").await;
    let answer = changes(&server, &format!("since={since}&prefix=a")).await;
    let gone = json!({"cause": "evict", "revision": evicted_at});
    let told = &answer["changes"][0];
    assert_eq!((&told["key"], told["found"].as_bool()), (&json!("a"), Some(false)), "{answer}");
    assert_eq!(json!({"cause": told["gone"]["cause"], "revision": told["gone"]["revision"]}), gone);
    let missed = server.get("/v1/kv/a").await;
    assert_eq!(missed.status(), 404);
    let missed: Value = missed.json().await.unwrap();
    assert_eq!((&missed["gone"], &missed["complete"]), (&Value::Null, &json!(false)), "{missed}");
    server.stop().await;
}

/// One command can change more than an answer may have. Then what is too much is told without its value.
#[tokio::test]
async fn the_values_of_one_command_do_not_outgrow_an_answer() {
    let server = Server::start().await;
    let key = |number: u32| Key::new(&format!("k{number:02}")).unwrap();
    for number in 0..20 {
        let value = lockstep::cache::Value::new(vec![b'v'; 1 << 20].into(), None).unwrap();
        let put = Op::Put {
            key: key(number),
            value,
            ttl: Ttl::Never,
            condition: Condition::Always,
            previous: false,
        };
        server.node.write(Command::One(put)).await.unwrap();
    }
    let since = server.node.status().await.applied_index;
    let expire = |number| Op::Expire {
        key: key(number),
        ttl: Ttl::Ms(3_600_000),
        condition: Condition::Always,
        only: DeadlineCondition::Always,
    };
    server.node.write(Command::Batch((0..20).map(expire).collect())).await.unwrap();
    let answer = changes(&server, &format!("since={since}&values=true")).await;
    let told = answer["changes"].as_array().unwrap();
    assert_eq!((told.len(), &answer["more"]), (20, &json!(false)));
    let with_values = told.iter().filter(|change| change.get("value").is_some()).count();
    assert_eq!(with_values, 8, "8 MiB of values of 1 MiB");
    assert!(told.iter().all(|change| change["found"] == true && change["bytes"].as_u64() > Some(0)));
    server.stop().await;
}

//! A node that leaves its cluster on purpose, goes on alone, and comes back.

use crate::support::{Cluster, Node, run, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The only answer, as JSON.
async fn json_of(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or_else(|_| json!({"text": text})))
}

async fn post(cluster: &Cluster, node: &Node, path: &str, body: &str) -> (u16, Value) {
    let request = cluster.http.post(format!("{}{path}", node.http)).body(body.to_owned());
    let response = request.header("content-type", "application/json").send().await.expect("an answer");
    json_of(response).await
}

async fn delete(cluster: &Cluster, node: &Node, key: &str) {
    let response = cluster.request(Method::DELETE, node, &format!("/v1/kv/{key}"), "").await;
    assert!(response.status().is_success(), "{key}");
}

async fn detached(cluster: &Cluster, node: &Node) -> Value {
    json_of(cluster.request(Method::GET, node, "/v1/detached", "").await).await.1
}

/// `None` while it does not say.
async fn is_detached(cluster: &Cluster, node: &Node) -> Option<bool> {
    let asked = cluster.http.get(format!("{}/v1/detached", node.http)).send().await.ok()?;
    let told = json_of(asked).await.1;
    told["busy"].as_bool()?;
    Some(told["detached"].is_object())
}

/// Asks a node to leave or to come back until it has.
pub async fn goes_on(cluster: &Cluster, node: &Node, path: &str, done: bool) {
    until("it gets there", || async {
        if is_detached(cluster, node).await == Some(done) {
            return true;
        }
        let asked = cluster.http.post(format!("{}{path}", node.http)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
            && is_detached(cluster, node).await == Some(done)
    })
    .await;
}

/// The losers that a node has written down: each line's key and value.
fn losers(node: &Node) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let Ok(histories) = std::fs::read_dir(node.data_dir.join("reconcile")) else { return found };
    for history in histories {
        for file in std::fs::read_dir(history.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if !path.to_string_lossy().ends_with(".losers.jsonl") {
                continue;
            }
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let line: Value = serde_json::from_str(line).expect("JSON");
                found.push((line["key"].as_str().expect("a key").to_owned(), line));
            }
        }
    }
    found
}

/// As many members with a vote as there are nodes, which agree; and nobody notes anything any more.
async fn all_is_as_before(cluster: &Cluster) {
    let nodes = cluster.nodes.len();
    until("all vote again", || async {
        let status = cluster.status(&cluster.nodes[cluster.leader().await]).await;
        let members = status["members"].as_array().expect("a list");
        members.len() == nodes && members.iter().all(|member| member["voter"] == true)
    })
    .await;
    cluster.all_ready().await;
    cluster.digests_agree().await;
    let (_, told) = json_of(cluster.request(Method::GET, &cluster.nodes[0], "/v1/reconcile", "").await).await;
    assert_eq!(told["forks"], json!([]), "{told}");
}

/// Whose value a key has at the end, for each way in which the two sides can have changed it.
async fn changes_on_both_sides_are_decided(leaves: usize, cluster: &Cluster) {
    let (alone, live) = (&cluster.nodes[leaves], &cluster.nodes[(leaves + 1) % 3]);
    for key in ["same", "mine", "theirs", "both", "gone-here", "gone-there", "gone-here-changed-there"] {
        cluster.put_surely(live, key, "base").await;
    }
    let (status, told) = post(cluster, alone, "/v1/detach", "").await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["detached"]["forced"], false);

    // It says so on every answer, and does not pretend.
    let read = cluster.request(Method::GET, alone, "/v1/kv/same", "").await;
    assert_eq!(read.headers()["lockstep-consistency"], "detached");
    assert_eq!(read.headers()["lockstep-history"], told["detached"]["history"].as_str().unwrap());
    assert_eq!(read.text().await.unwrap(), "base");
    let written = cluster.request(Method::PUT, alone, "/v1/kv/mine", "alone").await;
    assert_eq!(written.headers()["lockstep-consistency"], "detached");
    for level in ["linearizable", "lease"] {
        let path = format!("/v1/kv/same?consistency={level}");
        let (status, refused) = json_of(cluster.request(Method::GET, alone, &path, "").await).await;
        assert_eq!((status, &refused["code"]), (409, &json!("detached")), "{level}");
    }
    let insists = cluster.http.put(format!("{}/v1/kv/same", alone.http)).body("x");
    let refused = insists.header("lockstep-consistency", "linearizable").send().await.unwrap();
    assert_eq!(json_of(refused).await.1["code"], "detached");
    let ready = cluster.request(Method::GET, alone, "/readyz", "").await;
    assert_eq!((ready.status().as_u16(), ready.text().await.unwrap().as_str()), (200, "detached\n"));
    let status = cluster.status(alone).await;
    assert!(status["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "detached"));
    let read = cluster.request(Method::GET, live, "/v1/kv/same", "").await;
    assert_eq!(read.headers()["lockstep-consistency"], "linearizable");

    cluster.put_surely(live, "theirs", "live").await;
    cluster.put_surely(live, "both", "live").await;
    delete(cluster, live, "gone-there").await;
    cluster.put_surely(live, "gone-here-changed-there", "live").await;
    cluster.put_surely(alone, "both", "alone").await;
    cluster.put_surely(alone, "new", "alone").await;
    delete(cluster, alone, "gone-here").await;
    delete(cluster, alone, "gone-here-changed-there").await;
    assert_eq!(cluster.get(live, "mine").await.as_deref(), Ok("base"), "each side has its own");

    let (status, preview) = post(cluster, alone, "/v1/attach", r#"{"dry_run":true}"#).await;
    assert_eq!((status, &preview["attached"]), (200, &json!(false)), "{preview}");
    assert_eq!(preview["counts"]["changes"], 5, "{preview}");
    assert_eq!(cluster.get(live, "mine").await.as_deref(), Ok("base"), "nothing was done");

    let (status, attached) = post(cluster, alone, "/v1/attach", "").await;
    assert_eq!((status, &attached["attached"]), (200, &json!(true)), "{attached}");
    all_is_as_before(cluster).await;
    let mut found = BTreeMap::new();
    for key in ["same", "mine", "theirs", "both", "new", "gone-here", "gone-there", "gone-here-changed-there"]
    {
        found.insert(key, cluster.get(alone, key).await);
    }
    let there = |value: &str| Ok(value.to_owned());
    let expected = BTreeMap::from([
        ("same", there("base")),
        ("mine", there("alone")),
        ("theirs", there("live")),
        ("both", there("alone")),
        ("new", there("alone")),
        ("gone-here", Err(404)),
        ("gone-there", Err(404)),
        // The removal came later.
        ("gone-here-changed-there", Err(404)),
    ]);
    assert_eq!(found, expected);
    let lost = losers(alone);
    let lost: Vec<(&str, &str)> =
        lost.iter().map(|(key, line)| (key.as_str(), line["value"].as_str().unwrap_or_default())).collect();
    assert_eq!(lost, [("both", "live"), ("gone-here-changed-there", "live")]);
    let asides = std::fs::read_dir(alone.data_dir.join("aside")).unwrap().count();
    assert_eq!(asides, 1, "what it had alone is kept, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_leaves_changes_keys_and_comes_back() {
    let cluster = Cluster::start(3, &[]).await;
    let leaves = cluster.follower().await;
    changes_on_both_sides_are_decided(leaves, &cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_leaves_changes_keys_and_comes_back() {
    let cluster = Cluster::start(3, &[]).await;
    let leaves = cluster.leader().await;
    changes_on_both_sides_are_decided(leaves, &cluster).await;
}

/// As the pages of other cache servers do it, again and again; what it does takes no more room each time.
#[tokio::test(flavor = "multi_thread")]
async fn sync_is_switched_off_and_on() {
    let cluster = Cluster::start(3, &[]).await;
    let (alone, live) = (&cluster.nodes[2], &cluster.nodes[0]);
    for round in 0..3 {
        let value = format!("{round}");
        let (status, off) = post(&cluster, alone, "/api/sync/toggle", "").await;
        assert_eq!(
            (status, &off["success"], &off["syncEnabled"]),
            (200, &json!(true), &json!(false)),
            "{off}"
        );
        let (_, told) = json_of(cluster.request(Method::GET, alone, "/api/sync/status", "").await).await;
        assert_eq!(told["syncEnabled"], false);
        assert!(told["detached"]["forkIndex"].is_u64(), "{told}");
        assert_eq!(told["nodeList"].as_array().unwrap().len(), 2, "the others stay listed");
        cluster.put_surely(alone, "key", &value).await;
        let (status, preview) = post(&cluster, alone, "/api/sync/force", "").await;
        assert_eq!((status, &preview["wouldMerge"]["counts"]["changes"]), (200, &json!(1)), "{preview}");
        let (status, on) = post(&cluster, alone, "/api/sync/toggle", "").await;
        assert_eq!((status, &on["success"], &on["syncEnabled"]), (200, &json!(true), &json!(true)), "{on}");
        assert_eq!(cluster.get(live, "key").await, Ok(value));
        all_is_as_before(&cluster).await;
    }
    let asides = std::fs::read_dir(alone.data_dir.join("aside")).unwrap().count();
    assert_eq!((asides, losers(alone).len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_where_it_would_do_harm() {
    let mut cluster = Cluster::start(3, &[]).await;
    let refused = async |cluster: &Cluster, node: usize, path: &str, body: &str, why: &str| {
        let (status, told) = post(cluster, &cluster.nodes[node], path, body).await;
        assert_eq!(status, 409, "{told}");
        assert!(told["detail"].as_str().unwrap().contains(why), "{told}");
    };
    refused(&cluster, 0, "/v1/attach", "", "not detached").await;
    refused(&cluster, 0, "/v1/detach", r#"{"force":true}"#, "without force").await;
    // Without this one, one of the two others would not be a majority.
    let leader = cluster.leader().await;
    let [stays, falls] = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.nodes[falls].kill();
    let asked = &cluster.nodes[stays];
    let silent = |status: &Value| {
        let members = status["members"].as_array().expect("a list");
        members.iter().any(|member| member["silent_ms"].as_u64().is_some_and(|silent| silent > 3_000))
    };
    until("the leader knows that it is silent", || async { silent(&cluster.status(asked).await) }).await;
    refused(&cluster, stays, "/v1/detach", "", "would lose its majority").await;
    // It is an ordinary member again.
    until("it gave up", || async { detached(&cluster, asked).await["busy"] == false }).await;
    cluster.put_surely(asked, "key", "value").await;
    cluster.nodes[falls].start();
    cluster.all_ready().await;
    all_is_as_before(&cluster).await;

    let (status, told) = post(&cluster, &cluster.nodes[falls], "/v1/detach", "").await;
    assert_eq!(status, 200, "{told}");
    refused(&cluster, falls, "/v1/detach", "", "already").await;
    // It takes no members: they could not come back with it.
    let mut joins = Node::new(cluster.dir.path(), "joins", &["--join", &cluster.nodes[falls].http]);
    joins.start();
    until("it is refused", || async { joins.log().contains("takes no members") }).await;
    joins.kill();
    // Everybody it knew is gone: it says so and goes on alone.
    let others: Vec<usize> = (0..3).filter(|at| *at != falls).collect();
    for at in &others {
        cluster.nodes[*at].kill();
    }
    let (status, told) = post(&cluster, &cluster.nodes[falls], "/v1/attach", "").await;
    assert_eq!((status, &told["code"]), (503, &json!("unavailable")), "{told}");
    cluster.put_surely(&cluster.nodes[falls], "still", "writes").await;
    for at in others {
        cluster.nodes[at].start();
    }
    cluster.put_surely(&cluster.nodes[stays], "live", "writes").await;
    let (status, told) = post(&cluster, &cluster.nodes[falls], "/v1/attach", "").await;
    assert_eq!(status, 200, "{told}");
    all_is_as_before(&cluster).await;
    assert_eq!(cluster.get(&cluster.nodes[stays], "still").await.as_deref(), Ok("writes"));
}

/// Where no majority answers, a node can be told to go on alone. When the others are back they count it as a silent member,
/// until it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_leaves_by_force() {
    let mut cluster = Cluster::start(3, &[]).await;
    let (left, others) = (0, [1, 2]);
    for number in 0..20 {
        cluster.put_surely(&cluster.nodes[1], &format!("base-{number}"), "base").await;
    }
    cluster.digests_agree().await;
    for at in others {
        cluster.nodes[at].kill();
    }
    let alone = &cluster.nodes[left];
    until("it has no majority", || async { cluster.status(alone).await["majority"] == false }).await;
    let (status, told) = post(&cluster, alone, "/v1/detach", r#"{"force":true}"#).await;
    assert_eq!((status, &told["detached"]["forced"]), (200, &json!(true)), "{told}");
    cluster.put_surely(alone, "alone", "alone").await;
    cluster.put_surely(alone, "base-1", "alone").await;
    for at in others {
        cluster.nodes[at].start();
    }
    cluster.put_surely(&cluster.nodes[1], "live", "live").await;
    cluster.put_surely(&cluster.nodes[1], "base-2", "live").await;
    assert_eq!(cluster.get(&cluster.nodes[1], "alone").await, Err(404));
    assert_eq!(cluster.get(&cluster.nodes[left], "live").await, Err(404));
    let url = &cluster.nodes[left].http;
    let (code, told, error) = run(&["attach", url, "--verify", "--json", "--timeout-ms", "30000"]);
    assert_eq!(code, 0, "{told}{error}");
    let told: Value = serde_json::from_str(told.lines().last().expect("a line")).expect("JSON");
    assert_eq!(told["verified"]["differing"], json!([]), "{told}");
    all_is_as_before(&cluster).await;
    for (key, value) in
        [("alone", "alone"), ("base-1", "alone"), ("live", "live"), ("base-2", "live"), ("base-3", "base")]
    {
        assert_eq!(cluster.get(&cluster.nodes[left], key).await.as_deref(), Ok(value), "{key}");
    }
}

/// The node has kept what both had when it left, so that what was added on each side is told apart, and a person sees it.
#[tokio::test(flavor = "multi_thread")]
async fn counters_are_summed_when_a_node_comes_back() {
    let cluster = Cluster::start(3, &["--snapshot-entries", "500", "--entries-kept", "100"]).await;
    let (alone, live) = (&cluster.nodes[2], &cluster.nodes[0]);
    let add = async |node: &Node, key: &str, by: u64| {
        let path = format!("/v1/kv/{key}/incr");
        let (status, told) = post(&cluster, node, &path, &json!({ "by": by }).to_string()).await;
        assert_eq!(status, 200, "{told}");
    };
    for round in 0..2 {
        let before = 8 * round;
        if round == 0 {
            add(live, "hits", 10).await;
        }
        let (status, told) = post(&cluster, alone, "/v1/detach", "").await;
        assert_eq!(status, 200, "{told}");
        let begun = cluster.status(alone).await["last_log_index"].as_u64().expect("an index");
        for (node, by) in [(alone, 3), (live, 5)] {
            add(node, "hits", by).await;
            add(node, "new", by).await;
        }
        // The log that it left with is gone.
        for number in 0..1_500 {
            cluster.put_surely(alone, &format!("other-{}", number % 10), "v").await;
        }
        until("a snapshot replaces the one that it began with", || async {
            let status = cluster.status(alone).await;
            status["purged_index"].as_u64().is_some_and(|purged| purged > begun)
        })
        .await;
        let body = json!({"policy": "sum_delta", "dry_run": true}).to_string();
        let (status, preview) = post(&cluster, alone, "/v1/attach", &body).await;
        assert_eq!(status, 200, "{preview}");
        let conflicts = preview["conflicts"].as_array().expect("a list").iter();
        let bases: BTreeMap<&str, &Value> =
            conflicts.map(|line| (line["key"].as_str().expect("a key"), &line["base"])).collect();
        assert_eq!(bases["hits"]["value"], (10 + before).to_string(), "{preview}");
        match round {
            0 => assert_eq!(bases["new"]["state"], "absent", "{preview}"),
            _ => assert_eq!(bases["new"]["value"], before.to_string(), "{preview}"),
        }
        let (status, told) = post(&cluster, alone, "/v1/attach", r#"{"policy":"sum_delta"}"#).await;
        assert_eq!(status, 200, "{told}");
        all_is_as_before(&cluster).await;
        for (key, sum) in [("hits", 18 + before), ("new", 8 + before)] {
            assert_eq!(cluster.get(alone, key).await, Ok(sum.to_string()), "{key} in round {round}");
        }
        assert!(!alone.data_dir.join("base.snapshot").exists(), "a member keeps none");
        assert_eq!(losers(alone), []);
    }
}

/// Killed at any moment of leaving and of coming back, once and again: it is a member or detached, goes on with what it had
/// begun, and no acknowledged write is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_leaves_or_comes_back_loses_nothing() {
    let seed =
        std::env::var("LOCKSTEP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let rounds =
        std::env::var("LOCKSTEP_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3_u64);
    println!("LOCKSTEP_SEED={seed} LOCKSTEP_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut below = move |limit: u64| random.random_range(0..limit);
    let mut cluster = Cluster::start(3, &[]).await;
    let mut written: Vec<String> = Vec::new();
    for round in 0..rounds {
        let at = below(3) as usize;
        for (path, done) in [("/v1/detach", true), ("/v1/attach", false)] {
            for part in 0..5 {
                let (other, key) = ((at + 1) % 3, format!("{round}-{path}-{part}").replace('/', "."));
                cluster.put_surely(&cluster.nodes[other], &format!("live-{key}"), "v").await;
                cluster.put_surely(&cluster.nodes[at], &format!("own-{key}"), "v").await;
                written.extend([format!("live-{key}"), format!("own-{key}")]);
            }
            for _ in 0..2 {
                let url = format!("{}{path}", cluster.nodes[at].http);
                let asking = tokio::spawn(cluster.http.post(url).send());
                tokio::time::sleep(Duration::from_millis(below(250))).await;
                cluster.nodes[at].kill();
                let _ = asking.await;
                cluster.nodes[at].start();
                cluster.ready(&cluster.nodes[at]).await;
            }
            goes_on(&cluster, &cluster.nodes[at], path, done).await;
        }
        all_is_as_before_but_forks(&cluster).await;
        for key in &written {
            for node in &cluster.nodes {
                assert_eq!(cluster.get(node, key).await.as_deref(), Ok("v"), "{key} in round {round}");
            }
        }
    }
}

/// A node that is killed in the last moment cannot have the fork closed any more.
pub async fn all_is_as_before_but_forks(cluster: &Cluster) {
    let leader = &cluster.nodes[cluster.leader().await];
    let (_, told) = json_of(cluster.request(Method::GET, leader, "/v1/reconcile", "").await).await;
    for fork in told["forks"].as_array().expect("a list") {
        let history = fork["history"].as_str().expect("an id");
        let (code, _, error) = crate::support::run(&["reconcile", "forget", history, "--url", &leader.http]);
        // The node that has come back may have closed it in between.
        assert!(code == 0 || error.contains("no fork to history"), "{error}");
    }
    all_is_as_before(cluster).await;
}

//! A node whose data folder is lost, and that takes its own place again.

use crate::support::encrypted::{Encrypted, done, https, path};
use crate::support::{Cluster, Node, run, until};
use lockstep::tls::ClientTls;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

async fn member(cluster: &Cluster, asked: usize, name: &str) -> Option<Value> {
    let answer = cluster.request(Method::GET, &cluster.nodes[asked], "/v1/members", "").await;
    let body: Value = answer.json().await.ok()?;
    let members = body["members"].as_array()?;
    let named: Vec<&Value> = members.iter().filter(|member| member["name"] == name).collect();
    assert!(named.len() <= 1 && members.len() <= 3, "{members:?}");
    named.first().map(|member| (*member).clone())
}

async fn id_of(cluster: &Cluster, asked: usize, name: &str) -> u64 {
    member(cluster, asked, name).await.and_then(|member| member["id"].as_u64()).expect("a member")
}

/// Ends a node for good, and starts it with its old arguments and these.
fn lose(node: &mut Node, more: &[&str]) {
    node.kill();
    fs::remove_dir_all(&node.data_dir).expect("it had a folder");
    node.add_arguments(&more.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    node.start();
}

async fn code(cluster: &Cluster, node: &Node, path: &str) -> u16 {
    let asked = cluster.http.get(format!("{}{path}", node.http)).send().await;
    asked.map_or(0, |answer| answer.status().as_u16())
}

/// `lockstep member replace`: exit code, and what it prints.
fn replace(cluster: &Cluster, asked: usize, name: &str) -> (i32, String) {
    let (code, out, error) = run(&["member", "replace", name, "--url", &cluster.nodes[asked].http]);
    (code, out + &error)
}

/// How often the nodes that serve were asked to add one.
async fn asked_to_join(cluster: &Cluster) -> u64 {
    let mut count = 0;
    for node in &cluster.nodes {
        let Ok(answer) = cluster.http.get(format!("{}/metrics", node.http)).send().await else { continue };
        let text = answer.text().await.unwrap_or_default();
        let name = "lockstep_http_request_duration_seconds_count{";
        let lines = text.lines().filter(|line| line.starts_with(name));
        let asked = lines.filter(|line| line.contains("\"/v1/members\"") && line.contains("\"POST\""));
        count += asked.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>();
    }
    count
}

/// Writes different keys until it is stopped. Returns those that were acknowledged.
fn writer(
    cluster: &Cluster,
    nodes: &[usize],
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Vec<String>> {
    let urls: Vec<String> = nodes.iter().map(|node| cluster.nodes[*node].http.clone()).collect();
    let (http, stop) = (cluster.http.clone(), stop.clone());
    tokio::spawn(async move {
        let mut written = Vec::new();
        for number in 0_usize.. {
            if stop.load(Relaxed) {
                break;
            }
            let key = format!("w{number}");
            let url = format!("{}/v1/kv/{key}", urls[number % urls.len()]);
            if http.put(url).body(key.clone()).send().await.is_ok_and(|answer| answer.status().is_success()) {
                written.push(key);
            }
        }
        written
    })
}

/// R6: it waits without an exit, and the cluster goes on; once an operator says that its folder is lost, it is back under a new
/// number, with every acknowledged write. A member that answers is not replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_folder_waits_until_an_operator_lets_it_in() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let lost = (leader + 1) % 3;
    let other = (leader + 2) % 3;
    let name = cluster.nodes[lost].name.clone();
    let before = id_of(&cluster, leader, &name).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = writer(&cluster, &[leader, other], &stop);

    let (exit, text) = replace(&cluster, other, &name);
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains(&format!("`lockstep member remove {before}`")), "{text}");
    let (exit, text) = replace(&cluster, other, &cluster.nodes[leader].name);
    assert!(exit == 1 && text.contains("leads the cluster"), "{text}");
    assert_eq!(replace(&cluster, other, "999").0, 3);
    assert_eq!(replace(&cluster, other, "nobody").0, 2);

    lose(&mut cluster.nodes[lost], &["--replace-lost", "by-hand"]);
    let node = &cluster.nodes[lost];
    let command = format!("`lockstep member replace {name}`");
    until("it says what it waits for", || async { node.log().contains(&command) }).await;
    let asked = asked_to_join(&cluster).await;
    until("it asks again", || async { asked_to_join(&cluster).await > asked }).await;
    assert_eq!(node.log().matches(&command).count(), 1, "it says so once");
    assert_eq!(code(&cluster, node, "/livez").await, 200);
    assert_eq!(code(&cluster, node, "/readyz").await, 503);
    assert_eq!(id_of(&cluster, leader, &name).await, before, "nobody said that its folder is lost");

    let url = &cluster.nodes[other].http;
    let replaced: Value =
        serde_json::from_str(done(&["member", "replace", &name, "--json", "--url", url]).trim())
            .expect("JSON");
    assert_eq!(replaced, json!({"replaced": before}));
    cluster.ready(node).await;
    let votes =
        || async { member(&cluster, leader, &name).await.is_some_and(|member| member["voter"] == true) };
    until("it has a vote", votes).await;
    let after = id_of(&cluster, leader, &name).await;
    assert!(after > 16 && after != before, "a new number: {after}");
    stop.store(true, Relaxed);
    let written = writing.await.expect("it ends");
    assert!(written.len() > 10, "{}", written.len());
    for key in &written {
        assert_eq!(cluster.get(node, key).await.as_ref(), Ok(key));
    }
    cluster.digests_agree().await;
    let log = cluster.request(Method::GET, &cluster.nodes[leader], "/v1/audit", "").await;
    assert!(log.text().await.expect("text").contains(&format!("POST /v1/members/{before}/replace")));

    // A restart with the same arguments changes nothing.
    cluster.nodes[lost].kill();
    cluster.nodes[lost].start();
    cluster.ready(&cluster.nodes[lost]).await;
    assert_eq!(id_of(&cluster, leader, &name).await, after);
}

/// R6: of two nodes with an empty folder and the same name one gets in.
#[tokio::test(flavor = "multi_thread")]
async fn two_empty_nodes_of_one_name_do_not_both_get_in() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let lost = (leader + 1) % 3;
    let name = cluster.nodes[lost].name.clone();
    let before = id_of(&cluster, leader, &name).await;
    lose(&mut cluster.nodes[lost], &["--replace-lost", "by-hand"]);
    let twins = cluster.dir.path().join("twins");
    fs::create_dir_all(&twins).expect("a folder");
    let mut twin =
        Node::new(&twins, &name, &["--join", &cluster.nodes[leader].http, "--replace-lost", "by-hand"]);
    twin.start();
    for node in [&cluster.nodes[lost], &twin] {
        until("it waits", || async { node.log().contains("lockstep member replace") }).await;
    }
    until("it is replaced", || async { replace(&cluster, leader, &name).0 == 0 }).await;
    let is_in = async |node: &Node| code(&cluster, node, "/readyz").await == 200;
    until("one is in", || async { is_in(&cluster.nodes[lost]).await || is_in(&twin).await }).await;
    let after = id_of(&cluster, leader, &name).await;
    assert_ne!(after, before);
    // The other asks again, and again it is refused.
    let asked = asked_to_join(&cluster).await;
    until("it asks twice", || async { asked_to_join(&cluster).await > asked + 1 }).await;
    let (one, other) = (is_in(&cluster.nodes[lost]).await, is_in(&twin).await);
    assert!(one != other && twin.still_runs() && cluster.nodes[lost].still_runs(), "{one} {other}");
    assert_eq!(id_of(&cluster, leader, &name).await, after);
    assert_eq!(replace(&cluster, leader, &name).0, 1, "its new holder answers");
}

/// Two of three lost everything: nothing is replaced, and they form no cluster beside the third, even when that one is down.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_lost_everything_wait_for_the_one_that_did_not() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    for lost in [1, 2] {
        cluster.nodes[lost].kill();
    }
    for lost in [1, 2] {
        fs::remove_dir_all(&cluster.nodes[lost].data_dir).expect("it had a folder");
        cluster.nodes[lost].add_arguments(&["--replace-lost".into(), "30s".into()]);
        cluster.nodes[lost].start();
    }
    for lost in [1, 2] {
        let waits = || async { cluster.nodes[lost].log().contains("the cluster is there already") };
        until("it has found the third one", waits).await;
    }
    let (exit, text) = replace(&cluster, 0, "n2");
    assert!(exit == 5 || exit == 1, "{exit}: {text}");
    assert!(text.contains("lockstep recover"), "{text}");

    cluster.nodes[0].kill();
    for lost in [1, 2] {
        let alone =
            || async { cluster.nodes[lost].log().contains("no node of the list answers as a member") };
        until("it misses the third one", alone).await;
        assert_eq!(code(&cluster, &cluster.nodes[lost], "/readyz").await, 503);
    }
    // And from an empty start, with the third one still down.
    let first = cluster.nodes[0].http.clone();
    let waits = |node: &Node| node.log().matches(&format!("waiting for {first}")).count();
    for lost in [1, 2] {
        let before = waits(&cluster.nodes[lost]);
        cluster.nodes[lost].kill();
        cluster.nodes[lost].start();
        until("it waits for the third one", || async { waits(&cluster.nodes[lost]) > before }).await;
        assert_eq!(code(&cluster, &cluster.nodes[lost], "/readyz").await, 503);
    }
    cluster.nodes[0].start();
    for lost in [1, 2] {
        let found =
            || async { cluster.nodes[lost].log().matches("the cluster is there already").count() >= 3 };
        until("it has found it again", found).await;
        assert_eq!(code(&cluster, &cluster.nodes[lost], "/readyz").await, 503);
    }
}

/// With a time the leader replaces it by itself: not before that time, and a new leader counts anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_member_is_replaced_after_the_time_that_was_given() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    let leader = cluster.leader().await;
    let (lost, next) = ((leader + 1) % 3, (leader + 2) % 3);
    let name = cluster.nodes[lost].name.clone();
    let before = id_of(&cluster, leader, &name).await;
    let mut arguments = cluster.nodes[lost].arguments().to_vec();
    let list = arguments.iter().position(|argument| argument == "--initial-cluster").expect("a list");
    arguments.splice(list..list + 2, ["--join".into(), cluster.nodes[next].http.clone()]);
    cluster.nodes[lost].replace_arguments(arguments);
    lose(&mut cluster.nodes[lost], &["--replace-lost", "30s"]);
    let missed = || async {
        member(&cluster, leader, &name)
            .await
            .is_some_and(|m| m["silent_ms"].as_u64().is_some_and(|ms| ms > 5_000))
    };
    until("the leader misses it", missed).await;
    let id = id_of(&cluster, leader, &cluster.nodes[next].name).await;
    let moved = Instant::now();
    let answer = cluster
        .request(Method::POST, &cluster.nodes[leader], "/v1/leader", json!({"to": id}).to_string())
        .await;
    assert_eq!(answer.status().as_u16(), 204);

    let time = Duration::from_secs(30);
    let deadline = moved + 3 * time;
    loop {
        assert!(Instant::now() < deadline, "it is never replaced: {}", cluster.nodes[lost].log());
        let seen = member(&cluster, next, &name).await;
        if seen.is_none_or(|member| member["id"] != before) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(moved.elapsed() >= time, "too early: after {:?}", moved.elapsed());
    cluster.ready(&cluster.nodes[lost]).await;
    let votes =
        || async { member(&cluster, next, &name).await.is_some_and(|member| member["voter"] == true) };
    until("it has a vote", votes).await;
    assert_eq!(cluster.get(&cluster.nodes[lost], "k").await, Ok("v".into()));
    cluster.digests_agree().await;
}

/// With certificates and tokens a node of the list shows the root token, and replaces nobody but itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_certificate_replaces_nobody_but_itself() {
    let mut it = Encrypted::start(3).await;
    let client = it.client();
    client.put("k", "v".into(), &Default::default()).await.expect("written");
    let token = fs::read_to_string(&it.root).expect("a file").trim().to_owned();
    let wish = json!({"name": "n2", "http": "https://127.0.0.1:9", "peer": "127.0.0.1:9",
        "store_uuid": "8b5a1e0e-5d0c-4b49-9d0b-0d1c7a6f3c11", "replace_silent_ms": 30_000});
    for (own, wanted) in [("n3", StatusCode::FORBIDDEN), ("n2", StatusCode::CONFLICT)] {
        let own = Some((it.certs.join(format!("{own}.crt")), it.certs.join(format!("{own}.key"))));
        let http = https(&ClientTls { own, ..it.ca() });
        let asked = http.post(format!("{}/v1/members", it.cluster.nodes[0].http)).bearer_auth(&token);
        let answer = asked.json(&wish).send().await.expect("an answer");
        assert_eq!(answer.status(), wanted, "{}", answer.text().await.expect("text"));
    }
    let leader = client.status().await.expect("a status").leader.expect("a leader").name;
    let lost = it.cluster.nodes.iter().position(|node| node.name != leader).expect("a follower");
    let name = it.cluster.nodes[lost].name.clone();
    lose(&mut it.cluster.nodes[lost], &["--replace-lost", "by-hand"]);
    let node = &it.cluster.nodes[lost];
    until("it waits", || async { node.log().contains("lockstep member replace") }).await;
    let (urls, ca) = (it.urls().join(","), it.ca().ca.expect("a file"));
    let target = ["--url", &urls, "--ca-file", path(&ca), "--token-file", path(&it.root)];
    let replace = || async { run(&[&["member", "replace", &name], &target[..]].concat()).0 == 0 };
    until("it is replaced", replace).await;
    it.cluster.ready(node).await;
    let votes = || async {
        let members = client.members().await.expect("members").members;
        members.iter().any(|member| member.name == name && member.voter)
    };
    until("it has a vote", votes).await;
}

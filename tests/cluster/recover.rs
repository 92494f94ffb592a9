//! A cluster that lost a majority: recovered from a survivor, with the lost ones back later.

use crate::support::{Cluster, Node, run, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A member's folder.
fn folder(node: &Node) -> String {
    node.data_dir.to_str().expect("a path").to_owned()
}

pub fn path(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.dir.path().join(name)
}

/// Makes a plan from the survivors' folders; returns the plan.
pub fn plan(cluster: &Cluster, survivors: &[usize], lost: &str) -> Value {
    let out = path(cluster, "recovery-plan.json");
    let folders: Vec<String> = survivors.iter().map(|at| folder(&cluster.nodes[*at])).collect();
    let mut arguments =
        vec!["recover", "plan", "--lost", lost, "--force", "--json", "--out", out.to_str().unwrap()];
    arguments.extend(folders.iter().map(String::as_str));
    let (code, text, error) = run(&arguments);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&text).expect("JSON")
}

fn id(plan: &Value) -> String {
    plan["id"].as_str().expect("an id").to_owned()
}

/// Carries the plan out on a member's folder; returns what was done.
pub fn apply(cluster: &Cluster, plan: &Value, at: usize, more: &[&str]) -> String {
    let (file, id) = (path(cluster, "recovery-plan.json"), id(plan));
    let folder = folder(&cluster.nodes[at]);
    let fixed = ["recover", "apply", file.to_str().unwrap(), &folder, "--confirm", &id[..8], "--json"];
    let arguments: Vec<&str> = fixed.into_iter().chain(more.iter().copied()).collect();
    let (code, text, error) = run(&arguments);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str::<Value>(&text).expect("JSON")["done"].as_str().expect("a word").to_owned()
}

/// Which of the members' folders the plan makes the start of the new history.
pub fn seed(cluster: &Cluster, plan: &Value) -> usize {
    let name = plan["plan"]["seed"]["node"]["name"].as_str().expect("a name");
    cluster.nodes.iter().position(|node| node.name == name).expect("a member")
}

/// A node's status, once it answers.
pub async fn told(cluster: &Cluster, node: &Node) -> Value {
    until("it answers", || async {
        let asked = cluster.http.get(format!("{}/v1/status", node.http)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    cluster.status(node).await
}

async fn warns(cluster: &Cluster, node: &Node, code: &str) -> bool {
    let status = told(cluster, node).await;
    status["warnings"].as_array().is_some_and(|all| all.iter().any(|warning| warning["code"] == code))
}

pub async fn is_superseded(cluster: &Cluster, node: &Node) -> bool {
    told(cluster, node).await["superseded_by"]["number"] == 2
}

async fn code_of(cluster: &Cluster, url: String) -> (u16, String) {
    let answer = cluster.http.get(url).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

/// Five nodes that agree, of which the last three are killed.
async fn five_without_three() -> Cluster {
    let mut cluster = Cluster::start(5, &["--fault-injection"]).await;
    for number in 0..20 {
        cluster.put_surely(&cluster.nodes[0], &format!("survived-{number}"), "v").await;
    }
    cluster.digests_agree().await;
    for node in &mut cluster.nodes[2..] {
        node.kill();
    }
    cluster
}

pub async fn stop(cluster: &mut Cluster, nodes: &[usize]) {
    for at in nodes {
        cluster.nodes[*at].signal(libc::SIGTERM);
    }
    for at in nodes {
        cluster.nodes[*at].ended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn survivors_go_on_and_the_lost_ones_give_way() {
    let mut cluster = five_without_three().await;
    // It may be in the survivors' logs, and nobody is told that it is written.
    let _ = cluster.put(&cluster.nodes[0], "unheard", "v", Duration::from_millis(500)).await;
    stop(&mut cluster, &[0, 1]).await;

    let planned = plan(&cluster, &[0, 1], "n3,n4,n5");
    assert_eq!(
        planned["plan"]["loss"]["nothing_acknowledged"], false,
        "three of five can have decided without the others"
    );
    let (first, other) = (seed(&cluster, &planned), 1 - seed(&cluster, &planned));
    let (code, _, error) =
        run(&["recover", "apply", "x", &folder(&cluster.nodes[0]), "--confirm", "12345678"]);
    assert!(code == 1 && error.contains("recover plan"), "{code}: {error}");
    let file = path(&cluster, "recovery-plan.json");
    let (code, _, error) = run(&[
        "recover",
        "apply",
        file.to_str().unwrap(),
        &folder(&cluster.nodes[0]),
        "--confirm",
        "12345678",
    ]);
    assert!(code == 2 && error.contains("--confirm"), "{code}: {error}");
    // The folder of somebody whom the plan gives up.
    let lost = folder(&cluster.nodes[3]);
    let (code, _, error) =
        run(&["recover", "apply", file.to_str().unwrap(), &lost, "--confirm", &id(&planned)]);
    assert!(code == 10 && error.contains("n4"), "{code}: {error}");
    assert_eq!(apply(&cluster, &planned, first, &[]), "seed");
    assert_eq!(apply(&cluster, &planned, other, &[]), "joins");
    assert_eq!(apply(&cluster, &planned, first, &[]), "already");
    assert_eq!(apply(&cluster, &planned, other, &[]), "already");

    // Alone it takes no writes: they would be on one disk only.
    cluster.nodes[first].start();
    until("the seed leads", || async { told(&cluster, &cluster.nodes[first]).await["role"] == "leader" })
        .await;
    assert_eq!(cluster.get(&cluster.nodes[first], "survived-7").await, Ok("v".into()));
    assert!(!cluster.put(&cluster.nodes[first], "early", "v", Duration::from_secs(1)).await);
    assert!(warns(&cluster, &cluster.nodes[first], "waits_for_voters").await);
    cluster.nodes[other].start();
    cluster.all_ready().await;
    cluster.put_surely(&cluster.nodes[other], "after", "v").await;
    assert!(!warns(&cluster, &cluster.nodes[first], "waits_for_voters").await);
    let status = cluster.status(&cluster.nodes[other]).await;
    assert_eq!(status["history"]["number"], 2, "{status}");
    for number in 0..20 {
        assert_eq!(cluster.get(&cluster.nodes[other], &format!("survived-{number}")).await, Ok("v".into()));
    }

    // All the lost ones together would be a majority of the old cluster.
    for at in 2..5 {
        cluster.nodes[at].start();
    }
    for at in 2..5 {
        let node = &cluster.nodes[at];
        until("it gives way", || is_superseded(&cluster, node)).await;
        let (code, body) = code_of(&cluster, format!("{}/v1/kv/survived-3", node.http)).await;
        assert!(
            code == 503 && body.contains("superseded") && body.contains(&cluster.nodes[first].http),
            "{body}"
        );
        let stale = code_of(&cluster, format!("{}/v1/kv/survived-3?consistency=stale", node.http)).await;
        assert_eq!(stale, (200, "v".into()), "what it has can still be looked at");
        assert!(!cluster.put(node, "old", "v", Duration::from_secs(1)).await);
        assert_eq!(code_of(&cluster, format!("{}/readyz", node.http)).await.0, 503);
        assert_eq!(cluster.status(node).await["leader"], Value::Null);
    }
    let (code, text, error) = run(&["recover", "verify", file.to_str().unwrap()]);
    assert!(code == 0 && text.matches("given way").count() == 3, "{code}: {text}{error}");

    // A restart does not make it forget, even if none of the others is there.
    stop(&mut cluster, &[0, 1, 2, 3, 4]).await;
    for at in 2..5 {
        cluster.nodes[at].start();
    }
    for at in 2..5 {
        assert!(is_superseded(&cluster, &cluster.nodes[at]).await);
        let status = cluster.status(&cluster.nodes[at]).await;
        assert_eq!(status["leader"], Value::Null, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_26_what_a_lost_node_had_is_brought_in() {
    let mut cluster = Cluster::start(3, &["--fault-injection"]).await;
    cluster.put_surely(&cluster.nodes[0], "both", "base").await;
    cluster.digests_agree().await;
    // The first one misses what the other two go on to acknowledge.
    cut(&cluster, 0).await;
    let majority = async |key: &str, value: &str| {
        until("the others take it", || async {
            cluster.put(&cluster.nodes[1], key, value, Duration::from_secs(1)).await
        })
        .await;
    };
    majority("both", "there").await;
    majority("there", "v").await;
    for node in &mut cluster.nodes[1..] {
        node.kill();
    }
    stop(&mut cluster, &[0]).await;
    let planned = plan(&cluster, &[0], "n2,n3");
    assert_eq!(planned["plan"]["loss"]["nothing_acknowledged"], false);
    assert_eq!(apply(&cluster, &planned, 0, &[]), "seed");
    cluster.nodes[0].start();
    cluster.ready(&cluster.nodes[0]).await;
    assert_eq!(cluster.get(&cluster.nodes[0], "there").await, Err(404), "lost for now");

    let (file, live) = (path(&cluster, "reconcile-plan"), &cluster.nodes[0].http);
    let (lost, file) = (folder(&cluster.nodes[1]), file.to_str().unwrap());
    let (code, _, error) = run(&["reconcile", "plan", "--from", &lost, "--out", file, "--url", live]);
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = run(&["reconcile", "apply", file, "--url", live]);
    assert_eq!(code, 0, "{error}");
    for (key, value) in [("both", "there"), ("there", "v")] {
        assert_eq!(cluster.get(&cluster.nodes[0], key).await, Ok(value.into()), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_majority_serves_on_until_somebody_fences_it() {
    let mut cluster = Cluster::start(3, &["--fault-injection"]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "base").await;
    cluster.digests_agree().await;
    // Whoever recovers takes the others for lost: the link to them is down.
    stop(&mut cluster, &[0]).await;
    let out = path(&cluster, "recovery-plan.json");
    let alone = folder(&cluster.nodes[0]);
    let arguments = ["recover", "plan", &alone, "--lost", "n2,n3", "--out", out.to_str().unwrap()];
    let (code, _, error) = run(&arguments);
    assert!(code == 10 && error.contains("n2 was named as lost, and answers at"), "{code}: {error}");
    assert!(!out.exists());
    // As on a machine from which nobody else is reached.
    for node in &cluster.nodes[1..] {
        node.signal(libc::SIGSTOP);
    }
    let planned = blind_plan(&cluster, &alone);
    for node in &cluster.nodes[1..] {
        node.signal(libc::SIGCONT);
    }
    assert_eq!(apply(&cluster, &planned, 0, &[]), "seed");
    cluster.nodes[0].start();
    cluster.ready(&cluster.nodes[0]).await;
    until("both sides warn", || async {
        let mut all = true;
        for node in &cluster.nodes {
            all &= warns(&cluster, node, "two_histories").await;
        }
        all
    })
    .await;
    cluster.put_surely(&cluster.nodes[1], "k", "old").await;
    cluster.put_surely(&cluster.nodes[0], "k", "new").await;
    assert_eq!(
        cluster.get(&cluster.nodes[2], "k").await,
        Ok("old".into()),
        "it has a majority, and serves on"
    );

    // A moment without a leader is no reason to give way.
    for _ in 0..3 {
        until("the lead is handed over", || async {
            let done = cluster.request(reqwest::Method::POST, &cluster.nodes[1], "/v1/leader", "").await;
            done.status().is_success()
        })
        .await;
    }
    cluster.put_surely(&cluster.nodes[1], "k", "old").await;
    assert!(
        !is_superseded(&cluster, &cluster.nodes[1]).await
            && !is_superseded(&cluster, &cluster.nodes[2]).await
    );

    let (code, _, error) = run(&["fence", "--url", &cluster.nodes[0].http]);
    assert!(code == 1 && error.contains("not fenced"), "{code}: {error}");
    for node in &cluster.nodes[1..] {
        let (code, _, error) = run(&["fence", "--url", &node.http]);
        assert_eq!(code, 0, "{error}");
        assert!(is_superseded(&cluster, node).await);
        assert!(!cluster.put(node, "k", "later", Duration::from_secs(1)).await);
    }
    assert_eq!(cluster.get(&cluster.nodes[0], "k").await, Ok("new".into()));
}

/// A plan that is made where the lost ones cannot be reached: their addresses in what was collected are others'.
fn blind_plan(cluster: &Cluster, folder: &str) -> Value {
    let collected = path(cluster, "collected.json");
    let (code, text, error) = run(&["recover", "collect", folder]);
    assert_eq!(code, 0, "{error}");
    let mut survivor: Value = serde_json::from_str(&text).expect("JSON");
    for membership in survivor["memberships"].as_array_mut().expect("memberships") {
        for member in membership["members"].as_array_mut().expect("members") {
            if member["name"] != "n1" {
                member["http"] = "http://127.0.0.1:9".into();
                member["peer"] = "127.0.0.1:9".into();
            }
        }
    }
    std::fs::write(&collected, survivor.to_string()).expect("a file");
    let out = path(cluster, "recovery-plan.json");
    let arguments = [
        "recover",
        "plan",
        collected.to_str().unwrap(),
        "--lost",
        "n2,n3",
        "--json",
        "--out",
        out.to_str().unwrap(),
    ];
    let (code, text, error) = run(&arguments);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&text).expect("JSON")
}

async fn cut(cluster: &Cluster, at: usize) {
    let body = r#"{"cut":true}"#;
    let done = cluster.request(reqwest::Method::PUT, &cluster.nodes[at], "/v1/debug/links", body).await;
    assert_eq!(done.status().as_u16(), 200);
}

/// A copy at the address of a member, which is no successor of the others, whatever they lack.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_production_fences_nobody() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    let backup = path(&cluster, "backup");
    let (code, _, error) =
        run(&["snapshot", "save", backup.to_str().unwrap(), "--url", &cluster.nodes[0].http]);
    assert_eq!(code, 0, "{error}");
    stop(&mut cluster, &[0]).await;
    std::fs::rename(&cluster.nodes[0].data_dir, path(&cluster, "production")).unwrap();
    let node = &cluster.nodes[0];
    let (code, _, error) = run(&[
        "snapshot",
        "restore",
        backup.to_str().unwrap(),
        "--data-dir",
        &folder(node),
        "--name",
        "n1",
        "--http",
        &node.http,
        "--peer",
        &node.peer,
    ]);
    assert_eq!(code, 0, "{error}");
    cluster.nodes[0].start();
    cluster.ready(&cluster.nodes[0]).await;
    // It asks the copy before it votes, and later it has no majority.
    stop(&mut cluster, &[2]).await;
    cluster.nodes[2].start();
    cluster.ready(&cluster.nodes[2]).await;
    stop(&mut cluster, &[1]).await;
    let alone = &cluster.nodes[2];
    until("it notices", || async { told(&cluster, alone).await["majority"] == false }).await;
    assert_eq!(told(&cluster, alone).await["superseded_by"], Value::Null);
    assert_eq!(told(&cluster, &cluster.nodes[0]).await["superseded_by"], Value::Null);
    cluster.nodes[1].start();
    cluster.ready(&cluster.nodes[1]).await;
    cluster.put_surely(&cluster.nodes[2], "k", "later").await;
}

/// A node that ran after the plan was made may have acknowledged what the plan does not know of.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_for_the_folders_that_it_saw() {
    let mut cluster = Cluster::start(4, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    cluster.digests_agree().await;
    stop(&mut cluster, &[0, 1, 2, 3]).await;
    let planned = plan(&cluster, &[0, 1], "n3,n4");
    let (file, id) = (path(&cluster, "recovery-plan.json"), id(&planned));
    let file = file.to_str().unwrap().to_owned();
    // Those that were taken for lost are back before it is carried out.
    let other = 1 - seed(&cluster, &planned);
    for at in [other, 2, 3] {
        cluster.nodes[at].start();
    }
    cluster.all_ready().await;
    cluster.put_surely(&cluster.nodes[2], "later", "v").await;
    stop(&mut cluster, &[other, 2, 3]).await;
    let folder = folder(&cluster.nodes[other]);
    let (code, _, error) = run(&["recover", "apply", &file, &folder, "--confirm", &id]);
    assert!(code == 10 && error.contains("has run since"), "{code}: {error}");
    assert!(Path::new(&folder).join("sled").is_dir(), "nothing was moved");
    let edited = std::fs::read_to_string(&file).unwrap().replace("n3", "n9");
    std::fs::write(&file, edited).unwrap();
    let (code, _, error) = run(&["recover", "apply", &file, &folder, "--confirm", &id]);
    assert!(code == 1 && error.contains("was changed"), "{code}: {error}");
}

/// Four nodes that are stopped, of which two are to go on without the others, and the one of them that starts first.
async fn two_of_four() -> (Cluster, usize) {
    let mut cluster = Cluster::start(4, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    cluster.digests_agree().await;
    stop(&mut cluster, &[0, 1, 2, 3]).await;
    let planned = plan(&cluster, &[0, 1], "n3,n4");
    let first = seed(&cluster, &planned);
    for at in [0, 1] {
        apply(&cluster, &planned, at, &[]);
    }
    (cluster, first)
}

/// A survivor that is restarted between joining and its vote still gets it, with the command line that it always had.
#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_that_joins_gets_its_vote_whenever_it_is_restarted() {
    let (mut cluster, first) = two_of_four().await;
    let joins = cluster.nodes[1 - first].data_dir.join("join.json");
    cluster.nodes[first].start();
    cluster.nodes[1 - first].start();
    // It goes away when the node has its place, which is before its vote.
    until("it has joined", || async { !joins.exists() }).await;
    cluster.nodes[1 - first].kill();
    cluster.nodes[1 - first].start();
    cluster.put_surely(&cluster.nodes[first], "after", "v").await;
    let status = told(&cluster, &cluster.nodes[first]).await;
    let voters =
        status["members"].as_array().unwrap().iter().filter(|member| member["voter"] == true).count();
    assert_eq!(voters, 2, "{status}");
}

/// Survivors that are started with tokens for the first time get one while writes wait for votes: to join again takes a token.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_cluster_gets_its_first_token_before_its_votes() {
    let (mut cluster, first) = two_of_four().await;
    cluster.nodes[first].add_arguments(&["--tokens".to_owned()]);
    cluster.nodes[first].start();
    let token = cluster.nodes[first].data_dir.join("root-token");
    let node = &cluster.nodes[first];
    until("its token is good", || async {
        let token = std::fs::read_to_string(&token).unwrap_or_default();
        let asked =
            cluster.http.get(format!("{}/v1/token", node.http)).bearer_auth(token.trim()).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    until("it is ready", || async { code_of(&cluster, format!("{}/readyz", node.http)).await.0 == 200 })
        .await;
    let token = std::fs::read_to_string(&token).expect("it is there");
    let put = cluster.http.put(format!("{}/v1/kv/early", node.http)).bearer_auth(token.trim()).body("v");
    let refused = put.send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 503, "alone it takes no writes");
}

/// The last term in which the node of a folder voted.
pub fn voted_term(folder: &Path) -> u64 {
    let (code, text, error) = run(&["recover", "collect", folder.to_str().unwrap()]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str::<Value>(&text).expect("JSON")["voted_term"].as_u64().expect("a term")
}

/// What `history` says of a folder.
pub fn history_of(folder: &Path) -> Value {
    let (code, text, error) = run(&["history", folder.to_str().unwrap(), "--json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
}

pub fn copy_folder(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(std::fs::copy(&path, &target).expect("a copy")),
        }
    }
}

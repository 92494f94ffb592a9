//! Rounds: a cluster under clients, whose history forks on purpose, and is one again in the end.

use super::clients::{Load, REGISTERS, Recorded};
use super::judge::{Branch, Ending, Merged, judge};
use crate::support::{Cluster, Node, run, until};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

/// How long the nodes may take to have the same log.
const AGREE_LIMIT: Duration = Duration::from_secs(30);

/// What forks the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// A node leaves on purpose and comes back.
    Detach,
    /// A majority is lost and recovered without; later a lost node's changes are brought in.
    Recover,
}

/// What became of a round.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    pub act: Act,
    pub seed: u64,
    pub operations: usize,
    pub acknowledged: usize,
    /// Operations that were answered by the branch.
    pub on_branch: usize,
    /// Keys in files of losers.
    pub lost: usize,
    /// How often a node was killed.
    pub kills: usize,
    /// What is wrong, in sentences; empty as it should be.
    pub violations: Vec<String>,
}

/// Plays a round. What it finds wrong is in the answer, and the operations are in the folder then.
pub async fn play(act: Act, seed: u64, folder: &Path) -> Told {
    let mut random = fastrand::Rng::with_seed(seed);
    let nodes = if act == Act::Recover && random.bool() { 5 } else { 3 };
    // Few entries between snapshots, so that forks lie before them and after.
    let entries = ["50", "100000"][random.usize(..2)];
    let extra = ["--snapshot-entries", entries, "--entries-kept", "20", "--request-timeout-ms", "1500"];
    let mut cluster = Cluster::start(nodes, &extra).await;
    let trunk = cluster.status(&cluster.nodes[0]).await["cluster_id"].as_str().expect("an id").to_owned();
    let load = Load::start(&cluster.nodes, seed);
    let mut kills = 0;
    pause(&mut random).await;
    let (branch, merged, losers) = match act {
        Act::Detach => detach(&mut cluster, &load, &mut random, &mut kills).await,
        Act::Recover => recover(&mut cluster, &load, &mut random, &mut kills).await,
    };
    pause(&mut random).await;
    let all = load.finish().await;
    let ending = ending(&cluster, &losers).await;
    // In a recovery the trunk is the side that was lost: its changes came in, and the branch goes on.
    let violations = judge(&all, &trunk, &branch, merged, &ending);
    if !violations.is_empty() {
        keep(&all, act, seed, folder);
    }
    let count = |is: &dyn Fn(&Recorded) -> bool| all.iter().filter(|recorded| is(recorded)).count();
    Told {
        act,
        seed,
        operations: all.len(),
        acknowledged: count(&|recorded| recorded.operation.outcome == lockstep::check::Outcome::Ok),
        on_branch: count(&|recorded| recorded.history.as_deref() == Some(&*branch.history)),
        lost: ending.lost.len(),
        kills,
        violations,
    }
}

async fn pause(random: &mut fastrand::Rng) {
    sleep(Duration::from_millis(random.u64(300..1_500))).await;
}

async fn asked(cluster: &Cluster, method: Method, node: &Node, path: &str) -> Option<Value> {
    let answer = cluster.http.request(method, format!("{}{path}", node.http)).send().await.ok()?;
    answer.json().await.ok()
}

/// Has a node leave, and come back, and kills it meanwhile in half of the rounds.
async fn detach(
    cluster: &mut Cluster,
    load: &Load,
    random: &mut fastrand::Rng,
    kills: &mut usize,
) -> (Branch, Merged, Vec<std::path::PathBuf>) {
    let at = random.usize(..cluster.nodes.len());
    let (mut branch, mut began_ns) = (None, 0);
    for (path, leaves) in [("/v1/detach", true), ("/v1/attach", false)] {
        if !leaves {
            began_ns = load.shared.now_ns();
        }
        if random.bool() {
            let url = format!("{}{path}", cluster.nodes[at].http);
            let asking = tokio::spawn(cluster.http.post(url).send());
            sleep(Duration::from_millis(random.u64(..250))).await;
            cluster.nodes[at].kill();
            *kills += 1;
            let _ = asking.await;
            cluster.nodes[at].start();
        }
        let node = &cluster.nodes[at];
        until(path, || async {
            let Some(told) = asked(cluster, Method::GET, node, "/v1/detached").await else { return false };
            // An error has no such field.
            let is_there = told["busy"] == false && told["detached"].is_object() == leaves;
            if !is_there && told["busy"] == false {
                let _ = asked(cluster, Method::POST, node, path).await;
            }
            is_there
        })
        .await;
        cluster.ready(node).await;
        if leaves {
            let told = asked(cluster, Method::GET, node, "/v1/detached").await.expect("an answer");
            let history = told["detached"]["history"].as_str().expect("an id").to_owned();
            let fork_index = told["detached"]["fork_index"].as_u64().expect("an index");
            branch = Some(Branch { history, fork_index });
            pause(random).await;
        }
    }
    let merged = Merged { began_ns, ended_ns: load.shared.now_ns() };
    let mut losers = Vec::new();
    for history in fs::read_dir(cluster.nodes[at].data_dir.join("reconcile")).into_iter().flatten().flatten()
    {
        losers.extend(fs::read_dir(history.path()).into_iter().flatten().flatten().map(|file| file.path()));
    }
    (branch.expect("it left"), merged, losers)
}

fn must(arguments: &[&str]) -> String {
    let (code, text, error) = run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    text
}

/// Loses all but one node, recovers from that one, has the others come back, and brings in what one of them has.
async fn recover(
    cluster: &mut Cluster,
    load: &Load,
    random: &mut fastrand::Rng,
    kills: &mut usize,
) -> (Branch, Merged, Vec<std::path::PathBuf>) {
    let survivor = random.usize(..cluster.nodes.len());
    let lost: Vec<usize> = (0..cluster.nodes.len()).filter(|at| *at != survivor).collect();
    // Those that are lost may know more than the one that is left.
    cluster.nodes[survivor].kill();
    *kills += lost.len() + 1;
    sleep(Duration::from_millis(random.u64(..600))).await;
    for at in &lost {
        cluster.nodes[*at].kill();
    }
    let dir = cluster.dir.path().to_owned();
    let path = |name: &str| dir.join(name).to_str().expect("a path").to_owned();
    let folders: Vec<String> =
        cluster.nodes.iter().map(|node| node.data_dir.to_str().expect("a path").to_owned()).collect();
    let folder = |at: usize| folders[at].clone();
    let names: Vec<&str> = lost.iter().map(|at| cluster.nodes[*at].name.as_str()).collect();
    let plan = path("recovery-plan.json");
    let told =
        must(&["recover", "plan", &folder(survivor), "--lost", &names.join(","), "--json", "--out", &plan]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let id = told["id"].as_str().expect("an id").to_owned();
    must(&["recover", "apply", &plan, &folder(survivor), "--confirm", &id[..8]]);
    cluster.nodes[survivor].start();
    cluster.ready(&cluster.nodes[survivor]).await;
    let lineage =
        asked(cluster, Method::GET, &cluster.nodes[survivor], "/v1/lineage").await.expect("an answer");
    let newest = lineage["histories"].as_array().and_then(|all| all.last()).expect("a history").clone();
    let branch = Branch {
        history: newest["id"].as_str().expect("an id").to_owned(),
        fork_index: newest["fork_index"].as_u64().expect("an index"),
    };
    pause(random).await;
    let began_ns = load.shared.now_ns();
    // The folder of a node that was lost and knows most.
    let mut losers = Vec::new();
    let live = cluster.nodes[survivor].http.clone();
    for at in &lost {
        let plan = path(&format!("reconcile-{at}.jsonl"));
        let arguments = ["reconcile", "plan", "--from", &folder(*at), "--url", &live, "--out", &plan];
        let (code, _, error) = run(&arguments);
        // It may have nothing that the survivor lacks.
        if code == 10 {
            continue;
        }
        assert_eq!(code, 0, "{error}");
        must(&["reconcile", "apply", &plan, "--url", &live]);
        losers.push(format!("{plan}.losers.jsonl").into());
    }
    let merged = Merged { began_ns, ended_ns: load.shared.now_ns() };
    // They give way, and take no part.
    for at in &lost {
        cluster.nodes[*at].start();
    }
    for at in lost {
        let node = &cluster.nodes[at];
        until("it gives way", || async {
            let status = asked(cluster, Method::GET, node, "/v1/status").await;
            status.is_some_and(|status| status["superseded_by"].is_object())
        })
        .await;
        cluster.nodes[at].kill();
    }
    (branch, merged, losers)
}

/// Reads everything through a node, once all that run agree.
async fn ending(cluster: &Cluster, losers: &[std::path::PathBuf]) -> Ending {
    if tokio::time::timeout(AGREE_LIMIT, cluster.digests_agree()).await.is_err() {
        for node in cluster.nodes.iter().filter(|node| node.runs()) {
            let status = asked(cluster, Method::GET, node, "/v1/status").await;
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(25)..].join("\n");
            eprintln!("{}: {}\n{last}", node.name, status.unwrap_or_default());
        }
        panic!("the nodes do not agree");
    }
    let node = cluster.nodes.iter().find(|node| node.runs()).expect("a node");
    let mut registers = BTreeMap::new();
    for number in 0..REGISTERS {
        let key = format!("register{number}");
        let value = match cluster.get(node, &key).await {
            Ok(text) => Some(text.parse().expect("a number")),
            Err(404) => None,
            Err(status) => panic!("{key}: {status}"),
        };
        registers.insert(key, value);
    }
    let (mut set, mut after) = (BTreeSet::new(), String::new());
    loop {
        let path = format!("/v1/keys?prefix=set:&limit=1000&after={after}");
        let path = if after.is_empty() { "/v1/keys?prefix=set:&limit=1000".to_owned() } else { path };
        let page = asked(cluster, Method::GET, node, &path).await.expect("a page");
        let keys = page["keys"].as_array().expect("a list");
        let Some(last) = keys.last() else { break };
        after = last["key"].as_str().expect("a key").to_owned();
        set.extend(
            keys.iter().filter_map(|listed| listed["key"].as_str()?["set:".len()..].parse::<u64>().ok()),
        );
    }
    let mut lost = BTreeSet::new();
    for file in losers.iter().filter(|file| file.to_string_lossy().ends_with(".losers.jsonl")) {
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            lost.insert((text("key"), text("value")));
        }
    }
    Ending { registers, set, lost }
}

fn keep(all: &[Recorded], act: Act, seed: u64, folder: &Path) {
    let lines: Vec<String> = all
        .iter()
        .map(|Recorded { operation, history }| {
            let mut line = serde_json::to_value(operation).expect("JSON");
            line["history"] = history.clone().into();
            line.to_string()
        })
        .collect();
    let path = folder.join(format!("branches-{act:?}-{seed}.jsonl"));
    fs::write(path, lines.join("\n")).expect("written");
}

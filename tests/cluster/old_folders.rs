//! What the folders of a lost majority have that the recovered cluster lacks.

use crate::reconcile::{Sides, apart, json_lines};
use crate::recover::{apply, path, plan};
use crate::support::{Cluster, Node, run, until};
use lockstep::client::Client;
use lockstep::merging::{self, Side, Tail};
use lockstep::reconcile::{Action, Choice, PlanLine, Policy, Resolver, Rules, read_plan};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::slice::from_ref;
use std::time::Duration;

/// The end of a log that is not known to be committed comes in or not, as one likes, and a second folder of the same
/// nodes brings nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn rows_27_and_30_a_tail_and_more_folders_of_one_old_side() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "both", "base").await;
    cluster.digests_agree().await;
    let leader = cluster.leader().await;
    let [survivor, third] = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.nodes[survivor].kill();
    // Two of three acknowledge this, and the survivor never sees it.
    until("the others take it", || async {
        cluster.put(&cluster.nodes[leader], "acknowledged", "v", Duration::from_secs(1)).await
    })
    .await;
    cluster.nodes[third].kill();
    // The leader takes this into its log before it knows that it is alone.
    let told = cluster.put(&cluster.nodes[leader], "tail", "v", Duration::from_secs(1)).await;
    assert!(!told, "nobody is told that it was stored");
    cluster.nodes[leader].kill();
    let lost = format!("{},{}", cluster.nodes[leader].name, cluster.nodes[third].name);
    let planned = plan(&cluster, &[survivor], &lost);
    assert_eq!(apply(&cluster, &planned, survivor, &[]), "seed");
    cluster.nodes[survivor].start();
    cluster.ready(&cluster.nodes[survivor]).await;
    let live = cluster.nodes[survivor].http.clone();
    let rounds = [
        (leader, "take", false, 2, 0),
        (leader, "drop", true, 1, 1),
        (leader, "take", true, 1, 0),
        (leader, "drop", false, 0, 0),
        (third, "take", true, 0, 0),
    ];
    for ((at, tail, is_applied, changes, left_out), round) in rounds.into_iter().zip(1..) {
        let from = cluster.nodes[at].data_dir.to_str().expect("a path").to_owned();
        let out = path(&cluster, &format!("plan-{round}")).to_str().expect("a path").to_owned();
        let arguments = ["reconcile", "plan", "--from", &from, "--out", &out, "--url", &live, "--tail", tail];
        let (code, text, error) = run(&[&arguments[..], &["--json"]].concat());
        assert_eq!(code, 0, "{round}: {error}");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(told["counts"]["changes"], changes, "{round}: {told}");
        assert_eq!(told["counts"]["left_out"], left_out, "{round}: {told}");
        let has = |field: &str| told[field].as_u64().is_some_and(|entries| entries > 0);
        assert_eq!(has("left_out_entries"), tail == "drop", "{round}: {told}");
        assert!(at == third || has("tail_entries") == (tail == "take"), "{round}: {told}");
        if !is_applied {
            continue;
        }
        let (code, _, error) = run(&["reconcile", "apply", &out, "--url", &live]);
        assert_eq!(code, 0, "{error}");
        let tail = if round == 2 { Err(404) } else { Ok("v".into()) };
        for (key, value) in [("acknowledged", Ok("v".into())), ("tail", tail)] {
            assert_eq!(cluster.get(&cluster.nodes[survivor], key).await, value, "{round}: {key}");
        }
        // Nobody knows whether somebody was told that it was stored, so it is kept.
        let lost = json_lines(&format!("{out}.losers.jsonl"));
        let lost: Vec<&Value> = lost.iter().filter(|line| line["why"] == "left_out").collect();
        assert_eq!(lost.len(), left_out, "{round}: {lost:?}");
        assert!(lost.iter().all(|line| line["key"] == "tail" && line["value"] == "v"), "{lost:?}");
    }
}

/// A cluster that has taken in an old folder, and the plan by which it did.
async fn reconciled() -> (Sides, String) {
    let sides = apart().await;
    let old = sides.cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    let (out, url) = (path(&sides.cluster, "plan").to_str().unwrap().to_owned(), &sides.restored.http);
    assert_eq!(run(&["reconcile", "plan", "--from", &old, "--out", &out, "--url", url]).0, 0);
    assert_eq!(run(&["reconcile", "apply", &out, "--url", url]).0, 0);
    (sides, out)
}

/// A cluster that has taken in an old folder has decided what its own history shares with that one. A node that leaves it afterwards
/// comes back all the same, and what it added is added.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_back_after_an_old_folder_was_reconciled() {
    let (Sides { cluster, restored }, _) = reconciled().await;
    let url = restored.http.clone();

    let mut second = Node::new(cluster.dir.path(), "r2", &["--join", &url]);
    second.start();
    cluster.ready(&second).await;
    let add = async |node: &Node, by: u64| {
        let body = format!("{{\"by\":{by}}}");
        let answer = cluster.request(Method::POST, node, "/v1/kv/n/incr", body).await;
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    add(&restored, 10).await;
    until("it votes", || async {
        let status = cluster.status(&restored).await;
        status["members"]
            .as_array()
            .is_some_and(|all| all.iter().filter(|member| member["voter"] == true).count() == 2)
    })
    .await;
    let (code, _, error) = run(&["detach", &second.http]);
    assert_eq!(code, 0, "{error}");
    cluster.put_surely(&second, "alone", "v").await;
    add(&second, 2).await;
    add(&restored, 1).await;
    let (code, text, error) = run(&["attach", &second.http, "--policy", "sum-delta"]);
    assert_eq!(code, 0, "{text}{error}");
    assert_eq!(cluster.get(&restored, "alone").await, Ok("v".into()));
    assert_eq!(cluster.get(&restored, "n").await, Ok("13".into()));
}

/// The cluster remembers the newest merges alone. A plan that it has forgotten is not taken for a new one: what lost by it may be
/// nowhere but in its file.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_forgotten_leaves_its_files_as_they_are() {
    let (Sides { cluster, restored }, out) = reconciled().await;
    let url = restored.http.clone();
    for number in 0..64 {
        let step = json!({"merge": format!("m{number}"), "history": "another", "step": 0, "end": "aborted"});
        let answer = cluster.request(Method::POST, &restored, "/v1/reconcile", step.to_string()).await;
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
    let files = || {
        ["losers", "applied"]
            .map(|file| std::fs::read_to_string(format!("{out}.{file}.jsonl")).expect("the file"))
    };
    let before = files();
    assert!(before.iter().all(|file| !file.is_empty()));
    let (code, text, error) = run(&["reconcile", "apply", &out, "--url", &url]);
    assert!(code == 1 && error.contains("make a new plan"), "{code}: {text}{error}");
    assert_eq!(files(), before);
}

/// Joins two texts, and leaves everything else to the rules.
struct Joins;

impl Resolver for Joins {
    fn resolve(&self, conflict: &PlanLine) -> Option<Choice> {
        let text = |state: &lockstep::reconcile::KeyState| state.written()?.value.clone();
        let joined = format!("{}+{}", text(&conflict.live)?, text(&conflict.incoming)?);
        Some(Choice::Value { value: Some(joined), value_base64: None, content_type: None })
    }
}

/// A program that a node is part of decides conflicts, and the rules decide those that it leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_is_asked_before_the_rules_are() {
    let Sides { cluster, restored } = apart().await;
    let incoming = Side::of_file(&cluster.nodes[0].data_dir).await.expect("the folder");
    let client = Client::new(from_ref(&restored.http), Duration::from_secs(10)).expect("a client");
    let live = Side::of_cluster(&client, "live", cluster.dir.path()).await.expect("an answer");
    let out = path(&cluster, "plan");
    let rules = Rules::all(Policy::PreferLive);
    let planning = tokio::task::spawn_blocking(move || {
        let planned = merging::plan(&incoming, &live, rules, &Joins, Tail::Take, &out, &|_, _| {});
        planned.expect("two sides of one log");
        let mut lines = BTreeMap::new();
        read_plan(BufReader::new(File::open(&out).expect("the plan")), |_, line| {
            lines.insert(line.key.as_str().to_owned(), line);
            Ok(())
        })
        .expect("a plan");
        lines
    });
    let lines = planning.await.expect("no panic");
    let both = lines["both"].decided.as_ref().and_then(|decided| decided.value.as_deref());
    assert_eq!(both, Some("here+there"));
    // Live deleted it: there are no two texts to join.
    assert_eq!(lines["gone-here"].action, Action::Keep);
    assert!(lines["there"].decided.is_none(), "no conflict, so nobody is asked");
}

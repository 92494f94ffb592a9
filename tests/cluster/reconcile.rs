//! Two clusters that come from one, and what is to become of both sides' changes.

use crate::support::{Cluster, Node, run};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A cluster of one that was restored from a backup of another one. Both have changed since.
struct Sides {
    /// Has the old node, which is stopped.
    cluster: Cluster,
    restored: Node,
}

async fn apart() -> Sides {
    let mut cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    for key in ["both", "evicted", "gone-here", "gone-there", "here", "there", "untouched"] {
        cluster.put_surely(node, key, "base").await;
    }
    let backup = cluster.dir.path().join("backup");
    let (code, _, error) = run(&["snapshot", "save", backup.to_str().unwrap(), "--url", &node.http]);
    assert_eq!(code, 0, "{error}");
    for key in ["both", "gone-here", "new-there", "there"] {
        cluster.put_surely(node, key, "there").await;
    }
    delete(&cluster, node, "gone-there").await;
    cluster.nodes[0].signal(libc::SIGTERM);
    cluster.nodes[0].ended().await;

    let mut restored = Node::new(cluster.dir.path(), "r1", &[]);
    let folder = restored.data_dir.to_str().unwrap().to_owned();
    let (code, _, error) = run(&[
        "snapshot",
        "restore",
        backup.to_str().unwrap(),
        "--data-dir",
        &folder,
        "--name",
        "r1",
        "--http",
        &restored.http,
        "--peer",
        &restored.peer,
    ]);
    assert_eq!(code, 0, "{error}");
    restored.start();
    cluster.ready(&restored).await;
    for key in ["both", "here", "new-here"] {
        cluster.put_surely(&restored, key, "here").await;
    }
    delete(&cluster, &restored, "gone-here").await;
    Sides { cluster, restored }
}

async fn delete(cluster: &Cluster, node: &Node, key: &str) {
    let answer = cluster.request(Method::DELETE, node, &format!("/v1/kv/{key}"), "").await;
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// The lines of a plan for its keys.
fn lines(plan: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(plan).expect("the plan");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter_map(|line| Some((line["key"].as_str()?.to_owned(), line))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_folder_has_is_planned_key_by_key() {
    let Sides { cluster, restored } = apart().await;
    let old = cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    let plan = cluster.dir.path().join("plan");
    let file = plan.to_str().unwrap();
    let (code, text, error) =
        run(&["reconcile", "plan", "--from", &old, "--out", file, "--json", "--url", &restored.http]);
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&told["live"]["exact"], &told["incoming"]["exact"]), (&true.into(), &true.into()), "{told}");
    assert_eq!((&told["live"]["number"], &told["incoming"]["number"]), (&2.into(), &1.into()));
    let lines = lines(&plan);
    let found: Vec<(&str, &str, &str)> = lines
        .iter()
        .map(|(key, line)| (key.as_str(), line["case"].as_str().unwrap(), line["action"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ("both", "changed_twice", "keep"),
            ("gone-here", "changed_there_deleted_here", "keep"),
            ("gone-there", "deleted_there", "remove"),
            ("new-there", "changed_there_absent_here", "put"),
            ("there", "changed_there", "put"),
        ]
    );
    assert_eq!(lines["both"]["loser"], "incoming", "the other side's is older");
    assert_eq!(lines["both"]["incoming"]["value"], "there");
    assert_eq!(lines["new-there"]["guard"], "absent");
    assert_eq!(lines["there"]["live"]["value"], "base");
    assert_eq!(told["counts"]["changes"], 5, "{told}");

    let (code, text, _) = run(&["reconcile", "show", file, "both"]);
    assert!(code == 0 && text.contains("\"there\"") && text.contains("incoming's is lost"), "{code}: {text}");
    assert_eq!(run(&["reconcile", "show", file, "untouched"]).0, 3);
    // A plan that somebody has edited is none.
    let edited = std::fs::read_to_string(&plan).unwrap().replace("\"put\"", "\"keep\"");
    std::fs::write(&plan, edited).unwrap();
    let (code, _, error) = run(&["reconcile", "show", file]);
    assert!(code == 1 && error.contains("was changed"), "{code}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_wait_and_pointless_plans_are_refused() {
    let Sides { cluster, restored } = apart().await;
    let old = cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    let backup = cluster.dir.path().join("backup").to_str().unwrap().to_owned();
    let out = |name: &str| cluster.dir.path().join(name).to_str().unwrap().to_owned();
    let plan = |from: &str, live: &str, out: &str, more: &[&str]| {
        run(&[&["reconcile", "plan", "--from", from, "--live", live, "--out", out], more].concat())
    };
    // Both keys that both sides changed.
    let (code, text, error) = plan(&old, &restored.http, &out("custom"), &["--policy", "custom"]);
    assert!(code == 9 && error.contains("2 conflicts"), "{code}: {text}{error}");
    let (code, _, error) = plan(&old, &restored.http, &out("custom"), &[]);
    assert!(code == 2 && error.contains("--force"), "{code}: {error}");
    // The other way round there is as much to reconcile.
    let (code, _, error) = plan(&restored.http, &old, &out("back"), &["--policy", "prefer-incoming"]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(lines(Path::new(&out("back")))["both"]["loser"], "live");
    // The backup has nothing that the cluster lacks, and a cluster is not reconciled with itself.
    let (code, _, error) = plan(&backup, &restored.http, &out("behind"), &[]);
    assert!(code == 10 && error.contains("behind"), "{code}: {error}");
    let (code, _, error) = plan(&restored.http, &restored.http, &out("same"), &[]);
    assert!(code == 10 && error.contains("same history"), "{code}: {error}");
    let (code, _, error) = plan(&out("nothing"), &restored.http, &out("none"), &[]);
    assert_ne!(code, 0, "{error}");
    assert!(!Path::new(&out("behind")).exists() && !Path::new(&out("none")).exists());
}

/// The lines of a file of JSON lines.
fn json_lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_carried_out_once_and_nothing_is_lost_in_silence() {
    let Sides { cluster, restored } = apart().await;
    let old = cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    let plan = cluster.dir.path().join("plan").to_str().unwrap().to_owned();
    let url = restored.http.clone();
    let (code, _, error) = run(&["reconcile", "plan", "--from", &old, "--out", &plan, "--url", &url]);
    assert_eq!(code, 0, "{error}");
    // A client is faster.
    cluster.put_surely(&restored, "there", "newest").await;
    let (losers, applied) = (format!("{plan}.losers.jsonl"), format!("{plan}.applied.jsonl"));
    let apply = || run(&["reconcile", "apply", &plan, "--url", &url, "--json"]);
    for round in 0..2 {
        let (code, text, error) = apply();
        assert_eq!(code, 0, "{error}");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&told["done"], &told["changed"], &told["lost"]),
            (&2.into(), &1.into(), &3.into()),
            "{round}: {told}"
        );
        let mut lost: Vec<(String, String)> = Vec::new();
        for line in json_lines(&losers) {
            lost.push((line["key"].as_str().unwrap().into(), line["why"].as_str().unwrap().into()));
            assert_eq!(line["value"], "there", "{line}");
        }
        lost.sort();
        let expected = [("both", "live_won"), ("gone-here", "live_won"), ("there", "changed_meanwhile")];
        assert_eq!(lost, expected.map(|(key, why)| (key.to_owned(), why.to_owned())), "{round}");
        assert_eq!(json_lines(&applied).len(), 3, "{round}");
    }
    let now = async |key: &str| cluster.get(&restored, key).await;
    assert_eq!(now("both").await, Ok("here".into()));
    assert_eq!(now("new-there").await, Ok("there".into()));
    assert_eq!(now("there").await, Ok("newest".into()));
    assert_eq!((now("gone-there").await, now("gone-here").await), (Err(404), Err(404)));
    assert_eq!(now("untouched").await, Ok("base".into()));

    // The same folder has nothing more to bring in.
    let again = format!("{plan}-again");
    let (code, text, error) =
        run(&["reconcile", "plan", "--from", &old, "--out", &again, "--url", &url, "--json"]);
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&told["counts"]["changes"], &told["counts"]["proposed"]), (&0.into(), &0.into()), "{told}");
    let (_, text, _) = run(&["reconcile", "status", "--url", &url]);
    assert!(text.contains("ended") && !text.contains("fork to history"), "{text}");

    // Somebody wants the loser after all.
    let (code, text, error) = run(&["reconcile", "restore-loser", &losers, "both", "--url", &url]);
    assert_eq!(code, 0, "{text}{error}");
    assert_eq!(now("both").await, Ok("there".into()));
    assert_eq!(run(&["reconcile", "restore-loser", &losers, "untouched", "--url", &url]).0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_forgotten_on_request() {
    let Sides { cluster, restored } = apart().await;
    let (_, text, _) = run(&["reconcile", "status", "--url", &restored.http, "--json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let fork = told["forks"][0].clone();
    assert_eq!((&fork["noted"], &fork["complete"]), (&1.into(), &true.into()), "{told}");
    let history = fork["history"].as_str().unwrap();
    let (code, _, error) = run(&["reconcile", "forget", history, "--url", &restored.http]);
    assert_eq!(code, 0, "{error}");
    assert_ne!(run(&["reconcile", "forget", history, "--url", &restored.http]).0, 0);
    let (_, text, _) = run(&["reconcile", "status", "--url", &restored.http, "--json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["forks"], serde_json::json!([]));
    drop(cluster);
}

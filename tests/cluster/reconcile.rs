//! Two clusters that come from one, and what is to become of both sides' changes.

use crate::support::{Cluster, Node, PROGRAM, run};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A cluster of one that was restored from a backup of another one. Both have changed since.
pub struct Sides {
    /// Has the old node, which is stopped.
    pub cluster: Cluster,
    pub restored: Node,
}

pub async fn apart() -> Sides {
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

    let restored = restore(&cluster, &backup).await;
    for key in ["both", "here", "new-here"] {
        cluster.put_surely(&restored, key, "here").await;
    }
    delete(&cluster, &restored, "gone-here").await;
    Sides { cluster, restored }
}

/// A cluster of one that begins with a backup.
async fn restore(cluster: &Cluster, backup: &Path) -> Node {
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
    restored
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
    let base = |key: &str| lines[key]["base"]["value"].clone();
    assert_eq!((base("both"), base("gone-here"), base("there")), ("base".into(), "base".into(), Value::Null));
    assert_eq!(lines["new-there"]["guard"], "absent");
    assert_eq!(lines["there"]["live"]["value"], "base");
    assert_eq!(told["counts"]["changes"], 5, "{told}");

    let (code, text, _) = run(&["reconcile", "show", file, "both"]);
    assert!(code == 0 && text.contains("\"there\"") && text.contains("incoming's is lost"), "{code}: {text}");
    assert!(text.contains("base      \"base\""), "{text}");
    assert_eq!(run(&["reconcile", "show", file, "untouched"]).0, 3);
    // A plan that somebody has edited is none.
    let edited = std::fs::read_to_string(&plan).unwrap().replace("\"put\"", "\"keep\"");
    std::fs::write(&plan, edited).unwrap();
    let (code, _, error) = run(&["reconcile", "show", file]);
    assert!(code == 1 && error.contains("was changed"), "{code}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_35_conflicts_wait_and_pointless_plans_are_refused() {
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
    let apply = |plan: &str| run(&["reconcile", "apply", &out(plan), "--url", &restored.http]);
    assert_eq!(apply("custom").0, 9, "nothing is carried out before all is decided");

    let decide = |decisions: &str, to: &str| {
        std::fs::write(out("decisions"), decisions).unwrap();
        run(&["reconcile", "decide", &out("custom"), &out("decisions"), "--out", &out(to)])
    };
    let both = "{\"key\":\"both\",\"take\":\"value\",\"value\":\"chosen\"}\n";
    assert_eq!(decide(both, "half").0, 9, "one is left");
    for bad in [
        "{\"key\":\"both\",\"take\":\"value\"}",
        "{\"key\":\"there\",\"take\":\"live\"}",
        "{\"key\":\"nothing\",\"take\":\"live\"}",
        "{\"key\":\"both\",\"take\":\"it\"}",
        "{\"key\":\"both\",\"take\":\"value\",\"value\":\"x\",\"content_type\":\"\u{fc}\"}",
        // Made about other values than the plan has.
        "{\"key\":\"both\",\"take\":\"live\",\"live_revision\":1}",
        "{\"key\":\"both\",\"take\":\"live\",\"incoming_revision\":null}",
    ] {
        let (code, _, error) = decide(bad, "bad");
        assert!(code == 1 || code == 2, "{bad}: {code}: {error}");
        assert!(!Path::new(&out("bad")).exists(), "{bad}");
    }
    let both_lose = "{\"key\":\"both\",\"take\":\"remove\"}";
    assert_eq!(decide(both_lose, "none-wins").0, 9);
    assert_eq!(lines(Path::new(&out("none-wins")))["both"]["both_lose"], true);
    let (code, _, error) = decide(&format!("{both}{{\"key\":\"gone-here\",\"take\":\"incoming\"}}"), "all");
    assert_eq!(code, 0, "{error}");
    let status = cluster.status(&restored).await;
    let before = status["applied_index"].to_string();
    let (code, text, error) = apply("all");
    assert_eq!(code, 0, "{text}{error}");
    assert_eq!(cluster.get(&restored, "both").await, Ok("chosen".into()));
    // Watchers of any of the keys are told where the change comes from.
    let watch = ["watch", "both", "--from", &before, "--limit", "1", "--json", "--url", &restored.http];
    let (code, text, error) = run(&watch);
    assert_eq!(code, 0, "{error}");
    let change: Value = serde_json::from_str(text.lines().last().expect("a change")).expect("JSON");
    assert_eq!(
        change["merged_from"], status["cluster_id"],
        "the first history has the cluster's id: {change}"
    );
    assert_eq!(change["events"].as_array().map(Vec::len), Some(1), "{change}");
    assert_eq!(cluster.get(&restored, "gone-here").await, Ok("there".into()));
    let mut lost: Vec<(String, String)> = json_lines(&out("all.losers.jsonl"))
        .into_iter()
        .map(|line| (line["key"].as_str().unwrap().into(), line["side"].as_str().unwrap().into()))
        .collect();
    lost.sort();
    let expected = [("both", "incoming"), ("both", "live"), ("gone-here", "live")];
    assert_eq!(lost, expected.map(|(key, side)| (key.to_owned(), side.to_owned())));

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
pub fn json_lines(path: &str) -> Vec<Value> {
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
    let early = format!("{plan}-early");
    let (code, _, error) =
        run(&["reconcile", "plan", "--from", &old, "--out", &early, "--policy", "oldest", "--url", &url]);
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
    assert!(text.contains("ended") && text.contains("fork to history"), "{text}");
    // Nor is a plan of an earlier time carried out, which would do everything again.
    let (code, _, error) = run(&["reconcile", "apply", &early, "--url", &url]);
    assert!(code == 1 && error.contains("make a new plan"), "{code}: {error}");
    // A file of losers is only ever added to by its own plan.
    let lost = std::fs::read_to_string(&losers).unwrap();
    let (code, _, error) = run(&["reconcile", "apply", &again, "--losers", &losers, "--url", &url]);
    assert!(code == 1 && error.contains("not of this plan"), "{code}: {error}");
    assert_eq!(std::fs::read_to_string(&losers).unwrap(), lost);

    // Somebody wants the loser after all.
    let (code, text, error) = run(&["reconcile", "restore-loser", &losers, "both", "--url", &url]);
    assert_eq!(code, 0, "{text}{error}");
    assert_eq!(now("both").await, Ok("there".into()));
    assert_eq!(run(&["reconcile", "restore-loser", &losers, "untouched", "--url", &url]).0, 3);
}

/// Many keys, so that there are several steps. Each has been changed on both sides.
async fn put_many(cluster: &Cluster, node: &Node, keys: usize, value: &str) {
    for first in (0..keys).step_by(1_000) {
        let put =
            |number| serde_json::json!({"op": "put", "key": format!("many:{number:05}"), "value": value});
        let ops: Vec<Value> = (first..keys.min(first + 1_000)).map(put).collect();
        let body = serde_json::json!({"ops": ops}).to_string();
        let answer = cluster.request(Method::POST, node, "/v1/batch", &body).await;
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

/// The command is killed again and again, and continued each time.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_killed_goes_on_where_it_was() {
    const KEYS: usize = 12_000;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (old, restored, cluster) = many_apart(KEYS).await;
    let plan = cluster.dir.path().join("plan").to_str().unwrap().to_owned();
    let arguments = ["--from", &old, "--out", &plan, "--policy", "prefer-incoming", "--url", &restored.http];
    let (code, _, error) = run(&[&["reconcile", "plan"], &arguments[..]].concat());
    assert_eq!(code, 0, "{error}");
    // Clients change some keys meanwhile: those are lost too, by what becomes of their step.
    let changed: Vec<String> = (0..KEYS).step_by(50).map(|number| format!("many:{number:05}")).collect();
    for key in &changed {
        cluster.put_surely(&restored, key, "newest").await;
    }
    let mut killed = 0;
    loop {
        let mut apply = std::process::Command::new(PROGRAM);
        apply.args(["reconcile", "apply", &plan, "--url", &restored.http]);
        apply.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut apply = apply.spawn().expect("it starts");
        let patience = std::time::Duration::from_millis(random.u64(1..120) + 20 * killed);
        let ended = tokio::task::spawn_blocking(move || {
            let begun = std::time::Instant::now();
            loop {
                if let Some(status) = apply.try_wait().expect("its state") {
                    return Some(status);
                }
                if begun.elapsed() > patience {
                    apply.kill().expect("it runs");
                    apply.wait().expect("it ends");
                    return None;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        match ended.await.expect("it ends") {
            Some(status) => {
                assert!(status.success(), "{status}");
                break;
            }
            None => killed += 1,
        }
    }
    println!("killed {killed} times");
    let expected: Vec<String> = (0..KEYS).map(|number| format!("many:{number:05}")).collect();
    let both = [&expected[..], &changed].concat();
    for (file, mut expected) in [("losers", both), ("applied", expected.clone())] {
        let lines = json_lines(&format!("{plan}.{file}.jsonl"));
        let mut keys: Vec<String> =
            lines.iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
        keys.sort();
        expected.sort();
        assert_eq!(keys, expected, "{file}: each key once, and what was changed meanwhile on both sides");
    }
    let status = run(&["reconcile", "status", "--url", &restored.http, "--json"]).1;
    let told: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(told["merges"][0]["done"], KEYS - changed.len(), "{told}");
    assert_eq!(told["merges"][0]["changed"], changed.len(), "{told}");
    for (key, value) in
        [(&expected[1], "there"), (&expected[KEYS / 2], "newest"), (&expected[KEYS - 1], "there")]
    {
        assert_eq!(cluster.get(&restored, key).await, Ok(value.into()));
    }
}

/// An old folder and a restored cluster whose entries have all been changed on both sides.
async fn many_apart(keys: usize) -> (String, Node, Cluster) {
    let mut cluster = Cluster::start(1, &[]).await;
    put_many(&cluster, &cluster.nodes[0], keys, "base").await;
    let backup = cluster.dir.path().join("backup");
    let (code, _, error) =
        run(&["snapshot", "save", backup.to_str().unwrap(), "--url", &cluster.nodes[0].http]);
    assert_eq!(code, 0, "{error}");
    put_many(&cluster, &cluster.nodes[0], keys, "there").await;
    cluster.nodes[0].signal(libc::SIGTERM);
    cluster.nodes[0].ended().await;
    let restored = restore(&cluster, &backup).await;
    put_many(&cluster, &restored, keys, "here").await;
    (cluster.nodes[0].data_dir.to_str().unwrap().to_owned(), restored, cluster)
}

/// Counters that both sides had and added to.
#[tokio::test(flavor = "multi_thread")]
async fn counters_get_what_both_sides_added() {
    let mut cluster = Cluster::start(1, &[]).await;
    let add = async |node: &Node, key: &str, by: u64| {
        let path = format!("/v1/kv/{key}/incr");
        let body = format!("{{\"by\":{by}}}");
        assert!(cluster.request(Method::POST, node, &path, &body).await.status().is_success());
    };
    for key in ["both", "there"] {
        add(&cluster.nodes[0], key, 10).await;
    }
    let backup = cluster.dir.path().join("backup");
    let (code, _, error) =
        run(&["snapshot", "save", backup.to_str().unwrap(), "--url", &cluster.nodes[0].http]);
    assert_eq!(code, 0, "{error}");
    for key in ["both", "new", "there"] {
        add(&cluster.nodes[0], key, 3).await;
    }
    let later = cluster.dir.path().join("later").to_str().unwrap().to_owned();
    assert_eq!(run(&["snapshot", "save", &later, "--url", &cluster.nodes[0].http]).0, 0);
    let restored = restore(&cluster, &backup).await;
    for key in ["both", "new"] {
        add(&restored, key, 5).await;
    }
    cluster.nodes[0].signal(libc::SIGTERM);
    cluster.nodes[0].ended().await;
    let plan = cluster.dir.path().join("plan").to_str().unwrap().to_owned();
    let (old, url) = (cluster.nodes[0].data_dir.to_str().unwrap().to_owned(), restored.http.clone());
    let sum = ["--policy", "sum-delta", "--tail", "drop"];
    let arguments = ["reconcile", "plan", "--from", &old, "--out", &plan, "--url", &url];
    // The snapshot that the second backup made is newer than the fork, so the folder's log does not reach back either.
    let backup = backup.to_str().unwrap();
    let (code, text, error) = run(&[&arguments[..], &sum, &["--base", backup]].concat());
    assert_eq!(code, 0, "{text}{error}");
    // A client adds meanwhile.
    cluster.request(Method::POST, &restored, "/v1/kv/there/incr", "{\"by\":1}").await;
    // A backup has no log at all, but the backup that was restored is what both had.
    let copy = cluster.dir.path().join("copy").to_str().unwrap().to_owned();
    for (base, set_aside, both) in [(&[][..], 2, Value::Null), (&["--base", backup], 0, "10".into())] {
        let arguments =
            ["reconcile", "plan", "--from", &later, "--out", &copy, "--url", &url, "--json", "--force"];
        let (code, text, error) = run(&[&arguments[..], &sum, base].concat());
        assert_eq!(code, 0, "{text}{error}");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(told["counts"]["set_aside"], set_aside, "{told}");
        assert_eq!(lines(Path::new(&copy))["both"]["base"]["value"], both);
    }
    let wrong = run(&["reconcile", "plan", "--from", &later, "--base", &plan, "--out", &copy, "--force"]);
    assert!(wrong.0 != 0 && wrong.2.contains(&plan), "{wrong:?}");
    for round in 0..2 {
        let (code, text, error) = run(&["reconcile", "apply", &plan, "--url", &url]);
        assert_eq!(code, 0, "{text}{error}");
        for (key, expected) in [("both", "18"), ("new", "8"), ("there", "14")] {
            assert_eq!(cluster.get(&restored, key).await, Ok(expected.into()), "{round}: {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_forgotten_on_request() {
    let Sides { cluster, restored } = apart().await;
    let (_, text, _) = run(&["reconcile", "status", "--url", &restored.http, "--json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let fork = told["forks"][0].clone();
    assert_eq!((&fork["noted"], &fork["complete"]), (&1.into(), &true.into()), "{told}");
    let history = fork["history"].as_str().unwrap();
    // A merge that was begun and aborted is not taken for one that is done.
    let plan = cluster.dir.path().join("plan").to_str().unwrap().to_owned();
    let old = cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    let arguments = ["reconcile", "plan", "--from", &old, "--out", &plan, "--json", "--url", &restored.http];
    let told: Value = serde_json::from_str(&run(&arguments).1).expect("JSON");
    let id = told["plan_id"].as_str().unwrap();
    let step = serde_json::json!({"merge": id, "history": history, "step": 0}).to_string();
    assert!(cluster.request(Method::POST, &restored, "/v1/reconcile", &step).await.status().is_success());
    assert_eq!(run(&["reconcile", "abort", id, "--url", &restored.http]).0, 0);
    let (code, _, error) = run(&["reconcile", "apply", &plan, "--url", &restored.http]);
    assert!(code == 1 && error.contains("aborted"), "{code}: {error}");
    assert_eq!(cluster.get(&restored, "there").await, Ok("base".into()));

    let (code, _, error) = run(&["reconcile", "forget", history, "--url", &restored.http]);
    assert_eq!(code, 0, "{error}");
    assert_ne!(run(&["reconcile", "forget", history, "--url", &restored.http]).0, 0);
    let (_, text, _) = run(&["reconcile", "status", "--url", &restored.http, "--json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["forks"], serde_json::json!([]));
    drop(cluster);
}

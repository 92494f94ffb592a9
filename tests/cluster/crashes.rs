//! Crashes at every durable step of what takes a cluster apart and puts it together again: each call that changes the disk or makes a
//! change durable is in its turn the one before which the process dies, and once more, at a step that is drawn, while it goes on after that.
//! What comes of it in the end is what comes of it without a crash.

use super::detach::{all_is_as_before_but_forks, goes_on};
use super::reconcile::{Sides, apart, json_lines};
use super::recover::{copy_folder, history_of, path, plan, seed, stop};
use crate::support::{Cluster, Node, PROGRAM, run, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// More steps than anything here has.
const STEPS_MAX: u64 = 500;
/// How far the next step that a command dies before can lie behind the last one, unless all are tried.
const FOLDER_DRAWN_MAX: u64 = 5;
/// How far the next step that a node dies before can lie behind the last one, unless all are tried.
const DRAWN_MAX: u64 = 40;

/// What is loaded into a process to kill it before one of its steps.
struct Crashes {
    library: PathBuf,
    /// Has the number of the step.
    file: PathBuf,
    random: StdRng,
}

impl Crashes {
    /// `None` without a C compiler.
    fn new(dir: &Path) -> Option<Self> {
        let library = dir.join("crash.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/crash.c");
        let mut compiler = Command::new("cc");
        let built = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
        match built {
            Ok(built) => assert!(built.success(), "{source} is not compiled"),
            Err(error) => {
                println!("skipped: cc: {error}");
                return None;
            }
        }
        let seed = std::env::var("LOCKSTEP_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(rand::random);
        println!("LOCKSTEP_SEED={seed}");
        Some(Self { library, file: dir.join("crash-at"), random: StdRng::seed_from_u64(seed) })
    }

    /// Runs a command that dies before a step. `None`: it has; otherwise it had fewer steps, and did what it is for.
    fn run(&self, arguments: &[&str], step: u64) -> Option<String> {
        fs::write(&self.file, step.to_string()).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("LD_PRELOAD", &self.library).env("CRASH_FILE", &self.file);
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match output.status.signal() {
            Some(signal) => {
                assert_eq!(signal, libc::SIGKILL, "{error}");
                None
            }
            None => {
                assert!(output.status.success(), "before step {step}: {}: {error}", output.status);
                Some(out.into_owned())
            }
        }
    }

    /// Runs a command that dies before this step, and then before another one; and then to its end. False: it has no such step.
    fn run_twice(&mut self, arguments: &[&str], step: u64) -> bool {
        if self.run(arguments, step).is_some() {
            return false;
        }
        let again = self.random.random_range(1..=step + 2);
        let _ = self.run(arguments, again);
        let (code, _, error) = run(arguments);
        assert_eq!(code, 0, "after crashes before the steps {step} and {again}: {error}");
        true
    }
}

fn replace(folder: &Path, by: &Path) {
    fs::remove_dir_all(folder).unwrap();
    copy_folder(by, folder);
}

/// The names of all files below a folder, but for those that are numbered as they come.
fn names(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => drop(found.insert(entry.path().strip_prefix(folder).unwrap().to_owned())),
            }
        }
    }
    let is_numbered = |name: &str| name.starts_with("snap.") || name.starts_with("journal.");
    found.retain(|name| !is_numbered(&name.file_name().unwrap().to_string_lossy()));
    found
}

/// The folder that starts the new history, and one that joins it.
#[tokio::test(flavor = "multi_thread")]
async fn recover_apply_goes_on_after_a_crash_at_each_step() {
    let mut cluster = Cluster::start(5, &[]).await;
    let Some(mut crashes) = Crashes::new(cluster.dir.path()) else { return };
    for number in 0..20 {
        cluster.put_surely(&cluster.nodes[0], &format!("survived-{number}"), "v").await;
    }
    cluster.digests_agree().await;
    cluster.nodes[2..].iter_mut().for_each(Node::kill);
    stop(&mut cluster, &[0, 1]).await;
    let planned = plan(&cluster, &[0, 1], "n3,n4,n5");
    let (file, id) = (path(&cluster, "recovery-plan.json"), planned["id"].as_str().unwrap().to_owned());
    let first = seed(&cluster, &planned);
    let last = [0, 1].map(|at| history_of(&cluster.nodes[at].data_dir)["last_log_index"].clone());
    for at in [first, 1 - first] {
        let folder = cluster.nodes[at].data_dir.clone();
        let before = folder.with_extension("before");
        copy_folder(&folder, &before);
        let named = folder.to_str().unwrap();
        let arguments = ["recover", "apply", file.to_str().unwrap(), named, "--confirm", &id, "--json"];
        let (code, _, error) = run(&arguments);
        assert_eq!(code, 0, "{error}");
        let expected = names(&folder);
        let mut step = 1;
        loop {
            replace(&folder, &before);
            let crashed = crashes.run_twice(&arguments, step);
            assert_eq!(names(&folder), expected, "{named}, step {step}");
            let aside = folder.join("aside").join(planned["plan"]["lineage"]["cluster_id"].as_str().unwrap());
            assert_eq!(history_of(&aside)["last_log_index"], last[at], "step {step}: what it held is whole");
            if at == first {
                let new = history_of(&folder);
                assert_eq!(new["histories"], planned["plan"]["lineage"]["histories"], "step {step}");
                assert_eq!(new["applied_index"], new["histories"][1]["start_index"], "step {step}");
            }
            if !crashed {
                break;
            }
            step += if all_steps() { 1 } else { crashes.random.random_range(1..=FOLDER_DRAWN_MAX) };
            assert!(step < STEPS_MAX);
        }
        println!("{named}: fewer than {step} steps");
        assert!(step > 5, "it has several steps");
    }
    cluster.nodes[..2].iter_mut().for_each(Node::start);
    cluster.all_ready().await;
    cluster.put_surely(&cluster.nodes[1 - first], "after", "v").await;
    for number in 0..20 {
        assert_eq!(cluster.get(&cluster.nodes[first], &format!("survived-{number}")).await, Ok("v".into()));
    }
}

/// What a step writes down before it changes the cluster, and what it notes after that.
#[tokio::test(flavor = "multi_thread")]
async fn reconcile_apply_goes_on_after_a_crash_at_each_step() {
    let Sides { mut cluster, mut restored } = apart().await;
    let Some(mut crashes) = Crashes::new(cluster.dir.path()) else { return };
    let old = cluster.nodes.remove(0).data_dir.clone();
    let file = cluster.dir.path().join("plan").to_str().unwrap().to_owned();
    let from = ["reconcile", "plan", "--from", old.to_str().unwrap(), "--out", &file];
    let (code, _, error) =
        run(&[&from[..], &["--policy", "prefer-incoming", "--url", &restored.http]].concat());
    assert_eq!(code, 0, "{error}");
    restored.signal(libc::SIGTERM);
    restored.ended().await;
    let (folder, url) = (restored.data_dir.clone(), restored.http.clone());
    let before = folder.with_extension("before");
    copy_folder(&folder, &before);
    let arguments = ["reconcile", "apply", &file, "--url", &url];
    let mut expected = None;
    for step in 0..STEPS_MAX {
        replace(&folder, &before);
        for entry in fs::read_dir(cluster.dir.path()).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("plan.") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        restored.start();
        cluster.ready(&restored).await;
        let crashed = match step {
            // The first time without a crash.
            0 => run(&arguments).0 == 0,
            _ => crashes.run_twice(&arguments, step),
        };
        let mut end = BTreeMap::new();
        for key in [
            "both",
            "evicted",
            "gone-here",
            "gone-there",
            "here",
            "there",
            "untouched",
            "new-there",
            "new-here",
        ] {
            end.insert(key.to_owned(), format!("{:?}", cluster.get(&restored, key).await));
        }
        for name in ["losers", "applied"] {
            let mut keys: Vec<String> = json_lines(&format!("{file}.{name}.jsonl"))
                .iter()
                .map(|line| format!("{} {}", line["key"], line["side"]))
                .collect();
            keys.sort();
            end.insert(format!("in {name}.jsonl"), keys.join(", "));
        }
        let status = run(&["reconcile", "status", "--url", &url, "--json"]).1;
        let told: Value = serde_json::from_str(&status).expect("JSON");
        end.insert(
            "merges".into(),
            format!("{} {}", told["merges"].as_array().unwrap().len(), told["merges"][0]["done"]),
        );
        assert_eq!(&end, expected.get_or_insert_with(|| end.clone()), "step {step}");
        restored.kill();
        if !crashed {
            println!("{} steps", step - 1);
            assert!(step > 5, "it has several steps");
            return;
        }
    }
    panic!("it never ends");
}

/// All steps that a node goes through while it leaves, and while it comes back, or some of them, which are drawn.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_or_comes_back_goes_on_after_a_crash_at_each_step() {
    let mut cluster = Cluster::stopped(3, &[]).await;
    let Some(mut crashes) = Crashes::new(cluster.dir.path()) else { return };
    let at = 1;
    for (name, value) in [("LD_PRELOAD", &crashes.library), ("CRASH_FILE", &crashes.file)] {
        cluster.nodes[at].environment.push((name.into(), value.to_str().unwrap().into()));
    }
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.all_ready().await;
    let (mut written, mut step, mut crashed) = (Vec::new(), 0, true);
    while crashed {
        step += if all_steps() { 1 } else { crashes.random.random_range(1..=DRAWN_MAX) };
        assert!(step < STEPS_MAX);
        crashed = false;
        for (path, done) in [("/v1/detach", true), ("/v1/attach", false)] {
            for (node, side) in [(0, "live"), (at, "own")] {
                let key = format!("{side}-{step}-{done}");
                cluster.put_surely(&cluster.nodes[node], &key, "v").await;
                written.push(key);
            }
            fs::write(&crashes.file, step.to_string()).unwrap();
            let asked = cluster.http.post(format!("{}{path}", cluster.nodes[at].http)).send().await;
            let answered = match asked {
                Ok(answer) => Ok((answer.status().as_u16(), answer.text().await.unwrap_or_default())),
                Err(error) => Err(error.to_string()),
            };
            // A process that dies lets go of its connections first.
            let is_dying = answered.is_err();
            if is_dying {
                until("it is dead", || async { is_dead(cluster.nodes[at].pid()) }).await;
            }
            if is_dying || !cluster.nodes[at].still_runs() {
                crashed = true;
                cluster.nodes[at].wait();
                // And once more while it goes on.
                let again = crashes.random.random_range(1..=step + 2);
                println!("{path}: before step {step}, then before step {again}");
                fs::write(&crashes.file, again.to_string()).unwrap();
                cluster.nodes[at].start();
                until("it is ready, or dead", || async {
                    let url = format!("{}/readyz", cluster.nodes[at].http);
                    let asked = cluster.http.get(url).send().await;
                    asked.is_ok_and(|answer| answer.status().is_success()) || is_dead(cluster.nodes[at].pid())
                })
                .await;
            } else {
                assert!(
                    matches!(answered, Ok((200, _))),
                    "{path}: no step {step}, and not done: {answered:?}"
                );
            }
            // From here on it is not killed any more.
            fs::remove_file(&crashes.file).unwrap();
            cluster.nodes[at].kill();
            cluster.nodes[at].start();
            cluster.ready(&cluster.nodes[at]).await;
            goes_on(&cluster, &cluster.nodes[at], path, done).await;
        }
        all_is_as_before_but_forks(&cluster).await;
        for key in &written {
            for node in &cluster.nodes {
                assert_eq!(cluster.get(node, key).await.as_deref(), Ok("v"), "{key}, step {step}");
            }
        }
    }
    println!("fewer than {step} steps");
    assert!(written.len() > 4, "it crashed");
}

/// Whether all that a test could do is asked for, rather than as much as fits a run of all tests.
fn all_steps() -> bool {
    std::env::var("LOCKSTEP_CRASHES").is_ok_and(|which| which == "all")
}

/// Whether a child has ended and was not waited for.
fn is_dead(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

//! The command line against a real cluster: what it prints, and its exit codes.

use crate::support::{Cluster, PROGRAM, free_port, ports, run, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn last_json(out: &str) -> Value {
    serde_json::from_str(out.lines().last().expect("a line")).expect("one object on the last line")
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_what_they_say_and_exit_as_documented() {
    let cluster = Cluster::start(3, &[]).await;
    let urls = cluster.nodes.iter().map(|node| node.http.as_str()).collect::<Vec<_>>().join(",");
    let ask = |arguments: &[&str]| run(&[arguments, &["--url", &urls]].concat());

    assert_eq!(ask(&["get", "k"]).0, 3, "not found");
    let (code, out, _) = ask(&["put", "k", "v", "--json"]);
    assert_eq!(code, 0);
    let revision = last_json(&out)["revision"].as_u64().unwrap().to_string();
    assert_eq!(ask(&["get", "k"]).1, "v", "the value as it is, without a newline");
    assert_eq!(ask(&["put", "k", "w", "--if-absent"]).0, 4, "precondition failed");
    assert_eq!(ask(&["put", "k", "w", "--if-revision", &revision]).0, 0);
    assert_eq!(ask(&["put", "k", "x", "--if-revision", &revision]).0, 4);
    assert_eq!(ask(&["put", "k", "x", "--previous"]).1, "w", "the value as it is");
    let previous = &last_json(&ask(&["put", "k", "w", "--previous", "--json"]).1)["previous"];
    assert_eq!((previous["value"].as_str(), previous["revision"].is_u64()), (Some("x"), true));
    let (code, out, _) =
        ask(&["put", "fresh", "1", "--previous", "--json", "--ttl-ms", "60000", "--sliding"]);
    assert_eq!((code, last_json(&out).get("previous")), (0, Some(&Value::Null)));
    assert_eq!(ask(&["put", "fresh", "1", "--ttl-ms", "never"]).0, 0);
    assert_eq!(last_json(&ask(&["get", "fresh", "--json"]).1)["ttl_ms"], Value::Null);
    assert_eq!(ask(&["put", "fresh", "1", "--sliding"]).0, 2, "it needs a time to live");
    assert_eq!(ask(&["put", "fresh", "1", "--ttl-ms", "never", "--sliding"]).0, 2);
    assert_eq!(ask(&["del", "fresh", "--previous"]).1, "1");
    let (code, out, _) = ask(&["del", "fresh", "--previous", "--json"]);
    assert_eq!((code, last_json(&out).get("previous")), (3, Some(&Value::Null)));
    assert_eq!(ask(&["put", "fresh", "-5", "--if-present"]).0, 4, "there is none");
    assert_eq!(ask(&["put", "fresh", "-5", "--ttl-ms", "60000"]).0, 0);
    assert_eq!(ask(&["put", "fresh", "-6", "--if-present"]).0, 0);
    assert_eq!(ask(&["expire", "fresh", "5000", "--sliding", "--json"]).0, 0);
    assert!(last_json(&ask(&["get", "fresh", "--json"]).1)["ttl_ms"].as_u64() <= Some(5_000));
    assert_eq!(ask(&["persist", "fresh"]).0, 0);
    let fresh = last_json(&ask(&["get", "fresh", "--json"]).1);
    assert_eq!((&fresh["ttl_ms"], &fresh["value"]), (&Value::Null, &json!("-6")));
    assert_eq!((ask(&["expire", "none", "5"]).0, ask(&["persist", "none"]).0), (3, 3));
    let (code, _, error) = ask(&["put", "fresh", "1", "--ttl-ms", "-5"]);
    assert!(code == 2 && error.contains("expected milliseconds or never"), "{error}");
    assert_eq!(ask(&["keys", "--limit", "1", "--consistency", "stale"]).1, "fresh\n");
    assert!(ask(&["keys", "--limit", "1"]).2.contains("there are more"), "and not among the keys");
    assert_eq!((ask(&["keys", "--limit", "0"]).0, ask(&["keys", "none"]).1.as_str()), (2, ""));
    assert_eq!(ask(&["del", "fresh"]).0, 0);
    assert_eq!(ask(&["incr", "n", "5"]).1.trim(), "5");
    assert_eq!(ask(&["incr", "n", "-7"]).1.trim(), "-2");
    assert_eq!(ask(&["incr", "n", "--by", "3"]).1.trim(), "1");
    assert_eq!(ask(&["incr", "n", "1", "--by", "3"]).0, 2, "one of the two");
    assert_eq!(ask(&["incr", "k"]).0, 1, "no number");
    assert_eq!(ask(&["keys"]).1, "k\nn\n");
    assert_eq!(
        (ask(&["keys", "--prefix", "n"]).1.as_str(), ask(&["keys", "n", "--prefix", "n"]).0),
        ("n\n", 2)
    );
    assert_eq!(last_json(&ask(&["status", "--json"]).1)["members"].as_array().unwrap().len(), 3);
    assert_eq!(last_json(&ask(&["config", "--capacity-entries", "77", "--json"]).1)["capacity_entries"], 77);
    assert_eq!(ask(&["config", "--capacity-entries", "0"]).0, 1);
    let touch =
        ["config", "--touch", "false", "--touch-interval-ms", "50", "--touch-max-per-flush", "9", "--json"];
    let told = last_json(&ask(&touch).1);
    assert_eq!(told["touch"], json!({"enabled": false, "interval_ms": 50, "max_per_flush": 9}));
    assert_eq!(last_json(&ask(&["config", "--touch", "true", "--json"]).1)["touch"]["interval_ms"], 50);
    assert!(!last_json(&ask(&["digest", "--json"]).1)["digests"].as_array().unwrap().is_empty());
    let (code, out, _) = ask(&["watch", "", "--from", "0", "--limit", "4", "--json"]);
    let told: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let changes: Vec<&Value> = told.iter().filter(|told| told["type"] == "change").collect();
    assert_eq!((code, changes.len()), (0, 4));
    assert_eq!(changes[0]["index"].to_string(), revision, "the first put: {}", changes[0]);
    let (code, out, _) = ask(&["watch", "k", "--from", &revision, "--limit", "2"]);
    let (second, third) = (&changes[1]["index"], &changes[2]["index"]);
    assert_eq!((code, out), (0, format!("{second} put over k: w\n{third} put over k: x\n")));
    assert_eq!(ask(&["watch", "--from", "100000", "--timeout-ms", "2000"]).0, 1, "no such place");
    assert_eq!(ask(&["member", "transfer"]).0, 0);
    assert_eq!(ask(&["del", "k"]).0, 0);
    assert_eq!(ask(&["del", "k"]).0, 3);
    assert_eq!(ask(&["del", "", "--prefix"]).0, 2, "that is all, and has to be said");
    assert_eq!(ask(&["del", "--all"]).0, 0);
    for key in [".", ".."] {
        for command in
            [&["put", key, "x"][..], &["get", key], &["del", key], &["incr", key], &["persist", key]]
        {
            let (code, _, error) = ask(command);
            assert!(code == 1 && error.contains("are no keys"), "{command:?}: {code} {error}");
        }
    }
    assert_eq!(ask(&["keys"]).1.trim(), "");

    let batch = cluster.dir.path().join("batch.json");
    std::fs::write(
        &batch,
        r#"{"ops": [{"op": "put", "key": "a", "value": "1"}, {"op": "get", "key": "a"}]}"#,
    )
    .unwrap();
    let (code, out, _) = ask(&["batch", batch.to_str().unwrap(), "--json"]);
    assert_eq!((code, last_json(&out)["results"][1]["value"].as_str()), (0, Some("1")));
    std::fs::write(
        &batch,
        r#"{"ops": [{"op": "get", "key": "a"}, {"op": "put", "key": "a", "value": "2", "if_absent": true}]}"#,
    )
    .unwrap();
    let (code, _, error) = ask(&["batch", batch.to_str().unwrap()]);
    assert_eq!(code, 4);
    assert!(error.contains("operation 1"), "{error}");
    std::fs::write(&batch, "{").unwrap();
    assert_eq!(ask(&["batch", batch.to_str().unwrap()]).0, 2);

    let trace = cluster.dir.path().join("trace.txt");
    std::fs::write(&trace, "a\nb\na\nb\nc\n".repeat(40)).unwrap();
    let (code, out, error) = ask(&["replay", trace.to_str().unwrap(), "--concurrency", "1", "--json"]);
    assert_eq!(code, 0, "{error}");
    let report = last_json(&out);
    assert_eq!(report["requests"], 200);
    assert_eq!(report["hits"], 198, "a was there, b and c missed once each");
    assert_eq!(report["put"]["count"], 2);
    let part = ["replay", trace.to_str().unwrap(), "--skip", "150", "--limit", "100", "--json"];
    assert_eq!(last_json(&ask(&part).1)["requests"], 50, "what is left of 200");
    // It needs no cluster.
    let simulate = [
        "simulate",
        trace.to_str().unwrap(),
        "--capacity",
        "2",
        "--delay",
        "1,10",
        "--policy",
        "lru",
        "--json",
    ];
    let (code, out, error) = run(&simulate);
    assert_eq!(code, 0, "{error}");
    let report = last_json(&out);
    let runs = report["runs"].as_array().unwrap();
    let delays: Vec<&Value> = runs.iter().map(|run| &run["delay"]).collect();
    assert_eq!((&report["requests"], delays), (&json!(200), vec![&Value::Null, &json!(1), &json!(10)]));
    // A round is a b a b c: the second a and b are hits when two keys fit and c pushed one of them out.
    assert_eq!(runs[1]["hits"], 80);
    assert_eq!(run(&["simulate", trace.to_str().unwrap(), "--delay", "0"]).0, 2);

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let (code, _, error) = run(&["get", "k", "--url", &nowhere, "--timeout-ms", "300"]);
    assert_eq!(code, 5, "unavailable");
    assert!(error.contains(&nowhere) && error.contains("name the nodes to ask with --url"), "{error}");
    assert_eq!(run(&["get", "k", "--url", "nonsense"]).0, 2, "usage");
    assert_eq!(run(&["no-such-command"]).0, 2);
    assert_eq!(run(&["replay", "/nonexistent", "--url", &nowhere]).0, 1);
    let (code, _, error) = run(&["serve", "--http", "0.0.0.0:0"]);
    assert_eq!(code, 2);
    assert!(error.contains("--insecure-clients"), "{error}");
}

/// `up` runs a cluster, says where it is, resumes on the same folder, and stops it all.
#[tokio::test(flavor = "multi_thread")]
async fn up_runs_a_cluster_and_resumes_it() {
    let cluster = Cluster::empty().await;
    let folder = cluster.dir.path().join("up");
    // Three ports in a row, and three more a thousand higher.
    let port = ports::free_ports(3).to_string();
    for round in 0..2 {
        let mut up = Command::new(PROGRAM)
            .args(["up", "--port", &port, "--data-dir", folder.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "cluster ready");
        let told: Value = serde_json::from_slice(&std::fs::read(folder.join("up.json")).unwrap()).unwrap();
        let nodes = told["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 3);
        let url = nodes[round]["http"].as_str().unwrap();
        if round == 0 {
            assert_eq!(run(&["put", "k", "v", "--url", url]).0, 0);
        }
        assert_eq!(run(&["get", "k", "--url", url]).1, "v");
        let (code, _, error) = run(&["up", "--data-dir", folder.to_str().unwrap()]);
        assert_eq!(code, 1);
        assert!(error.contains("another `lockstep up`"), "{error}");
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(up.id()).unwrap(), libc::SIGTERM) }, 0);
        assert!(up.wait().unwrap().success());
        let other_port = if port == "20000" { "21000" } else { "20000" };
        let (code, _, error) = run(&["up", "--data-dir", folder.to_str().unwrap(), "--port", other_port]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(&format!("keeps port {port}")), "{error}");
        let pids = nodes.iter().map(|node| node["pid"].as_i64().unwrap());
        for pid in pids {
            // SAFETY: signal 0 only asks whether the process is there.
            assert_ne!(unsafe { libc::kill(i32::try_from(pid).unwrap(), 0) }, 0, "node {pid} still runs");
        }
    }
}

/// Who sees that a node died is told how to start it again, and that works.
#[tokio::test(flavor = "multi_thread")]
async fn up_tells_how_to_start_a_dead_node_again() {
    let cluster = Cluster::empty().await;
    let folder = cluster.dir.path().join("up");
    let port = ports::free_ports(3).to_string();
    let mut up = Command::new(PROGRAM)
        .args(["up", "--port", &port, "--data-dir", folder.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(up.id()).unwrap();
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("Ctrl-C stops all")), "it is ready");
    let told: Value = serde_json::from_slice(&std::fs::read(folder.join("up.json")).unwrap()).unwrap();
    let node = i32::try_from(told["nodes"][1]["pid"].as_i64().unwrap()).unwrap();
    // SAFETY: it is our child's child, and runs.
    assert_eq!(unsafe { libc::kill(node, libc::SIGKILL) }, 0);
    assert!(lines.any(|line| line.contains("n2 ended")), "its death is told");
    assert_eq!(lines.next().unwrap(), format!("lockstep: `kill -HUP {pid}` starts nodes again that died"));
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGHUP) }, 0);
    let url = told["nodes"][1]["http"].as_str().unwrap();
    until("it serves again", async || run(&["put", "k", "v", "--url", url]).0 == 0).await;
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    assert!(up.wait().unwrap().success());
}

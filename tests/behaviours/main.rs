//! How a client has to behave, by the cases of `tests/vectors/client_behaviours.json`: what it asks, when it asks again and under which
//! idempotency key, and what it tells its caller. Nodes are played by `server.rs`. The Rust client and the TypeScript client run all
//! cases, and those that need no fault at real nodes too, while these are killed.

mod case;
mod rust_client;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use case::{Case, cases};
use lockstep::client::Client;
use serde_json::{Value, json};
use server::Nodes;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use support::Cluster;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// Far longer than any case takes.
const CASE_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_rust_client_behaves_as_specified() {
    let mut failures = Vec::new();
    for case in cases() {
        let nodes = Nodes::start(&case).await;
        let urls = nodes.urls();
        let run = tokio::time::timeout(CASE_LIMIT, rust_client::run(&case, &urls));
        let outcomes = run.await.unwrap_or_else(|_| panic!("{}: it takes too long", case.name));
        failures.extend(judge(&case, &outcomes, nodes));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn judge(case: &Case, outcomes: &[Value], nodes: Nodes) -> Vec<String> {
    let (seen, left) = nodes.seen();
    let failures = verdict::failures(case, outcomes, &seen, left);
    failures.into_iter().map(|failure| format!("{}: {failure}", case.name)).collect()
}

/// A client in a process of its own: it reads a case in a line, carries it out, and writes the outcomes in a line.
struct Driver {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    /// # Panics
    /// If it cannot be started.
    fn typescript(built: &Path) -> Self {
        let mut command = tokio::process::Command::new("node");
        command.arg(built.join("test/behaviours/driver.js"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("node starts");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self { _process: process, input, output }
    }

    async fn run(&mut self, case: &Case, urls: &[String]) -> Vec<Value> {
        let Case { timeout_ms, options, calls, .. } = case;
        let told = json!({"urls": urls, "timeout_ms": timeout_ms, "options": options, "calls": calls});
        self.input.write_all(format!("{told}\n").as_bytes()).await.expect("it reads");
        let line = self.output.next_line().await.expect("it writes").expect("it still runs");
        serde_json::from_str(&line).expect("outcomes")
    }
}

/// Two tests compile into the same folder.
static BUILDING: Mutex<()> = Mutex::new(());

/// The TypeScript package, compiled; nothing where that cannot be done, which `tests/typescript.sh` says.
fn typescript() -> Option<std::path::PathBuf> {
    let _one_at_a_time = BUILDING.lock().expect("no panic while held");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("behaviours");
    let mut command = Command::new("tests/typescript.sh");
    command.arg("--build").arg(&built).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().expect("the script runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    built.join("test/behaviours/driver.js").exists().then_some(built)
}

#[tokio::test]
async fn the_typescript_client_behaves_as_specified() {
    let Some(built) = typescript() else { return };
    let mut driver = Driver::typescript(&built);
    let mut failures = Vec::new();
    for case in cases() {
        let nodes = Nodes::start(&case).await;
        let urls = nodes.urls();
        let run = tokio::time::timeout(CASE_LIMIT, driver.run(&case, &urls));
        let outcomes = run.await.unwrap_or_else(|_| panic!("{}: it takes too long", case.name));
        failures.extend(judge(&case, &outcomes, nodes));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Runs the cases that need no fault at three nodes, of which one is killed in each case.
async fn at_real_nodes(mut run: impl AsyncFnMut(&Case, &[String]) -> Vec<Value>) {
    let mut cluster = Cluster::start(3, &[]).await;
    let urls: Vec<String> = cluster.nodes.iter().map(|node| node.http.clone()).collect();
    let mut failures = Vec::new();
    let cases = cases().into_iter().filter(|case| case.real.is_some());
    for (number, mut case) in cases.enumerate() {
        let expected = case.real.take().expect("it has some");
        case.options.clear();
        cluster.all_ready().await;
        Client::new(&urls, CASE_LIMIT).expect("a client").clear_all().await.expect("it is cleared");
        let leader = cluster.leader().await;
        // In every second case the leader, which has to be found anew.
        let killed = if number % 2 == 0 { leader } else { (leader + 1) % 3 };
        cluster.nodes[killed].kill();
        let mut from_the_killed = urls.clone();
        from_the_killed.rotate_left(killed);
        let outcomes = run(&case, &from_the_killed).await;
        cluster.nodes[killed].start();
        let wrong = verdict::wrong_outcomes(&outcomes, &expected);
        failures.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}", case.name)));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_behaves_so_at_real_nodes() {
    at_real_nodes(async |case, urls| rust_client::run(case, urls).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_client_behaves_so_at_real_nodes() {
    let Some(built) = typescript() else { return };
    let mut driver = Driver::typescript(&built);
    at_real_nodes(async |case, urls| driver.run(case, urls).await).await;
}

/// Cases notice what they are for.
#[tokio::test]
async fn broken_behaviours_are_noticed() {
    let case = |name: &str| cases().into_iter().find(|case| case.name.contains(name)).expect("there is one");
    let ask = async |case: &Case, keys: [&str; 2], outcome: Value| {
        let nodes = Nodes::start(case).await;
        let http = lockstep::client::plain_http().build().expect("a client");
        for key in keys {
            let url = format!("{}{}", nodes.urls()[0], case.requests.as_ref().expect("it has some")[0].path);
            let method = case.requests.as_ref().expect("it has some")[0].method.parse().expect("a method");
            let mut request = http.request(method, url).body("v");
            if !key.is_empty() {
                request = request.header("idempotency-key", key);
            }
            let _ = request.send().await;
        }
        judge(case, &[outcome], nodes)
    };
    // As it should be.
    let reset = case("reset after the write was sent");
    let good = json!({"revision": 7, "created": false});
    assert_eq!(ask(&reset, ["a", "a"], good.clone()).await, [""; 0]);
    // It repeats a write under another key, which may do it twice.
    let wrong = ask(&reset, ["a", "b"], good).await;
    assert!(wrong[0].contains("its idempotency key"), "{wrong:?}");
    // It tells a write that may have been done as one that was not.
    let unknown = case("is final: a condition");
    let wrong = ask(&unknown, ["a", "a"], json!({"error": "unavailable", "effect": "none"})).await;
    assert!(wrong[0].contains("precondition_failed"), "{wrong:?}");
    // It does not wait as long as the node asks.
    let busy = case("a node asks for a pause");
    let wrong = ask(&busy, ["a", "a"], json!({"revision": 7, "created": false})).await;
    assert!(wrong[0].contains("ms, not 390"), "{wrong:?}");
}

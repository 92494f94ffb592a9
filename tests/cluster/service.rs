//! A node as a service: settings from files, what a service manager is told, log lines for machines, what packages install.

use crate::support::{Cluster, Node, PROGRAM, run, until};
use reqwest::Method;
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that ends with the test.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A node whose settings are in a TOML file and in `.env`, as `serve` finds them in the folder that it is started in.
#[tokio::test(flavor = "multi_thread")]
async fn settings_come_from_files() {
    let cluster = Cluster::empty().await;
    let dir = cluster.dir.path();
    let (http, peer) = crate::support::addresses();
    let (config, data) = (dir.join("lockstep.toml"), dir.join("data"));
    let toml = |more: &str| {
        let data = data.display();
        format!(
            "name = \"filed\"\npeer = \"{peer}\"\ndata_dir = \"{data}\"\ncapacity_entries = 77\npolicy = \"lru\"\n{more}"
        )
    };
    fs::write(&config, toml("")).expect("written");
    // The variables of a whole project: those of another program, and empty ones.
    fs::write(
        dir.join(".env"),
        format!("PORT=\nLOCKSTEP_HTTP={http}\nLOCKSTEP_POLICY=lfu\nDATABASE_URL=x\n"),
    )
    .expect("written");
    let serve = |more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.current_dir(dir).arg("serve").args(["--config", "lockstep.toml"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let checked = serve(&["--check-config", "--writes-in-flight", "9"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for line in [
        "name = filed (lockstep.toml)",
        "policy = lfu (.env)",
        "writes_in_flight = 9 (the command line)",
        "connections = 10000 (the default)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!data.exists(), "a check makes nothing");

    let mut node = Running(Some(serve(&["--log-format", "json"]).spawn().expect("it starts")));
    let url = format!("http://{http}");
    let client = lockstep::client::plain_http().timeout(Duration::from_secs(5)).build().expect("a client");
    let status =
        async || client.get(format!("{url}/v1/status")).send().await.ok()?.json::<Value>().await.ok();
    let has = |told: &Value| {
        let config = &told["config"];
        told["node"]["name"] == "filed" && config["capacity_entries"] == 77 && config["policy"] == "lfu"
    };
    until("it has what the files say", || async { status().await.is_some_and(|told| has(&told)) }).await;
    let changed = client.put(format!("{url}/v1/config")).body(r#"{"capacity_entries":78}"#).send().await;
    assert!(changed.expect("an answer").status().is_success());
    let node = node.0.take().expect("it runs");
    // SAFETY: the process is our child and has not been waited for.
    unsafe { libc::kill(i32::try_from(node.id()).expect("a number"), libc::SIGTERM) };
    let output = node.wait_with_output().expect("it ends");
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{lines:?}");
    let noted = lines.iter().find(|line| line["target"] == "lockstep::audit").expect("an operator's action");
    assert_eq!(
        (&noted["action"], &noted["status"], &noted["address"]),
        (&"PUT /v1/config".into(), &200.into(), &"127.0.0.1".into())
    );

    for (more, wanted) in [
        ("htttp = \"x\"", "`htttp` is no setting"),
        ("tls_cert = \"nowhere.crt\"\ntls_key = \"nowhere.key\"", "nowhere.crt"),
        ("http = \"0.0.0.0:0\"", "--insecure-clients"),
        ("connections = \"many\"", "connections"),
    ] {
        fs::write(dir.join(".env"), "").expect("written");
        fs::write(&config, toml(more)).expect("written");
        let refused = serve(&["--check-config"]).output().expect("it runs");
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{more}: {error}");
        assert!(error.contains(wanted), "{more}: {error}");
    }
}

/// A service manager is told when the node listens, even if it waits for others, that it lives, and that it stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told() {
    let cluster = Cluster::empty().await;
    let dir = cluster.dir.path();
    let path = dir.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let nobody = format!("http://127.0.0.1:{}", crate::support::free_port());
    let mut node = Node::new(dir, "n1", &[]);
    node.environment.push(("NOTIFY_SOCKET".into(), path.display().to_string()));
    node.environment.push(("WATCHDOG_USEC".into(), "600000".into()));
    let own = node.http.clone();
    node = node.with(&["--initial-cluster", &format!("{own},{nobody}")]);
    node.start();
    let heard = |wanted: &str| {
        let mut bytes = [0; 1_024];
        loop {
            let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.contains(wanted) {
                return text;
            }
        }
    };
    assert!(heard("READY=1").contains("STATUS=waiting"), "it says what it waits for");
    for _ in 0..3 {
        heard("WATCHDOG=1");
    }
    node.signal(libc::SIGTERM);
    node.wait();

    // Alone it has its place at once.
    let mut alone = Node::new(dir, "n2", &[]);
    alone.environment.push(("NOTIFY_SOCKET".into(), path.display().to_string()));
    alone.start();
    heard("READY=1");
    heard("STATUS=serving");
    // That means to read files again, and there are none.
    alone.signal(libc::SIGHUP);
    alone.signal(libc::SIGTERM);
    heard("STOPPING=1");
    assert!(alone.wait().success());
}

/// What a package installs is for the program as it is.
#[test]
fn manual_pages_and_completions_name_every_command() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("man");
    let (code, _, error) = run(&["generate", "man", folder.to_str().expect("a path")]);
    assert_eq!(code, 0, "{error}");
    let page =
        |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(page("lockstep-serve.1").contains("tls\\-cert"));
    assert!(page("lockstep-token-create.1").contains("grant"));
    for shell in ["bash", "zsh", "fish"] {
        let (code, text, error) = run(&["generate", "completions", shell]);
        assert!(code == 0 && text.contains("reconcile"), "{shell}: {error}");
    }
}

/// H5: where nothing can be noted, an operator changes nothing; but a node can be told to leave.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_noted_is_not_done() {
    let mut cluster = Cluster::start(3, &["--request-timeout-ms", "2000"]).await;
    let log = async |cluster: &Cluster, node: usize| -> Value {
        cluster.request(Method::GET, &cluster.nodes[node], "/v1/audit", "").await.json().await.expect("JSON")
    };
    let config = async |cluster: &Cluster, node: usize, entries: u64| {
        let body = format!("{{\"capacity_entries\":{entries}}}");
        let answer = cluster.request(Method::PUT, &cluster.nodes[node], "/v1/config", body).await;
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(config(&cluster, 1, 50).await.0, 200);
    for node in 0..3 {
        let told = log(&cluster, node).await;
        let first = &told["actions"][0];
        assert_eq!(
            (&told["count"], &first["action"], &first["node"]),
            (&1.into(), &"PUT /v1/config".into(), &2.into())
        );
    }
    for node in [0, 1] {
        cluster.nodes[node].kill();
    }
    let (status, problem) = config(&cluster, 2, 60).await;
    assert_eq!(
        (status, &problem["code"], &problem["effect"]),
        (503, &"unavailable".into(), &"none".into()),
        "{problem}"
    );
    let left = cluster.request(Method::POST, &cluster.nodes[2], "/v1/detach", r#"{"force":true}"#).await;
    assert!([200, 202].contains(&left.status().as_u16()), "{}", left.status());
    assert!(cluster.nodes[2].log().contains("not in the replicated log"), "it says so");
    for node in [0, 1] {
        cluster.nodes[node].start();
    }
    for node in [0, 1] {
        cluster.ready(&cluster.nodes[node]).await;
    }
    let settings: Value =
        cluster.request(Method::GET, &cluster.nodes[0], "/v1/config", "").await.json().await.expect("JSON");
    assert_eq!(settings["capacity_entries"], 50, "it was not done");
}

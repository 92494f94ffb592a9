//! Canaries: secrets and a value that are used in every way, well and badly, with everything logged, and are then looked for
//! where they must not be.

use crate::support::{Cluster, Node, PROGRAM, run, until};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use futures::SinkExt;
use lockstep::http::OPENAPI;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const KEY: &str = "canary/key-4d1f";
const KEY_IN_PATH: &str = "canary%2Fkey-4d1f";
const VALUE: &str = "canary-value-9b7e02c5";
/// What tells how the cluster is. It names no keys to those who may not read them.
const OBSERVED: [&str; 14] = [
    "/metrics",
    "/v1/status",
    "/v1/nodes",
    "/v1/members",
    "/v1/lineage",
    "/v1/digest",
    "/v1/config",
    "/v1/samples",
    "/v1/detached",
    "/v1/reconcile",
    "/v1/token",
    "/api/metrics",
    "/api/sync/status",
    "/",
];
const FOR_ADMINS: [&str; 2] = ["/v1/audit", "/v1/tokens"];
const LIMIT: Duration = Duration::from_secs(10);

/// Everything that was answered: what was asked, the status, and the head and body.
#[derive(Default)]
struct Heard(Vec<(String, u16, String)>);

impl Heard {
    async fn send(&mut self, what: &str, request: RequestBuilder) -> String {
        let Ok(answer) = request.timeout(LIMIT).send().await else { return String::new() };
        let (status, head) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        // An answer without end has nothing but changes, which whoever may read keys may read.
        let is_stream = head.contains("text/event-stream") && status == 200;
        let body = if is_stream { String::new() } else { answer.text().await.unwrap_or_default() };
        self.0.push((what.to_owned(), status, format!("{head}\n{body}")));
        body
    }
}

/// A secret as it is, its parts, and what tells others as much.
fn forms(token: &str) -> Vec<String> {
    let secret = token.splitn(3, '_').nth(2).expect("three parts");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut forms =
        vec![token.to_owned(), secret.to_owned(), secret[..16].to_owned(), secret[27..].to_owned()];
    for text in [token, secret] {
        // Without the last letters, which depend on what follows.
        let encoded = [
            BASE64_STANDARD.encode(text),
            BASE64_URL_SAFE_NO_PAD.encode(text),
            BASE64_STANDARD_NO_PAD.encode(text),
        ];
        forms.extend(encoded.map(|text| text[..text.len() - 4].to_owned()));
        let digest: [u8; 32] = Sha256::digest(text).into();
        let list = format!("{digest:?}");
        forms.extend([
            hex(&digest),
            hex(&digest).to_uppercase(),
            list,
            BASE64_STANDARD.encode(digest),
            hex(text.as_bytes()),
        ]);
    }
    forms
}

fn assert_without(forms: &[String], place: &str, text: &str) {
    for form in forms {
        let found = text.find(form.as_str());
        assert!(found.is_none(), "{place} has `{form}`: …{}…", context(text, found.unwrap_or_default()));
    }
}

fn context(text: &str, at: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(300)..(at + 300).min(text.len())]).into_owned()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn routes() -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").keys().filter(|name| *name != "parameters");
        methods.map(move |method| (method.to_uppercase().parse().expect("a method"), path.clone()))
    });
    let routes: Vec<(Method, String)> = each
        .map(|(method, path): (Method, String)| {
            (method, path.replace("{key}", KEY_IN_PATH).replace("{id}", "77"))
        })
        .collect();
    assert!(routes.len() > 50, "{}", routes.len());
    routes
}

/// A cluster that logs everything and asks for tokens: with the text of its first one.
async fn talkative() -> (Cluster, String) {
    let mut cluster = Cluster::empty().await;
    let file = cluster.dir.path().join("root");
    let root = run(&["token", "generate"]).1.trim().to_owned();
    secret_file(&file, &root);
    let arguments = ["--fault-injection", "--root-token-file", file.to_str().expect("a path")];
    let names = ["n1", "n2", "n3"];
    let mut nodes = Vec::from(names.map(|name| Node::new(cluster.dir.path(), name, &arguments)));
    let list = nodes.iter().map(|node| node.http.clone()).collect::<Vec<_>>().join(",");
    for node in &mut nodes {
        node.add_arguments(&["--initial-cluster".into(), list.clone()]);
        node.environment.push(("LOCKSTEP_LOG".into(), "trace".into()));
        node.start();
    }
    cluster.nodes = nodes;
    cluster.all_ready().await;
    let own = format!("{}/v1/token", cluster.nodes[0].http);
    until("the first token is taken", || async {
        cluster.http.get(&own).bearer_auth(&root).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    (cluster, root)
}

fn secret_file(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("set");
}

/// Uses a token in every way that there is to show one, and in some that there are not, on every route of every node.
async fn use_everywhere(cluster: &Cluster, heard: &mut Heard, token: &str, cookie: &str) {
    let shapes = [
        json!({"key": KEY, "value": VALUE, "ttl_ms": 60_000}).to_string(),
        format!(r#"{{"token": "{token}", "value": "{VALUE}""#),
        format!(r#"{{"{token}": "{VALUE}", "name": 5, "grants": "{token}"}}"#),
        format!("{token} {VALUE}"),
    ];
    let (method_names, http) = (routes(), &cluster.http);
    for (at, (method, path)) in method_names.iter().enumerate() {
        let node = &cluster.nodes[at % cluster.nodes.len()];
        // Whatever is put there is a value.
        let is_value = (method, path.as_str()) == (&Method::PUT, &format!("/v1/kv/{KEY_IN_PATH}"));
        let body = if is_value { VALUE } else { &shapes[at % shapes.len()] };
        let bare =
            |path: &str| http.request(method.clone(), format!("{}{path}", node.http)).body(body.to_owned());
        let wrong = token.replace("lsk_", "lsk_x");
        let queried = format!("{path}?token={token}&prefix={KEY_IN_PATH}");
        let ways = [
            ("bearer", bare(path).bearer_auth(token)),
            ("as JSON", bare(path).bearer_auth(token).header("content-type", "application/json")),
            ("cookie", bare(path).header("cookie", cookie)),
            ("basic", bare(path).basic_auth(token, Some(token))),
            ("no scheme", bare(path).header("authorization", token)),
            ("wrong id", bare(path).bearer_auth(&wrong)),
            ("too long", bare(path).bearer_auth(format!("{token}x"))),
            ("in the query", bare(&queried)),
            (
                "in headers",
                bare(path).header("x-api-key", token).header("if-match", token).header("origin", token),
            ),
            ("foreign host", bare(path).bearer_auth(token).header("host", "evil.example")),
        ];
        for (way, request) in ways {
            // The session is used until the end.
            if (way, path.as_str()) != ("cookie", "/v1/login") {
                heard.send(&format!("{method} {path}, {way}"), request).await;
            }
        }
    }
}

/// The same over a WebSocket, as a Socket.IO page, and to the port for peers.
async fn use_elsewhere(cluster: &Cluster, heard: &mut Heard, token: &str) {
    for node in &cluster.nodes {
        let mut request =
            format!("{}/v1/live", node.http.replace("http", "ws")).into_client_request().expect("a URL");
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        let (mut live, _) = tokio_tungstenite::connect_async(request).await.expect("a WebSocket");
        let subscribe = json!({"subscribe": {"id": "1", "prefix": "canary/"}}).to_string();
        for message in [&subscribe, &format!("{{\"{token}\": \"{VALUE}\""), token] {
            let _ = live.send(Message::text(message)).await;
        }
        let _ = live.close(None).await;

        let polling = format!("{}/socket.io/?EIO=4&transport=polling", node.http);
        for auth in
            [json!({"token": token}), json!({"token": format!("{token}x")}), json!({"token": [token, VALUE]})]
        {
            let open = heard.send("Socket.IO", cluster.http.get(&polling)).await;
            let open: Value = serde_json::from_str(&open[1..]).expect("JSON");
            let session = format!("{polling}&sid={}", open["sid"].as_str().expect("a session"));
            heard.send("Socket.IO", cluster.http.post(&session).body(format!("40{auth}"))).await;
            let event = format!("42[\"{token}\",\"{VALUE}\"");
            heard.send("Socket.IO", cluster.http.post(&session).body(event)).await;
        }
        for start in ["", "LSTP\u{1}\u{1}", "GET / HTTP/1.1\r\n"] {
            let mut peer = TcpStream::connect(&node.peer).expect("the port for peers");
            let content = format!("{start}{token} {VALUE}");
            let length = u32::try_from(content.len()).expect("short").to_be_bytes();
            let _ = peer.write_all(&[&length[..], content.as_bytes()].concat());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_value_is_where_it_must_not_be() {
    let (mut cluster, root) = talkative().await;
    let mut heard = Heard::default();
    let grants = json!([{"role": "write", "prefix": "canary/"}, {"role": "observe"}]);
    let body = json!({"name": "canary", "grants": grants}).to_string();
    let make = |http: &Client, path: &str, body: String| {
        http.post(format!("{}{path}", cluster.nodes[1].http)).bearer_auth(&root).body(body)
    };
    // These answers tell a secret, and are not kept.
    let made: Value = told(make(&cluster.http, "/v1/tokens", body)).await;
    let (id, old) = (made["id"].as_str().expect("an id"), made["token"].as_str().expect("a token"));
    let observer = json!({"name": "observer", "grants": [{"role": "observe"}]}).to_string();
    let observer: Value = told(make(&cluster.http, "/v1/tokens", observer)).await;
    let observer = observer["token"].as_str().expect("a token").to_owned();
    let rotated =
        make(&cluster.http, &format!("/v1/tokens/{id}/rotate"), json!({"overlap_ms": 3_600_000}).to_string());
    let rotated: Value = told(rotated).await;
    let token = rotated["token"].as_str().expect("a token");
    let login = cluster
        .http
        .post(format!("{}/v1/login", cluster.nodes[2].http))
        .body(json!({"token": token}).to_string());
    let login = login.send().await.expect("an answer");
    let cookie =
        login.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a pair").to_owned();
    let session = cookie.split_once('=').expect("a pair").1;

    for node in &cluster.nodes {
        let url = format!("{}/v1/kv/{KEY_IN_PATH}", node.http);
        heard.send("PUT", cluster.http.put(&url).bearer_auth(token).body(VALUE)).await;
        let found = heard.send("GET", cluster.http.get(&url).bearer_auth(old)).await;
        assert_eq!(found, VALUE, "the canary is where it should be");
    }
    use_everywhere(&cluster, &mut heard, token, &cookie).await;
    use_elsewhere(&cluster, &mut heard, token).await;
    for node in &cluster.nodes {
        for (paths, token) in [(&OBSERVED[..], &observer), (&FOR_ADMINS, &root)] {
            for path in paths {
                let answer = cluster.http.get(format!("{}{path}", node.http)).bearer_auth(token);
                let answer = heard.send(path, answer).await;
                assert!(!answer.is_empty() && !answer.contains("urn:lockstep:error"), "{path}: {answer}");
                assert_without(&[VALUE.to_owned(), KEY.to_owned()], path, &answer);
            }
        }
    }
    let refused = heard.0.iter().filter(|(_, status, _)| *status >= 400);
    assert!(refused.clone().count() > 200, "{} of {}", refused.count(), heard.0.len());

    // Once more from what is stored.
    for node in &mut cluster.nodes {
        node.kill();
        node.start();
    }
    cluster.all_ready().await;
    let url = format!("{}/v1/kv/{KEY_IN_PATH}", cluster.nodes[0].http);
    heard.send("again", cluster.http.get(&url).header("cookie", &cookie)).await;

    let secrets: Vec<String> = [root.as_str(), old, token, session].into_iter().flat_map(forms).collect();
    for (what, status, answer) in &heard.0 {
        assert_without(&secrets, &format!("the answer to {what}"), answer);
        assert!(*status < 400 || !answer.contains(VALUE), "an error has the value: {what}: {answer}");
    }
    for node in &cluster.nodes {
        let log = node.log();
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "everything is logged");
        assert_without(&secrets, &format!("the log of {}", node.name), &log);
        let values = [VALUE.to_owned(), BASE64_STANDARD.encode(VALUE), format!("{:?}", VALUE.as_bytes())];
        assert_without(&values, &format!("the log of {}", node.name), &log);
        // The names of keys are in the lines about paths below `/api`, and in no other.
        let mut named = log.lines().filter(|line| line.contains(KEY) || line.contains(KEY_IN_PATH));
        let elsewhere = named.find(|line| !line.contains("lockstep::requests"));
        assert_eq!(elsewhere, None, "the log of {} names a key", node.name);
        for file in files(&node.data_dir) {
            let bytes = fs::read(&file).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            // What is kept of a secret is its SHA-256.
            let plain: Vec<String> = [root.as_str(), old, token, session]
                .iter()
                .flat_map(|token| [(*token).to_owned(), forms(token)[1].clone(), forms(token)[2].clone()])
                .collect();
            assert_without(&plain, &file.display().to_string(), &text);
        }
    }
}

async fn told(request: RequestBuilder) -> Value {
    request.send().await.expect("an answer").json().await.expect("JSON")
}

/// A program that cannot use a file with a secret says which one, and not what is in it.
#[test]
fn a_file_with_a_secret_is_not_repeated_by_whoever_refuses_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let text = |path: &Path| path.to_str().expect("a path").to_owned();
    let certs = text(&path("certs"));
    assert_eq!(run(&["cert", "ca", "--dir", &certs]).0, 0);
    assert_eq!(run(&["cert", "node", "n1", "--dir", &certs]).0, 0);
    let (cert, key) = (path("certs").join("n1.crt"), path("certs").join("n1.key"));
    let pem = fs::read_to_string(&key).expect("a key");
    let lines: Vec<String> = pem.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect();
    let token = run(&["token", "generate"]).1.trim().to_owned();
    let secrets: Vec<String> =
        forms(&token).into_iter().chain(lines.iter().map(|line| line[..20].to_owned())).collect();

    let data = text(&path("data"));
    let serve = ["serve", "--data-dir", &data, "--http", "127.0.0.1:1", "--name", "n1"];
    let (cert, key) = (text(&cert), text(&key));
    let tls = |key: &str| vec!["--tls-cert".to_owned(), cert.clone(), "--tls-key".into(), key.into()];
    let file = |name: &str, content: &str, mode: u32| {
        fs::write(path(name), content).expect("written");
        fs::set_permissions(path(name), Permissions::from_mode(mode)).expect("set");
        text(&path(name))
    };
    let root = |file: String| vec!["--root-token-file".to_owned(), file];
    for arguments in [
        tls(&file("others.key", &pem, 0o604)),
        tls(&file("half.key", &pem[..pem.len() / 2], 0o600)),
        tls(&file("damaged.key", &pem.replacen(&lines[0][8..12], "????", 1), 0o600)),
        tls(&file("no.key", &lines.join("\n"), 0o600)),
        root(file("others", &token, 0o604)),
        root(file("two", &format!("{token}\n{token}\n"), 0o600)),
        root(file("long", &format!("{token}x"), 0o600)),
        // The key in place of the token.
        root(key.clone()),
    ] {
        let all: Vec<&str> = serve.into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let mut command = std::process::Command::new(PROGRAM);
        let output = command.args(&all).env("LOCKSTEP_LOG", "trace").output().expect("it runs");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && !said.is_empty(), "{arguments:?}: {said}");
        assert_without(&secrets, &format!("{arguments:?}"), &said);
    }
    let long = file("long", &format!("{token}x"), 0o600);
    let (code, said, error) = run(&["get", "k", "--url", "http://127.0.0.1:1", "--token-file", &long]);
    assert_ne!(code, 0);
    assert_without(&secrets, "get", &format!("{said}{error}"));
}

//! Tokens on a cluster of real processes: the first one, the command line, revocation on every node, recovery, restoring.

use crate::jwt;
use crate::support::{Cluster, Node, run, until};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Method};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A client that shows this token.
pub fn client(token: &str) -> Client {
    showing(lockstep::client::plain_http().timeout(Duration::from_secs(10)), token)
}

/// The same, of this builder.
pub fn showing(builder: ClientBuilder, token: &str) -> Client {
    let mut shown = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
    shown.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, shown)]);
    builder.default_headers(headers).build().expect("a client")
}

/// A cluster whose requests need a token; the cluster's own client has one that may do everything, which is in the file, too.
pub async fn guarded(count: usize, extra: &[&str]) -> (Cluster, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder").keep();
    let file = dir.join("root");
    let (code, text, error) = run(&["token", "generate"]);
    assert_eq!(code, 0, "{error}");
    write_secret(&file, &text);
    let root = file.to_str().expect("a path");
    let mut cluster = Cluster::start(count, &[&["--root-token-file", root], extra].concat()).await;
    cluster.http = client(text.trim());
    until("the first token is taken", || async {
        status_of(&cluster.http, &cluster.nodes[0], Method::GET, "/v1/token").await == 200
    })
    .await;
    (cluster, file)
}

fn write_secret(file: &Path, text: &str) {
    fs::write(file, text).expect("written");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("set");
}

pub async fn status_of(client: &Client, node: &Node, method: Method, path: &str) -> u16 {
    let body = if method == Method::PUT { "1" } else { "" };
    let request = client.request(method, format!("{}{path}", node.http)).body(body);
    request.send().await.map_or(0, |answer| answer.status().as_u16())
}

pub async fn create(cluster: &Cluster, node: &Node, name: &str) -> (String, Client) {
    let (id, token) =
        create_with(cluster, node, name, json!([{"role": "write", "prefix": "a/"}]), None).await;
    (id, client(&token))
}

/// A new token with these grants: its id and itself.
pub async fn create_with(
    cluster: &Cluster,
    node: &Node,
    name: &str,
    grants: Value,
    ttl_ms: Option<u64>,
) -> (String, String) {
    let body = json!({"name": name, "grants": grants, "ttl_ms": ttl_ms}).to_string();
    let made =
        cluster.http.post(format!("{}/v1/tokens", node.http)).header("content-type", "application/json");
    let made: Value = made.body(body).send().await.expect("an answer").json().await.expect("JSON");
    let text = |field: &str| made[field].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    (text("id"), text("token"))
}

/// H4 for tokens of somebody else: a block that one node has acknowledged holds on all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_holds_on_every_node() {
    let dir = tempfile::tempdir().expect("a folder");
    let (keys, secret) = (dir.path().join("keys.json"), [7; 32]);
    jwt::write_keys(&keys, &[jwt::key(&secret)]);
    let flags =
        ["--jwt-keys", keys.to_str().expect("a path"), "--jwt-issuer", "us", "--jwt-audience", "lockstep"];
    let (cluster, _) = guarded(3, &flags).await;
    for round in 0..5 {
        let subject = format!("app{round}");
        let grants = json!([{"role": "write", "prefix": "a/"}]);
        let app = client(&jwt::token(&secret, &json!({"sub": subject, "lockstep": grants})));
        for node in &cluster.nodes {
            let put = status_of(&app, node, Method::PUT, "/v1/kv/a%2Fk").await;
            assert!([201, 204].contains(&put), "{put}");
            assert_eq!(status_of(&app, node, Method::PUT, "/v1/kv/b").await, 403);
        }
        let body = json!({"blocked": {"subject": subject}}).to_string();
        let url = format!("{}/v1/blocks", cluster.nodes[round % 3].http);
        let block = cluster.http.post(url).header("content-type", "application/json").body(body);
        assert_eq!(block.send().await.expect("an answer").status(), 200);
        for node in &cluster.nodes {
            for method in [Method::PUT, Method::GET] {
                assert_eq!(status_of(&app, node, method, "/v1/kv/a%2Fk").await, 401);
            }
        }
    }
}

/// The node that leads first writes a token that may do everything, once, and readable by its owner only.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_begins_with_a_root_token() {
    let mut cluster = Cluster::start(3, &["--tokens"]).await;
    let files: Vec<PathBuf> = cluster.nodes.iter().map(|node| node.data_dir.join("root-token")).collect();
    until("there is a token", || async { files.iter().any(|file| file.exists()) }).await;
    let found: Vec<&PathBuf> = files.iter().filter(|file| file.exists()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(fs::metadata(found[0]).expect("it is there").permissions().mode() & 0o777, 0o600);
    let root = found[0].to_str().expect("a path");
    let urls = cluster.nodes.iter().map(|node| node.http.clone()).collect::<Vec<_>>();
    until("the cluster takes it", || async {
        run(&["token", "show", "--url", &urls[0], "--token-file", root]).0 == 0
    })
    .await;

    // The command line: without a token nothing, and the codes tell why.
    let (code, _, error) = run(&["get", "k", "--url", &urls[0]]);
    assert!(code == 11 && error.contains("--token-file"), "{code}: {error}");
    let app = cluster.dir.path().join("app").to_str().expect("a path").to_owned();
    let with = |node: usize, file: &str, arguments: &[&str]| {
        run(&[arguments, &["--url", &urls[node], "--token-file", file]].concat())
    };
    let make = ["token", "create", "app", "--grant", "write:a/", "--grant", "read:b/", "--out", &app];
    let (code, text, error) = with(0, root, &make);
    assert!(code == 0 && text.is_empty(), "{text}{error}");
    assert_ne!(with(0, root, &make).0, 0, "the file is there already");
    for node in 0..3 {
        assert_eq!(with(node, &app, &["put", "a/k", "v"]).0, 0);
        assert_eq!(with(node, &app, &["get", "a/k"]).1, "v");
        let (code, _, error) = with(node, &app, &["put", "b/k", "v"]);
        assert!(code == 11 && error.contains("write for \"b/k\""), "{code}: {error}");
        assert_eq!(with(node, &app, &["keys", "--prefix", "b/"]).0, 0);
        assert_eq!(with(node, &app, &["keys"]).0, 11);
        assert_eq!(with(node, &app, &["config"]).0, 0);
        assert_eq!(with(node, &app, &["config", "--policy", "lfu"]).0, 11);
        assert_eq!(with(node, &app, &["token", "list"]).0, 11);
    }
    let (code, text, _) = with(1, root, &["token", "list"]);
    assert!(code == 0 && text.contains("app  write:a/ read:b/") && text.contains("root  admin"), "{text}");
    let (code, text, _) = with(1, root, &["token", "rotate", "app", "--overlap-ms", "0"]);
    assert_eq!(code, 0);
    assert_eq!(with(2, &app, &["get", "a/k"]).0, 11, "the old secret is over");
    write_secret(Path::new(&app), &text);
    assert_eq!(with(2, &app, &["get", "a/k"]).0, 0);
    fs::set_permissions(&app, Permissions::from_mode(0o644)).expect("set");
    let (code, _, error) = with(2, &app, &["get", "a/k"]);
    assert!(code == 2 && error.contains("others can read"), "{code}: {error}");

    // Nodes that come back without the flag ask for a token as well.
    for node in &mut cluster.nodes {
        node.kill();
        node.drop_argument("--tokens");
        node.start();
    }
    cluster.all_ready().await;
    assert_eq!(run(&["get", "a/k", "--url", &urls[2]]).0, 11);
    assert_eq!(with(2, root, &["get", "a/k"]).1, "v");
    // Nobody's logs have a secret.
    let secret = fs::read_to_string(root).expect("it is there");
    assert!(!cluster.nodes.iter().any(|node| node.log().contains(&secret.trim()[15..])));
}

/// H4: a token is good on every node once it is made, and on none once it is revoked, whoever leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_was_acknowledged_holds_on_every_node() {
    let (cluster, _) = guarded(3, &[]).await;
    for round in 0..30 {
        let (made_at, revoked_at) = (&cluster.nodes[round % 3], &cluster.nodes[(round / 3) % 3]);
        let (id, app) = create(&cluster, made_at, &format!("app-{round}")).await;
        for node in &cluster.nodes {
            assert!(status_of(&app, node, Method::PUT, "/v1/kv/a%2Fk").await < 300, "{round}: {}", node.name);
            assert_eq!(
                status_of(&app, node, Method::GET, "/v1/kv/a%2Fk").await,
                200,
                "{round}: {}",
                node.name
            );
            assert_eq!(status_of(&app, node, Method::PUT, "/v1/kv/b").await, 403, "{round}: {}", node.name);
        }
        if round % 10 == 9 {
            let moved = cluster.request(Method::POST, revoked_at, "/v1/leader", "").await;
            assert!(moved.status().is_success(), "{}", moved.status());
        }
        let path = format!("/v1/tokens/{id}");
        assert_eq!(status_of(&cluster.http, revoked_at, Method::DELETE, &path).await, 200, "{round}");
        for node in &cluster.nodes {
            for (method, path) in [
                (Method::GET, "/v1/kv/a%2Fk"),
                (Method::PUT, "/v1/kv/a%2Fk"),
                (Method::GET, "/v1/keys?prefix=a%2F"),
            ] {
                let status = status_of(&app, node, method.clone(), path).await;
                assert_eq!(status, 401, "{round}: {} {method} {path}", node.name);
            }
        }
    }
}

/// A leader that is cut off does not know of a revocation. It acknowledges nothing, and answers no current read.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_lets_nobody_in() {
    let (cluster, _) = guarded(3, &["--fault-injection"]).await;
    let (id, app) = create(&cluster, &cluster.nodes[0], "app").await;
    let old = cluster.leader().await;
    let cut = json!({"cut": true}).to_string();
    let links = cluster.request(Method::PUT, &cluster.nodes[old], "/v1/debug/links", &cut).await;
    assert!(links.status().is_success(), "{}", links.text().await.expect("a body"));
    let others: Vec<usize> = (0..3).filter(|node| *node != old).collect();
    let path = format!("/v1/tokens/{id}");
    until("the others revoke it", || async {
        [200, 404].contains(&status_of(&cluster.http, &cluster.nodes[others[0]], Method::DELETE, &path).await)
    })
    .await;
    for method in [Method::GET, Method::PUT] {
        let status = status_of(&app, &cluster.nodes[old], method.clone(), "/v1/kv/a%2Fk").await;
        assert!(status == 503 || status == 504 || status == 401, "{method}: {status}");
    }
    let healed =
        cluster.request(Method::PUT, &cluster.nodes[old], "/v1/debug/links", r#"{"cut": false}"#).await;
    assert!(healed.status().is_success());
    cluster.all_ready().await;
    assert_eq!(status_of(&app, &cluster.nodes[old], Method::GET, "/v1/kv/a%2Fk").await, 401);
    assert_eq!(cluster.get(&cluster.nodes[old], "a/k").await, Err(404), "nothing of it came through");
}

/// Whoever can write into a data folder gets a token. A restored backup brings no revoked token back. A node joins with one.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_recovered_dropped_and_shown_to_join() {
    let (cluster, root) = guarded(1, &[]).await;
    let node = &cluster.nodes[0];
    let (_, app) = create(&cluster, node, "app").await;
    let folder = node.data_dir.to_str().expect("a path");
    let (code, text, error) = run(&["token", "recover", "--data-dir", folder]);
    assert!(code == 0 && text.contains("root-token"), "{text}{error}");
    let recovered = node.data_dir.join("root-token");
    let file = recovered.to_str().expect("a path");
    until("the node takes it", || async {
        run(&["token", "list", "--url", &node.http, "--token-file", file]).0 == 0
    })
    .await;
    assert!(!node.data_dir.join("root-token.json").exists());

    let root = root.to_str().expect("a path");
    let mut joins = Node::new(cluster.dir.path(), "joins", &["--join", &node.http]);
    joins.start();
    until("it is refused", || async { joins.log().contains("asks for a token") }).await;
    joins.kill();
    let mut joins = Node::new(cluster.dir.path(), "joins-too", &["--join", &node.http, "--token-file", root]);
    joins.start();
    cluster.ready(&joins).await;
    assert_eq!(status_of(&app, &joins, Method::PUT, "/v1/kv/a%2Fk").await, 201);

    let backup = cluster.dir.path().join("backup").to_str().expect("a path").to_owned();
    let (code, _, error) = run(&["snapshot", "save", &backup, "--url", &node.http, "--token-file", root]);
    assert_eq!(code, 0, "{error}");
    for (name, keeps) in [("drops", false), ("keeps", true)] {
        let mut restored = Node::new(cluster.dir.path(), name, &[]);
        let (http, peer) = (restored.http.clone(), restored.peer.clone());
        let folder = restored.data_dir.to_str().expect("a path").to_owned();
        let mut arguments =
            vec!["snapshot", "restore", &backup, "--data-dir", &folder, "--http", &http, "--peer", &peer];
        arguments.extend(keeps.then_some("--keep-tokens"));
        let (code, _, error) = run(&arguments);
        assert_eq!(code, 0, "{error}");
        restored.start();
        cluster.ready(&restored).await;
        let expected = if keeps { 200 } else { 401 };
        assert_eq!(status_of(&app, &restored, Method::GET, "/v1/kv/a%2Fk").await, expected, "{name}");
        let file = restored.data_dir.join("root-token");
        assert_eq!(file.exists(), !keeps);
        if !keeps {
            let file = file.to_str().expect("a path");
            until("its own is taken", || async {
                run(&["get", "a/k", "--url", &http, "--token-file", file]).0 == 0
            })
            .await;
        }
    }
}

/// A node that has just joined, or was down when the first token was made, lets nobody do what needs a token there.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_know_of_the_tokens_yet_lets_nobody_in() {
    let mut cluster = Cluster::start(3, &[]).await;
    let down = cluster.follower().await;
    cluster.put_surely(&cluster.nodes[down], "k", "v").await;
    cluster.nodes[down].kill();
    // Over the network there is no first token: the machine of a node has it.
    let up = (down + 1) % 3;
    let folder = cluster.nodes[up].data_dir.to_str().expect("a path").to_owned();
    assert_eq!(run(&["token", "recover", "--data-dir", &folder]).0, 0);
    let file = cluster.nodes[up].data_dir.join("root-token");
    let url = cluster.nodes[up].http.clone();
    let shown = file.to_str().expect("a path").to_owned();
    until("the node takes it", || async {
        run(&["token", "list", "--url", &url, "--token-file", &shown]).0 == 0
            && status_of(&cluster.http, &cluster.nodes[up], Method::GET, "/v1/keys").await == 401
    })
    .await;
    let mut joins = Node::new(cluster.dir.path(), "joins", &["--join", &url, "--token-file", &shown]);
    cluster.nodes[down].start();
    joins.start();
    // From the first moment at which they answer.
    let anybody = lockstep::client::plain_http().timeout(Duration::from_secs(8)).build().expect("a client");
    for node in [&cluster.nodes[down], &joins] {
        let mut asked = 0;
        until("it is ready", || async { status_of(&anybody, node, Method::GET, "/livez").await == 200 })
            .await;
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(1_500) {
            for (method, path) in [
                (Method::GET, "/v1/snapshot"),
                (Method::DELETE, "/v1/members/2"),
                (Method::POST, "/v1/leader"),
                (Method::GET, "/v1/kv/k"),
                (Method::PUT, "/v1/kv/k"),
                (Method::GET, "/v1/cache"),
                (Method::GET, "/v1/watch?from=1"),
            ] {
                let status = status_of(&anybody, node, method.clone(), path).await;
                asked += usize::from(status > 0);
                assert!(![200, 201, 204].contains(&status), "{}: {method} {path}: {status}", node.name);
            }
        }
        assert!(asked > 20, "{asked}");
    }
    cluster.ready(&joins).await;
    let root = client(fs::read_to_string(&file).expect("it is there").trim());
    assert_eq!(status_of(&root, &joins, Method::GET, "/v1/kv/k").await, 200);
}

/// Nor does it have the others do it, who know: where it found nobody to ask, it asks for no token by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_without_knowledge_of_tokens_passes_on_is_judged_by_the_leader() {
    let mut cluster = Cluster::start(3, &[]).await;
    let down = cluster.follower().await;
    cluster.put_surely(&cluster.nodes[down], "k", "v").await;
    // So that it has a state when it starts again.
    assert_eq!(status_of(&cluster.http, &cluster.nodes[down], Method::POST, "/v1/snapshot").await, 200);
    cluster.nodes[down].kill();
    let others = [(down + 1) % 3, (down + 2) % 3];
    let folder = cluster.nodes[others[0]].data_dir.to_str().expect("a path").to_owned();
    assert_eq!(run(&["token", "recover", "--data-dir", &folder]).0, 0);
    until("a node takes it", || async {
        status_of(&cluster.http, &cluster.nodes[others[0]], Method::GET, "/v1/keys").await == 401
    })
    .await;
    others.iter().for_each(|&other| cluster.nodes[other].signal(libc::SIGSTOP));
    cluster.nodes[down].start();
    let anybody = lockstep::client::plain_http().timeout(Duration::from_secs(30)).build().expect("a client");
    let node = &cluster.nodes[down];
    until("it has started", || async { status_of(&anybody, node, Method::GET, "/v1/status").await == 200 })
        .await;
    let member = format!("/v1/members/{}", others[0] + 1);
    let (promote, replace) = (format!("{member}/promote"), format!("{member}/replace"));
    let asked = async |method: Method, path: &str| status_of(&anybody, node, method, path).await;
    let (handed_over, removed, upgraded, promoted, replaced, left, ()) = tokio::join!(
        asked(Method::POST, "/v1/leader"),
        asked(Method::DELETE, &member),
        asked(Method::POST, "/v1/upgrade"),
        asked(Method::POST, &promote),
        asked(Method::POST, &replace),
        asked(Method::POST, "/v1/detach"),
        async {
            // By then the node has looked for tokens in vain, which takes a second, and waits for a leader. A node that is told of
            // them sooner refuses by itself.
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            others.iter().for_each(|&other| cluster.nodes[other].signal(libc::SIGCONT));
        }
    );
    let answers = [handed_over, removed, upgraded, promoted, replaced, left];
    assert_eq!(answers, [401; 6], "leader, remove, upgrade, promote, replace, detach");
}

//! Joining with a join token: real processes, and somebody in between.

use crate::support::encrypted::{Encrypted, done, path};
use crate::support::{Node, run, until};
use lockstep::api::{Consistency, JoinTokenText, TokenText};
use lockstep::client::{certificate, read_token_file};
use lockstep::tls::{CertFiles, ServerTls, new_key, signing_request};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A cluster whose first node signs.
async fn signing() -> Encrypted {
    let mut it = Encrypted::start(3).await;
    let key = path(&it.certs.join("ca.key")).to_owned();
    it.cluster.nodes[0].kill();
    it.cluster.nodes[0].add_arguments(&["--ca-key".to_owned(), key]);
    it.cluster.nodes[0].start();
    it.cluster.all_ready().await;
    it
}

/// What a command of the operator prints.
fn operator(it: &Encrypted, arguments: &[&str]) -> (i32, String, String) {
    let (url, ca) = (it.urls().join(","), it.certs.join("ca.crt"));
    let shown = ["--url", &url, "--ca-file", path(&ca), "--token-file", path(&it.root)];
    run(&[arguments, &shown].concat())
}

/// A file with a new join token.
fn token(it: &Encrypted, node: &str, more: &[&str]) -> PathBuf {
    let file = it.cluster.dir.path().join(format!("join-{}", uuid(it)));
    let made = operator(it, &[&["token", "join", node, "--out", path(&file)], more].concat());
    assert_eq!(made.0, 0, "{}", made.2);
    file
}

/// A number for one more file.
fn uuid(it: &Encrypted) -> usize {
    fs::read_dir(it.cluster.dir.path()).expect("a folder").count()
}

/// A node that has a join token and nothing else, with its files in this folder.
fn newcomer(it: &Encrypted, name: &str, token: &Path, through: usize, folder: &str) -> Node {
    let dir = it.cluster.dir.path().join(folder);
    fs::create_dir_all(&dir).expect("a folder");
    let file = |name: &str| dir.join(name);
    let (cert, key, ca) = (file("node.crt"), file("node.key"), file("ca.crt"));
    Node::new(&dir, name, &["--join", &it.cluster.nodes[through].http])
        .with(&["--join-token-file", path(token), "--tls-cert", path(&cert), "--tls-key", path(&key)])
        .with(&["--tls-ca", path(&ca)])
}

async fn refused(mut node: Node, wanted: &str) {
    node.start();
    assert!(!node.ended().await.success());
    assert!(node.log().contains(wanted), "{wanted}: {}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_with_a_token_and_nothing_else_and_nobody_after_it() {
    let it = signing().await;
    let client = it.client();
    client.put("before", "x".into(), &Default::default()).await.expect("written");
    let four = token(&it, "n4", &["--host", "10.0.0.4,cache-4.example"]);

    // A node that does not sign says so, and nothing is used up.
    refused(newcomer(&it, "n4", &four, 1, "wrong-node"), "--ca-key").await;
    // Whatever the newcomer calls itself, its certificate is for the node that the token names.
    refused(newcomer(&it, "n5", &token(&it, "n7", &[]), 0, "wrong-name"), "is of n7").await;

    // It was interrupted when it had a key, and the cluster had given it a certificate already.
    let mut joins = newcomer(&it, "n4", &four, 0, "four");
    let dir = it.cluster.dir.path().join("four");
    let key = new_key().expect("a key");
    fs::write(dir.join("node.key"), &key).expect("written");
    fs::set_permissions(dir.join("node.key"), fs::Permissions::from_mode(0o600)).expect("set");
    let read = |file: &Path| JoinTokenText::parse(&read_token_file(file).expect("a file")).expect("a token");
    let url = &it.cluster.nodes[0].http;
    let ask = async |token: &JoinTokenText, key: &str| {
        certificate(url, token, &signing_request(key).expect("a request")).await
    };
    ask(&read(&four), &key).await.expect("a certificate");
    joins.start();
    let votes = || async {
        let members = client.members().await.expect("members").members;
        members.iter().any(|member| member.name == "n4" && member.voter)
    };
    until("n4 has a vote", votes).await;
    assert_eq!(fs::read_to_string(dir.join("node.key")).expect("a file"), key, "the key is the same");
    let shown = done(&["cert", "show", path(&dir.join("node.crt")), "--json"]);
    let shown: Value = serde_json::from_str(shown.trim()).expect("JSON");
    let shown = &shown["certificates"][0];
    assert_eq!(shown["nodes"], json!(["n4"]));
    assert_eq!(shown["hosts"], json!(["10.0.0.4", "cache-4.example", "localhost", "127.0.0.1", "::1"]));
    assert_eq!(shown["is_authority"], json!(false));
    let ca = |file: &Path| fs::read_to_string(file).expect("a file");
    assert_eq!(ca(&dir.join("ca.crt")), ca(&it.certs.join("ca.crt")));

    // Nobody else can use it: with another key, or with the same certificate and another folder.
    let other = ask(&read(&four), &new_key().expect("a key")).await.expect_err("another key");
    assert!(other.contains("used by another node"), "{other}");
    refused(newcomer(&it, "n4", &four, 0, "five"), "used by another node").await;
    let copied = newcomer(&it, "n4", &four, 0, "six");
    for file in ["node.crt", "node.key", "ca.crt"] {
        fs::copy(dir.join(file), it.cluster.dir.path().join("six").join(file)).expect("copied");
    }
    refused(copied, "used by another node").await;
    // Nor is a certificate alone enough, or the token with the certificate of another.
    let stranger = newcomer(&it, "n2", &token(&it, "n9", &[]), 0, "seven");
    for (from, to) in [("n2.crt", "node.crt"), ("n2.key", "node.key"), ("ca.crt", "ca.crt")] {
        fs::copy(it.certs.join(from), it.cluster.dir.path().join("seven").join(to)).expect("copied");
    }
    refused(stranger, "with the name n9").await;

    // One that has expired or was revoked is none.
    refused(newcomer(&it, "n8", &token(&it, "n8", &["--ttl-ms", "1"]), 0, "late"), "has expired").await;
    let revoked = token(&it, "n8", &[]);
    assert_eq!(operator(&it, &["token", "revoke", &read(&revoked).id]).0, 0);
    refused(newcomer(&it, "n8", &revoked, 0, "revoked"), "was revoked").await;
    let (code, _, error) = operator(&it, &["token", "join", "n8", "--ttl-ms", "3600001"]);
    assert!(code == 1 && error.contains("3600000"), "{code}: {error}");
    let (code, _, error) = operator(&it, &["token", "join", "n8", "--host", "n1.node.lockstep.internal"]);
    assert!(code == 1 && error.contains("n1.node"), "{code}: {error}");

    // An operator sees what has become of it, and who asked.
    let list: Value =
        serde_json::from_str(operator(&it, &["token", "list", "--json"]).1.trim()).expect("JSON");
    let of_four = list["join_tokens"].as_array().expect("a list").iter().find(|one| one["node"] == "n4");
    let of_four = of_four.expect("it is there");
    assert_eq!((&of_four["certified"], &of_four["claimed"]), (&json!(true), &json!(true)), "{list}");
    assert!(!list.to_string().contains("lsj_"));
    let audit = operator(&it, &["audit"]).1;
    for wanted in [
        "POST /v1/join-tokens: n4",
        "POST /v1/join/certificate, with join token",
        "POST /v1/join, with join token",
    ] {
        assert!(audit.contains(wanted), "{wanted}: {audit}");
    }

    // It needs the token no longer, and serves.
    fs::remove_file(&four).expect("removed");
    joins.kill();
    joins.start();
    let tls = it.ca();
    let own = lockstep::client::Client::with_tls(
        std::slice::from_ref(&joins.http.replace("http://", "https://")),
        std::time::Duration::from_secs(20),
        &tls,
    );
    let root = lockstep::client::ClientToken::of_file(&it.root).expect("a token");
    let own = own.expect("good files").with_token(Some(root));
    until("n4 serves", || async {
        own.get("before", Consistency::Linearizable).await.is_ok_and(|found| found.is_some())
    })
    .await;
}

/// What a server that is not of the cluster was sent.
async fn impostor(authorities: String, files: CertFiles) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
    let tls = ServerTls::open(files).expect("good files");
    let sent = Arc::new(Mutex::new(String::new()));
    let heard = sent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok((mut stream, _)) = tls.accept(stream).await else { continue };
            let mut bytes = vec![0; 16 * 1024];
            let length = stream.read(&mut bytes).await.unwrap_or(0);
            heard.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..length]));
            let body = json!({"authorities": authorities}).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_shown_to_nobody_in_between() {
    let dir = tempfile::tempdir().expect("a folder");
    let of = |name: &str| dir.path().join(name);
    let pem = |folder: &str| fs::read_to_string(of(folder).join("ca.crt")).expect("a file");
    for folder in ["good", "evil"] {
        done(&["cert", "ca", "--dir", path(&of(folder))]);
        done(&["cert", "node", "n1", "--dir", path(&of(folder))]);
    }
    let files = |folder: &str| CertFiles {
        cert: of(folder).join("n1.crt"),
        key: of(folder).join("n1.key"),
        ca: Some(of(folder).join("ca.crt")),
    };
    let joining =
        lockstep::tls::Joining::open(&files("good"), None).expect("good files").expect("an authority");
    let pin = joining.own_pin().expect("it signed").hex();
    let token = TokenText::new(format!("lsj_{pin}_abcdefghij_{}", "s".repeat(43)));
    let token = JoinTokenText::parse(&token).expect("a token");
    let request = signing_request(&new_key().expect("a key")).expect("a request");

    // It says which authorities it believes, truly or not, and has a certificate of its own.
    for told in ["evil", "good", "both"] {
        let authorities = if told == "both" { pem("good") + &pem("evil") } else { pem(told) };
        let (url, sent) = impostor(authorities, files("evil")).await;
        let begun = std::time::Instant::now();
        let error = certificate(&url, &token, &request).await.expect_err("somebody in between");
        assert!(error.contains("in between") || error.contains("certificate"), "{told}: {error}");
        assert!(begun.elapsed().as_secs() < 10, "{told} is not tried again: {error}");
        let sent = sent.lock().expect("no panic").clone();
        assert!(sent.contains("GET /v1/authorities") && !sent.contains("lsj_"), "{told}: {sent}");
    }
    // Whoever has a certificate of that authority is believed: the token arrives.
    let (url, sent) = impostor(pem("good"), files("good")).await;
    certificate(&url, &token, &request).await.expect_err("this is no answer");
    assert!(sent.lock().expect("no panic").contains("lsj_"), "this test would see a token");
    let plain = certificate("http://127.0.0.1:1", &token, &request).await.expect_err("without encryption");
    assert!(plain.contains("HTTPS"), "{plain}");
}

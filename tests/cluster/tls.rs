//! Clusters that encrypt everything, of real processes and certificates that `lockstep cert` makes.

use crate::support::encrypted::{Encrypted, done, https, path};
use crate::support::ports::free_port;
use crate::support::{Node, run, until};
use lockstep::client::{Client, ClientToken};
use lockstep::tls::ClientTls;
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_encrypted_and_everybody_shows_who_they_are() {
    let it = Encrypted::start(3).await;
    let (nodes, ca) = (&it.cluster.nodes, path(&it.certs).to_owned() + "/ca.crt");
    let client = it.client();
    for node in nodes {
        let one = Client::with_tls(std::slice::from_ref(&node.http), LIMIT, &it.ca()).expect("good files");
        let one = one.with_token(Some(ClientToken::of_file(&it.root).expect("a token")));
        one.put(&node.name, "x".into(), &Default::default()).await.expect("written");
    }
    assert_eq!(client.members().await.expect("members").members.len(), 3);

    // Whoever speaks plain HTTP is told, and whoever believes another authority does not go on.
    let plain = lockstep::client::plain_http().build().expect("a client");
    let told = plain.get(nodes[0].http.replace("https", "http")).send().await.expect("an answer");
    assert_eq!(told.status(), 400);
    assert!(told.text().await.expect("text").contains("HTTPS"));
    let other = it.cluster.dir.path().join("other");
    done(&["cert", "ca", "--dir", path(&other)]);
    let wrong = ClientTls { ca: Some(other.join("ca.crt")), own: None };
    https(&wrong).get(format!("{}/livez", nodes[0].http)).send().await.expect_err("another authority");

    // Only nodes are told what nodes tell each other.
    let introduction = format!("{}/v1/introduction", nodes[0].http);
    assert_eq!(it.cluster.http.get(&introduction).send().await.expect("an answer").status(), 403);
    let of = |name: &str| Some((it.certs.join(format!("{name}.crt")), it.certs.join(format!("{name}.key"))));
    let node = https(&ClientTls { own: of("n2"), ..it.ca() });
    assert_eq!(node.get(&introduction).send().await.expect("an answer").status(), 200);

    // A client's certificate has the rights of its token, as long as there is that token.
    let url = it.urls().join(",");
    let all = ["--url", &url, "--ca-file", &ca];
    let root = ["--token-file", path(&it.root)];
    let made =
        done(&[&["token", "create", "app", "--grant", "write:a/", "--json"], &all[..], &root].concat());
    let made: Value = serde_json::from_str(made.trim()).expect("JSON");
    let id = made["id"].as_str().expect("an id");
    done(&["cert", "client", id, "--dir", path(&it.certs)]);
    let (cert, key) = of(id).expect("both");
    let shown = [&all[..], &["--cert-file", path(&cert), "--key-file", path(&key)]].concat();
    done(&[&["put", "a/1", "x"], &shown[..]].concat());
    assert_eq!(run(&[&["put", "b", "x"], &shown[..]].concat()).0, 11);
    let (code, _, error) = run(&[&["get", "a/1"], &all[..]].concat());
    assert_eq!(code, 11, "without a certificate: {error}");
    done(&[&["token", "revoke", id], &all[..], &root].concat());
    for node in nodes {
        let one = [&["get", "a/1", "--url", &node.http], &shown[2..]].concat();
        assert_eq!(run(&one).0, 11, "{} knows that it was revoked", node.name);
    }

    // A node whose certificate has another name is refused by itself, and one with a name of its own joins.
    let (cert, key) = of("n2").expect("both");
    let files = ["--tls-cert", path(&cert), "--tls-key", path(&key), "--tls-ca", &ca];
    let join = ["--join", &nodes[0].http, "--token-file", path(&it.root)];
    let mut other = Node::new(it.cluster.dir.path(), "n4", &[&files[..], &join].concat());
    other.start();
    assert!(!other.ended().await.success());
    assert!(other.log().contains("lockstep cert node n4"), "{}", other.log());
    done(&["cert", "node", "n5", "--dir", path(&it.certs)]);
    let (cert, key) = of("n5").expect("both");
    let files = ["--tls-cert", path(&cert), "--tls-key", path(&key), "--tls-ca", &ca];
    let mut fifth = Node::new(it.cluster.dir.path(), "n5", &[&files[..], &join].concat());
    fifth.start();
    let votes = || async {
        let members = client.members().await.expect("members").members;
        members.iter().any(|member| member.name == "n5" && member.voter)
    };
    until("n5 has a vote", votes).await;
}

/// Has every node read its certificates again, and waits until each has.
async fn reload(it: &Encrypted, what: &str) {
    let count = |node: &Node| node.log().matches("new certificates").count();
    for node in &it.cluster.nodes {
        let before = count(node);
        node.signal(libc::SIGHUP);
        // One for the port for clients, one for that for peers.
        until(&format!("{} has {what}", node.name), || async { count(node) >= before + 2 }).await;
    }
}

/// The whole authority is replaced while clients write and read on all nodes, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_replaced_under_load() {
    let it = Encrypted::start(3).await;
    let dir = it.cluster.dir.path();
    let (new, ca) = (dir.join("new"), it.certs.join("ca.crt"));
    done(&["cert", "ca", "--dir", path(&new)]);
    let both = [&ca, &new.join("ca.crt")].map(|file| fs::read_to_string(file).expect("a file")).concat();
    // Clients believe both from the beginning, and connect anew for each request.
    fs::write(dir.join("both.crt"), &both).expect("written");
    let tls = ClientTls { ca: Some(dir.join("both.crt")), own: None };
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let token = fs::read_to_string(&it.root).expect("a file").trim().to_owned();
    let load: Vec<_> = it
        .urls()
        .into_iter()
        .map(|url| {
            let (stop, count, token) = (stop.clone(), count.clone(), token.clone());
            let config = tls.config().expect("good files");
            let http = reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .tls_backend_preconfigured(config);
            let http = http.timeout(LIMIT).build().expect("a client");
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    let key = format!("{url}/v1/kv/{}", count.fetch_add(1, Relaxed) % 100);
                    for request in [http.put(&key).body("x"), http.get(&key)] {
                        let answer = request.bearer_auth(&token).send().await.expect("an answer");
                        assert!(answer.status().is_success(), "{}", answer.status());
                    }
                }
            })
        })
        .collect();
    let goes_on = async |what: &str| {
        let before = count.load(Relaxed);
        until(what, || async { count.load(Relaxed) >= before + 60 }).await;
    };

    goes_on("the load runs").await;
    fs::write(&ca, &both).expect("written");
    reload(&it, "both authorities").await;
    goes_on("with both").await;
    for node in &it.cluster.nodes {
        let (cert, key) = (format!("{}.crt", node.name), format!("{}.key", node.name));
        done(&["cert", "node", &node.name, "--dir", path(&new)]);
        fs::rename(new.join(&key), it.certs.join(&key)).expect("moved");
        fs::rename(new.join(&cert), it.certs.join(&cert)).expect("moved");
    }
    reload(&it, "a certificate of the new one").await;
    goes_on("with new certificates").await;
    fs::copy(new.join("ca.crt"), &ca).expect("copied");
    reload(&it, "the new authority alone").await;
    goes_on("with the new authority alone").await;
    stop.store(true, Relaxed);
    for task in load {
        task.await.expect("no request failed");
    }

    // Connections between nodes that are made now are made with the new certificates.
    let mut it = it;
    let follower = {
        let client = Client::with_tls(&it.urls(), LIMIT, &tls).expect("good files");
        let client = client.with_token(Some(ClientToken::of_file(&it.root).expect("a token")));
        let leader = client.status().await.expect("a status").leader.expect("a leader").name;
        it.cluster.nodes.iter().position(|node| node.name != leader).expect("a follower")
    };
    it.cluster.nodes[follower].kill();
    it.cluster.nodes[follower].start();
    it.cluster.http = https(&tls);
    it.cluster.all_ready().await;
    let written = it.client().put("after", "x".into(), &Default::default()).await;
    written.expect("it is written with the new authority");
}

/// Other machines can reach a port only where it is protected, or with an option that says that it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_other_machines_is_protected() {
    let dir = tempfile::tempdir().expect("a folder");
    let (certs, data) = (dir.path().join("certs"), dir.path().join("data"));
    done(&["cert", "ca", "--dir", path(&certs)]);
    done(&["cert", "node", "n1", "--dir", path(&certs)]);
    let (cert, key, ca) = (certs.join("n1.crt"), certs.join("n1.key"), certs.join("ca.crt"));
    let cert = ["--tls-cert", path(&cert), "--tls-key", path(&key)];
    let tls = [&cert[..], &["--tls-ca", path(&ca)]].concat();
    let serve = ["serve", "--data-dir", path(&data), "--http", "0.0.0.0:0"];
    let refused = |more: &[&str], wanted: &[&str]| {
        let (code, _, error) = run(&[&serve[..], more].concat());
        assert_eq!(code, 2, "{more:?}: {error}");
        wanted.iter().for_each(|word| assert!(error.contains(word), "{more:?}: {error}"));
        assert!(!data.exists(), "nothing was made");
    };
    refused(&[], &["--http", "--tls-cert and --tokens", "--insecure-clients"]);
    refused(&tls, &["--http", "with --tokens", "--insecure-clients"]);
    refused(&["--tokens"], &["--http", "with --tls-cert", "--insecure-clients"]);
    refused(&["--insecure-clients"], &["--peer", "--tls-ca", "--insecure-peers"]);
    refused(&[&cert[..], &["--tokens"]].concat(), &["--peer", "--tls-ca", "--insecure-peers"]);
    refused(&["--insecure-peers"], &["--http", "--insecure-clients"]);
    refused(&["--tls-cert", "nowhere.crt", "--tls-key", "nowhere.key"], &["nowhere.crt"]);

    // With all of it, it starts, and answers probes on a port without encryption.
    let mut node = Node::new(dir.path(), "n1", &[]);
    let probe = format!("127.0.0.1:{}", crate::support::free_port());
    node = node.with(&tls).with(&["--tokens", "--probe", &probe]);
    node.start();
    let http = lockstep::client::plain_http().timeout(LIMIT).build().expect("a client");
    let status = async |path: &str| {
        let asked = http.get(format!("http://{probe}{path}")).send().await;
        asked.map_or(0, |answer| answer.status().as_u16())
    };
    until("it is ready", || async { status("/readyz").await == 200 }).await;
    assert_eq!(status("/livez").await, 200);
    assert_eq!(status("/metrics").await, 404, "that takes another option");
    assert_eq!(status("/v1/kv/a").await, 404);
    let foreign = http.get(format!("http://{probe}/livez")).header("host", "evil.example").send().await;
    assert_eq!(foreign.expect("an answer").status(), 421);
    // Many probes that say nothing do not keep out another.
    let _held: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&probe).expect("connected")).collect();
    until("a probe is answered", || async { status("/livez").await == 200 }).await;
}

/// Whoever is connected and says nothing has asked for nothing, so no node waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_does_not_delay_a_stop() {
    let redis = format!("127.0.0.1:{}", free_port());
    let mut it = Encrypted::start_with(1, &["--redis-tls", &redis]).await;
    let node = &mut it.cluster.nodes[0];
    let http = node.http.trim_start_matches("https://").to_owned();
    let silent =
        [TcpStream::connect(http), TcpStream::connect(redis)].map(|stream| stream.expect("it listens"));
    let begun = Instant::now();
    node.signal(libc::SIGTERM);
    assert!(node.ended().await.success(), "{}", node.log());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    drop(silent);
}

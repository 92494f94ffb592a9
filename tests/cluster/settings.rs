//! What a node was started with, and what holds.

use crate::support::{Cluster, Node, addresses, run, until};
use reqwest::Method;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

async fn member(cluster: &Cluster, ask: &Node, name: &str) -> Option<Value> {
    let body: Value = cluster.request(Method::GET, ask, "/v1/members", "").await.json().await.expect("json");
    body["members"].as_array().expect("a list").iter().find(|member| member["name"] == name).cloned()
}

fn replace(node: &mut Node, flag: &str, value: &str) {
    let mut arguments = node.arguments().to_vec();
    let at = arguments.iter().position(|argument| argument == flag).expect("it was given");
    arguments[at + 1] = value.to_owned();
    node.replace_arguments(arguments);
}

/// Clients are sent where a member is now, not where it was when it joined.
#[tokio::test(flavor = "multi_thread")]
async fn another_url_or_name_of_a_member_gets_into_the_membership() {
    let mut cluster = Cluster::start(3, &[]).await;
    let victim = cluster.follower().await;
    let other = (victim + 1) % 3;
    cluster.nodes[victim].kill();
    let (http, _) = addresses();
    replace(&mut cluster.nodes[victim], "--http", &http);
    replace(&mut cluster.nodes[victim], "--name", "renamed");
    cluster.nodes[victim].http = format!("http://{http}");
    cluster.nodes[victim].name = "renamed".into();
    cluster.nodes[victim].start();
    cluster.ready(&cluster.nodes[victim]).await;
    until("the membership has it", || async {
        let found = member(&cluster, &cluster.nodes[other], "renamed").await;
        found.is_some_and(|found| found["http"] == *cluster.nodes[victim].http && found["voter"] == true)
    })
    .await;
    let told = "the membership has this node's new name and URL";
    until("the node says so", || async { cluster.nodes[victim].log().contains(told) }).await;
    assert_eq!(cluster.status(&cluster.nodes[victim]).await["node"]["name"], "renamed");
    cluster.put_surely(&cluster.nodes[victim], "k", "v").await;
    cluster.digests_agree().await;
}

/// A name or URL that another member has, or that is none, is not taken.
#[tokio::test(flavor = "multi_thread")]
async fn members_are_checked_before_they_are_kept() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let good = |field: &str, value: &str| {
        let mut body = serde_json::json!({
            "name": "extra", "http": "http://127.0.0.1:9", "peer": "127.0.0.1:19",
            "store_uuid": uuid::Uuid::new_v4().to_string(),
        });
        body[field] = value.into();
        body.to_string()
    };
    let bad = [
        ("name", "x y\n<b>"),
        ("name", ""),
        ("http", "javascript:alert(1)"),
        ("http", "http://user:pass@host:1"),
        ("http", "not a url"),
        ("peer", "file:///etc/passwd:1"),
        ("peer", "x:+5"),
        ("store_uuid", "mine"),
    ];
    for (field, value) in bad {
        let request = cluster.http.post(format!("{}/v1/members", node.http));
        let request = request.header("content-type", "application/json").body(good(field, value));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 400, "{field}: {value}");
    }
    for (field, value) in [("http", node.http.as_str()), ("peer", node.peer.as_str()), ("name", "n1")] {
        let request = cluster.http.post(format!("{}/v1/members", node.http));
        let request = request.header("content-type", "application/json").body(good(field, value));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 409, "{field}: {value}");
    }
    let mut odd = Node::new(cluster.dir.path(), "odd", &[]).with(&["--advertise-http", "not a url"]);
    odd.start();
    assert_eq!(odd.ended().await.code(), Some(1));
    assert!(odd.log().contains("the URL of a member"), "{}", odd.log());
}

/// A folder belongs to one cluster, whatever it is told to join.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_one_cluster_does_not_join_another() {
    let mut cluster = Cluster::start(1, &[]).await;
    let mut other = Node::new(cluster.dir.path(), "other", &[]);
    other.start();
    cluster.ready(&other).await;
    other.kill();
    other.add_arguments(&["--join".to_owned(), cluster.nodes[0].http.clone()]);
    other.start();
    assert_eq!(other.ended().await.code(), Some(1));
    assert!(other.log().contains("belongs to another cluster"), "{}", other.log());
    // A member that names the cluster it is in starts, also when that node is down.
    let mut joined = Node::new(cluster.dir.path(), "joined", &["--join", &cluster.nodes[0].http.clone()]);
    joined.start();
    cluster.ready(&joined).await;
    joined.kill();
    joined.start();
    cluster.ready(&joined).await;
    cluster.nodes[0].kill();
    joined.kill();
    joined.start();
    until("it runs", || async { joined.log().matches("has its place in the cluster").count() == 3 }).await;
}

/// Where nodes name different settings, those of the first address hold, and the others say that theirs do not.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_address_gives_the_settings_and_the_others_are_told() {
    let mut cluster = Cluster::stopped(3, &[]).await;
    let port = |node: &Node| node.http.rsplit(':').next().expect("a port").parse::<u16>().expect("a number");
    for (position, capacity) in [(0, "100"), (1, "200"), (2, "300")] {
        cluster.nodes[position].environment.push(("CACHE_CAPACITY".into(), capacity.into()));
        cluster.nodes[position].environment.push(("PORT".into(), String::new()));
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    let first = (0..3).min_by_key(|&position| port(&cluster.nodes[position])).expect("three");
    let holds = 100 * (first as u64 + 1);
    for (position, node) in cluster.nodes.iter().enumerate() {
        until("the settings are there", || async {
            cluster.status(node).await["config"]["capacity_entries"] == holds
        })
        .await;
        let told = || node.log().contains("started with a setting that the cluster does not have");
        if position == first {
            assert!(!told(), "{}", node.log());
        } else {
            until("it is told", || async { told() }).await;
        }
    }
}

/// What is cached is for nobody else on the machine, and a closed terminal is an orderly end.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_private_and_a_hang_up_is_a_clean_stop() {
    let mut cluster = Cluster::start(1, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "k", "v").await;
    cluster.request(Method::POST, &cluster.nodes[0], "/v1/snapshot", "").await;
    let mut folders = vec![cluster.nodes[0].data_dir.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let mode = std::fs::metadata(&folder).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen} files");
    cluster.nodes[0].signal(libc::SIGHUP);
    assert_eq!(cluster.nodes[0].ended().await.code(), Some(0));
    assert!(cluster.nodes[0].log().contains("stopping"), "{}", cluster.nodes[0].log());

    // Whoever wants it to outlive the terminal says so when starting it.
    cluster.nodes[0].ignores_hang_up = true;
    cluster.nodes[0].start();
    cluster.all_ready().await;
    cluster.nodes[0].signal(libc::SIGHUP);
    cluster.put_surely(&cluster.nodes[0], "still", "here").await;
    assert!(cluster.nodes[0].still_runs());
}

/// A lost mount: an empty folder, and no list of peers, at the addresses of a member. The node founds a cluster of its own
/// there and is ready, so clients that know several URLs write into it. Both sides say so for as long as it lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_became_a_cluster_of_its_own_is_noticed_on_both_sides() {
    let mut cluster = Cluster::start(3, &[]).await;
    for node in &cluster.nodes {
        assert_eq!(cluster.status(node).await["warnings"], serde_json::json!([]));
    }
    let lost = cluster.follower().await;
    cluster.nodes[lost].kill();
    let (http, peer) = (cluster.nodes[lost].http.clone(), cluster.nodes[lost].peer.clone());
    let mut alone = Node::new(cluster.dir.path(), "lost-mount", &[]);
    alone.http = http.clone();
    alone.peer = peer.clone();
    let folder = alone.data_dir.display().to_string();
    let arguments =
        ["serve", "--http", http.trim_start_matches("http://"), "--peer", &peer, "--data-dir", &folder];
    alone.replace_arguments(arguments.map(str::to_owned).to_vec());
    alone.environment.push(("PEER_NODES".into(), String::new()));
    alone.start();
    cluster.ready(&alone).await;

    let warned = async |node: &Node, code: &str, words: &str| {
        let status = cluster.status(node).await;
        let found = status["warnings"].as_array().expect("a list").iter().any(|warning| {
            warning["code"] == code && warning["detail"].as_str().expect("a text").contains(words)
        });
        let numbers = cluster.request(Method::GET, node, "/metrics", "").await.text().await.expect("a text");
        found && numbers.contains(&format!("lockstep_warnings{{code=\"{code}\"}} 1"))
    };
    until("the node says that it is called", || {
        warned(&alone, "called_by_another_cluster", "founded its cluster alone")
    })
    .await;
    let (_, told, _) = run(&["status", "--url", &alone.http]);
    assert!(told.contains("WARNING: nodes of another cluster call this one"), "{told}");
    let others: Vec<&Node> = (0..3).filter(|at| *at != lost).map(|at| &cluster.nodes[at]).collect();
    for node in &others {
        until("the others say where it is", || warned(node, "member_of_another_cluster", &peer)).await;
        let nodes: Value =
            cluster.request(Method::GET, node, "/v1/nodes", "").await.json().await.expect("json");
        let found = nodes["nodes"].as_array().expect("a list").iter().find(|found| found["http"] == *http);
        let expected = format!("the node at {peer} belongs to another cluster");
        assert_eq!(found.expect("it is a member")["error"], expected);
        let told = "the node at a member's address belongs to another cluster";
        until("its log says so", || async { node.log().contains(told) }).await;
    }
    // Once the member itself is back, the others have nothing to say.
    alone.kill();
    cluster.nodes[lost].start();
    cluster.all_ready().await;
    for at in 0..3 {
        until("nothing is odd", || async {
            cluster.status(&cluster.nodes[at]).await["warnings"] == serde_json::json!([])
        })
        .await;
    }
}

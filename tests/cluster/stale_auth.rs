//! H4: how long a node without a majority goes by the tokens that it knows.

use crate::recover::{apply, is_superseded, plan, stop};
use crate::socket_io_page;
use crate::support::{Cluster, Node, until};
use crate::tokens::{client, create, create_with, guarded, status_of};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// `--stale-auth-limit` of these nodes: many of the looks for something newer fit in.
const LIMIT: Duration = Duration::from_secs(2);
const FLAGS: [&str; 5] = ["--fault-injection", "--stale-auth-limit", "2s", "--request-timeout-ms", "2000"];
const STALE: &str = "/v1/kv/a%2Fk?consistency=stale";

async fn stale(client: &Client, node: &Node) -> u16 {
    status_of(client, node, Method::GET, STALE).await
}

async fn cut(cluster: &Cluster, node: &Node, cut: bool) {
    let body = json!({ "cut": cut }).to_string();
    assert_eq!(cluster.request(Method::PUT, node, "/v1/debug/links", body).await.status(), 200);
}

/// Why a stale read is refused.
async fn refusal(client: &Client, node: &Node) -> Value {
    let refused = client.get(format!("{}{STALE}", node.http)).send().await.expect("an answer");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!((&problem["code"], &problem["effect"]), (&json!("unavailable"), &json!("none")));
    problem
}

/// H4: a revoked token is good for stale reads of a cut-off node, for so long; then no token is, until the node has a majority
/// again. Without the limit a stolen token would be good there as long as the cut lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_soon_goes_by_no_token() {
    let (cluster, _) = guarded(3, &FLAGS).await;
    cluster.put_surely(&cluster.nodes[0], "a%2Fk", "v").await;
    for leads in [true, false] {
        let leader = cluster.leader().await;
        let alone = if leads { leader } else { (leader + 1) % 3 };
        let (alone, other) = (&cluster.nodes[alone], &cluster.nodes[(alone + 2) % 3]);
        let (id, revoked) = create(&cluster, other, &format!("revoked-{leads}")).await;
        let (_, good) = create(&cluster, other, &format!("good-{leads}")).await;
        let nobody = client("lsk_nobody");
        // A current read shows that the node has them.
        for token in [&revoked, &good] {
            assert_eq!(status_of(token, alone, Method::GET, "/v1/kv/a%2Fk").await, 200);
        }
        let watch = good.get(format!("{}/v1/watch?prefix=a%2F", alone.http)).send().await.expect("an answer");
        assert_eq!(watch.status(), 200);
        let grants = json!([{"role": "read", "prefix": ""}]);
        let (_, all) = create_with(&cluster, other, &format!("all-{leads}"), grants, None).await;
        let connect = format!(r#"40{{"token":"{all}"}}"#);
        let (heard, page) = socket_io_page::open(&nobody, &alone.http, connect).await;
        assert!(heard.contains("40{"), "{heard}");

        let begun = Instant::now();
        cut(&cluster, alone, true).await;
        let before = (stale(&revoked, alone).await, status_of(&good, alone, Method::GET, "/v1/status").await);
        assert_eq!(before, (200, 200), "{leads}: after {:?}", begun.elapsed());
        let path = format!("/v1/tokens/{id}");
        until("the others revoke it", || async {
            [200, 404].contains(&status_of(&cluster.http, other, Method::DELETE, &path).await)
        })
        .await;
        until("the limit is over", || async { stale(&good, alone).await == 503 }).await;
        assert!(begun.elapsed() >= LIMIT / 2, "{leads}: it was over after {:?}", begun.elapsed());

        for token in [&revoked, &good, &cluster.http] {
            let problem = refusal(token, alone).await;
            let detail = problem["detail"].as_str().expect("a sentence");
            assert!(detail.contains("no majority for ") && detail.contains("--stale-auth-limit"), "{detail}");
            for path in ["/v1/keys?prefix=a%2F&consistency=stale", "/v1/kv/a%2Fk", "/v1/watch?prefix=a%2F"] {
                assert_eq!(status_of(token, alone, Method::GET, path).await, 503, "{leads}: {path}");
            }
            // What shows no keys is still told: somebody must see what is wrong with this node.
            for path in ["/v1/status", "/metrics"] {
                assert_eq!(status_of(token, alone, Method::GET, path).await, 200, "{leads}: {path}");
            }
        }
        let reads = r#"{"ops":[{"op":"get","key":"a/k"}]}"#;
        let batch = good.post(format!("{}/v1/batch", alone.http)).header("content-type", "application/json");
        assert_eq!(batch.body(reads).send().await.expect("an answer").status(), 503);
        assert_eq!(stale(&nobody, alone).await, 401, "what is no token is none here, either");
        let told = watch.text().await.expect("it ends");
        let last = told.lines().rev().find(|line| line.starts_with("data:")).expect("a message");
        assert!(last.contains("\"cut\"") && last.contains("\"unavailable\""), "{told}");
        assert!(last.contains("--stale-auth-limit"), "{told}");
        // A packet `41` disconnects a page.
        let mut heard = String::new();
        while !heard.split('\u{1e}').any(|packet| packet == "41") {
            let more = nobody.get(&page).send().await.expect("an answer");
            assert_eq!(more.status(), 200, "{heard}");
            heard = more.text().await.expect("a body");
        }
        // What an admin does with this node alone is still judged by what it knows.
        assert_eq!(status_of(&cluster.http, alone, Method::GET, "/v1/debug/links").await, 200);
        assert_eq!(status_of(&good, alone, Method::GET, "/v1/debug/links").await, 403);
        assert_eq!(status_of(&good, alone, Method::GET, "/livez").await, 200);

        cut(&cluster, alone, false).await;
        until("it serves again", || async { stale(&good, alone).await == 200 }).await;
        cluster.ready(alone).await;
        assert_eq!(stale(&revoked, alone).await, 401);
        assert_eq!(status_of(&good, alone, Method::GET, "/v1/status").await, 200);
    }
}

/// A node that was given up in a recovery never learns of another revocation. It is seen, and what concerns it alone is for admins.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_given_up_goes_by_no_token_for_keys() {
    let (mut cluster, _) = guarded(3, &FLAGS).await;
    cluster.put_surely(&cluster.nodes[0], "a%2Fk", "v").await;
    cluster.digests_agree().await;
    let (_, app) = create(&cluster, &cluster.nodes[2], "app").await;
    assert_eq!(status_of(&app, &cluster.nodes[2], Method::GET, "/v1/kv/a%2Fk").await, 200);
    // What it has in its snapshot it knows when it starts, whether it is given up before it hears what was committed or after that.
    assert_eq!(status_of(&cluster.http, &cluster.nodes[2], Method::POST, "/v1/snapshot").await, 200);
    stop(&mut cluster, &[0, 1, 2]).await;
    let planned = plan(&cluster, &[0], "n2,n3");
    apply(&cluster, &planned, 0, &[]);
    for node in &mut cluster.nodes {
        node.start();
    }
    let given_up = &cluster.nodes[2];
    until("it gives way", || is_superseded(&cluster, given_up)).await;
    let refused = stale(&app, given_up).await;
    assert_eq!(refused, 503, "nobody knows how old its tokens are");
    for (path, wanted) in [("/v1/status", 200), ("/metrics", 200), ("/v1/debug/links", 200)] {
        assert_eq!(status_of(&cluster.http, given_up, Method::GET, path).await, wanted, "{path}");
    }
    assert_eq!(status_of(&app, given_up, Method::GET, "/v1/debug/links").await, 403);
}

/// What a node knew before it was restarted may be of any age, so it goes by no token before it has a majority. A node that left
/// its cluster on purpose is its own majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_a_majority_goes_by_no_token() {
    let (mut cluster, _) = guarded(3, &FLAGS).await;
    cluster.put_surely(&cluster.nodes[0], "a%2Fk", "v").await;
    let (_, app) = create(&cluster, &cluster.nodes[2], "app").await;
    assert_eq!(status_of(&app, &cluster.nodes[2], Method::GET, "/v1/kv/a%2Fk").await, 200);
    // A node that starts has what is in its snapshot. Of the log it does not know yet what was committed.
    assert_eq!(status_of(&cluster.http, &cluster.nodes[2], Method::POST, "/v1/snapshot").await, 200);
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.nodes[2].start();
    let alone = &cluster.nodes[2];
    until("it has started", || async {
        let Ok(refused) = app.get(format!("{}{STALE}", alone.http)).send().await else { return false };
        refused.text().await.expect("a body").contains("since it started")
    })
    .await;
    refusal(&app, alone).await;

    cluster.nodes[2].kill();
    let mut arguments = cluster.nodes[2].arguments().to_vec();
    let limit = arguments.iter().position(|argument| argument == "--stale-auth-limit").expect("it is there");
    arguments[limit + 1] = "never".into();
    cluster.nodes[2].replace_arguments(arguments);
    cluster.nodes[2].start();
    until("it goes by what it knows", || async { stale(&app, &cluster.nodes[2]).await == 200 }).await;

    cluster.nodes[0].start();
    cluster.nodes[1].start();
    cluster.all_ready().await;
    let leaves = &cluster.nodes[0];
    let detach = cluster.http.post(format!("{}/v1/detach", leaves.http));
    assert_eq!(detach.send().await.expect("an answer").status(), 200);
    until("it goes on alone", || async { stale(&app, leaves).await == 200 }).await;
    let begun = Instant::now();
    while begun.elapsed() < 2 * LIMIT {
        assert_eq!(stale(&app, leaves).await, 200, "after {:?}", begun.elapsed());
        tokio::task::yield_now().await;
    }
}

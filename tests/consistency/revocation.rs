//! H4: a request that begins after the revocation of its token was acknowledged is refused, whatever happens to the nodes meanwhile.
//!
//! Workers make tokens, use them at all nodes, and revoke them, while nodes are stopped, killed and made leaders.
//! `LOCKSTEP_REVOCATION_SECONDS` says how long, and `LOCKSTEP_SEED` repeats the choices.

use crate::support::{Cluster, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

const WORKERS: u64 = 3;
const USERS: usize = 3;
/// How long users go on after a revocation.
const AFTER: Duration = Duration::from_millis(400);

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    pub revoked: usize,
    /// Requests that were answered with success, before the revocation was acknowledged.
    pub admitted: usize,
    pub refused_after: usize,
    /// Requests that began after it, and were answered with success all the same.
    pub violations: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_under_faults() {
    let number =
        |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (seconds, seed) =
        (number("LOCKSTEP_REVOCATION_SECONDS", 15), number("LOCKSTEP_SEED", rand::random()));
    let report = revocations(seed, Duration::from_secs(seconds), &[]).await;
    println!(
        "LOCKSTEP_SEED={seed}: {} tokens revoked in {seconds} s, {} requests admitted before, {} refused after",
        report.revoked, report.admitted, report.refused_after
    );
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(
        report.revoked > 3 && report.admitted > 30 && report.refused_after > 30,
        "too little happened: {report:?}"
    );
}

/// Runs for so long. `extra` goes to each node.
pub async fn revocations(seed: u64, length: Duration, extra: &[&str]) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("root");
    let (code, root, error) = run(&["token", "generate"]);
    assert_eq!(code, 0, "{error}");
    fs::write(&file, &root).expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set");
    let given = ["--root-token-file", file.to_str().expect("a path")];
    let mut cluster = Cluster::start(3, &[&given, extra].concat()).await;
    let urls: Arc<[String]> = cluster.nodes.iter().map(|node| node.http.clone()).collect();
    let root = client(root.trim());
    while ask(&root, &urls[0], Method::GET, "/v1/token").await != Some(200) {
        sleep(Duration::from_millis(50)).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (urls, root, over) = (urls.clone(), root.clone(), over.clone());
        let random = StdRng::seed_from_u64(seed.wrapping_add(worker + 1));
        workers.spawn(async move { make_and_revoke(worker, &urls, &root, random, &over).await });
    }
    disturb(&mut cluster, &root, StdRng::seed_from_u64(seed), length).await;
    over.store(true, Ordering::Relaxed);
    let mut all = Report::default();
    while let Some(report) = workers.join_next().await {
        let report = report.expect("no panic");
        all.revoked += report.revoked;
        all.admitted += report.admitted;
        all.refused_after += report.refused_after;
        all.violations.extend(report.violations);
    }
    all
}

/// Stops nodes for a while, kills them, and has others lead.
async fn disturb(cluster: &mut Cluster, root: &Client, mut random: StdRng, length: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < length {
        sleep(Duration::from_millis(random.random_range(200..900))).await;
        let at = random.random_range(0..cluster.nodes.len());
        match random.random_range(0..4) {
            0 => {
                cluster.nodes[at].kill();
                sleep(Duration::from_millis(random.random_range(100..800))).await;
                cluster.nodes[at].start();
            }
            1 => drop(ask(root, &cluster.nodes[at].http, Method::POST, "/v1/leader").await),
            _ => {
                cluster.nodes[at].signal(libc::SIGSTOP);
                sleep(Duration::from_millis(random.random_range(300..1_500))).await;
                cluster.nodes[at].signal(libc::SIGCONT);
            }
        }
    }
    cluster.all_ready().await;
}

async fn make_and_revoke(
    worker: u64,
    urls: &Arc<[String]>,
    root: &Client,
    mut random: StdRng,
    over: &AtomicBool,
) -> Report {
    let mut report = Report::default();
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let any = |random: &mut StdRng| random.random_range(0..urls.len());
        let Some((id, token)) = make(root, &urls[any(&mut random)], &format!("w{worker}-{round}")).await
        else {
            continue;
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut users = JoinSet::new();
        for user in 0..USERS {
            let (urls, client, stop) = (urls.clone(), client(&token), stop.clone());
            let random = StdRng::seed_from_u64(random.random());
            users.spawn(async move { uses(&client, &urls, user % 2 == 0, random, &stop).await });
        }
        sleep(Duration::from_millis(random.random_range(100..500))).await;
        // Until it is certain: after an attempt of unknown outcome the token may be gone.
        let path = format!("/v1/tokens/{id}");
        while !matches!(ask(root, &urls[any(&mut random)], Method::DELETE, &path).await, Some(200 | 404)) {
            sleep(Duration::from_millis(20)).await;
        }
        let acknowledged = Instant::now();
        sleep(AFTER).await;
        stop.store(true, Ordering::Relaxed);
        while let Some(used) = users.join_next().await {
            for Use { began, node, what, status } in used.expect("no panic") {
                let is_success = (200..300).contains(&status);
                match (is_success, began > acknowledged) {
                    (true, true) => report.violations.push(format!(
                        "{what} at node {node} of token {id} began {:?} after its revocation was acknowledged, and got {status}",
                        began - acknowledged
                    )),
                    (true, false) => report.admitted += 1,
                    (false, true) => report.refused_after += usize::from(status == 401),
                    (false, false) => {}
                }
            }
        }
        report.revoked += 1;
    }
    report
}

async fn make(root: &Client, url: &str, name: &str) -> Option<(String, String)> {
    let body = json!({"name": name, "grants": [{"role": "write", "prefix": "a/"}]}).to_string();
    let asking = root.post(format!("{url}/v1/tokens")).header("content-type", "application/json").body(body);
    let made: Value = asking.send().await.ok()?.json().await.ok()?;
    Some((made["id"].as_str()?.to_owned(), made["token"].as_str()?.to_owned()))
}

/// A request with a token.
struct Use {
    began: Instant,
    node: usize,
    what: &'static str,
    status: u16,
}

async fn uses(
    client: &Client,
    urls: &[String],
    writes: bool,
    mut random: StdRng,
    stop: &AtomicBool,
) -> Vec<Use> {
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (node, began) = (random.random_range(0..urls.len()), Instant::now());
        let (method, what) = if writes { (Method::PUT, "a write") } else { (Method::GET, "a read") };
        // A key that is not there is an answer as well: it was looked for.
        if let Some(status) = ask(client, &urls[node], method, "/v1/kv/a%2Fk").await {
            all.push(Use { began, node, what, status: if status == 404 { 200 } else { status } });
        }
        sleep(Duration::from_millis(2)).await;
    }
    all
}

async fn ask(client: &Client, url: &str, method: Method, path: &str) -> Option<u16> {
    client.request(method, format!("{url}{path}")).send().await.ok().map(|answer| answer.status().as_u16())
}

/// A client that shows this token.
fn client(token: &str) -> Client {
    let shown = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, shown)]);
    let client = lockstep::client::plain_http().timeout(Duration::from_secs(4)).default_headers(headers);
    client.build().expect("a client")
}

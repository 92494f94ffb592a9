//! The near cache and `get_or_fill` of the Rust client, on real clusters with faults.

use crate::support::{Cluster, until};
use bytes::Bytes;
use lockstep::api::IncrRequest;
use lockstep::cache::Ttl;
use lockstep::client::near::{FillError, FillOptions, Filling, NearCache, NearOptions, Want};
use lockstep::client::{Client, PutOptions};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(10);
const NEVER: PutOptions = PutOptions {
    content_type: None,
    ttl: Ttl::Never,
    if_revision: None,
    if_absent: false,
    if_present: false,
    if_absent_since: None,
    previous: false,
};

fn urls(cluster: &Cluster) -> Vec<String> {
    cluster.nodes.iter().map(|node| node.http.clone()).collect()
}

async fn near(urls: &[String], options: NearOptions) -> Arc<NearCache> {
    let near = NearCache::new(Client::new(urls, LIMIT).unwrap(), options);
    near.start().await.unwrap();
    Arc::new(near)
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Values of one key that rise: when each was acknowledged.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<(u64, Instant)>>);

impl Acknowledged {
    /// The newest value that was acknowledged before this moment.
    fn before(&self, at: Instant) -> u64 {
        let all = self.0.lock().unwrap();
        let count = all.partition_point(|(_, acknowledged_at)| *acknowledged_at <= at);
        count.checked_sub(1).map_or(0, |last| all[last].0)
    }
}

/// How long the reads go on, in seconds.
fn seconds() -> u64 {
    std::env::var("LOCKSTEP_NEAR_SECONDS")
        .map_or(8, |text| text.parse().expect("LOCKSTEP_NEAR_SECONDS: seconds"))
}

/// While nodes are killed and hang, no read is older than its bound, and none is older than what the reader wrote or saw.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_its_bound() {
    const BOUNDS_MS: [u64; 3] = [50, 300, 3_000];
    let mut cluster = Cluster::start(3, &[]).await;
    let urls = urls(&cluster);
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Acknowledged::default()));
    let writing = {
        let (stop, acknowledged, client) =
            (Arc::clone(&stop), Arc::clone(&acknowledged), Client::new(&urls, LIMIT).unwrap());
        tokio::spawn(async move {
            for value in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return value;
                }
                // One that may not have been done is followed by a newer one.
                if client.put("k", value.to_string().into(), &NEVER).await.is_ok() {
                    acknowledged.0.lock().unwrap().push((value, Instant::now()));
                }
                // Now and then changes pause, so that bookmarks come.
                let pause = if value % 50 == 0 { 400 } else { 2 };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            unreachable!()
        })
    };
    until("the first value is there", async || acknowledged.before(Instant::now()) > 0).await;
    let mut reading = Vec::new();
    for (position, bound_ms) in BOUNDS_MS.into_iter().enumerate() {
        let updates = position % 2 == 0;
        let mut from_here = urls.clone();
        from_here.rotate_left(position);
        let near = near(&from_here, NearOptions { updates, ..NearOptions::default() }).await;
        let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        reading.push(tokio::spawn(async move {
            let bound = Duration::from_millis(bound_ms);
            let (mut newest, mut failed) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                match near.get("k", Want::MaxStale(bound)).await {
                    Ok(Some(entry)) => {
                        let (found, least) = (number(&entry.value), acknowledged.before(begun - bound));
                        assert!(
                            found >= least,
                            "{bound_ms} ms: {found} where {least} was acknowledged earlier"
                        );
                        newest = newest.max(found);
                    }
                    Ok(None) => panic!("it is never deleted"),
                    Err(_) => failed += 1,
                }
                if let Ok(Some(entry)) = near.get("k", Want::Session).await {
                    let found = number(&entry.value);
                    assert!(found >= newest, "{found}, but this reader has seen {newest}");
                    newest = found;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (near.stats(), failed)
        }));
    }
    let mut random = fastrand::Rng::new();
    println!("seed {}", random.get_seed());
    let end = Instant::now() + Duration::from_secs(seconds());
    while Instant::now() < end {
        let at = random.usize(..3);
        if random.bool() {
            cluster.nodes[at].kill();
            tokio::time::sleep(Duration::from_millis(random.u64(50..600))).await;
            cluster.nodes[at].start();
        } else {
            cluster.nodes[at].signal(libc::SIGSTOP);
            tokio::time::sleep(Duration::from_millis(random.u64(50..2_500))).await;
            cluster.nodes[at].signal(libc::SIGCONT);
        }
        cluster.all_ready().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    for (bound_ms, reading) in BOUNDS_MS.into_iter().zip(reading) {
        let (stats, failed) = reading.await.unwrap();
        println!(
            "bound {bound_ms} ms: {} hits, {} misses, {failed} failed, of {written} values",
            stats.hits, stats.misses
        );
        assert!(stats.hits > 100, "{stats:?}");
    }
}

/// A change at one node is seen at another. The figures are printed; `cargo bench` has no cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_elsewhere_soon() {
    const CHANGES: u64 = 300;
    let cluster = Cluster::start(3, &[]).await;
    let urls = urls(&cluster);
    let writer = Client::new(&urls[..1], LIMIT).unwrap();
    let options = NearOptions { updates: true, ..NearOptions::default() };
    let near = near(&urls[2..], options).await;
    writer.put("k", "0".into(), &NEVER).await.unwrap();
    near.get("k", Want::Linearizable).await.unwrap();
    let mut delays = Vec::new();
    for value in 1..=CHANGES {
        writer.put("k", value.to_string().into(), &NEVER).await.unwrap();
        let acknowledged_at = Instant::now();
        while near.get_now("k", Want::Any).flatten().is_none_or(|entry| number(&entry.value) < value) {
            assert!(acknowledged_at.elapsed() < LIMIT, "it was never seen");
            // Who looks without a pause takes the processor from the nodes.
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_micros(50)));
        }
        delays.push(acknowledged_at.elapsed());
    }
    delays.sort_unstable();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!("seen after its acknowledgement: median {:?}, p99 {:?}, most {:?}", at(0.5), at(0.99), at(1.0));
    assert!(at(0.5) < Duration::from_millis(100), "{delays:?}");
}

/// What is held expires here as well, and a clear drops it. A hit is no request.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_goes_as_it_goes_in_the_cluster() {
    let cluster = Cluster::start(1, &[]).await;
    let near = near(&urls(&cluster), NearOptions::default()).await;
    let client = near.client().clone();
    let bounded = Want::MaxStale(Duration::from_secs(60));
    for key in ["a:1", "a:2", "b"] {
        near.put(key, "v".into(), &NEVER).await.unwrap();
        assert!(near.get_now(key, bounded).flatten().is_some(), "what was written is held");
    }
    let short = PutOptions { ttl: Ttl::Ms(300), ..NEVER };
    near.put("short", "v".into(), &short).await.unwrap();
    assert!(near.get_now("short", Want::Any).flatten().is_some());
    until("it has expired here", async || near.get_now("short", Want::Any).flatten().is_none()).await;
    until("and there", async || near.get("short", Want::Linearizable).await.unwrap().is_none()).await;
    client.clear("a:").await.unwrap();
    until("the clear is told", async || near.get_now("a:1", Want::Any).is_none()).await;
    assert!(near.get_now("a:2", Want::Any).is_none() && near.get_now("b", Want::Any).flatten().is_some());
    // That there is no such key is held, too, until there is one.
    assert_eq!(near.get("a:1", bounded).await.unwrap(), None);
    assert_eq!(near.get_now("a:1", bounded), Some(None));
    client.put("a:1", "new".into(), &NEVER).await.unwrap();
    until("it is told", async || near.get_now("a:1", Want::Any).is_none()).await;
    assert_eq!(&near.get("a:1", bounded).await.unwrap().unwrap().value[..], b"new");
    assert_eq!(
        near.incr("n", &IncrRequest { by: Some(4), ..IncrRequest::default() }).await.unwrap().value,
        4
    );
    assert_eq!(&near.get("n", Want::Session).await.unwrap().unwrap().value[..], b"4");
    assert!(near.delete("n", None).await.unwrap());
    assert_eq!(near.get("n", Want::Session).await.unwrap(), None);
    assert_eq!(near.get("n", Want::Any).await.unwrap(), None);
    near.flush();
    assert_eq!((near.stats().entries, near.get_now("b", Want::Any)), (0, None));
}

/// Hits on one thread: no request, and no wait for anybody.
#[tokio::test(flavor = "multi_thread")]
async fn hits_are_fast() {
    const KEYS: usize = 1_000;
    let cluster = Cluster::start(1, &[]).await;
    let near = near(&urls(&cluster), NearOptions::default()).await;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("user:{number:08}")).collect();
    for key in &keys {
        near.put(key, Bytes::from(vec![b'v'; 128]), &NEVER).await.unwrap();
    }
    let (begun, mut hits) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(1) {
        for key in &keys {
            let held = near.get_now(key, Want::MaxStale(Duration::from_secs(60)));
            assert!(held.flatten().is_some_and(|entry| entry.value.len() == 128));
            hits += 1;
        }
    }
    let a_second = hits as f64 / begun.elapsed().as_secs_f64();
    println!("{a_second:.0} hits a second");
    assert_eq!((near.stats().hits, near.stats().misses), (hits, 0));
    assert!(a_second > 100_000.0, "{a_second}");
}

/// Callers of one process: they ask for one key at the same time.
const CALLERS: usize = 22;

/// What each process of the tests below does. Prints the value that its callers got.
async fn fill(urls: &[String], dies: bool) {
    let near = near(urls, NearOptions::default()).await;
    let options =
        FillOptions { session_ttl: Duration::from_secs(1), ttl: Ttl::Never, ..FillOptions::default() };
    let calls = (0..CALLERS).map(|_| {
        let (near, options) = (Arc::clone(&near), options.clone());
        tokio::spawn(async move {
            let filled = near.get_or_fill("answer", &options, async |filling: Filling| {
                let counter = near.client().incr("fills", &IncrRequest::default()).await?;
                if dies && counter.value == 1 {
                    std::process::abort();
                }
                // The work: all who ask meanwhile wait.
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok::<_, lockstep::client::ClientError>(Some(Bytes::from(format!(
                    "made under {}",
                    filling.token
                ))))
            });
            filled.await.unwrap().expect("it was made")
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut values = Vec::new();
    for call in calls {
        values.push(call.await.unwrap().value.clone());
    }
    values.dedup();
    assert_eq!(values.len(), 1, "{values:?}");
    println!("filled: {}", String::from_utf8_lossy(&values[0]));
}

/// One process: alone, or as one of several that a test below starts.
#[tokio::test(flavor = "multi_thread")]
async fn callers_of_one_process_fill_once() {
    if let Ok(given) = std::env::var("LOCKSTEP_FILL_URLS") {
        let given: Vec<String> = given.split(',').map(str::to_owned).collect();
        return fill(&given, std::env::var("LOCKSTEP_FILL_DIES").is_ok()).await;
    }
    let cluster = Cluster::start(1, &[]).await;
    fill(&urls(&cluster), false).await;
    assert_eq!(cluster.get(&cluster.nodes[0], "fills").await, Ok("1".into()));
}

fn process(urls: &[String], dies: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "near::callers_of_one_process_fill_once", "--nocapture"]);
    command.env("LOCKSTEP_FILL_URLS", urls.join(",")).stdout(Stdio::piped()).kill_on_drop(true);
    if dies {
        command.env("LOCKSTEP_FILL_DIES", "1");
    }
    command.spawn().unwrap()
}

/// The value that a process's callers got; nothing if it died.
async fn filled(mut process: Child) -> Option<String> {
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut value = None;
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, made)) = line.split_once("filled: ") {
            value = Some(made.to_owned());
        }
    }
    let status = process.wait().await.unwrap();
    assert_eq!(status.success(), value.is_some(), "{status}");
    value
}

/// 66 callers in three processes, each at a node of its own: one fill.
#[tokio::test(flavor = "multi_thread")]
async fn three_processes_fill_once() {
    let cluster = Cluster::start(3, &[]).await;
    let processes: Vec<Child> =
        urls(&cluster).iter().map(|url| process(std::slice::from_ref(url), false)).collect();
    let mut values = Vec::new();
    for process in processes {
        values.push(filled(process).await.expect("it did not die"));
    }
    values.dedup();
    assert_eq!(values.len(), 1, "{values:?}");
    assert_eq!(cluster.get(&cluster.nodes[0], "fills").await, Ok("1".into()));
}

/// The process that fills dies in the middle of it. Of the others one fills.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_fills_when_one_dies() {
    let cluster = Cluster::start(3, &[]).await;
    let processes: Vec<Child> =
        urls(&cluster).iter().map(|url| process(std::slice::from_ref(url), true)).collect();
    let mut values = Vec::new();
    for process in processes {
        values.push(filled(process).await);
    }
    let died = values.iter().filter(|value| value.is_none()).count();
    values.retain(Option::is_some);
    values.dedup();
    assert_eq!((died, values.len()), (1, 1), "{values:?}");
    assert_eq!(cluster.get(&cluster.nodes[0], "fills").await, Ok("2".into()));
}

/// A fill that fails, is given up, or waits in vain, leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_fails_blocks_nobody() {
    let cluster = Cluster::start(1, &[]).await;
    let near = near(&urls(&cluster), NearOptions::default()).await;
    let options = FillOptions::default();
    let failed = near.get_or_fill("k", &options, async |_| Err::<Option<Bytes>, _>("no backend")).await;
    assert!(
        matches!(&failed, Err(FillError::Fill(error)) if error.to_string() == "no backend"),
        "{failed:?}"
    );
    let nothing = near.get_or_fill("k", &options, async |_| Ok::<_, String>(None)).await.unwrap();
    assert_eq!(nothing, None);
    // It is given up while it fills.
    let begun = AtomicU64::new(0);
    let endless = near.get_or_fill("k", &options, async |_| {
        begun.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Result<Option<Bytes>, String>>().await
    });
    tokio::select! {
        _ = endless => unreachable!(),
        () = until("it fills", async || begun.load(Ordering::Relaxed) == 1) => {}
    }
    let made = near.get_or_fill("k", &options, async |_| Ok::<_, String>(Some("made".into()))).await.unwrap();
    assert_eq!(&made.unwrap().value[..], b"made");
    // Somebody else holds the lock, and does not fill.
    let client = near.client();
    let other = client.hold_session("other", Duration::from_secs(60)).await.unwrap();
    client.acquire_lock("fill:slow", other.id()).await.unwrap();
    let impatient = FillOptions { wait: Duration::from_millis(300), ..FillOptions::default() };
    let late = near.get_or_fill("slow", &impatient, async |_| Ok::<_, String>(None)).await;
    assert!(matches!(&late, Err(FillError::TimedOut { holder }) if holder == "other"), "{late:?}");
    // It ends its session: whoever waits fills at once.
    let waiting = near.get_or_fill("slow", &options, async |_| Ok::<_, String>(Some("at last".into())));
    let (made, ()) = tokio::join!(waiting, async { drop(other) });
    assert_eq!(&made.unwrap().unwrap().value[..], b"at last");
}

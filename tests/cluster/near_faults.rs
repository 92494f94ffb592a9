//! A near cache whose way to a node delays, repeats and garbles answers.

use crate::support::{Cluster, until};
use lockstep::cache::Ttl;
use lockstep::client::near::{NearCache, NearOptions, Want};
use lockstep::client::{Client, PutOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(10);

/// What the way does once.
#[derive(Default)]
struct Way {
    /// The answer to the next write is lost, once it may be.
    loses_answer: AtomicBool,
    /// An answer is about to be lost.
    has_answer: Notify,
    may_lose: Notify,
    /// The next answer to a read names another history.
    changes_history: AtomicBool,
}

/// Relays connections to a node.
async fn relay(node: &str, way: Arc<Way>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it has one"));
    let node = node.trim_start_matches("http://").to_owned();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let (node, way) = (node.clone(), way.clone());
            connections.spawn(async move {
                let _ = carry(client, TcpStream::connect(node).await.expect("a node"), &way).await;
            });
        }
    });
    (url, tasks)
}

async fn carry(mut client: TcpStream, mut node: TcpStream, way: &Way) -> std::io::Result<()> {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let (mut loses, mut changes) = (false, false);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let request = &up[..read?];
                if request.is_empty() {
                    return Ok(());
                }
                let is_write = request.starts_with(b"PUT ") || request.starts_with(b"DELETE ");
                loses = is_write && way.loses_answer.swap(false, Ordering::SeqCst);
                changes = request.starts_with(b"GET /v1/kv/") && way.changes_history.swap(false, Ordering::SeqCst);
                node.write_all(request).await?;
            }
            read = node.read(&mut down) => {
                let answer = &mut down[..read?];
                if answer.is_empty() {
                    return Ok(());
                }
                if std::mem::take(&mut loses) {
                    way.has_answer.notify_one();
                    way.may_lose.notified().await;
                    return Ok(());
                }
                if std::mem::take(&mut changes) {
                    let name = b"lockstep-history: ";
                    let at = answer.windows(name.len()).position(|part| part.eq_ignore_ascii_case(name));
                    let at = at.expect("a history") + name.len();
                    answer[at..at + 8].copy_from_slice(b"00000000");
                }
                client.write_all(answer).await?;
            }
        }
    }
}

async fn near(url: &str) -> NearCache {
    let near =
        NearCache::new(Client::new(&[url.to_owned()], LIMIT).expect("a client"), NearOptions::default());
    near.start().await.expect("a stream");
    near
}

fn text(held: Option<Arc<lockstep::client::near::NearEntry>>) -> Option<String> {
    held.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

/// A repetition is answered as the write was first, when others have written since.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_puts_nothing_over_what_others_wrote_since() {
    let cluster = Cluster::start(1, &[]).await;
    let other = Client::new(&[cluster.nodes[0].http.clone()], LIMIT).expect("a client");
    let never = PutOptions { ttl: Ttl::Never, ..PutOptions::default() };
    for deletes in [false, true] {
        let way = Arc::new(Way::default());
        let (url, _tasks) = relay(&cluster.nodes[0].http, way.clone()).await;
        let near = near(&url).await;
        for key in ["k", "marker"] {
            other.put(key, "before".into(), &never).await.expect("it is stored");
        }
        near.get("marker", Want::Linearizable).await.expect("an answer");
        way.loses_answer.store(true, Ordering::SeqCst);
        let meanwhile = async {
            way.has_answer.notified().await;
            other.put("k", "newer".into(), &never).await.expect("it is stored");
            // The stream tells it before the answer comes: it has told what was written after it.
            other.put("marker", "2".into(), &never).await.expect("it is stored");
            until("the stream is there", || async { near.get_now("marker", Want::Any).is_none() }).await;
            way.may_lose.notify_one();
        };
        let write = async {
            if deletes {
                assert!(near.delete("k", None).await.expect("an answer"));
            } else {
                near.put("k", "mine".into(), &never).await.expect("an answer");
            }
        };
        tokio::join!(write, meanwhile);
        for want in [Want::Session, Want::MaxStale(Duration::from_secs(60)), Want::Linearizable] {
            let held = near.get("k", want).await.expect("an answer");
            assert_eq!(text(held).as_deref(), Some("newer"), "deletes: {deletes}, {want:?}");
        }
    }
}

/// One answer of another history drops what is held, and a new stream begins: hits come back, and the session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn one_answer_of_another_history_does_not_switch_it_off() {
    let cluster = Cluster::start(1, &[]).await;
    let way = Arc::new(Way::default());
    let (url, _tasks) = relay(&cluster.nodes[0].http, way.clone()).await;
    let near = near(&url).await;
    let never = PutOptions { ttl: Ttl::Never, ..PutOptions::default() };
    near.put("k", "mine".into(), &never).await.expect("it is stored");
    assert!(near.get_now("k", Want::Session).is_some());
    way.changes_history.store(true, Ordering::SeqCst);
    near.get("other", Want::Linearizable).await.expect("an answer");
    assert!(near.get_now("k", Want::Any).is_none(), "it was dropped");
    until("it holds values again", || async {
        let held = near.get("k", Want::Session).await.expect("an answer");
        assert_eq!(text(held).as_deref(), Some("mine"));
        near.get_now("k", Want::Session).is_some()
    })
    .await;
}

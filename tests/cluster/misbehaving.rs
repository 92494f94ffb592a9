//! Callers of the peer port that do not keep the rules: strangers, and members that are broken or built otherwise.

use crate::support::{Cluster, Node, free_port, until};
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use lockstep::cache::Command;
use lockstep::lineage::Lineage;
use lockstep::node::Principal;
use lockstep::peer::{
    Handler, Hello, Lane, Links, Method, Net, NodeId, PeerClient, PeerError, PeerIdentity, PeerServer,
    Protocols, Refusal, Remote, RoundTrips, Welcome,
};
use lockstep::replica::{Envelope, to_bytes};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(5);

/// Who a caller says it is, as one does that knows what anybody can find out.
async fn identity(cluster: &Cluster, node: &Node, node_id: NodeId) -> PeerIdentity {
    let status = cluster.status(node).await;
    let lineage = Lineage::founded(status["cluster_id"].as_str().expect("an id"), 0);
    PeerIdentity { lineage: lineage.into(), node_id, protocols: Protocols::THIS }
}

async fn id_of(cluster: &Cluster, node: &Node) -> NodeId {
    cluster.status(node).await["node"]["id"].as_u64().expect("a number")
}

async fn caller(cluster: &Cluster, target: &Node, from: NodeId, lane: Lane) -> PeerClient {
    let (me, to) = (identity(cluster, target, from).await, id_of(cluster, target).await);
    let remote = Remote { id: to, name: String::new(), address: target.peer.clone() };
    PeerClient::new(me, remote, lane, Net::Tcp, Links::default(), RoundTrips::default())
}

/// A forwarded write: how long it may take to propose and to answer it, who asks, the reads that count before it, and the command.
fn forwarded(body: Bytes) -> Bytes {
    let before = (None::<()>, Vec::<(u32, u32, u16)>::new());
    let head = to_bytes(&(1_000_u64, 2_000_u64, Principal::Anyone, before));
    let length = u32::try_from(head.len()).expect("a few bytes").to_be_bytes();
    [&length[..], &head, &body].concat().into()
}

async fn term(cluster: &Cluster, node: &Node) -> u64 {
    cluster.status(node).await["term"].as_u64().expect("a number")
}

/// The leader reads what it is asked to propose, and proposes only what a client may ask for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forwarded_is_vetted_before_it_is_in_the_log() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let member = id_of(&cluster, &cluster.nodes[other]).await;
    let command = |command| Envelope::from(command).encode();
    let bodies = [
        command(Command::RaiseFeatureLevel { level: 99 }),
        command(Command::RaiseFeatureLevel { level: 1 }),
        command(Command::Tick),
        Bytes::from_static(b"\x02\x00\x07\x07\x07"),
        Bytes::from_static(b""),
        Bytes::from(vec![2; 2 * 1024 * 1024]),
        Bytes::from(vec![2; 3 * 1024 * 1024]),
    ];
    // A stranger may not write at all.
    for from in [member, 999] {
        let client = caller(&cluster, &cluster.nodes[leader], from, Lane::Forward).await;
        for body in &bodies {
            let answer = client.call(Method::Write, forwarded(body.clone()), LIMIT).await;
            assert!(matches!(answer, Err(PeerError::Refused(_))), "{from}: {answer:?}");
        }
    }
    let clear = command(Command::Clear { prefix: None, unless: None });
    let stranger = caller(&cluster, &cluster.nodes[leader], 999, Lane::Forward).await;
    let answer = stranger.call(Method::Write, forwarded(clear.clone()), LIMIT).await;
    assert!(matches!(&answer, Err(PeerError::Refused(why)) if why.contains("no member")), "{answer:?}");
    let client = caller(&cluster, &cluster.nodes[leader], member, Lane::Forward).await;
    assert!(
        client.call(Method::Write, forwarded(clear), LIMIT).await.is_ok(),
        "what a client may ask for is done"
    );
    // A frame that is longer than anything this lane carries ends the connection.
    let answer = client.call(Method::Write, forwarded(Bytes::from(vec![2; 25 << 20])), LIMIT).await;
    assert!(matches!(answer, Err(PeerError::Lost | PeerError::Unreachable(_))), "{answer:?}");

    cluster.put_surely(&cluster.nodes[other], "still", "here").await;
    for node in &mut cluster.nodes {
        assert!(node.still_runs(), "{} has ended:\n{}", node.name, node.log());
    }
    cluster.digests_agree().await;
}

/// A heartbeat from the highest term would end all elections for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_term_that_no_cluster_comes_to_is_refused() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 3;
    let member = id_of(&cluster, &cluster.nodes[(leader + 2) % 3]).await;
    let heartbeat = |term: u64| {
        let header = to_bytes(&((term, member, true), None::<()>, None::<()>, 0_u32));
        let mut body = BytesMut::new();
        body.put_u32(u32::try_from(header.len()).expect("short"));
        body.put_slice(&header);
        body.freeze()
    };
    let client = caller(&cluster, &cluster.nodes[victim], member, Lane::Control).await;
    for term in [u64::MAX, 1 << 40] {
        let answer = client.call(Method::Append, heartbeat(term), LIMIT).await;
        assert!(matches!(&answer, Err(PeerError::Refused(why)) if why.contains("plausible")), "{answer:?}");
        let vote = to_bytes(&((term, member, false), None::<()>, false));
        for method in [Method::Vote, Method::PreVote] {
            let answer = client.call(method, vote.clone(), LIMIT).await;
            assert!(matches!(&answer, Err(PeerError::Refused(_))), "{answer:?}");
        }
    }
    // The same bytes with a term that may be are understood: an old one is answered, and changes nothing.
    assert!(client.call(Method::Append, heartbeat(0), LIMIT).await.is_ok());
    assert!(term(&cluster, &cluster.nodes[victim]).await < 1_000);
    cluster.nodes[leader].kill();
    until("another node leads", || cluster.put(&cluster.nodes[victim], "k", "v", LIMIT)).await;
}

/// A leader's request to take over that has been on its way for so long that the leader has gone on.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_request_to_take_over_changes_nothing() {
    let cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    cluster.put_surely(&cluster.nodes[other], "before", "v").await;
    let status = cluster.status(&cluster.nodes[leader]).await;
    let term = status["term"].as_u64().expect("a number");
    let [from, to] = [leader, other].map(|node| id_of(&cluster, &cluster.nodes[node]));
    let (from, to) = (from.await, to.await);
    let client = caller(&cluster, &cluster.nodes[other], from, Lane::Control).await;
    let take_over = |last_log: u64| {
        let body = to_bytes(&((term, from, true), to, Some((term, last_log)), 200_u64));
        client.call(Method::TransferLeader, body, LIMIT)
    };
    let old = status["last_log_index"].as_u64().expect("a number");
    cluster.put_surely(&cluster.nodes[other], "after", "v").await;
    let answer = take_over(old).await;
    assert!(matches!(&answer, Err(PeerError::Refused(why)) if why.contains("an old one")), "{answer:?}");
    for node in &cluster.nodes {
        let status = cluster.status(node).await;
        assert_eq!((status["term"].as_u64(), status["leader"]["id"].as_u64()), (Some(term), Some(from)));
    }
    // The same from a leader that has not gone on is followed.
    until("it has taken over", || async {
        let now = cluster.status(&cluster.nodes[other]).await["last_log_index"].as_u64().expect("a number");
        let _ = take_over(now).await;
        cluster.status(&cluster.nodes[other]).await["leader"]["id"].as_u64() == Some(to)
    })
    .await;
}

/// A learner that lies about everything it is asked.
struct Liar {
    answer: Bytes,
}

impl Handler for Liar {
    fn name_of(&self, _: NodeId) -> Option<String> {
        Some("anybody".into())
    }

    fn call(&self, _: NodeId, method: Method, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let answer = self.answer.clone();
        Box::pin(async move { if method == Method::Digests { Ok(answer) } else { Err("no".into()) } })
    }

    fn appends(&self, _: NodeId, _: mpsc::Receiver<Bytes>) -> BoxStream<'static, Bytes> {
        Box::pin(futures::stream::empty())
    }
}

/// Whoever can be added without a vote has no say about the others.
#[tokio::test(flavor = "multi_thread")]
async fn learners_do_not_judge() {
    let cluster = Cluster::start(3, &[]).await;
    let mut servers = Vec::new();
    let mut ids = Vec::new();
    for number in 0..4 {
        let port = free_port();
        let body = json!({
            "name": format!("liar{number}"), "http": format!("http://127.0.0.1:{}", free_port()),
            "peer": format!("127.0.0.1:{port}"), "store_uuid": uuid::Uuid::new_v4().to_string(),
        });
        let answer =
            cluster.http.post(format!("{}/v1/members", cluster.nodes[0].http)).json(&body).send().await;
        let joined: Value = answer.expect("an answer").json().await.expect("json");
        let id = joined["id"].as_u64().unwrap_or_else(|| panic!("{joined}"));
        let me = identity(&cluster, &cluster.nodes[0], id).await;
        // Half of them say that the others were removed, half that their state is another.
        let removed = to_bytes(&((None::<u64>, None::<u64>), Some(false)));
        let differs = to_bytes(&((None::<u64>, Some(1_u64)), None::<bool>));
        let answer = if number % 2 == 0 { removed } else { differs };
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        servers.push(PeerServer::start(listener, me, Links::default(), Arc::new(Liar { answer })));
        ids.push(id);
    }
    let before = term(&cluster, &cluster.nodes[0]).await;
    // A judgement takes two rounds of a second each; until then every write and read goes well.
    let end = std::time::Instant::now() + Duration::from_secs(6);
    while std::time::Instant::now() < end {
        for node in &cluster.nodes {
            assert!(cluster.put(node, "k", "v", LIMIT).await, "{} takes writes", node.name);
            assert_eq!(cluster.get(node, "k").await, Ok("v".into()));
            assert!(cluster.status(node).await["differs_at"].is_null());
        }
    }
    assert_eq!(term(&cluster, &cluster.nodes[0]).await, before, "the lead stays");
    for id in ids {
        let gone = cluster
            .request(reqwest::Method::DELETE, &cluster.nodes[1], &format!("/v1/members/{id}"), "")
            .await;
        assert_eq!(gone.status().as_u16(), 204);
    }
}

/// Frames that are begun and not ended are given up, and take little until then; members get in all the same.
#[tokio::test(flavor = "multi_thread")]
async fn half_sent_frames_and_held_connections_take_little() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 3;
    let rss = |node: &Node| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    };
    let before = rss(&cluster.nodes[victim]);
    let to = id_of(&cluster, &cluster.nodes[victim]).await;
    let part = vec![0; 1 << 20];
    let mut held = Vec::new();
    for number in 0..600_u64 {
        let me = identity(&cluster, &cluster.nodes[victim], 5_000 + number).await;
        let hello = Hello::new(&me, to, Lane::Append).encode();
        let mut stream = TcpStream::connect(&cluster.nodes[victim].peer).await.expect("it listens");
        let mut bytes = BytesMut::new();
        bytes.put_u32(u32::try_from(hello.len()).expect("short"));
        bytes.put_slice(&hello);
        // One byte less than 32 MiB is announced, and some of it sent.
        bytes.put_u32((32 << 20) - 1);
        if stream.write_all(&bytes).await.is_ok() && number >= 560 {
            for _ in 0..8 {
                let sent = tokio::time::timeout(Duration::from_millis(200), stream.write_all(&part)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    break;
                }
            }
        }
        held.push(stream);
    }
    let during = rss(&cluster.nodes[victim]);
    println!("{before} MiB before, {during} MiB during");
    // Four of them may be receiving so long a frame.
    assert!(during < before + 4 * 9 + 64, "{before} MiB before, {during} MiB during");
    // A member that restarts is let in, and forwards to the node that is held.
    let third = (leader + 2) % 3;
    cluster.nodes[third].kill();
    cluster.nodes[third].start();
    cluster.ready(&cluster.nodes[third]).await;
    cluster.put_surely(&cluster.nodes[third], "k", "v").await;
    cluster.put_surely(&cluster.nodes[victim], "k", "v").await;
    drop(held);
}

/// A caller that is refused again and again fills no disk.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_few_lines() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let before = node.log().len();
    let mut me = identity(&cluster, node, 7).await;
    for number in 0..2_000 {
        me.lineage = Lineage::founded(&format!("{number}{}", "x".repeat(1_500)), 0).into();
        let hello = Hello::new(&me, 1, Lane::Control).encode();
        let mut stream = TcpStream::connect(&node.peer).await.expect("it listens");
        let mut bytes = BytesMut::new();
        bytes.put_u32(u32::try_from(hello.len()).expect("short"));
        bytes.put_slice(&hello);
        let _ = stream.write_all(&bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        let told = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            !told.contains(identity(&cluster, node, 7).await.lineage.cluster_id()),
            "a stranger is told no id: {told}"
        );
        if number >= 20 {
            continue;
        }
        assert_eq!(Welcome::decode(answer.get(4..).unwrap_or_default()), Ok(Welcome::OtherCluster));
    }
    let grown = node.log().len() - before;
    assert!(grown < 2_000, "{grown} bytes of log:\n{}", node.log());
}

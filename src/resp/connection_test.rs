//! What a connection holds for a client that is slow, and for how long. The node has no cluster: that is not needed for it.

use super::*;
use crate::front::{Front, FrontLimits, SMALL_ANSWER_BYTES};
use crate::node::{NodeOptions, Opened, Principal};
use crate::resp::state::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// What the system keeps of what is sent.
const PIPE_BYTES: usize = 16 * 1024;

/// A connection, the client's side of it, and what has to stay for both.
struct Pair {
    connection: Connection<DuplexStream>,
    client: DuplexStream,
    closing: watch::Sender<bool>,
    opened: Opened,
    _dir: tempfile::TempDir,
}

impl Pair {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opened = Opened::open(NodeOptions::alone(dir.path())).await.unwrap();
        let shared = Arc::new(Shared::new(Front::new(opened.bootstrap(), FrontLimits::default()), None));
        let address = "127.0.0.1:1".parse().unwrap();
        let registered = shared.front.redis_clients.register(address, 6_379);
        let closing = watch::Sender::new(false);
        let (stream, client) = duplex(PIPE_BYTES);
        let connection =
            Connection::new(stream, Client::new(shared, registered, Principal::Anyone), closing.subscribe());
        Self { connection, client, closing, opened, _dir: dir }
    }

    async fn of_sentinel() -> Self {
        let mut pair = Self::new().await;
        let client = pair.connection.client;
        pair.connection.client = client.of_sentinel("127.0.0.1:6379".parse().unwrap());
        pair
    }
}

/// Reads and counts what is sent.
fn counting(mut stream: tokio::io::ReadHalf<DuplexStream>) -> (Arc<AtomicUsize>, JoinHandle<()>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            counted.fetch_add(read, Relaxed);
        }
    });
    (count, task)
}

#[tokio::test]
async fn messages_are_made_as_they_are_sent() {
    const PATTERNS: usize = 128;
    const KEYS: usize = 16_384;
    let Pair { mut connection, mut client, closing, opened, .. } = Pair::new().await;
    let patterns: Vec<bytes::Bytes> =
        (0..PATTERNS).map(|at| format!("__key*__:{}", "*".repeat(at + 1)).into()).collect();
    connection.client.subscriptions.add(&patterns, true, 0).unwrap();
    let name = |number| format!("key:{number}");
    let events = move |keys| (0..keys).map(|number| FeedEvent::Key("set", name(number))).collect::<Vec<_>>();
    let told = connection.push(Told::Changes(vec![(1, events(KEYS))]));
    assert!(timeout(Duration::from_millis(200), told).await.is_err(), "the client reads nothing");
    let (held, longest) = (connection.outgoing.waiting(), 512);
    assert!(held <= SMALL_ANSWER_BYTES + longest, "{held}");
    // Whoever reads gets all of it, in its order.
    connection.outgoing.clear();
    client.read_exact(&mut vec![0; PIPE_BYTES]).await.unwrap();
    let expected = 64;
    let telling = tokio::spawn(async move {
        let is_told = connection.push(Told::Changes(vec![(1, events(expected))])).await.is_ok();
        assert!(is_told && connection.send().await.is_ok());
    });
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    telling.await.unwrap();
    let all = String::from_utf8(all).unwrap();
    assert_eq!(all.matches("$8\r\npmessage\r\n").count(), expected * PATTERNS * 2);
    let places: Vec<Option<usize>> =
        (0..expected).map(|number| all.find(&format!(":{}\r\n", name(number)))).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some));
    drop((closing, opened));
}

#[tokio::test]
async fn replies_that_are_known_wait_in_small_numbers() {
    let Pair { mut connection, mut client, closing, opened, .. } = Pair::new().await;
    let commands = "COMMAND\r\n".repeat(1_000);
    connection.parser.buffer().extend_from_slice(commands.as_bytes());
    let serving = async { while connection.next().await.is_ok() {} };
    assert!(timeout(Duration::from_secs(1), serving).await.is_err(), "the client reads nothing");
    // What was not looked at takes no more than it has arrived with.
    let rest = connection.parser.waiting();
    assert!(rest > commands.len() / 2, "{rest} of {} bytes", commands.len());
    client.read_exact(&mut vec![0; PIPE_BYTES]).await.unwrap();
    drop((closing, opened));
}

/// Serves a client that sends so many bytes every so often, from these on. How long that took, and what it was sent.
async fn drip(pair: Pair, begun: &[u8], rest: &[u8], piece: usize, every: Duration) -> (Duration, usize) {
    let Pair { connection, client, closing, opened, .. } = pair;
    tokio::time::pause();
    let (reading, mut writing) = tokio::io::split(client);
    let (count, _reader) = counting(reading);
    let serving = tokio::spawn(connection.serve());
    let since = Instant::now();
    writing.write_all(begun).await.unwrap();
    for bytes in rest.chunks(piece) {
        sleep(every).await;
        if writing.write_all(bytes).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
        if serving.is_finished() {
            break;
        }
    }
    let took = since.elapsed();
    closing.send_replace(true);
    serving.await.unwrap();
    drop(opened);
    (took, count.load(Relaxed))
}

#[tokio::test]
async fn a_command_has_time_in_proportion_to_its_bytes() {
    const VALUE: usize = 1_000_000;
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${VALUE}\r\n").into_bytes();
    let value = [vec![b'x'; VALUE], b"\r\n".to_vec()].concat();
    let second = Duration::from_secs(1);
    // One byte now and then keeps nothing alive.
    let (took, sent) = drip(Pair::new().await, &head, &value, 1, 10 * second).await;
    assert!((30 * second..=50 * second).contains(&took) && sent == 0, "{took:?} {sent}");
}

#[tokio::test]
async fn a_slow_and_steady_command_arrives() {
    const VALUE: usize = 1_000_000;
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${VALUE}\r\n").into_bytes();
    let value = [vec![b'x'; VALUE], b"\r\n".to_vec()].concat();
    let (took, sent) = drip(Pair::new().await, &head, &value, 17 * 1024, Duration::from_secs(1)).await;
    assert!(took > Duration::from_secs(50) && sent > 0, "{took:?} {sent}");
}

/// Also one that is too large to be kept, while it is thrown away.
#[tokio::test]
async fn what_is_dropped_has_time_in_proportion_to_its_bytes() {
    let head = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$20000000\r\n";
    let (took, sent) = drip(Pair::new().await, head, &[b'x'; 1_000], 10, Duration::from_secs(10)).await;
    assert!(took <= Duration::from_secs(50) && sent == 0, "{took:?} {sent}");
}

#[tokio::test]
async fn a_client_of_a_sentinel_port_asks_soon() {
    let second = Duration::from_secs(1);
    let (took, _) = drip(Pair::of_sentinel().await, b"PI", b"NG\r\n", 1, 4 * second).await;
    assert!(took < 13 * second, "{took:?}");
}

#[tokio::test]
async fn a_client_of_a_sentinel_port_that_has_asked_may_wait() {
    let second = Duration::from_secs(1);
    let (took, sent) = drip(Pair::of_sentinel().await, b"ROLE\r\n", b"ROLE\r\n", 6, 100 * second).await;
    assert!(took >= 100 * second && sent == 72, "{took:?} {sent}");
}

#[tokio::test]
async fn a_client_of_a_sentinel_port_sends_little() {
    let words = b"*11\r\n".as_slice();
    let large = b"*2\r\n$8\r\nSENTINEL\r\n$20000\r\n".as_slice();
    for (sent, refused) in [(words, "multibulk length"), (large, "bulk length")] {
        let Pair { connection, mut client, closing, opened, .. } = Pair::of_sentinel().await;
        let serving = tokio::spawn(connection.serve());
        client.write_all(sent).await.unwrap();
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert!(told.contains(&format!("unauthenticated {refused}")), "{told}");
        serving.await.unwrap();
        drop((closing, opened));
    }
}

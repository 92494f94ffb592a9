//! Those who use the cluster meanwhile: probes on new connections, and a client that writes and reads. They run on a thread
//! of their own.

use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Each node is asked for each of these so often.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
const PROBES: [&str; 2] = ["/livez", "/readyz"];
/// A probe that is not answered with 200 counts as one that took so long.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// The client begins one request in so much time, if the one before is done.
const CLIENT_INTERVAL: Duration = Duration::from_millis(20);
const CLIENT_LIMIT: Duration = Duration::from_secs(5);

/// Latencies in microseconds.
pub struct Observed {
    /// Probes of the attacked node.
    pub attacked: Histogram<u64>,
    /// Probes of the others.
    pub others: Histogram<u64>,
    /// Probes that were not answered, or not with 200.
    pub unanswered: u64,
    /// The client's requests that were answered as they should be.
    pub client: Histogram<u64>,
    pub client_errors: u64,
}

/// Uses these nodes for so long. The client goes from one to the next.
pub fn observe(nodes: &[SocketAddr], attacked: usize, duration: Duration) -> Observed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let probing = tokio::spawn(probe_all(nodes.to_vec(), attacked, duration));
        let (client, client_errors) = use_all(nodes, duration).await;
        let (attacked, others, unanswered) = probing.await.expect("the probes end");
        Observed { attacked, others, unanswered, client, client_errors }
    })
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram")
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

async fn probe_all(
    nodes: Vec<SocketAddr>,
    attacked: usize,
    duration: Duration,
) -> (Histogram<u64>, Histogram<u64>, u64) {
    let mut probes = JoinSet::new();
    let mut every = interval(PROBE_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begin = Instant::now();
    while begin.elapsed() < duration {
        every.tick().await;
        for (number, node) in nodes.iter().copied().enumerate() {
            for path in PROBES {
                // One that waits keeps none of the next ones back.
                probes.spawn(async move { (number, probe(node, path).await) });
            }
        }
    }
    let (mut of_attacked, mut of_others, mut unanswered) = (latencies(), latencies(), 0);
    for (number, answered) in probes.join_all().await {
        let latencies = if number == attacked { &mut of_attacked } else { &mut of_others };
        latencies.saturating_record(us(answered.unwrap_or(PROBE_LIMIT)));
        unanswered += u64::from(answered.is_none());
    }
    (of_attacked, of_others, unanswered)
}

/// How long it takes until this is answered with 200, on a new connection.
async fn probe(node: SocketAddr, path: &str) -> Option<Duration> {
    let begin = Instant::now();
    let asking = async {
        let mut stream = TcpStream::connect(node).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {node}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        answer.starts_with(b"HTTP/1.1 200").then(|| begin.elapsed())
    };
    timeout(PROBE_LIMIT, asking).await.ok()?
}

async fn use_all(nodes: &[SocketAddr], duration: Duration) -> (Histogram<u64>, u64) {
    let client = lockstep::client::plain_http().timeout(CLIENT_LIMIT).build().expect("a client");
    let mut every = interval(CLIENT_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut latencies, mut errors) = (latencies(), 0);
    let begin = Instant::now();
    // Each node is written to, and the next one is read from.
    let mut round = nodes.iter().zip(nodes.iter().cycle().skip(1)).cycle();
    for number in 0_u64.. {
        let Some((writes, reads)) = round.next().filter(|_| begin.elapsed() < duration) else { break };
        let key = number % 1_000;
        let value = number.to_string();
        for request in [
            client.put(format!("http://{writes}/v1/kv/k{key}")).body(value),
            client.get(format!("http://{reads}/v1/kv/k{key}")),
        ] {
            every.tick().await;
            let begin = Instant::now();
            let answered = async { request.send().await?.error_for_status()?.bytes().await };
            match answered.await {
                Ok(_) => latencies.saturating_record(us(begin.elapsed())),
                Err(_) => errors += 1,
            }
        }
    }
    (latencies, errors)
}

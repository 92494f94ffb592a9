//! The network between the nodes, and between clients and nodes: every connection goes through a proxy in this
//! process, which can cut it one way or both, delay it, slow it down or break it off.
//!
//! A proxy for peers learns from the first frame who is calling, so each pair of nodes has links of its own. Links
//! are named by the nodes' numbers in the cluster; all clients together are number 0.

use lockstep::peer::Hello;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// One end of a link: a node's number, or [`CLIENTS`].
pub type End = u64;
pub const CLIENTS: End = 0;

/// Bytes that are read, and then delayed or held, at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// A first frame longer than this is no handshake.
const HELLO_BYTES_MAX: usize = 4 * 1024;
/// What a client is told when the node behind its proxy does not listen: nothing was passed on.
pub const NOBODY_THERE: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What happens to bytes in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition {
    /// Nothing gets through; it waits, as in a network that drops every packet.
    pub cut: bool,
    pub delay_ms: u64,
    /// Up to so much more delay, at random.
    pub jitter_ms: u64,
    /// Bytes a second; 0 is no limit.
    pub bytes_per_s: u64,
}

/// All links. Clones share it.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Turned with every change.
    turns: watch::Sender<u64>,
}

struct State {
    links: HashMap<(End, End), Condition>,
    /// How often the connections between two ends were broken off, the smaller number first.
    breaks: HashMap<(End, End), u64>,
    random: fastrand::Rng,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let state = State { links: HashMap::new(), breaks: HashMap::new(), random };
        Self(Arc::new(Shared { state: Mutex::new(state), turns: watch::Sender::new(0) }))
    }

    /// What happens from now on to bytes from one end to the other.
    pub fn set(&self, from: End, to: End, condition: Condition) {
        self.change(|state| {
            state.links.insert((from, to), condition);
        });
    }

    /// Cuts one direction.
    pub fn cut_one_way(&self, from: End, to: End) {
        self.set(from, to, Condition { cut: true, ..Condition::default() });
    }

    /// Cuts both directions.
    pub fn cut(&self, a: End, b: End) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// All links are whole and fast again. What was held back arrives late, or, with `forget`, its connections
    /// are broken off.
    pub fn heal(&self, forget: bool) {
        self.change(|state| {
            let links = std::mem::take(&mut state.links);
            for ((from, to), _) in links.into_iter().filter(|(_, condition)| condition.cut && forget) {
                *state.breaks.entry(pair(from, to)).or_default() += 1;
            }
        });
    }

    /// Breaks off the connections between two ends.
    pub fn break_off(&self, a: End, b: End) {
        self.change(|state| *state.breaks.entry(pair(a, b)).or_default() += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().expect("no panic while held"));
        self.0.turns.send_modify(|turns| *turns += 1);
    }

    fn condition(&self, from: End, to: End) -> Condition {
        self.0.state.lock().expect("no panic while held").links.get(&(from, to)).copied().unwrap_or_default()
    }

    fn breaks(&self, a: End, b: End) -> u64 {
        self.0.state.lock().expect("no panic while held").breaks.get(&pair(a, b)).copied().unwrap_or(0)
    }

    fn jitter_ms(&self, most: u64) -> u64 {
        self.0.state.lock().expect("no panic while held").random.u64(0..=most)
    }

    /// Returns once the direction is open, after the delay it has for so many bytes.
    async fn passed(&self, from: End, to: End, bytes: usize) {
        let mut turns = self.0.turns.subscribe();
        let condition = loop {
            let condition = self.condition(from, to);
            if !condition.cut {
                break condition;
            }
            // The sender lives as long as `self`.
            let _ = turns.changed().await;
        };
        let mut wait = Duration::from_millis(condition.delay_ms);
        if condition.jitter_ms > 0 {
            wait += Duration::from_millis(self.jitter_ms(condition.jitter_ms));
        }
        if condition.bytes_per_s > 0 {
            wait += Duration::from_secs_f64(bytes as f64 / condition.bytes_per_s as f64);
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Returns once connections between the two were broken off more often than `before`.
    async fn broken(&self, a: End, b: End, before: u64) {
        let mut turns = self.0.turns.subscribe();
        while self.breaks(a, b) <= before {
            let _ = turns.changed().await;
        }
    }
}

fn pair(a: End, b: End) -> (End, End) {
    (a.min(b), a.max(b))
}

/// Who listens at a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Peers,
    Clients,
}

/// A listener of its own in front of one of a node's listeners.
pub struct Proxy {
    pub address: String,
    passing: Passing,
    listening: Mutex<Option<AbortHandle>>,
}

#[derive(Clone)]
struct Passing {
    network: Network,
    kind: Kind,
    upstream: String,
    /// The node's number, 0 until it is known.
    node: Arc<AtomicU64>,
    /// Connections are refused, as by a machine where nothing listens.
    refuses: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a port of its own and passes on to `upstream`.
    pub async fn start(network: &Network, kind: Kind, upstream: &str) -> Self {
        let address = format!("127.0.0.1:{}", crate::support::free_port());
        let listener = TcpListener::bind(&address).await.expect("a free port");
        let passing = Passing {
            network: network.clone(),
            kind,
            upstream: upstream.to_owned(),
            node: Arc::default(),
            refuses: Arc::default(),
        };
        let task = tokio::spawn(accept(listener, passing.clone())).abort_handle();
        Self { address, passing, listening: Mutex::new(Some(task)) }
    }

    /// From now on this node's links have a name.
    pub fn belongs_to(&self, node: End) {
        self.passing.node.store(node, Ordering::Release);
    }

    /// The node has ended: its machine answers, and nobody listens there. All connections end.
    pub fn close(&self) {
        if let Some(task) = self.listening.lock().expect("no panic while held").take() {
            task.abort();
        }
    }

    /// The node is about to start again.
    pub async fn open(&self) {
        if self.listening.lock().expect("no panic while held").is_some() {
            return;
        }
        let address: SocketAddr = self.address.parse().expect("an address");
        let listener = loop {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("an option");
            match socket.bind(address).and_then(|()| socket.listen(128)) {
                Ok(listener) => break listener,
                // Somebody's outgoing connection has the port for a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let task = tokio::spawn(accept(listener, self.passing.clone())).abort_handle();
        *self.listening.lock().expect("no panic while held") = Some(task);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

async fn accept(listener: TcpListener, passing: Passing) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(pass(stream, passing.clone()));
        }
    }
}

/// Passes one connection on until either side ends it or it is broken off.
async fn pass(mut caller: TcpStream, passing: Passing) {
    let _ = caller.set_nodelay(true);
    let (from, first) = match passing.kind {
        Kind::Clients => (CLIENTS, Vec::new()),
        Kind::Peers => match first_frame(&mut caller).await {
            Some(first) => (caller_of(&first), first),
            None => return,
        },
    };
    let to = passing.node.load(Ordering::Acquire);
    let (network, before) = (passing.network.clone(), passing.network.breaks(from, to));
    let passed = async {
        // A dropped handshake is dropped in either direction: no answer to it would arrive.
        network.passed(from, to, first.len()).await;
        network.passed(to, from, 0).await;
        let Ok(mut node) = TcpStream::connect(&passing.upstream).await else {
            if passing.kind == Kind::Clients {
                let _ = caller.write_all(NOBODY_THERE).await;
                return;
            }
            // A reset, as from a machine where nothing listens.
            let _ = caller.set_zero_linger();
            return;
        };
        let _ = node.set_nodelay(true);
        if node.write_all(&first).await.is_err() {
            return;
        }
        let (caller_read, caller_write) = caller.into_split();
        let (node_read, node_write) = node.into_split();
        tokio::select! {
            () = pump(&network, from, to, caller_read, node_write) => {}
            () = pump(&network, to, from, node_read, caller_write) => {}
        }
    };
    tokio::select! {
        () = passed => {}
        () = network.broken(from, to, before) => {}
    }
}

async fn pump(network: &Network, from: End, to: End, mut read: OwnedReadHalf, mut write: OwnedWriteHalf) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(bytes @ 1..) = read.read(&mut chunk).await else { return };
        network.passed(from, to, bytes).await;
        if write.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
}

/// The length and content of the first frame.
async fn first_frame(caller: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    caller.read_exact(&mut length).await.ok()?;
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > HELLO_BYTES_MAX {
        return None;
    }
    let mut frame = length.to_vec();
    frame.resize(4 + bytes, 0);
    caller.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}

/// Who calls, as the first frame says.
fn caller_of(first: &[u8]) -> End {
    postcard::from_bytes::<Hello>(&first[4..]).map_or(CLIENTS, |hello| hello.from())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_secs(10);

    /// A proxy in front of an echo, and a connection through it.
    async fn echo(network: &Network) -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let proxy = Proxy::start(network, Kind::Clients, &upstream).await;
        proxy.belongs_to(7);
        let stream = TcpStream::connect(&proxy.address).await.unwrap();
        (proxy, stream)
    }

    async fn asked(stream: &mut TcpStream, byte: u8, limit: Duration) -> Option<u8> {
        stream.write_all(&[byte]).await.ok()?;
        answered(stream, limit).await
    }

    async fn answered(stream: &mut TcpStream, limit: Duration) -> Option<u8> {
        timeout(limit, stream.read_u8()).await.ok()?.ok()
    }

    #[tokio::test]
    async fn a_cut_direction_holds_bytes_and_heals() {
        let network = Network::new(1);
        let (_proxy, mut stream) = echo(&network).await;
        assert_eq!(asked(&mut stream, 1, LATE).await, Some(1));
        for (from, to) in [(CLIENTS, 7), (7, CLIENTS)] {
            network.cut_one_way(from, to);
            assert_eq!(asked(&mut stream, 2, SOON).await, None, "{from} to {to}");
            network.heal(false);
            assert_eq!(answered(&mut stream, LATE).await, Some(2), "what was held arrives late");
        }
        network.cut(CLIENTS, 7);
        assert_eq!(asked(&mut stream, 3, SOON).await, None);
        network.heal(true);
        assert_eq!(timeout(LATE, stream.read(&mut [0; 8])).await.expect("an end").unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_slow_link_delays_and_a_broken_one_ends() {
        let network = Network::new(1);
        let (proxy, mut stream) = echo(&network).await;
        network.set(CLIENTS, 7, Condition { delay_ms: 150, ..Condition::default() });
        let begun = std::time::Instant::now();
        assert_eq!(asked(&mut stream, 1, LATE).await, Some(1));
        assert!(begun.elapsed() >= Duration::from_millis(150));
        network.break_off(7, CLIENTS);
        assert_eq!(timeout(LATE, stream.read(&mut [0; 8])).await.expect("an end").unwrap_or(0), 0);
        proxy.close();
        let mut refused = false;
        for _ in 0..100 {
            refused = refused || TcpStream::connect(&proxy.address).await.is_err();
            tokio::task::yield_now().await;
        }
        assert!(refused, "nobody listens");
        proxy.open().await;
        network.heal(false);
        let mut again = TcpStream::connect(&proxy.address).await.unwrap();
        assert_eq!(asked(&mut again, 9, LATE).await, Some(9));
    }

    #[tokio::test]
    async fn a_node_that_is_gone_is_told_apart_from_one_that_is_silent() {
        let network = Network::new(1);
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let proxy = Proxy::start(&network, Kind::Clients, &nobody).await;
        let mut stream = TcpStream::connect(&proxy.address).await.unwrap();
        let mut said = Vec::new();
        timeout(LATE, stream.read_to_end(&mut said)).await.expect("an end").unwrap();
        assert_eq!(said, NOBODY_THERE);
    }
}

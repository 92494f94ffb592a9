//! The network between the nodes, and between clients and nodes: every connection goes through a proxy in this
//! process, which can cut it one way or both, delay it, slow it down or break it off.
//!
//! A proxy for peers learns from the first frame who is calling, so each pair of nodes has links of its own. Links
//! are named by the nodes' numbers in the cluster; all clients together are number 0.

use lockstep::peer::Hello;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// One end of a link: a node's number, or [`CLIENTS`].
pub type End = u64;
pub const CLIENTS: End = 0;

/// Bytes that are read, and then delayed or held, at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Most chunks on their way in one direction of a connection.
const CHUNKS_MAX: usize = 256;
/// A first frame longer than this is no handshake.
const HELLO_BYTES_MAX: usize = 4 * 1024;
/// What a client is told when the node behind its proxy does not listen: nothing was passed on.
pub const NOBODY_THERE: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The end of a node whose number is not known yet.
const NAMELESS: End = u64::MAX;

/// How slow one direction of a link is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Speed {
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
    /// Nothing gets through; it waits, as in a network that drops every packet.
    cuts: HashSet<(End, End)>,
    speeds: HashMap<(End, End), Speed>,
    /// The turn at which the connections between two ends were last broken off, the smaller number first.
    breaks: HashMap<(End, End), u64>,
    random: fastrand::Rng,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let state = State { cuts: HashSet::new(), speeds: HashMap::new(), breaks: HashMap::new(), random };
        Self(Arc::new(Shared { state: Mutex::new(state), turns: watch::Sender::new(0) }))
    }

    /// How fast bytes go from one end to the other from now on. Cuts stay as they are.
    pub fn slow(&self, from: End, to: End, speed: Speed) {
        self.change(|state, _| {
            state.speeds.insert((from, to), speed);
        });
    }

    /// Cuts one direction.
    pub fn cut_one_way(&self, from: End, to: End) {
        self.change(|state, _| {
            state.cuts.insert((from, to));
        });
    }

    /// Cuts both directions.
    pub fn cut(&self, a: End, b: End) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Mends one link. What was held back arrives late, or, with `forget`, its connections are broken off.
    pub fn mend(&self, a: End, b: End, forget: bool) {
        self.change(|state, turn| {
            let was_cut = state.cuts.remove(&(a, b)) | state.cuts.remove(&(b, a));
            if was_cut && forget {
                state.breaks.insert(pair(a, b), turn);
            }
        });
    }

    /// All links are whole and fast again; `forget` as in [`Self::mend`].
    pub fn heal(&self, forget: bool) {
        self.change(|state, turn| {
            state.speeds.clear();
            for (from, to) in state.cuts.drain().filter(|_| forget) {
                state.breaks.insert(pair(from, to), turn);
            }
        });
    }

    /// Breaks off the connections between two ends.
    pub fn break_off(&self, a: End, b: End) {
        self.change(|state, turn| {
            state.breaks.insert(pair(a, b), turn);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State, u64)) {
        // In one go: whoever sees the turn sees the change.
        self.0.turns.send_modify(|turns| {
            *turns += 1;
            change(&mut self.0.state.lock().expect("no panic while held"), *turns);
        });
    }

    fn is_cut(&self, from: End, to: End) -> bool {
        self.0.state.lock().expect("no panic while held").cuts.contains(&(from, to))
    }

    fn speed(&self, from: End, to: End) -> Speed {
        self.0.state.lock().expect("no panic while held").speeds.get(&(from, to)).copied().unwrap_or_default()
    }

    fn turn(&self) -> u64 {
        *self.0.turns.borrow()
    }

    fn jitter_ms(&self, most: u64) -> u64 {
        self.0.state.lock().expect("no panic while held").random.u64(0..=most)
    }

    /// Returns once so many bytes have gone the whole way.
    async fn passed(&self, ends: &Ends, way: Way, bytes: usize) {
        let due = self.departed(ends, way, bytes).await;
        tokio::time::sleep_until(due).await;
    }

    /// Returns once the direction is open and has room for so many bytes, with when they are due at its other end: those
    /// behind them need not wait for that.
    async fn departed(&self, ends: &Ends, way: Way, bytes: usize) -> Instant {
        let (from, to) = self.open(ends, way).await;
        let speed = self.speed(from, to);
        if speed.bytes_per_s > 0 {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / speed.bytes_per_s as f64)).await;
        }
        let jitter_ms = if speed.jitter_ms > 0 { self.jitter_ms(speed.jitter_ms) } else { 0 };
        Instant::now() + Duration::from_millis(speed.delay_ms + jitter_ms)
    }

    /// Returns the two ends once the direction is open.
    async fn open(&self, ends: &Ends, way: Way) -> (End, End) {
        let mut turns = self.0.turns.subscribe();
        loop {
            let (from, to) = ends.along(way);
            if !self.is_cut(from, to) {
                return (from, to);
            }
            // The sender lives as long as `self`.
            let _ = turns.changed().await;
        }
    }

    /// Returns once connections between the two were broken off after that turn.
    async fn broken(&self, ends: &Ends, since: u64) {
        let mut turns = self.0.turns.subscribe();
        loop {
            let (from, to) = ends.along(Way::ToNode);
            let last = self.0.state.lock().expect("no panic while held").breaks.get(&pair(from, to)).copied();
            if last.is_some_and(|turn| turn > since) {
                return;
            }
            let _ = turns.changed().await;
        }
    }
}

/// Who a connection is between. A node may get its number while it is open, so it is looked up each time.
#[derive(Clone)]
struct Ends {
    caller: End,
    node: Arc<AtomicU64>,
}

/// In which direction.
#[derive(Clone, Copy)]
enum Way {
    ToNode,
    ToCaller,
}

impl Ends {
    fn along(&self, way: Way) -> (End, End) {
        let node = self.node.load(Ordering::Acquire);
        match way {
            Way::ToNode => (self.caller, node),
            Way::ToCaller => (node, self.caller),
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
    /// Those who speak HTTP.
    Clients,
    Redis,
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
    /// The node's number, or [`NAMELESS`].
    node: Arc<AtomicU64>,
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
            node: Arc::new(AtomicU64::new(NAMELESS)),
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
        Kind::Clients | Kind::Redis => (CLIENTS, Vec::new()),
        Kind::Peers => match first_frame(&mut caller).await {
            Some(first) => (caller_of(&first), first),
            None => return,
        },
    };
    let ends = Ends { caller: from, node: passing.node.clone() };
    let (network, since) = (passing.network.clone(), passing.network.turn());
    let passed = async {
        // A dropped handshake is dropped in either direction: no answer to it would arrive.
        network.passed(&ends, Way::ToNode, first.len()).await;
        network.passed(&ends, Way::ToCaller, 0).await;
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
            () = pump(&network, &ends, Way::ToNode, caller_read, node_write) => {}
            () = pump(&network, &ends, Way::ToCaller, node_read, caller_write) => {}
        }
    };
    tokio::select! {
        () = passed => {}
        () = network.broken(&ends, since) => {}
    }
}

async fn pump(network: &Network, ends: &Ends, way: Way, mut read: OwnedReadHalf, mut write: OwnedWriteHalf) {
    let (on_their_way, mut arriving) = mpsc::channel(CHUNKS_MAX);
    let departing = async move {
        let mut last_due = Instant::now();
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(bytes @ 1..) = read.read(&mut chunk).await {
            // No chunk overtakes another one.
            last_due = last_due.max(network.departed(ends, way, bytes).await);
            if on_their_way.send((last_due, chunk[..bytes].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let arrived = async move {
        while let Some((due, chunk)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            // It may have been cut meanwhile.
            network.open(ends, way).await;
            if write.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        // It ends once all has arrived, which is after the last of it has departed.
        () = arrived => {}
        () = async { departing.await; std::future::pending().await } => {}
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
    Hello::decode(&first[4..]).map_or(CLIENTS, |hello| hello.from())
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
        let stream = TcpStream::connect(&proxy.address).await.unwrap();
        // Connections of before have the node's number too.
        proxy.belongs_to(7);
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
        // Another fault on the same link takes nothing of this one away.
        network.slow(CLIENTS, 7, Speed { delay_ms: 1, ..Speed::default() });
        assert_eq!(asked(&mut stream, 3, SOON).await, None);
        network.heal(true);
        assert_eq!(timeout(LATE, stream.read(&mut [0; 8])).await.expect("an end").unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_slow_link_delays_and_a_broken_one_ends() {
        let network = Network::new(1);
        let (proxy, mut stream) = echo(&network).await;
        network.slow(CLIENTS, 7, Speed { delay_ms: 150, ..Speed::default() });
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

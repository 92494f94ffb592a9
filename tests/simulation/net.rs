//! The simulated network: connections between machines, with delays, and what goes wrong with them.
//!
//! It carries bytes in order, as TCP does. What a closed link, or a machine without power, does not take is sent
//! again until it arrives; a machine whose process is gone resets what belongs to it. Whoever only listens
//! learns that from a keepalive.

use crate::random::Random;
use futures::FutureExt;
use futures::future::BoxFuture;
use lockstep::peer::{Dial, Listener, Net, ReadHalf, Stream, WriteHalf};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes one direction of a connection holds before its writer waits.
const WINDOW: usize = 256 * 1024;

/// A connection on which nothing is said is looked after that often.
const KEEPALIVE_MS: u64 = 10_000;

/// A machine, by its place in the simulation.
pub type Place = usize;

/// One direction between two machines.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub open: bool,
    pub delay_ms: u64,
    pub jitter_ms: u64,
    pub bytes_per_ms: u64,
}

/// What a machine does with a caller.
enum Host {
    Listening(mpsc::UnboundedSender<Stream>),
    /// The machine runs, the process does not.
    Refusing,
    /// No power.
    Silent,
}

enum Packet {
    Data(Vec<u8>),
    End,
    Reset,
}

/// One direction of a connection. Connection `n` has the flows `2n`, from the caller, and `2n + 1`.
struct Flow {
    from: Place,
    to: Place,
    /// What is under way, and when it is due.
    wire: VecDeque<(u64, Packet)>,
    in_flight: usize,
    arrived: VecDeque<u8>,
    /// How it ended, for the reader.
    ended: Option<Result<(), io::ErrorKind>>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    reader_gone: bool,
    writer_gone: bool,
}

struct Dialling {
    from: Place,
    to: Place,
    due: u64,
    /// What comes back, once the call has arrived.
    answer: Option<io::Result<Stream>>,
    caller: oneshot::Sender<io::Result<Stream>>,
}

struct State {
    now: u64,
    random: Random,
    usual: Link,
    links: BTreeMap<(Place, Place), Link>,
    hosts: BTreeMap<Place, Host>,
    flows: BTreeMap<u64, Flow>,
    /// Flows with something under way.
    busy: BTreeSet<u64>,
    dials: Vec<Dialling>,
    connections: u64,
    /// Over everything that ever arrived.
    hash: u64,
}

/// All links and connections. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

pub fn address(place: Place) -> String {
    format!("machine-{place}:1")
}

fn place(address: &str) -> Place {
    address.trim_start_matches("machine-").trim_end_matches(":1").parse().expect("one of our addresses")
}

impl Network {
    pub fn new(mut random: Random) -> Self {
        let delay_ms = random.between(1, 8);
        let jitter_ms = random.between(0, 6);
        let usual = Link { open: true, delay_ms, jitter_ms, bytes_per_ms: 100_000 };
        Self(Arc::new(Mutex::new(State {
            now: 0,
            random,
            usual,
            links: BTreeMap::new(),
            hosts: BTreeMap::new(),
            flows: BTreeMap::new(),
            busy: BTreeSet::new(),
            dials: Vec::new(),
            connections: 0,
            hash: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while held")
    }

    /// A machine's way to the others, and where they come in.
    pub fn attach(&self, at: Place) -> (Net, Listener) {
        let (sender, streams) = mpsc::unbounded_channel();
        let before = self.state().hosts.insert(at, Host::Listening(sender));
        drop(before);
        (Net::Simulated(Arc::new(Exit { network: self.clone(), at })), Listener::Simulated(streams))
    }

    /// Lets time pass: what is due arrives.
    pub fn deliver(&self, now: u64) {
        let mut wake = Vec::new();
        let mut state = self.state();
        state.now = now;
        for id in state.busy.clone() {
            state.deliver_flow(id, &mut wake);
        }
        let answers = self.answer_dials(&mut state);
        drop(state);
        // Both may run other parts of the network, so not under its lock.
        wake.into_iter().for_each(Waker::wake);
        for (caller, answer) in answers {
            let _ = caller.send(answer);
        }
    }

    fn answer_dials(
        &self,
        state: &mut State,
    ) -> Vec<(oneshot::Sender<io::Result<Stream>>, io::Result<Stream>)> {
        let mut answers = Vec::new();
        for mut dial in std::mem::take(&mut state.dials) {
            let now = state.now;
            let (there, back) = ((dial.from, dial.to), (dial.to, dial.from));
            let way = if dial.answer.is_none() { there } else { back };
            if dial.due > now || !state.link(way).open {
                state.dials.push(dial);
                continue;
            }
            if let Some(answer) = dial.answer {
                answers.push((dial.caller, answer));
                continue;
            }
            dial.answer = match state.hosts.get(&dial.to) {
                Some(Host::Listening(listener)) => {
                    let listener = listener.clone();
                    let (caller, callee) = state.connect(self, dial.from, dial.to);
                    let sent = listener.send(callee).is_ok();
                    Some(if sent { Ok(caller) } else { Err(io::ErrorKind::ConnectionRefused.into()) })
                }
                Some(Host::Refusing) => Some(Err(io::ErrorKind::ConnectionRefused.into())),
                // Nobody answers: the caller waits for as long as it likes.
                Some(Host::Silent) | None => continue,
            };
            dial.due = state.due(back, 0);
            state.dials.push(dial);
        }
        answers
    }

    /// The process of a machine ends; with the power gone, nobody hears of it.
    pub fn crash(&self, at: Place, power_cut: bool) {
        let mut state = self.state();
        let host = state.hosts.insert(at, if power_cut { Host::Silent } else { Host::Refusing });
        let from_here: Vec<u64> =
            state.flows.iter().filter(|(_, flow)| flow.from == at).map(|(id, _)| *id).collect();
        for id in from_here {
            if let Some(back) = state.flows.get_mut(&(id ^ 1)) {
                back.reader_gone = true;
            }
            if !power_cut {
                state.send(id, Packet::Reset);
            }
            if let Some(flow) = state.flows.get_mut(&id) {
                flow.writer_gone = true;
            }
            state.forget_if_over(id);
        }
        drop(state);
        drop(host);
    }

    /// The machine has power again, and no process yet.
    pub fn power_on(&self, at: Place) {
        let mut state = self.state();
        state.hosts.insert(at, Host::Refusing);
        let due = state.now + KEEPALIVE_MS;
        let State { flows, busy, .. } = &mut *state;
        for (id, flow) in flows.iter_mut().filter(|(_, flow)| flow.from == at && flow.writer_gone) {
            flow.wire.push_back((due, Packet::Reset));
            busy.insert(*id);
        }
    }

    /// Breaks all connections between two machines.
    pub fn reset(&self, one: Place, other: Place) {
        let mut state = self.state();
        let between =
            |flow: &Flow| (flow.from, flow.to) == (one, other) || (flow.from, flow.to) == (other, one);
        let ids: Vec<u64> = state.flows.iter().filter(|(_, flow)| between(flow)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| state.send(id, Packet::Reset));
    }

    pub fn change(&self, from: Place, to: Place, change: impl FnOnce(&mut Link)) {
        let mut state = self.state();
        let mut link = state.link((from, to));
        change(&mut link);
        state.links.insert((from, to), link);
    }

    /// All links are as in the beginning.
    pub fn heal(&self) {
        self.state().links.clear();
    }

    /// Over everything that ever arrived, byte by byte.
    pub fn hash(&self) -> u64 {
        self.state().hash
    }
}

impl State {
    fn link(&self, way: (Place, Place)) -> Link {
        self.links.get(&way).copied().unwrap_or(self.usual)
    }

    /// When so many bytes, sent now, are there.
    fn due(&mut self, way: (Place, Place), bytes: usize) -> u64 {
        let link = self.link(way);
        let jitter = self.random.below(link.jitter_ms + 1);
        self.now + link.delay_ms.max(1) + jitter + bytes as u64 / link.bytes_per_ms
    }

    fn connect(&mut self, network: &Network, caller: Place, callee: Place) -> (Stream, Stream) {
        let id = 2 * self.connections;
        self.connections += 1;
        let flow = |from, to| Flow {
            from,
            to,
            wire: VecDeque::new(),
            in_flight: 0,
            arrived: VecDeque::new(),
            ended: None,
            reader: None,
            writer: None,
            reader_gone: false,
            writer_gone: false,
        };
        self.flows.insert(id, flow(caller, callee));
        self.flows.insert(id + 1, flow(callee, caller));
        let end = |out: u64| Stream {
            read: ReadHalf::Simulated(Box::new(Reader { network: network.clone(), id: out ^ 1 })),
            write: WriteHalf::Simulated(Box::new(Writer { network: network.clone(), id: out })),
        };
        (end(id), end(id + 1))
    }

    /// Puts a packet on the wire, behind those that are there.
    fn send(&mut self, id: u64, packet: Packet) {
        let Some(flow) = self.flows.get(&id) else { return };
        if flow.writer_gone {
            return;
        }
        let bytes = if let Packet::Data(data) = &packet { data.len() } else { 0 };
        let due = self.due((flow.from, flow.to), bytes);
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let due = flow.wire.back().map_or(due, |(before, _)| due.max(*before));
        flow.in_flight += bytes;
        flow.wire.push_back((due, packet));
        self.busy.insert(id);
    }

    fn deliver_flow(&mut self, id: u64, wake: &mut Vec<Waker>) {
        let Some(flow) = self.flows.get_mut(&id) else {
            self.busy.remove(&id);
            return;
        };
        let open = self.links.get(&(flow.from, flow.to)).unwrap_or(&self.usual).open
            && !matches!(self.hosts.get(&flow.to), Some(Host::Silent) | None);
        let mut answer_reset = false;
        while open && flow.wire.front().is_some_and(|(due, _)| *due <= self.now) {
            let Some((_, packet)) = flow.wire.pop_front() else { break };
            match packet {
                Packet::Data(data) => {
                    self.hash = xxh3_64_with_seed(&data, self.hash ^ id ^ (self.now << 20));
                    flow.in_flight -= data.len();
                    if flow.reader_gone {
                        answer_reset = true;
                    } else {
                        flow.arrived.extend(data);
                    }
                    wake.extend(flow.writer.take());
                }
                Packet::End => flow.ended = flow.ended.or(Some(Ok(()))),
                Packet::Reset => {
                    flow.ended = Some(Err(io::ErrorKind::ConnectionReset));
                    flow.arrived.clear();
                    // Whoever writes the other way hears of it too.
                    wake.extend(self.flows.get_mut(&(id ^ 1)).and_then(|back| back.writer.take()));
                    break;
                }
            }
        }
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if !flow.arrived.is_empty() || flow.ended.is_some() {
            wake.extend(flow.reader.take());
        }
        if matches!(flow.ended, Some(Err(_))) {
            flow.wire.clear();
        }
        if flow.wire.is_empty() {
            self.busy.remove(&id);
        }
        if answer_reset {
            self.reset_back(id ^ 1);
        }
        self.forget_if_over(id);
    }

    /// What came for a process that is gone is answered by the system.
    fn reset_back(&mut self, id: u64) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let gone = std::mem::replace(&mut flow.writer_gone, false);
        // It does not wait until the keepalive would have said so.
        while matches!(flow.wire.back(), Some((_, Packet::Reset))) {
            flow.wire.pop_back();
        }
        self.send(id, Packet::Reset);
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.writer_gone = gone;
        }
    }

    fn forget_if_over(&mut self, id: u64) {
        let over = |flow: &Flow| flow.reader_gone && flow.writer_gone && flow.wire.is_empty();
        if self.flows.get(&id).is_none_or(over) && self.flows.get(&(id ^ 1)).is_none_or(over) {
            self.flows.remove(&id);
            self.flows.remove(&(id ^ 1));
        }
    }
}

/// One machine's way out.
struct Exit {
    network: Network,
    at: Place,
}

impl Dial for Exit {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Stream>> {
        let (caller, answered) = oneshot::channel();
        let mut state = self.network.state();
        let (from, to) = (self.at, place(address));
        let due = state.due((from, to), 0);
        state.dials.push(Dialling { from, to, due, answer: None, caller });
        let waiting = async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        };
        waiting.boxed()
    }
}

struct Reader {
    network: Network,
    id: u64,
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.network.state();
        let Some(flow) = state.flows.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if flow.arrived.is_empty() {
            return match flow.ended {
                Some(end) => Poll::Ready(end.map_err(io::Error::from)),
                None => {
                    flow.reader = Some(context.waker().clone());
                    Poll::Pending
                }
            };
        }
        let length = buffer.remaining().min(flow.arrived.len());
        let bytes: Vec<u8> = flow.arrived.drain(..length).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.network.state();
        if let Some(flow) = state.flows.get_mut(&self.id) {
            flow.reader_gone = true;
        }
        state.forget_if_over(self.id);
    }
}

struct Writer {
    network: Network,
    id: u64,
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.network.state();
        let reset = state.flows.get(&(self.id ^ 1)).is_none_or(|back| matches!(back.ended, Some(Err(_))));
        let Some(flow) = state.flows.get_mut(&self.id).filter(|flow| !reset && !flow.writer_gone) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if flow.in_flight >= WINDOW {
            flow.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.send(self.id, Packet::Data(bytes.to_vec()));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.state().send(self.id, Packet::End);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.network.state();
        state.send(self.id, Packet::End);
        if let Some(flow) = state.flows.get_mut(&self.id) {
            flow.writer_gone = true;
        }
        state.forget_if_over(self.id);
    }
}

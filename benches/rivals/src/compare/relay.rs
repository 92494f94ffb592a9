//! A relay that delays what members send each other, as a longer link would. Each connection gets two threads for each
//! direction: one reads, the other writes every piece when it is due. Threads and not tasks, because tokio's timers have
//! a resolution of a millisecond, and the shortest link here takes a quarter of that.

use super::rows::Link;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are read, and so delayed, at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Most pieces on their way in one direction. A sender waits when there are more, as it does on a full link.
const PIECES_MAX: usize = 1_024;

/// Listens in place of a member. Connections that are open when it is dropped end with one of their two ends.
pub struct Relay {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Relay {
    /// Listens on a port of loopback, and passes everything on to the member at another one.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(port: u16, member: u16, link: Link) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("a relay cannot listen")?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = stopped.clone();
        thread::spawn(move || {
            for caller in listener.incoming() {
                if is_stopped.load(Ordering::Acquire) {
                    return;
                }
                // A member that does not listen yet is to its caller what it would be without a relay: a connection
                // that ends at once.
                let Ok(caller) = caller else { continue };
                let member = SocketAddr::from((Ipv4Addr::LOCALHOST, member));
                thread::spawn(move || connect(&caller, member, link));
            }
        });
        Ok(Self { address, stopped })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(caller: &TcpStream, member: SocketAddr, link: Link) {
    // The first packet of a connection takes its time, too, and so does the answer to it.
    thread::sleep(link.round_trip());
    let Ok(member) = TcpStream::connect(member) else { return };
    let _ = (caller.set_nodelay(true), member.set_nodelay(true));
    for (from, to) in [(caller, &member), (&member, caller)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let (on_its_way, arriving) = sync_channel(PIECES_MAX);
        thread::spawn(move || depart(from, link, &on_its_way));
        thread::spawn(move || arrive(to, &arriving));
    }
}

/// Some bytes, and when they are due at the other end.
type Piece = (Instant, Vec<u8>);

fn depart(mut from: TcpStream, link: Link, on_its_way: &SyncSender<Piece>) {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut last_due = Instant::now();
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer) else { return };
        // One piece cannot overtake another, however lucky it is.
        last_due = last_due.max(Instant::now() + one_way(link));
        if on_its_way.send((last_due, buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}

/// How long one piece takes: half a round trip, and a part of the jitter.
fn one_way(link: Link) -> Duration {
    let half = link.round_trip() / 2;
    half + half.mul_f64(f64::from(link.jitter_percent) / 100.0 * fastrand::f64())
}

fn arrive(mut to: TcpStream, arriving: &Receiver<Piece>) {
    // Without it the kernel wakes a sleeping thread up to 50 us late.
    // SAFETY: sets a property of this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    while let Ok((due, piece)) = arriving.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // The other side has ended, or this one has.
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_a_round_trip() {
        let member = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let [at, port] = [&member, &free].map(|listener| listener.local_addr().expect("bound").port());
        drop(free);
        thread::spawn(move || {
            let (mut stream, _) = member.accept().expect("the relay calls");
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).expect("it listens");
            }
        });
        let link = Link { round_trip_us: 30_000, ..Link::LOOPBACK };
        let relay = Relay::start(port, at, link).expect("a relay");
        let mut stream = TcpStream::connect(relay.address).expect("it listens");
        let mut byte = [0];
        for turn in 0..3 {
            let asked = Instant::now();
            stream.write_all(&[turn]).expect("it listens");
            stream.read_exact(&mut byte).expect("an answer");
            assert_eq!(byte, [turn]);
            assert!(asked.elapsed() >= Duration::from_millis(30), "{:?}", asked.elapsed());
        }
    }
}

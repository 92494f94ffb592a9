//! Ports for nodes. No two processes on this machine have the same: a node that is down must find its port free when it
//! comes back, however many tests and long runs are beside each other.

use std::fs::{File, OpenOptions, create_dir_all};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below those that the system takes for outgoing connections, and above those of the scripts in `tests/`.
const PORTS: Range<u16> = 24_000..32_000;
/// A process takes so many ports at once, by the lock on a file, which ends with the process.
const BLOCK: u16 = 100;
/// After so many blocks a process begins with its first one again: by then the nodes there have ended.
const BLOCKS_MAX: usize = 4;

struct Taken {
    blocks: Vec<(u16, File)>,
    /// The block that is being given out, and how many ports of it have been.
    at: usize,
    given: u16,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken { blocks: Vec::new(), at: 0, given: 0 });

/// A port nobody listens on just now, and that nobody else is given soon.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many such ports in a row.
pub fn free_ports(count: u16) -> u16 {
    assert!(count <= BLOCK, "{count} ports are more than a block");
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = taken.next(count);
        // Not by listening there for a moment: a process that is being started meanwhile would hold the port a while.
        if (port..port + count).all(|port| TcpStream::connect(("127.0.0.1", port)).is_err()) {
            return port;
        }
    }
}

impl Taken {
    fn next(&mut self, count: u16) -> u16 {
        if !self.blocks.is_empty() && self.given + count > BLOCK {
            (self.at, self.given) = ((self.at + 1) % BLOCKS_MAX, 0);
        }
        if self.at == self.blocks.len() {
            self.blocks.push(take_block());
        }
        let port = self.blocks[self.at].0 + self.given;
        self.given += count;
        port
    }
}

/// The first port of a block that no other process has.
fn take_block() -> (u16, File) {
    let folder = std::env::temp_dir().join("lockstep-test-ports");
    create_dir_all(&folder).expect("a folder for locks");
    // `lockstep up` takes ports a thousand above those it is given, too.
    let blocks = PORTS.step_by(BLOCK.into()).filter(|first| first / 1_000 % 2 == 0);
    let free = { blocks }.find_map(|first| {
        let file = folder.join(first.to_string());
        // One that somebody else made may not be written.
        let file = OpenOptions::new().create(true).append(true).open(file).ok()?;
        file.try_lock().ok().map(|()| (first, file))
    });
    free.expect("a block of ports that no other process has")
}

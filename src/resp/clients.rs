//! All clients of this node that speak the Redis protocol: what each says of itself, and how it is told to leave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio::time::Instant;

/// All clients, by id.
#[derive(Debug, Default)]
pub(super) struct Clients {
    newest: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Presence>>>,
}

/// A client that is there. Its entry goes when this is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    clients: Arc<Clients>,
    pub presence: Arc<Presence>,
}

/// What others can see of a client.
#[derive(Debug)]
pub(super) struct Presence {
    pub id: u64,
    pub address: SocketAddr,
    /// The port of this node that it is connected to.
    pub port: u16,
    connected: Instant,
    facts: Mutex<Facts>,
    /// Somebody wants it to leave.
    leaves: Notify,
}

/// What changes while it is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub name: String,
    /// The name and the version of its library.
    pub library: [String; 2],
    pub user: String,
    pub database: u8,
    pub version: u8,
    /// Commands that wait for `EXEC`; `None` outside a transaction.
    pub queued: Option<usize>,
    pub watched: usize,
    /// Channels and patterns that it is subscribed to.
    pub subscriptions: (usize, usize),
    /// Its newest command.
    pub command: &'static str,
    pub used: Option<Instant>,
}

impl Clients {
    /// Adds one that has just connected.
    pub fn register(self: &Arc<Self>, address: SocketAddr, port: u16) -> Registered {
        let id = self.newest.fetch_add(1, Relaxed) + 1;
        let presence = Arc::new(Presence {
            id,
            address,
            port,
            connected: Instant::now(),
            facts: Mutex::default(),
            leaves: Notify::new(),
        });
        self.all.lock().expect("no panic while held").insert(id, presence.clone());
        Registered { clients: self.clone(), presence }
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<Presence>> {
        self.all.lock().expect("no panic while held").values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.lock().expect("no panic while held").len()
    }

    /// How many have connected so far.
    pub fn total(&self) -> u64 {
        self.newest.load(Relaxed)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.clients.all.lock().expect("no panic while held").remove(&self.presence.id);
    }
}

impl Presence {
    /// Notes what has changed, but for the newest command.
    pub fn show(&self, facts: Facts) {
        let mut known = self.facts.lock().expect("no panic while held");
        *known = Facts { command: known.command, used: known.used, ..facts };
    }

    /// Notes a command.
    pub fn used(&self, command: &'static str) {
        let mut facts = self.facts.lock().expect("no panic while held");
        (facts.command, facts.used) = (command, Some(Instant::now()));
    }

    /// Has it leave once what it has sent is answered.
    pub fn end(&self) {
        self.leaves.notify_one();
    }

    /// Returns once it shall leave.
    pub async fn ended(&self) {
        self.leaves.notified().await;
    }

    /// A line of `CLIENT LIST`.
    pub fn line(&self) -> String {
        let Facts { name, library, user, database, version, queued, watched, subscriptions, command, used } =
            self.facts.lock().expect("no panic while held").clone();
        let (id, address, age) = (self.id, self.address, self.connected.elapsed().as_secs());
        let idle = used.unwrap_or(self.connected).elapsed().as_secs();
        let queued = queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
        let user = if user.is_empty() { "default" } else { &user };
        let command = if command.is_empty() { "NULL" } else { command };
        let flags = if queued < 0 { 'N' } else { 'x' };
        let ([library, library_version], (channels, patterns)) = (library, subscriptions);
        format!(
            "id={id} addr={address} name={name} age={age} idle={idle} flags={flags} db={database} sub={channels} psub={patterns} ssub=0 multi={queued} \
             watch={watched} cmd={command} user={user} redir=-1 resp={version} lib-name={library} lib-ver={library_version}\n"
        )
    }
}

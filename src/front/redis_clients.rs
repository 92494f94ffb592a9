//! All clients of this node that speak the Redis protocol: what each says of itself, and how it is told to leave.

use super::inbox::Inbox;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, SetOnce};
use tokio::time::Instant;

/// All clients, by id.
#[derive(Debug, Default)]
pub struct RedisClients {
    newest: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<RedisClient>>>,
}

/// A client that is there. Its entry goes when this is dropped.
#[derive(Debug)]
pub struct RegisteredClient {
    clients: Arc<RedisClients>,
    pub presence: Arc<RedisClient>,
}

/// What others can see of a client.
#[derive(Debug)]
pub struct RedisClient {
    pub id: u64,
    pub address: SocketAddr,
    /// The port of this node that it is connected to.
    pub port: u16,
    connected: Instant,
    facts: Mutex<ClientFacts>,
    /// Somebody wants it to leave.
    leaves: Notify,
    /// It has left.
    gone: SetOnce<()>,
    /// What other connections have for it.
    pub inbox: Inbox,
}

/// What changes while it is there.
#[derive(Debug, Clone, Default)]
pub struct ClientFacts {
    pub name: String,
    /// The name and the version of its library.
    pub library: [String; 2],
    pub user: String,
    pub database: u8,
    pub version: u8,
    pub begun: Begun,
    /// Channels and patterns that it is subscribed to.
    pub subscriptions: (usize, usize),
    /// What it is told of that it has read.
    pub tracked: Option<Tracked>,
    /// Its newest command.
    pub command: &'static str,
    pub used: Option<Instant>,
}

/// How a client is told what it must forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    /// The client that is told in its place; 0 for none.
    pub redirect: u64,
    /// That one has left.
    pub is_broken: bool,
    /// It is told of all keys with some prefixes.
    pub broadcasts: bool,
}

/// A transaction that it has begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Begun {
    /// Commands that wait for `EXEC`; `None` outside a transaction.
    pub queued: Option<usize>,
    /// Keys that it watches.
    pub watched: usize,
}

impl RedisClients {
    /// Adds one that has just connected.
    pub fn register(self: &Arc<Self>, address: SocketAddr, port: u16) -> RegisteredClient {
        let id = self.newest.fetch_add(1, Relaxed) + 1;
        let presence = Arc::new(RedisClient {
            id,
            address,
            port,
            connected: Instant::now(),
            facts: Mutex::default(),
            leaves: Notify::new(),
            gone: SetOnce::new(),
            inbox: Inbox::default(),
        });
        self.all.lock().expect("no panic while held").insert(id, presence.clone());
        RegisteredClient { clients: self.clone(), presence }
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<RedisClient>> {
        self.all.lock().expect("no panic while held").values().cloned().collect()
    }

    /// The one with this id, if it is there.
    pub fn get(&self, id: u64) -> Option<Arc<RedisClient>> {
        self.all.lock().expect("no panic while held").get(&id).cloned()
    }

    /// So many of them that have been connected longest, oldest first.
    pub fn oldest(&self, count: usize) -> Vec<Arc<RedisClient>> {
        self.all.lock().expect("no panic while held").values().take(count).cloned().collect()
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

impl Drop for RegisteredClient {
    fn drop(&mut self) {
        self.clients.all.lock().expect("no panic while held").remove(&self.presence.id);
        let _ = self.presence.gone.set(());
    }
}

impl RedisClient {
    /// Notes what has changed, but for the newest command.
    pub fn show(&self, facts: ClientFacts) {
        let mut known = self.facts.lock().expect("no panic while held");
        *known = ClientFacts { command: known.command, used: known.used, ..facts };
    }

    /// Notes what it has begun.
    pub fn begun(&self, begun: Begun) {
        self.facts.lock().expect("no panic while held").begun = begun;
    }

    /// Notes a command.
    pub fn used(&self, command: &'static str) {
        let mut facts = self.facts.lock().expect("no panic while held");
        (facts.command, facts.used) = (command, Some(Instant::now()));
    }

    /// What it is at the moment.
    pub fn facts(&self) -> ClientFacts {
        self.facts.lock().expect("no panic while held").clone()
    }

    /// How long it has been connected.
    pub fn age(&self) -> Duration {
        self.connected.elapsed()
    }

    /// How long it has sent no command.
    pub fn idle(&self, facts: &ClientFacts) -> Duration {
        facts.used.unwrap_or(self.connected).elapsed()
    }

    /// Has it leave once what it has sent is answered.
    pub fn end(&self) {
        self.leaves.notify_one();
    }

    /// Returns once it shall leave.
    pub async fn ended(&self) {
        self.leaves.notified().await;
    }

    /// Whether it has left.
    pub fn is_gone(&self) -> bool {
        self.gone.initialized()
    }

    /// Returns once it has left.
    pub async fn gone(&self) {
        self.gone.wait().await;
    }

    /// A line of `CLIENT LIST`.
    pub fn line(&self) -> String {
        let facts = self.facts();
        let (id, address) = (self.id, self.address);
        let (age, idle) = (self.age().as_secs(), self.idle(&facts).as_secs());
        let ClientFacts {
            name,
            library,
            user,
            database,
            version,
            begun,
            subscriptions,
            tracked,
            command,
            ..
        } = facts;
        let Begun { queued, watched } = begun;
        let queued = queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
        let user = if user.is_empty() { "default" } else { &user };
        let command = if command.is_empty() { "NULL" } else { command };
        let flags = flags(queued >= 0, subscriptions, tracked);
        let redirect = tracked.map_or(-1, |tracked| i64::try_from(tracked.redirect).unwrap_or(i64::MAX));
        let ([library, library_version], (channels, patterns)) = (library, subscriptions);
        format!(
            "id={id} addr={address} name={name} age={age} idle={idle} flags={flags} db={database} sub={channels} psub={patterns} ssub=0 multi={queued} \
             watch={watched} cmd={command} user={user} redir={redirect} resp={version} lib-name={library} lib-ver={library_version}\n"
        )
    }
}

/// What Redis has letters for.
fn flags(has_begun: bool, subscriptions: (usize, usize), tracked: Option<Tracked>) -> String {
    let letters = [
        ('P', subscriptions != (0, 0)),
        ('x', has_begun),
        ('t', tracked.is_some()),
        ('R', tracked.is_some_and(|tracked| tracked.is_broken)),
        ('B', tracked.is_some_and(|tracked| tracked.broadcasts)),
    ];
    let flags: String = letters.into_iter().filter(|(_, holds)| *holds).map(|(letter, _)| letter).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

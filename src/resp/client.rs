//! What is known of a connected client: who it is, which database it uses, and what it has begun.

use super::feed::Feed;
use super::moving::Moving;
use super::queue::Transaction;
use super::reply::Protocol;
use super::state::Shared;
use super::subscriptions::Subscriptions;
use super::tracking::{Mode, Tracking};
use crate::api::Consistency;
use crate::cache::{Guard, Key};
use crate::front::{Begun, ClientFacts, RegisteredClient, Tracked};
use crate::node::{Principal, Session};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long the cluster may take for one command. Clients wait five seconds, and some send a command again by themselves once they have waited.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A client and its connection's state.
#[derive(Debug)]
pub(super) struct Client {
    pub shared: Arc<Shared>,
    pub registered: RegisteredClient,
    pub name: String,
    /// What it says of its library.
    pub library: [String; 2],
    pub protocol: Protocol,
    pub database: u8,
    pub principal: Principal,
    /// Of a Sentinel port: the address and port of this node's master, which is the node itself.
    sentinel: Option<SocketAddr>,
    /// Who it is by its certificate.
    by_certificate: Principal,
    pub transaction: Option<Transaction>,
    /// What must not have changed when the transaction is carried out.
    pub watched: Vec<Guard>,
    /// What others see of these two.
    shown: Begun,
    /// It wants no reply to the next command, or to any.
    pub silence: Silence,
    /// Its reads count as uses.
    pub touches: bool,
    /// What its reads ask for; `None` is what the node gives.
    pub consistency: Option<Consistency>,
    /// Its reads are not older than this.
    pub min_index: Option<u64>,
    /// The newest log entry that it has seen.
    pub seen_index: u64,
    /// How often it has written something.
    pub writes: u64,
    /// What it is told of without having asked.
    pub feed: Option<Feed>,
    pub subscriptions: Subscriptions,
    pub tracking: Option<Box<Tracking>>,
    /// It wants to be told when this node is about to stop.
    pub moving: Option<Moving>,
    /// Its connection is encrypted.
    pub is_encrypted: bool,
    /// The connection ends after the reply.
    pub ends: bool,
}

/// Which commands are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// All.
    None,
    /// All but the one that comes next.
    Next,
    /// None.
    All,
}

impl Client {
    pub fn new(shared: Arc<Shared>, registered: RegisteredClient, by_certificate: Principal) -> Self {
        let subscriptions = Subscriptions::new(shared.channels.clone());
        let client = Self {
            shared,
            registered,
            name: String::new(),
            library: Default::default(),
            protocol: Protocol::Resp2,
            database: 0,
            principal: by_certificate.clone(),
            sentinel: None,
            by_certificate,
            transaction: None,
            watched: Vec::new(),
            shown: Begun::default(),
            silence: Silence::None,
            touches: true,
            consistency: None,
            min_index: None,
            seen_index: 0,
            writes: 0,
            feed: None,
            subscriptions,
            tracking: None,
            moving: None,
            is_encrypted: false,
            ends: false,
        };
        client.show();
        client
    }

    /// As it was when it connected, but for what it said of its library.
    pub fn reset(&mut self) {
        self.name = String::new();
        (self.protocol, self.database) = (Protocol::Resp2, 0);
        self.principal = self.by_certificate.clone();
        (self.transaction, self.watched) = (None, Vec::new());
        (self.silence, self.touches) = (Silence::None, true);
        (self.consistency, self.min_index) = (None, None);
        let none = Subscriptions::new(self.shared.channels.clone());
        (self.feed, self.subscriptions, self.tracking) = (None, none, None);
        self.moving = None;
        self.show();
    }

    /// Its number, as `CLIENT ID` tells it.
    pub fn id(&self) -> i64 {
        i64::try_from(self.registered.presence.id).unwrap_or(i64::MAX)
    }

    /// The same over TLS.
    pub fn over_tls(self) -> Self {
        Self { is_encrypted: true, ..self }
    }

    /// The same at a Sentinel port, which names this address.
    pub fn of_sentinel(self, master: SocketAddr) -> Self {
        Self { sentinel: Some(master), ..self }
    }

    /// Whether it is connected to a Sentinel port.
    pub fn is_sentinel(&self) -> bool {
        self.sentinel.is_some()
    }

    /// The host and the port that a Sentinel port names.
    pub fn sentinel_for(&self) -> Option<(String, u16)> {
        self.sentinel.map(|master| (master.ip().to_canonical().to_string(), master.port()))
    }

    /// Whether it has to say who it is before it can do anything.
    pub fn is_stranger(&self) -> bool {
        !self.is_sentinel() && matches!(self.principal, Principal::Anyone) && self.shared.front.needs_token()
    }

    /// It has seen the cache as it was at this index.
    pub fn note_seen(&mut self, index: u64) {
        self.seen_index = self.seen_index.max(index);
    }

    /// It has written something, at this index.
    pub fn note_written(&mut self, index: u64) {
        if index > 0 {
            self.seen_index = self.seen_index.max(index);
            self.writes += 1;
            if let Some(tracking) = &mut self.tracking {
                tracking.note_own(index);
            }
        }
    }

    /// A command that is carried out alone has read these keys, at this index.
    pub fn note_read<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>, index: u64) {
        if let Some(tracking) = &mut self.tracking {
            tracking.note_read_alone(keys.into_iter().map(Key::as_str), index);
        }
    }

    /// Lets go of the feed if nothing is told from it any more.
    pub fn drop_feed(&mut self) {
        if !self.subscriptions.need_feed() && self.tracking.is_none() {
            self.feed = None;
        }
        self.show();
    }

    /// About how many bytes are held for it while it does nothing.
    pub fn held_bytes(&self) -> usize {
        const GUARD_BYTES: usize = 96;
        let watched = self.watched.iter().map(|guard| guard.text().len() + GUARD_BYTES).sum::<usize>();
        watched
            + self.transaction.as_ref().map_or(0, Transaction::bytes)
            + self.subscriptions.held_bytes()
            + self.tracking.as_ref().map_or(0, |tracking| tracking.held_bytes())
            + self.registered.presence.inbox.bytes()
    }

    /// Whether it can be told here what other connections have for it to forget.
    pub fn hears_invalidations(&self) -> bool {
        self.protocol == Protocol::Resp3 || self.subscriptions.has_invalidations()
    }

    /// A session for a command; `None`: this node has not found its cluster yet.
    pub fn session(&self) -> Option<Session> {
        let session = self.shared.front.session(self.principal.clone())?.within(COMMAND_TIMEOUT);
        let session = match self.consistency {
            Some(consistency) => session.with_consistency(consistency),
            None => session,
        };
        Some(session.not_before(self.min_index))
    }

    /// Shows others what it has begun, if that has changed.
    pub fn show_begun(&mut self) {
        let begun = self.begun();
        if begun != self.shown {
            self.shown = begun;
            self.registered.presence.begun(begun);
        }
    }

    fn begun(&self) -> Begun {
        Begun {
            queued: self.transaction.as_ref().map(|transaction| transaction.len()),
            watched: self.watched.len(),
        }
    }

    fn tracked(&self) -> Option<Tracked> {
        self.tracking.as_ref().map(|tracking| Tracked {
            redirect: tracking.redirect.as_ref().map_or(0, |redirect| redirect.target.id),
            is_broken: tracking.redirect.as_ref().is_some_and(|redirect| redirect.is_broken),
            broadcasts: matches!(tracking.mode, Mode::Broadcast(_)),
        })
    }

    /// Shows others what has changed.
    pub fn show(&self) {
        self.registered.presence.show(ClientFacts {
            name: self.name.clone(),
            library: self.library.clone(),
            user: self.principal.name(),
            database: self.database,
            version: if self.protocol == Protocol::Resp3 { 3 } else { 2 },
            begun: self.begun(),
            subscriptions: self.subscriptions.counts(),
            tracked: self.tracked(),
            ..ClientFacts::default()
        });
    }
}

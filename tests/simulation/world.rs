//! Machines, network and clients, a millisecond at a time.

use crate::clients::Clients;
use crate::history::{Answer, Ask};
use crate::invariants::{self, Invariant, Sight};
use crate::machine::Machine;
use crate::net::{Network, Place, address};
use crate::random::Random;
use crate::system;
use crate::trace::Trace;
use lockstep::api::{AddMember, Founding, FoundingMember, Joined};
use lockstep::cache::{CacheConfig, Policy};
use lockstep::node::{NodeError, RaftOptions};
use lockstep::raft::RaftStatus;
use lockstep::replica::{Compacted, Page};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Set when a task of a node panics; the runtime would go on without it.
pub static PANICKED: AtomicBool = AtomicBool::new(false);

/// How long a healed cluster may take until every node serves and all are equal.
const HEALING_MS: u64 = 60_000;
/// A client that is none: it asks once, when all is healed.
const WITNESS: usize = usize::MAX;

/// What an administrator was told.
pub enum Told {
    Added(Place, Result<Joined, NodeError>),
    Removed(Place, Result<(), NodeError>),
    Other(&'static str, Result<(), NodeError>),
    /// What came of something, or what is wrong with that.
    Judged(Result<String, String>),
}

/// What was last seen of a node, to see what is new.
#[derive(Default)]
struct LastSight {
    life: u32,
    digest_at: u64,
    watched_to: u64,
    line: String,
}

pub struct World {
    pub now: u64,
    pub network: Network,
    pub machines: Vec<Machine>,
    pub trace: Trace,
    pub clients: Clients,
    pub raft: RaftOptions,
    /// Machines that come back, and when.
    pub restarts: Vec<(u64, Place)>,
    pub told: Arc<Mutex<Vec<Told>>>,
    seed: u64,
    folder: PathBuf,
    random: Random,
    invariants: Vec<Box<dyn Invariant>>,
    last: BTreeMap<Place, LastSight>,
}

impl World {
    /// A cluster of three or five machines, about to start.
    pub fn new(seed: u64, folder: &Path, whole_trace: bool, clients: Clients) -> Self {
        let mut random = Random::new(seed, "world");
        let snapshot_entries = random.between(20, 100);
        let raft =
            RaftOptions { snapshot_entries, entries_kept: random.between(0, 30), ..RaftOptions::default() };
        let mut world = Self {
            now: 0,
            network: Network::new(Random::new(seed, "network")),
            machines: Vec::new(),
            trace: Trace::new(whole_trace),
            clients,
            raft,
            restarts: Vec::new(),
            told: Arc::default(),
            seed,
            folder: folder.to_owned(),
            random,
            invariants: invariants::all(),
            last: BTreeMap::new(),
        };
        let nodes = if world.random.chance(60) { 3 } else { 5 };
        for _ in 0..nodes {
            world.new_machine();
        }
        world.found();
        world
    }

    pub fn new_machine(&mut self) -> Place {
        let place = self.machines.len();
        let random = Random::new(self.seed, &address(place));
        self.machines.push(Machine::new(place, &self.folder, self.raft.clone(), random));
        place
    }

    fn found(&mut self) {
        let members = self.machines.iter().map(|machine| FoundingMember {
            id: machine.place as u64 + 1,
            name: format!("n{}", machine.place + 1),
            http: String::new(),
            peer: address(machine.place),
            store_uuid: machine.store_uuid(),
        });
        let policies = [Policy::Lru, Policy::Lfu, Policy::S3Fifo, Policy::NoEviction];
        let mut config = CacheConfig { policy: *self.random.pick(&policies), ..CacheConfig::default() };
        if self.random.chance(30) {
            config.capacity_entries = self.random.between(4, 16);
            self.clients.oracle.entries_are_evicted();
        }
        let founding =
            Founding { cluster_id: "simulated".into(), founded_at_ms: 0, members: members.collect(), config };
        for machine in &self.machines {
            machine.found(machine.place as u64 + 1, &founding);
        }
        self.restarts = (0..self.machines.len()).map(|place| (self.random.below(300), place)).collect();
    }

    pub fn note(&mut self, what: &str) {
        self.trace.note(self.now, what);
    }

    /// Lets a millisecond pass.
    ///
    /// # Errors
    /// Something was seen that must never be.
    pub fn step(&mut self, clients_ask: bool) -> Result<(), String> {
        let now = self.now;
        system::set_clocks(now, now as i64);
        let due = |at: &mut (u64, Place)| at.0 <= now;
        for (_, place) in self.restarts.extract_if(.., due).collect::<Vec<_>>() {
            self.start(place)?;
        }
        self.network.deliver(now);
        self.machines.iter_mut().for_each(|machine| machine.step_disk(now));
        if clients_ask {
            self.clients.ask(now, &self.machines, &mut self.trace);
        }
        for place in 0..self.machines.len() {
            let machine = &mut self.machines[place];
            let Err(error) = machine.step(now) else { continue };
            if !machine.disk.is_broken() {
                return Err(format!("machine {place} does not start: {error}"));
            }
            self.note(&format!("m{place} does not start: {error}"));
            self.crash(place, true, 500)?;
        }
        if PANICKED.load(Ordering::Acquire) {
            return Err("a task panicked".into());
        }
        self.now += 1;
        self.clients.hear(self.now, &mut self.trace)?;
        self.hear_told()?;
        self.look()
    }

    fn start(&mut self, place: Place) -> Result<(), String> {
        let machine = &mut self.machines[place];
        if machine.life.is_some() || machine.retired {
            return Ok(());
        }
        self.trace.note(self.now, &format!("m{place} starts"));
        self.network.power_on(place);
        machine.start(&self.network).map_err(|error| format!("machine {place} does not start: {error}"))
    }

    /// Ends a machine's process; it comes back later.
    ///
    /// # Errors
    /// A client's answer that must not be.
    pub fn crash(&mut self, place: Place, power_cut: bool, back_ms: u64) -> Result<(), String> {
        if self.machines[place].life.is_none() {
            return Ok(());
        }
        let how = if power_cut { "loses its power" } else { "is killed" };
        self.note(&format!("m{place} {how} for {back_ms} ms"));
        self.machines[place].crash(&self.network, power_cut);
        self.clients.lost(self.now, &self.machines[place], &mut self.trace)?;
        self.restarts.push((self.now + back_ms, place));
        Ok(())
    }

    /// The machine of whoever leads now, if anybody does.
    pub fn leader(&self) -> Option<Place> {
        let leads = |machine: &&Machine| machine.node().is_some_and(|node| node.consensus().is_leader());
        let term = |machine: &&Machine| machine.node().map(lockstep::node::Node::term);
        self.machines.iter().filter(leads).max_by_key(term).map(|machine| machine.place)
    }

    /// Looks at every node that has changed.
    fn look(&mut self) -> Result<(), String> {
        let mut failed = Vec::new();
        for machine in &self.machines {
            let Some(node) = machine.node().filter(|_| !machine.is_paused(self.now)) else { continue };
            let consensus = node.consensus();
            let applied = consensus.replica().applied_index();
            let status = consensus.status();
            let last = self.last.entry(machine.place).or_default();
            if last.life != machine.lives {
                *last = LastSight { life: machine.lives, ..LastSight::default() };
            }
            let line = format!(
                "{:?} leader {:?} term {} log {} committed {} snapshot {} purged {} applied {applied}",
                status.role,
                status.leader,
                status.term,
                status.last_log_index,
                status.committed_index,
                status.snapshot_index,
                status.purged_index,
            );
            if let Some(reason) = &status.stopped {
                failed.push((machine.place, reason.clone()));
            }
            if line == last.line {
                continue;
            }
            self.trace.note(self.now, &format!("m{} is {line}", machine.place));
            last.line = line;
            let mut digests = consensus.replica().digests();
            digests.retain(|(index, _)| *index > last.digest_at);
            last.digest_at = digests.last().map_or(last.digest_at, |(index, _)| *index);
            if let Some((_, digest)) = digests.last() {
                self.trace.note_number(digest.0 as u64);
            }
            let change_log = consensus.replica().change_log();
            // The change log starts over after a snapshot is installed.
            let from = last.watched_to;
            let changes = match change_log.after(from, usize::MAX, usize::MAX) {
                Ok(page) => (from, page),
                Err(Compacted { up_to }) => {
                    (up_to, Page { changes: Vec::new(), next_cursor: up_to, more: false })
                }
            };
            last.watched_to = changes.1.next_cursor;
            let log_time_ms = consensus.replica().with_cache(lockstep::cache::Cache::now_ms);
            let (place, disk_is_idle) = (machine.place, machine.disk_is_idle());
            let sight = Sight { place, status, applied, disk_is_idle, digests, changes, log_time_ms };
            for invariant in &mut self.invariants {
                invariant.check(&sight)?;
            }
            if let Some(index) = node.differs_at() {
                return Err(format!("machine {} says that it differs at {index}", machine.place));
            }
        }
        self.trace.note_number(self.network.hash());
        for (place, reason) in failed {
            // A node that has failed ends its process.
            self.note(&format!("m{place} has failed: {reason}"));
            let back_ms = self.random.between(50, 2_000);
            self.crash(place, true, back_ms)?;
        }
        Ok(())
    }

    /// Has a node do something, and notes what becomes of it.
    pub fn administer<F>(&mut self, place: Place, what: impl FnOnce(lockstep::node::Node) -> F)
    where
        F: Future<Output = Told> + Send + 'static,
    {
        let machine = &self.machines[place];
        let Some((life, node)) = machine.life.as_ref().zip(machine.node()) else { return };
        let (doing, told) = (what(node.clone()), self.told.clone());
        life.runtime.spawn(async move {
            let result = doing.await;
            told.lock().expect("no panic while held").push(result);
        });
    }

    /// What a machine says of itself when it wants to join.
    pub fn wish_to_join(&self, place: Place) -> AddMember {
        let store_uuid = self.machines[place].store_uuid();
        AddMember {
            name: None,
            http: String::new(),
            peer: address(place),
            store_uuid,
            feature_level: self.machines[place].release.feature_level,
            replace_silent_ms: None,
        }
    }

    fn hear_told(&mut self) -> Result<(), String> {
        let told = std::mem::take(&mut *self.told.lock().expect("no panic while held"));
        for told in told {
            match told {
                Told::Added(place, Ok(joined)) => {
                    self.note(&format!("m{place} is in: {joined:?}"));
                    self.machines[place].join(&joined);
                    self.machines[place].retired = false;
                    self.restarts.push((self.now, place));
                }
                Told::Added(place, Err(error)) => self.note(&format!("m{place} is not in: {error}")),
                Told::Removed(place, Ok(())) => {
                    self.note(&format!("m{place} is out"));
                    self.crash(place, true, 0)?;
                    self.machines[place].retired = true;
                }
                Told::Removed(place, Err(error)) => self.note(&format!("m{place} is not out: {error}")),
                Told::Judged(judged) => {
                    let what = judged?;
                    self.note(&what);
                }
                Told::Other(what, result) => self.note(&format!("{what}: {result:?}")),
            }
        }
        Ok(())
    }

    /// All is well again: within a while every member serves, and all are equal.
    ///
    /// # Errors
    /// It does not come to that, or something was lost.
    pub fn converge(&mut self) -> Result<(), String> {
        self.note("all is healed");
        self.network.heal();
        for machine in &mut self.machines {
            machine.paused_until = 0;
            machine.clock.drift_ppm = 0;
            machine.flush_ms = 2;
            if let Some(node) = machine.node() {
                node.links().heal();
            }
        }
        let places: Vec<Place> = (0..self.machines.len()).collect();
        self.restarts.extend(places.into_iter().map(|place| (self.now, place)));
        let deadline = self.now + HEALING_MS;
        let mut witnessed: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        loop {
            self.step(false)?;
            let missing = self.missing(&mut witnessed);
            match missing {
                None => break,
                Some(what) if self.now > deadline => {
                    return Err(format!("{HEALING_MS} ms after all was healed {what}"));
                }
                Some(_) => {}
            }
        }
        self.note("all is well");
        self.clients.oracle.judge(&self.clients.calls)
    }

    /// What is missing until all is well; asks each member to write, and then for all it has.
    fn missing(&mut self, witnessed: &mut BTreeMap<Place, Vec<usize>>) -> Option<String> {
        let Some(leader) = self.leader() else { return Some("nobody leads".into()) };
        let status = self.machines[leader].node()?.consensus().status();
        for place in self.members(&status) {
            if self.machines[place].retired {
                return Some(format!("machine {place} is a member, though it was taken out"));
            }
            if self.machines[place].node().is_none() {
                return Some(format!("machine {place} does not run"));
            }
            if !self.has_served(place, witnessed) {
                return Some(format!("machine {place} does not serve"));
            }
        }
        let (last, committed) = (status.last_log_index, status.committed_index);
        if committed != last || status.joint {
            return Some(format!("the leader has committed {committed} of {last}"));
        }
        for place in self.members(&status) {
            let applied = self.machines[place].node()?.consensus().replica().applied_index();
            if applied != last {
                return Some(format!("machine {place} has applied {applied} of {last}"));
            }
        }
        None
    }

    /// The machines of the members. One that was never told that it may join is none, and has no vote.
    fn members(&self, status: &RaftStatus) -> Vec<Place> {
        let is_member = |place: Place| {
            let mut members = status.members.iter();
            let member = members.find(|member| member.member.peer == address(place));
            member.is_some_and(|member| member.voter || self.machines[place].lives > 0)
        };
        (0..self.machines.len()).filter(|place| is_member(*place)).collect()
    }

    /// Whether a node has written, and has read every key since.
    fn has_served(&mut self, place: Place, witnessed: &mut BTreeMap<Place, Vec<usize>>) -> bool {
        let asked = witnessed.entry(place).or_default();
        let bad = |answer: Option<&Answer>| matches!(answer, Some(Answer::NotDone(_) | Answer::Unknown));
        if asked.iter().any(|call| bad(self.clients.answer(*call))) {
            asked.clear();
        }
        if asked.iter().any(|call| self.clients.answer(*call).is_none()) {
            return false;
        }
        let machine = &self.machines[place];
        let level = lockstep::node::Consistency::Linearizable;
        let asks: Vec<Ask> = match asked.len() {
            0 => vec![Ask::Put { key: "r0".into(), value: format!("w{place}-{}", self.now), at: None }],
            1 => Clients::keys().into_iter().map(|key| Ask::Get { key, level }).collect(),
            _ => return true,
        };
        for ask in asks {
            asked.push(self.clients.start(self.now, WITNESS, machine, ask, &mut self.trace));
        }
        false
    }

    /// Ends everything, quietly.
    pub fn end(mut self) {
        for machine in &mut self.machines {
            machine.crash(&self.network, true);
        }
    }
}

//! A simulated machine: a disk, a clock, a place in the network, and the node that runs on it.
//!
//! A node has a runtime of its own, with time standing still but for [`Machine::step`]. So a machine can be
//! paused while the others go on, its clock can run fast or slow, and a crash is the end of all its tasks.

use crate::disk::Disk;
use crate::net::{Network, Place, address};
use crate::random::Random;
use crate::system;
use lockstep::api::{Founding, Joined};
use lockstep::cache::CacheConfig;
use lockstep::lineage::Lineage;
use lockstep::node::{
    Limits, Node, NodeOptions, Opened, Origin, RaftOptions, Release, Resources, StartError,
};
use lockstep::storage::{LogOptions, LogStore, LogStoreBuilder, Snapshots};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How fast a machine's clock runs, and what it shows.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    own_ms: u64,
    /// Too fast by so many millionths; slow when negative.
    pub drift_ppm: i64,
    drifted: i64,
    /// How far the wall clock is off.
    pub wall_off_ms: i64,
}

impl Clock {
    /// What passes on it while a millisecond passes.
    fn tick(&mut self) -> u64 {
        self.drifted += self.drift_ppm;
        let extra = self.drifted / 1_000_000;
        self.drifted -= extra * 1_000_000;
        u64::try_from(1 + extra).unwrap_or(0)
    }
}

pub struct Machine {
    pub place: Place,
    pub disk: Disk,
    pub clock: Clock,
    /// It does nothing until then.
    pub paused_until: u64,
    /// Its disk takes so long for a flush, at most.
    pub flush_ms: u64,
    /// Its disk flushes nothing until then.
    pub flushes_from: u64,
    pub life: Option<Life>,
    pub lives: u32,
    /// A member that was taken out, or never was one: it does not come back.
    pub retired: bool,
    folder: PathBuf,
    raft: RaftOptions,
    /// The build that runs on it from its next start on.
    pub release: Release,
    joins: bool,
    owed_ms: u64,
    random: Random,
}

/// A process.
pub struct Life {
    pub runtime: Runtime,
    pub store: LogStore,
    pub node: Option<Node>,
    started: Arc<Mutex<Option<Result<Node, StartError>>>>,
    flush_at: Option<u64>,
}

/// The number of a new data folder, as members know it.
fn new_store(disk: &Disk) -> LogStore {
    LogStoreBuilder::new(LogOptions::default())
        .open_stepped(disk.mount())
        .expect("an empty disk is a new store")
}

impl Machine {
    pub fn new(place: Place, folder: &Path, raft: RaftOptions, random: Random) -> Self {
        let folder = folder.join(format!("machine-{place}"));
        Self {
            place,
            disk: Disk::default(),
            clock: Clock::default(),
            paused_until: 0,
            flush_ms: 5,
            flushes_from: 0,
            life: None,
            lives: 0,
            retired: false,
            folder,
            raft,
            release: Release::THIS,
            joins: false,
            owed_ms: 0,
            random,
        }
    }

    /// The number of its data folder.
    pub fn store_uuid(&self) -> String {
        new_store(&self.disk).store_id().to_string()
    }

    /// Leaves on its disk what forming a cluster leaves there.
    pub fn found(&self, id: u64, founding: &Founding) {
        let identity = json!({
            "format": 1,
            "lineage": Lineage::founded(&founding.cluster_id, founding.founded_at_ms),
            "node_id": id,
            "name": format!("n{id}"),
            "peer": address(self.place),
            "founding": founding,
        });
        self.save(&identity);
    }

    /// Leaves on its disk what joining a cluster leaves there.
    pub fn join(&mut self, joined: &Joined) {
        self.joins = true;
        let identity = json!({
            "format": 1,
            "lineage": joined.lineage,
            "node_id": joined.id,
            "name": joined.name,
            "peer": address(self.place),
            "founding": null,
        });
        self.save(&identity);
    }

    fn save(&self, identity: &serde_json::Value) {
        self.disk.repair();
        new_store(&self.disk).save_identity(identity.to_string().into()).expect("the disk works");
    }

    fn options(&self) -> NodeOptions {
        let origin = if self.joins {
            Origin::Join { url: String::new(), stay_learner: false }
        } else {
            Origin::Alone { config: CacheConfig::default() }
        };
        NodeOptions {
            peer_bind: address(self.place),
            origin,
            raft: self.raft.clone(),
            limits: Limits {
                request: Duration::from_secs(2),
                leader_wait: Duration::from_secs(1),
                ..Limits::default()
            },
            release: self.release,
            ..NodeOptions::alone(&self.folder)
        }
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What it found is refused.
    pub fn start(&mut self, network: &Network) -> Result<(), String> {
        self.lives += 1;
        self.show_time();
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let store = LogStoreBuilder::new(LogOptions::default()).open_stepped(self.disk.mount());
        let store = store.map_err(|error| error.to_string())?;
        let snapshots = Snapshots::open(self.folder.join("snapshots")).map_err(|error| error.to_string())?;
        let (net, listener) = network.attach(self.place);
        let resources =
            Resources { store: store.clone(), snapshots, listener, peer_address: address(self.place), net };
        let opened = Opened::on(self.options(), resources).map_err(|error| error.to_string())?;
        let started = Arc::new(Mutex::default());
        let told = started.clone();
        runtime.spawn(async move {
            let result = opened.start().await;
            *told.lock().expect("no panic while held") = Some(result);
        });
        self.life = Some(Life { runtime, store, node: None, started, flush_at: None });
        Ok(())
    }

    /// Ends the process and everything in it.
    pub fn crash(&mut self, network: &Network, power_cut: bool) {
        network.crash(self.place, power_cut);
        self.disk.crash(power_cut, &mut self.random);
        self.paused_until = 0;
        self.owed_ms = 0;
        if let Some(Life { runtime, store, node, started, .. }) = self.life.take() {
            drop(runtime);
            drop((node, started, store));
        }
    }

    /// Lets the disk do what is due.
    pub fn step_disk(&mut self, now: u64) {
        if self.is_paused(now) || now < self.flushes_from {
            return;
        }
        self.show_time();
        let Some(life) = &mut self.life else { return };
        if life.flush_at.is_none() && life.store.has_work() {
            let soon = self.random.below(3);
            let took = if self.random.chance(10) { self.random.below(self.flush_ms + 1) } else { soon };
            life.flush_at = Some(now + took);
        }
        if life.flush_at.is_some_and(|at| at <= now) {
            life.flush_at = None;
            let _inside = life.runtime.enter();
            life.store.flush_batch();
        }
    }

    /// Lets the machine live through a millisecond.
    ///
    /// # Errors
    /// The node did not start.
    pub fn step(&mut self, now: u64) -> Result<(), String> {
        let ms = self.clock.tick();
        if self.is_paused(now) {
            self.owed_ms += ms;
            return Ok(());
        }
        let missed = std::mem::take(&mut self.owed_ms);
        self.clock.own_ms += missed;
        self.show_time();
        self.clock.own_ms += ms;
        let Some(life) = &mut self.life else { return Ok(()) };
        if ms > 0 || missed > 0 {
            life.runtime.block_on(async {
                if missed > 0 {
                    // The clock went on without the process: all that fell due meanwhile does so at once.
                    tokio::time::advance(Duration::from_millis(missed)).await;
                }
                tokio::time::sleep(Duration::from_millis(ms)).await;
            });
        }
        if life.node.is_none()
            && let Some(result) = life.started.lock().expect("no panic while held").take()
        {
            life.node = Some(result.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// Whether the process waits for nothing to be written.
    pub fn disk_is_idle(&self) -> bool {
        self.life.as_ref().is_none_or(|life| life.flush_at.is_none() && !life.store.has_work())
    }

    pub fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    pub fn node(&self) -> Option<&Node> {
        self.life.as_ref()?.node.as_ref()
    }

    fn show_time(&self) {
        let own_ms = self.clock.own_ms;
        system::set_clocks(own_ms, own_ms as i64 + self.clock.wall_off_ms);
    }
}

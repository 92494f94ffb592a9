//! A rolling upgrade: the machines change, one after another, from a release to the next, which has one more feature
//! level and one more operation. Meanwhile leaders are held up and clients go on.

use crate::net::Place;
use crate::random::Random;
use crate::world::{Told, World};
use lockstep::cache::{Absence, Command, CommandError, Key, Op, Outcome};
use lockstep::node::{Node, NodeError, Release};
use lockstep::peer::Protocols;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the machines run at first.
pub const OLDER: Release =
    Release { version: "0.0.9", protocols: Protocols { min: 1, max: 1 }, feature_level: 1 };
/// What they run in the end: it speaks another version of the protocol, too.
const NEWER: Release =
    Release { version: "0.2.0", protocols: Protocols { min: 1, max: 2 }, feature_level: 2 };

/// How long it may take to raise the level once all is healed.
const RAISING_MS: u64 = 20_000;

pub struct Upgrade {
    random: Random,
    next_at: u64,
    updated: BTreeSet<Place>,
    /// All run the newer release: from here on the level may rise.
    may_rise: Arc<AtomicBool>,
    /// It was raised.
    raised: Arc<AtomicBool>,
}

impl Upgrade {
    pub fn new(random: Random) -> Self {
        let (may_rise, raised) = Default::default();
        Self { random, next_at: 1_500, updated: BTreeSet::new(), may_rise, raised }
    }

    /// Updates a machine, or has one try what only the newer release knows.
    ///
    /// # Errors
    /// A client's answer that must not be.
    pub fn step(&mut self, world: &mut World) -> Result<(), String> {
        if world.now < self.next_at {
            return Ok(());
        }
        self.next_at = world.now + self.random.between(150, 700);
        let waiting: Vec<Place> =
            (0..world.machines.len()).filter(|place| !self.updated.contains(place)).collect();
        if !waiting.is_empty() && self.random.chance(15) {
            let place = *self.random.pick(&waiting);
            world.machines[place].release = NEWER;
            self.updated.insert(place);
            // A machine that is down comes back with the newer release.
            world.crash(place, false, 100)?;
            if waiting.len() == 1 {
                self.may_rise.store(true, Ordering::Release);
            }
            return Ok(());
        }
        let updated: Vec<Place> = self.updated.iter().copied().collect();
        if !updated.is_empty() {
            let place = *self.random.pick(&updated);
            self.try_out(world, place);
        }
        Ok(())
    }

    /// Until the level was raised, what is new is refused everywhere; and it cannot be raised before all know it.
    fn try_out(&mut self, world: &mut World, place: Place) {
        let (may_rise, raised) = (self.may_rise.clone(), self.raised.clone());
        if self.random.chance(50) {
            world.administer(place, async move |node| {
                let done = node.admin().finish_upgrade().await;
                let rose = done.as_ref().is_ok_and(|level| level.raised || level.feature_level == 2);
                raised.fetch_or(rose, Ordering::AcqRel);
                Told::Judged(match rose && !may_rise.load(Ordering::Acquire) {
                    true => Err("the level rose before all knew it".into()),
                    false => Ok(format!("finish the upgrade: {done:?}")),
                })
            });
        } else {
            world.administer(place, async move |node| {
                let done = double(&node).await;
                let too_early = done.is_ok() && !may_rise.load(Ordering::Acquire);
                Told::Judged(match (too_early, done) {
                    (true, _) => Err("a command was carried out before all knew it".into()),
                    (_, Err(NodeError::Refused { error, .. })) => {
                        Err(format!("it was proposed before the level rose: {error}"))
                    }
                    (_, done) => Ok(format!("double: {done:?}")),
                })
            });
        }
    }

    /// Once all is healed, the level rises, and every node carries out what is new.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn finish(&mut self, world: &mut World) -> Result<(), String> {
        for place in 0..world.machines.len() {
            if self.updated.insert(place) {
                world.machines[place].release = NEWER;
                world.crash(place, false, 10)?;
            }
        }
        self.may_rise.store(true, Ordering::Release);
        world.converge()?;
        let deadline = world.now + RAISING_MS;
        let doubled: Arc<AtomicBool> = Arc::default();
        while !doubled.load(Ordering::Acquire) {
            if world.now.is_multiple_of(500) {
                let place = self.random.below(world.machines.len() as u64) as Place;
                let (raised, doubled) = (self.raised.clone(), doubled.clone());
                world.administer(place, async move |node| {
                    if !raised.load(Ordering::Acquire) {
                        let done = node.admin().finish_upgrade().await;
                        raised.fetch_or(done.is_ok(), Ordering::AcqRel);
                        return Told::Judged(Ok(format!("finish the upgrade: {done:?}")));
                    }
                    let done = double(&node).await;
                    let worked =
                        matches!(&done, Ok(Outcome::Counter { value, .. }) if *value == 0 || *value > 1);
                    doubled.fetch_or(worked, Ordering::AcqRel);
                    Told::Judged(Ok(format!("double: {done:?}")))
                });
            }
            world.step(false)?;
            if world.now > deadline {
                return Err(format!("{RAISING_MS} ms after all was healed the level is not raised"));
            }
        }
        world.converge()
    }
}

async fn double(node: &Node) -> Result<Outcome, NodeError> {
    let key = Key::new("doubled").expect("a good key");
    match node.write(Command::One(Op::Double { key })).await {
        Ok(written) => Ok(written.outcome),
        // It was no counter of ours: what an operation may say, too.
        Err(NodeError::Refused { error: CommandError::Overflow { .. }, .. }) => {
            Ok(Outcome::NotFound(Absence { removal: None, known_after: 0 }))
        }
        Err(error) => Err(error),
    }
}

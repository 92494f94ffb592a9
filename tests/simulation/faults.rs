//! What goes wrong, and when, by the seed.

use crate::disk::DiskFault;
use crate::net::Place;
use crate::random::Random;
use crate::world::{Told, World};
use lockstep::node::NodeError;
use std::time::Duration;

/// Machines in a simulation, at most.
const MACHINES_MAX: usize = 7;
const FAR_OFF: u64 = u64::MAX;

/// A way in which the machines' links are closed.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// One machine hears and is heard by nobody.
    Alone,
    /// Two parts that do not hear each other.
    Halves,
    /// Two parts, and one machine that hears both.
    Bridge,
    /// Each hears two neighbours only.
    Ring,
    /// One machine is heard, and hears nobody.
    Deaf,
    /// One machine hears, and is heard by nobody.
    Mute,
}

/// What ends a fault.
enum Undo {
    /// The other way round: these are closed, for so long.
    Close(Vec<(Place, Place)>, u64),
    Open(Vec<(Place, Place)>),
    Speed(Vec<(Place, Place)>),
    /// A link that closes and opens again and again.
    Flap {
        between: (Place, Place),
        until: u64,
        open: bool,
    },
    FastDisk(Place),
    HealSwitch(Place),
}

pub struct Faults {
    random: Random,
    next_at: u64,
    undo: Vec<(u64, Undo)>,
    /// The longest pause between two faults: some simulations are calm, some are not.
    calm_ms: u64,
    /// Clocks of this simulation run at different speeds.
    drift: bool,
    /// Where changes are halved: the one that takes a node out, not the one that takes it in.
    halves_removal: bool,
}

impl Faults {
    pub fn new(mut random: Random) -> Self {
        let calm_ms = *random.pick(&[600, 1_500, 4_000]);
        let drift = random.chance(30);
        let halves_removal = random.chance(50);
        Self {
            next_at: random.between(1_000, 3_000),
            random,
            undo: Vec::new(),
            calm_ms,
            drift,
            halves_removal,
        }
    }

    /// Gives the machines the clocks of this simulation.
    pub fn set_clocks(&mut self, world: &mut World) {
        for machine in &mut world.machines {
            machine.clock.wall_off_ms = self.random.below(240_000) as i64 - 120_000;
            if self.drift {
                machine.clock.drift_ppm = self.random.below(200_000) as i64 - 100_000;
            }
        }
    }

    /// Does and undoes what is due.
    ///
    /// # Errors
    /// What a crash brings to light.
    pub fn step(&mut self, world: &mut World) -> Result<(), String> {
        let now = world.now;
        for (_, undo) in self.undo.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            self.undo(world, undo);
        }
        if now >= self.next_at {
            self.next_at = now + self.random.between(50, self.calm_ms);
            self.strike(world)?;
        }
        Ok(())
    }

    /// Nothing but leaders that stand still, or are not heard, for long enough that another is elected.
    pub fn hold_leaders(&mut self, world: &mut World) {
        let now = world.now;
        for (_, undo) in self.undo.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            self.undo(world, undo);
        }
        let Some(leader) = world.leader().filter(|_| now >= self.next_at) else { return };
        self.next_at = now + self.random.between(2_000, 3_000);
        let ms = self.random.between(700, 1_500);
        world.note(&format!("m{leader} leads, and is held up for {ms} ms"));
        if self.random.chance(50) {
            world.machines[leader].paused_until = now + ms;
            return;
        }
        let others = (0..world.machines.len()).filter(|place| *place != leader);
        let ways: Vec<(Place, Place)> = others.flat_map(|place| [(place, leader), (leader, place)]).collect();
        ways.iter().for_each(|(from, to)| world.network.change(*from, *to, |link| link.open = false));
        self.undo.push((now + ms, Undo::Open(ways)));
    }

    /// A node comes in, or goes, and whoever leads while old and new voters decide together dies at once.
    ///
    /// # Errors
    /// What a crash brings to light.
    pub fn halve_changes(&mut self, world: &mut World) -> Result<(), String> {
        if world.now == 3_000 {
            self.add(world, 0);
        }
        // In other runs one of the first goes again, which may be the one that leads next.
        if world.now == 6_000 && self.halves_removal {
            self.next_at = 0;
            self.remove(world, 0);
        }
        let Some(leader) = world.leader() else { return Ok(()) };
        let joint = world.machines[leader].node().is_some_and(|node| node.consensus().status().joint);
        if joint && self.next_at != FAR_OFF && (world.now > 6_000 || !self.halves_removal) {
            self.next_at = FAR_OFF;
            world.crash(leader, true, 2_000)?;
        }
        Ok(())
    }

    /// Leaders hand over, again and again, to a voter that takes over at once, but is heard by nobody any more, or dies.
    ///
    /// # Errors
    /// What a crash brings to light.
    pub fn lose_handovers(&mut self, world: &mut World) -> Result<(), String> {
        let now = world.now;
        for (_, undo) in self.undo.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            self.undo(world, undo);
        }
        let Some(leader) = world.leader().filter(|_| now >= self.next_at) else { return Ok(()) };
        self.next_at = now + self.random.between(3_000, 4_000);
        let others: Vec<Place> = (0..world.machines.len()).filter(|place| *place != leader).collect();
        let (to, ms) = (*self.random.pick(&others), self.random.between(500, 2_000));
        world.note(&format!("m{leader} is asked to hand over to m{to}, which is lost for {ms} ms"));
        world.administer(leader, move |node| async move {
            let handed = node.admin().transfer_leader(Some(to as u64 + 1)).await;
            Told::Other("handing over", handed.map_err(|failed| failed.error))
        });
        if self.random.chance(30) {
            return world.crash(to, true, ms);
        }
        let everybody = 0..world.machines.len();
        let ways: Vec<(Place, Place)> =
            everybody.filter(|place| *place != to).map(|place| (to, place)).collect();
        // Before, while or after it is asked.
        self.undo.push((now + self.random.below(40), Undo::Close(ways, ms)));
        Ok(())
    }

    /// Leaders are asked to hand over to a voter that has just stopped storing anything.
    pub fn ask_those_behind(&mut self, world: &mut World) {
        let now = world.now;
        let Some(leader) = world.leader().filter(|_| now >= self.next_at) else { return };
        self.next_at = now + 6_000;
        let others: Vec<Place> = (0..world.machines.len()).filter(|place| *place != leader).collect();
        let to = *self.random.pick(&others);
        world.note(&format!("m{leader} is asked to hand over to m{to}, which stores nothing"));
        world.machines[to].flushes_from = now + 4_000;
        world.administer(leader, async move |node| {
            // By then there is something that it has not stored, and it does not count as silent yet.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let handed =
                node.admin().transfer_leader(Some(to as u64 + 1)).await.map_err(|failed| failed.error);
            Told::Judged(match handed {
                Err(NodeError::Conflict(reason)) => Ok(format!("not handed over: {reason}")),
                other => Err(format!("it was told {other:?} of a voter that is too far behind")),
            })
        });
    }

    fn strike(&mut self, world: &mut World) -> Result<(), String> {
        let any = self.random.below(world.machines.len() as u64) as Place;
        let leader = world.leader();
        // The leader is where most can go wrong.
        let victim = if self.random.chance(50) { leader.unwrap_or(any) } else { any };
        match self.random.below(100) {
            0..=17 => self.crash(world, victim)?,
            18..=37 => self.cut(world, victim),
            38..=42 => self.flap(world, victim),
            43..=49 => self.slow(world, victim),
            50..=58 => {
                let ms = self.random.between(50, 3_000);
                world.note(&format!("m{victim} is paused for {ms} ms"));
                world.machines[victim].paused_until = world.now + ms;
            }
            59..=62 => {
                let off_ms = self.random.below(240_000) as i64 - 120_000;
                world.note(&format!("m{victim} has a wall clock that is {off_ms} ms off"));
                world.machines[victim].clock.wall_off_ms = off_ms;
            }
            63..=70 => {
                let fault = *self.random.pick(&[DiskFault::Write, DiskFault::Flush, DiskFault::PowerCut]);
                world.note(&format!("m{victim} has a disk with {fault:?}"));
                world.machines[victim].disk.fail_next(fault);
            }
            71..=75 => {
                let ms = self.random.between(50, 800);
                world.note(&format!("m{victim} has a disk that takes {ms} ms"));
                world.machines[victim].flush_ms = ms;
                self.later(world, Undo::FastDisk(victim));
            }
            76..=80 => {
                world.note(&format!("m{any} and m{victim} lose their connections"));
                world.network.reset(any, victim);
            }
            81..=83 => self.throw_switch(world, victim),
            84..=87 => world.administer(victim, |node| async move {
                Told::Other("a snapshot", node.snapshot().await.map(drop))
            }),
            88..=91 => {
                world.note(&format!("m{any} is asked to hand the lead over"));
                world.administer(any, |node| async move {
                    Told::Other(
                        "handing over",
                        node.admin().transfer_leader(None).await.map_err(|failed| failed.error),
                    )
                });
            }
            92..=95 => self.add(world, any),
            _ => self.remove(world, any),
        }
        Ok(())
    }

    fn crash(&mut self, world: &mut World, victim: Place) -> Result<(), String> {
        let mut places: Vec<Place> = (0..world.machines.len()).collect();
        self.random.shuffle(&mut places);
        let victims = match self.random.below(10) {
            0..=6 => vec![victim],
            7 | 8 => places[..places.len() / 2 + 1].to_vec(),
            _ => places,
        };
        let power_cut = self.random.chance(60);
        for place in victims {
            let back_ms = self.random.between(20, 3_000);
            world.crash(place, power_cut, back_ms)?;
        }
        Ok(())
    }

    fn cut(&mut self, world: &mut World, victim: Place) {
        let machines = world.machines.len();
        let cuts =
            [Cut::Alone, Cut::Alone, Cut::Halves, Cut::Halves, Cut::Bridge, Cut::Ring, Cut::Deaf, Cut::Mute];
        let cut = *self.random.pick(&cuts);
        let mut order: Vec<Place> = (0..machines).collect();
        self.random.shuffle(&mut order);
        let rank = |place: Place| order.iter().position(|other| *other == place).unwrap_or(0);
        let half = machines / 2;
        let closed = |from: Place, to: Place| match cut {
            Cut::Alone => from == victim || to == victim,
            Cut::Halves => (rank(from) < half) != (rank(to) < half),
            Cut::Bridge => rank(from) != half && rank(to) != half && (rank(from) < half) != (rank(to) < half),
            Cut::Ring => {
                !matches!(rank(from).abs_diff(rank(to)), 1) && rank(from).abs_diff(rank(to)) != machines - 1
            }
            Cut::Deaf => to == victim,
            Cut::Mute => from == victim,
        };
        let ways = (0..machines).flat_map(|from| (0..machines).map(move |to| (from, to)));
        let ways: Vec<(Place, Place)> = ways.filter(|(from, to)| from != to && closed(*from, *to)).collect();
        world.note(&format!("the network is cut, {cut:?} (m{victim}): {ways:?}"));
        ways.iter().for_each(|(from, to)| world.network.change(*from, *to, |link| link.open = false));
        self.later(world, Undo::Open(ways));
    }

    fn flap(&mut self, world: &mut World, victim: Place) {
        let other =
            (victim + 1 + self.random.below(world.machines.len() as u64 - 1) as Place) % world.machines.len();
        world.note(&format!("the link between m{victim} and m{other} flaps"));
        let until = world.now + self.random.between(500, 4_000);
        self.undo.push((world.now, Undo::Flap { between: (victim, other), until, open: false }));
    }

    fn slow(&mut self, world: &mut World, victim: Place) {
        let delay = self.random.between(20, 300);
        let rate = *self.random.pick(&[1, 20, 100_000]);
        let others = (0..world.machines.len()).filter(|place| *place != victim);
        let ways: Vec<(Place, Place)> = others.flat_map(|place| [(place, victim), (victim, place)]).collect();
        world.note(&format!("m{victim} has slow links: {delay} ms, {rate} bytes a ms"));
        for (from, to) in &ways {
            world.network.change(*from, *to, |link| {
                link.delay_ms = delay;
                link.jitter_ms = delay;
                link.bytes_per_ms = rate;
            });
        }
        self.later(world, Undo::Speed(ways));
    }

    /// The node's own switch between itself and its peers.
    fn throw_switch(&mut self, world: &mut World, victim: Place) {
        if let Some(node) = world.machines[victim].node() {
            node.links().cut();
            world.note(&format!("m{victim} has its links switched off"));
            self.later(world, Undo::HealSwitch(victim));
        }
    }

    fn add(&mut self, world: &mut World, asked: Place) {
        if world.machines.len() == MACHINES_MAX || world.machines[asked].node().is_none() {
            return;
        }
        let place = world.new_machine();
        // Until the cluster says that it is in.
        world.machines[place].retired = true;
        let wish = world.wish_to_join(place);
        world.note(&format!("m{asked} is asked to take m{place} in"));
        world.administer(asked, move |node| async move {
            Told::Added(place, node.admin().add_member(wish).await.map_err(|failed| failed.error))
        });
    }

    fn remove(&mut self, world: &mut World, asked: Place) {
        let out = self.random.below(world.machines.len() as u64) as Place;
        let Some(node) = world.machines[asked].node() else { return };
        let status = node.consensus().status();
        let peer = crate::net::address(out);
        let voters = status.members.iter().filter(|member| member.voter).count();
        let Some(member) = status.members.iter().find(|member| member.member.peer == peer) else { return };
        // Two machines are no cluster that can lose one.
        if voters <= 3 && member.voter {
            return;
        }
        let id = member.id;
        world.note(&format!("m{asked} is asked to take m{out} out"));
        world.administer(asked, move |node| async move {
            Told::Removed(out, node.admin().remove_member(id).await.map_err(|failed| failed.error))
        });
    }

    fn later(&mut self, world: &World, undo: Undo) {
        let at = world.now + self.random.between(200, 5_000);
        self.undo.push((at, undo));
    }

    fn undo(&mut self, world: &mut World, undo: Undo) {
        match undo {
            Undo::Close(ways, ms) => {
                ways.iter().for_each(|(from, to)| world.network.change(*from, *to, |link| link.open = false));
                self.undo.push((world.now + ms, Undo::Open(ways)));
            }
            Undo::Open(ways) => {
                world.note("the network is whole");
                ways.iter().for_each(|(from, to)| world.network.change(*from, *to, |link| link.open = true));
            }
            Undo::Speed(ways) => {
                world.note("slow links are fast again");
                for (from, to) in ways {
                    world.network.change(from, to, |link| {
                        link.delay_ms = 2;
                        link.jitter_ms = 3;
                        link.bytes_per_ms = 100_000;
                    });
                }
            }
            Undo::Flap { between: (one, other), until, open } => {
                world.network.change(one, other, |link| link.open = open);
                world.network.change(other, one, |link| link.open = open);
                let next = if !open {
                    world.now + self.random.between(20, 400)
                } else if world.now < until {
                    world.now + self.random.between(10, 200)
                } else {
                    FAR_OFF
                };
                if next != FAR_OFF {
                    self.undo.push((next, Undo::Flap { between: (one, other), until, open: !open }));
                }
            }
            Undo::FastDisk(place) => world.machines[place].flush_ms = 5,
            Undo::HealSwitch(place) => {
                world.note(&format!("m{place} has its links switched on"));
                if let Some(node) = world.machines[place].node() {
                    node.links().heal();
                }
            }
        }
    }
}

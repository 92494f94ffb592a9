//! Breaks things, holds, heals, waits until all is well, and again; with quiet times in between.

use super::cluster::Cluster;
use super::faults::{Failed, Kind};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// All kinds in random order, dealt one by one, so that none is left out for long.
pub struct Deck {
    kinds: VecDeque<Kind>,
    all: Vec<Kind>,
    strace: bool,
    random: fastrand::Rng,
}

/// One stretch of trouble, from the first fault to the moment when every node serves again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Episode {
    /// What was done, and to whom; empty for a quiet time.
    pub faults: Vec<(String, String)>,
    /// What was tried and could not be done.
    pub not_done: Vec<String>,
    /// In nanoseconds since the run began.
    pub began_ns: u64,
    pub healed_ns: u64,
    pub ready_ns: u64,
    /// The highest term that a node told of, before and just before healing.
    pub terms: (u64, u64),
}

impl Episode {
    /// Whether its one fault kept the leader from its followers, for long enough that they elect another.
    pub fn leader_was_taken(&self) -> bool {
        let taken = [
            Kind::KillLeader,
            Kind::PauseLeader,
            Kind::LeaderAlone,
            Kind::LeaderInMinority,
            Kind::LeaderMute,
        ];
        let long = self.healed_ns.saturating_sub(self.began_ns) >= 1_800_000_000;
        matches!(self.faults.as_slice(), [(name, _)] if taken.iter().any(|kind| kind.name() == *name)) && long
    }

    pub fn leader_was_replaced(&self) -> bool {
        self.terms.1 > self.terms.0
    }
}

impl Deck {
    pub fn new(kinds: &[Kind], strace: bool, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { kinds: VecDeque::new(), all: kinds.to_vec(), strace, random }
    }

    /// The next kind that can happen here, and goes with another one if there is one.
    fn deal(&mut self, cluster: &Cluster, with: Option<Kind>) -> Option<Kind> {
        let fits = |kind: &Kind| {
            kind.is_possible(cluster, self.strace) && with.is_none_or(|other| kind.goes_with(other))
        };
        if !self.kinds.iter().any(fits) {
            let mut more = self.all.clone();
            self.random.shuffle(&mut more);
            self.kinds.extend(more);
        }
        let place = self.kinds.iter().position(fits)?;
        self.kinds.remove(place)
    }

    /// It was not done; it comes again, later.
    fn put_back(&mut self, kind: Kind) {
        self.kinds.push_back(kind);
    }
}

/// Makes trouble so many times, each time by a part of the seed of its own, so that how long one takes changes
/// nothing about the next. Ends early when the time is over or `enough` says so.
///
/// # Errors
/// The cluster did not do what it must be able to; what happened before is told too.
pub async fn trouble(
    cluster: &mut Cluster,
    deck: &mut Deck,
    seed: u64,
    turns: u64,
    begun: Instant,
    until: Instant,
    enough: impl Fn() -> bool,
) -> (Vec<Episode>, Result<(), String>) {
    let mut episodes = Vec::new();
    for turn in 0..turns {
        if Instant::now() >= until || enough() {
            break;
        }
        let mut random =
            fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(turn));
        let random = &mut random;
        if random.u8(..5) == 0 {
            tokio::time::sleep(Duration::from_millis(random.u64(500..2_500))).await;
            continue;
        }
        let mut episode = Episode {
            faults: Vec::new(),
            not_done: Vec::new(),
            began_ns: since(begun),
            healed_ns: 0,
            ready_ns: 0,
            terms: (term(cluster).await, 0),
        };
        let result = one(cluster, deck, random, &mut episode, begun).await;
        episode.ready_ns = since(begun);
        episodes.push(episode);
        if let Err(error) = result {
            return (episodes, Err(error));
        }
    }
    (episodes, Ok(()))
}

async fn one(
    cluster: &mut Cluster,
    deck: &mut Deck,
    random: &mut fastrand::Rng,
    episode: &mut Episode,
    begun: Instant,
) -> Result<(), String> {
    let together = if random.u8(..5) < 2 { 2 } else { 1 };
    let mut with = None;
    for _ in 0..together {
        let Some(kind) = deck.deal(cluster, with) else { break };
        match kind.inject(cluster, random).await {
            Ok(detail) => {
                with = Some(kind);
                episode.faults.push((kind.name(), detail));
            }
            Err(Failed::NotDone(reason)) => {
                deck.put_back(kind);
                episode.not_done.push(format!("{}: {reason}", kind.name()));
                // What it has begun is healed before anything else is done.
                break;
            }
            Err(Failed::Broken(reason)) => return Err(format!("{}: {reason}", kind.name())),
        }
    }
    let hold = Duration::from_millis(random.u64(300..2_500));
    tokio::time::sleep(hold).await;
    let forget = random.bool();
    episode.terms.1 = term(cluster).await;
    episode.healed_ns = since(begun);
    let during = episode.faults.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" and ");
    cluster.heal(forget).await.map_err(|error| format!("after {during}: {error}"))?;
    // A moment in which everybody works as usual.
    tokio::time::sleep(Duration::from_millis(random.u64(200..1_000))).await;
    Ok(())
}

async fn term(cluster: &Cluster) -> u64 {
    let all = (0..cluster.members.len()).map(|position| cluster.status(position));
    futures::future::join_all(all).await.into_iter().flatten().map(|status| status.term).max().unwrap_or(0)
}

fn since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

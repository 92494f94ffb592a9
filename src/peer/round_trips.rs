//! How long requests to the other nodes and their answers take: what the network takes, as far as a busy processor lets
//! this node see it.

use super::{Method, NodeId};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How many of the latest round trips to a node are remembered: where all threads are busy, few are as short as the network.
const REMEMBERED: usize = 64;
/// Of how many of them the median is taken.
const MEDIAN_OF: usize = 16;

/// The latest round trips to each node. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct RoundTrips(Arc<Shared>);

type Latest = HashMap<NodeId, VecDeque<Duration>>;

#[derive(Debug, Default)]
struct Shared {
    latest: Mutex<Latest>,
    /// What follows from them, in nanoseconds: each write asks for it, and it changes with a round trip only.
    majority_shortest_ns: AtomicU64,
    majority_typical_ns: AtomicU64,
}

/// Whether a node answers at once, so that the answer takes a round trip and not longer.
pub(super) fn is_answered_at_once(method: Method) -> bool {
    matches!(method, Method::Support | Method::PreVote | Method::Clock | Method::Digests)
}

impl RoundTrips {
    pub(crate) fn note(&self, node: NodeId, took: Duration) {
        let mut all = self.lock();
        let latest = all.entry(node).or_default();
        latest.truncate(REMEMBERED - 1);
        latest.push_front(took);
        self.sum_up(&all);
    }

    /// Forgets the nodes that are no longer members.
    pub(crate) fn retain(&self, is_member: impl Fn(NodeId) -> bool) {
        let mut all = self.lock();
        all.retain(|node, _| is_member(*node));
        self.sum_up(&all);
    }

    fn sum_up(&self, all: &Latest) {
        let shortest = all.values().filter_map(|latest| latest.iter().min().copied());
        self.0.majority_shortest_ns.store(of_a_majority(shortest), Relaxed);
        self.0.majority_typical_ns.store(of_a_majority(all.values().filter_map(median)), Relaxed);
    }

    /// The median of the latest round trips to a node; `None` if it has not answered yet.
    pub fn median(&self, node: NodeId) -> Option<Duration> {
        median(self.lock().get(&node)?)
    }

    /// How long the answers of a majority take, this node included: no commit is faster. Judged by the shortest round trip
    /// to each node, because longer ones also waited for a processor. Zero as long as no node has answered.
    pub fn of_a_majority(&self) -> Duration {
        Duration::from_nanos(self.0.majority_shortest_ns.load(Relaxed))
    }

    /// The same of the medians: how long the answers of a majority typically take.
    pub fn typical_of_a_majority(&self) -> Duration {
        Duration::from_nanos(self.0.majority_typical_ns.load(Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.0.latest.lock().expect("no panic while held")
    }
}

fn median(latest: &VecDeque<Duration>) -> Option<Duration> {
    let mut sorted: Vec<Duration> = latest.iter().take(MEDIAN_OF).copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// The round trip, in nanoseconds, to the last of the other nodes that make a majority together with this one.
fn of_a_majority(each: impl Iterator<Item = Duration>) -> u64 {
    let mut sorted: Vec<Duration> = each.collect();
    sorted.sort_unstable();
    let slowest = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    u64::try_from(slowest.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_round_trips_count() {
        let millis = Duration::from_millis;
        let trips = RoundTrips::default();
        assert_eq!((trips.median(1), trips.of_a_majority()), (None, Duration::ZERO));
        for took in [9, 2, 4] {
            trips.note(1, millis(took));
        }
        assert_eq!(trips.median(1), Some(millis(4)));
        trips.note(2, millis(30));
        assert_eq!(trips.of_a_majority(), millis(2), "one answer of two is enough");
        for node in [3, 4] {
            trips.note(node, millis(10 * node));
        }
        assert_eq!(trips.of_a_majority(), millis(30), "of four, two are needed");
        for _ in 0..MEDIAN_OF {
            trips.note(1, millis(50));
        }
        assert_eq!(trips.median(1), Some(millis(50)), "what is typical now");
        trips.retain(|node| node == 1);
        assert_eq!((trips.median(2), trips.of_a_majority()), (None, millis(2)), "the others were removed");
        for _ in MEDIAN_OF..REMEMBERED {
            trips.note(1, millis(50));
        }
        assert_eq!(trips.of_a_majority(), millis(50), "the earlier ones are forgotten");
    }
}

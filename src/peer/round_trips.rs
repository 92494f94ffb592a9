//! How long requests to the other nodes and their answers take: what the network takes, as far as a busy processor lets
//! this node see it.

use super::{Method, NodeId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How many of the latest round trips to a node are remembered.
const REMEMBERED: usize = 16;

/// The latest round trips to each node. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct RoundTrips(Arc<Mutex<HashMap<NodeId, VecDeque<Duration>>>>);

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
    }

    /// The median of the latest round trips to a node; `None` if it has not answered yet.
    pub fn median(&self, node: NodeId) -> Option<Duration> {
        let mut latest: Vec<Duration> = self.lock().get(&node)?.iter().copied().collect();
        latest.sort_unstable();
        latest.get(latest.len() / 2).copied()
    }

    /// The shortest of the latest round trips to each of the other nodes, shortest first. In between lies what the network
    /// takes: longer ones also waited for a processor.
    pub fn shortest(&self) -> Vec<Duration> {
        let mut shortest: Vec<Duration> =
            self.lock().values().filter_map(|latest| latest.iter().min().copied()).collect();
        shortest.sort_unstable();
        shortest
    }

    /// How long the answers of a majority take, this node included: no commit is faster. Zero as long as no node has
    /// answered.
    pub fn of_a_majority(&self) -> Duration {
        let shortest = self.shortest();
        shortest.get(shortest.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// The same of the medians: how long the answers of a majority typically take.
    pub fn typical_of_a_majority(&self) -> Duration {
        let nodes: Vec<NodeId> = self.lock().keys().copied().collect();
        let mut medians: Vec<Duration> = nodes.into_iter().filter_map(|node| self.median(node)).collect();
        medians.sort_unstable();
        medians.get(medians.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, VecDeque<Duration>>> {
        self.0.lock().expect("no panic while held")
    }
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
        assert_eq!(trips.shortest(), [millis(2), millis(30)]);
        assert_eq!(trips.of_a_majority(), millis(2), "one answer of two is enough");
        for node in [3, 4] {
            trips.note(node, millis(10 * node));
        }
        assert_eq!(trips.of_a_majority(), millis(30), "of four, two are needed");
        for _ in 0..REMEMBERED {
            trips.note(1, millis(50));
        }
        assert_eq!(trips.median(1), Some(millis(50)), "earlier ones are forgotten");
    }
}

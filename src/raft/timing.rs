//! How long elections and heartbeats take their time, by the round trips that were measured between the nodes.

use super::config::RaftOptions;
use crate::peer::RoundTrips;
use std::time::Duration;

/// The intervals and timeouts of elections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Timing {
    heartbeat: Duration,
    shortest: Duration,
    longest: Duration,
    round_trips: RoundTrips,
}

impl Timing {
    pub fn new(options: &RaftOptions, round_trips: RoundTrips) -> Self {
        Self {
            heartbeat: Duration::from_millis(options.heartbeat_ms),
            shortest: Duration::from_millis(options.election_min_ms),
            longest: Duration::from_millis(options.election_max_ms),
            round_trips,
        }
    }

    /// The pause between a leader's heartbeats. It does not depend on round trips: a heartbeat is sent without waiting for
    /// the answer to the one before it, so heartbeats arrive as often as they are sent.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// How long a node must not have heard from a leader before it helps to elect another one. Two round trips more than
    /// the shortest one, because a lost packet delays those behind it by about as much.
    pub fn election_timeout(&self) -> Duration {
        (self.shortest + 2 * self.round_trip()).min(self.longest * 3 / 4)
    }

    /// How long this node waits before it asks for an election: the election timeout and a random part of it, so that
    /// nodes seldom ask at the same time. The part is at least a round trip: a node that learns of another candidate in
    /// between votes for it.
    pub fn random_election_timeout(&self) -> Duration {
        let timeout = self.election_timeout();
        timeout + (timeout / 3).max(self.round_trip()).mul_f64(random_part())
    }

    /// How long a candidate that was not elected waits before it asks again: at least a round trip, and at most twice as
    /// long, so that two candidates that took the votes from each other seldom do so again.
    pub fn random_retry_pause(&self) -> Duration {
        let pause = self.shortest / 3 + self.round_trip();
        pause + pause.mul_f64(random_part())
    }

    /// How long a node that supports a leader helps to elect no other: shorter than any election timeout, so that it
    /// delays no election.
    pub fn promise(&self) -> Duration {
        self.shortest * 2 / 3
    }

    /// How long an election takes, from a vote until the voter hears from the new leader: the answer to the vote and the
    /// first heartbeat take a round trip each at most.
    pub fn election_time(&self) -> Duration {
        self.shortest / 6 + 2 * self.round_trip()
    }

    /// How long the answers to a vote may take before it is given up.
    pub fn vote_timeout(&self) -> Duration {
        self.election_timeout().max(3 * self.round_trip())
    }

    /// How long a leader waits for the voter that it hands over to, at a round trip from it, to be elected.
    pub fn handover_timeout(&self, round_trip: Duration) -> Duration {
        self.election_timeout() + 2 * round_trip
    }

    /// How long that voter may wait for the rest of the log. It leaves time for the election.
    pub fn takeover_patience(&self) -> Duration {
        self.shortest * 2 / 3
    }

    /// Whether the nodes are so far apart that [`election_timeout`](Self::election_timeout) would have to be longer than
    /// the settings allow.
    pub fn is_too_slow(&self) -> bool {
        self.shortest + 2 * self.round_trip() > self.longest * 3 / 4
    }

    /// The limit for an answer that takes at most `on_loopback` where round trips take no time: three of them are added,
    /// enough to dial first.
    pub fn limit(&self, on_loopback: Duration) -> Duration {
        on_loopback + 3 * self.round_trip()
    }

    /// A typical round trip between this node and a majority.
    pub fn round_trip(&self) -> Duration {
        self.round_trips.typical_of_a_majority()
    }
}

/// A random number from 0 to 1.
fn random_part() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u64_pair().1 & u64::from(u32::MAX);
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_follow_the_round_trips_within_their_bounds() {
        let timing = |round_trip_ms: u64| {
            let round_trips = RoundTrips::default();
            for node in [2, 3] {
                round_trips.note(node, Duration::from_millis(round_trip_ms));
            }
            Timing::new(&RaftOptions::default(), round_trips)
        };
        let timeout_ms = |round_trip_ms| timing(round_trip_ms).election_timeout().as_millis();
        assert_eq!([0, 20, 200].map(timeout_ms), [300, 340, 700]);
        assert_eq!(timeout_ms(10_000), 3_750);
        assert!(timing(10_000).is_too_slow() && !timing(200).is_too_slow());
        for _ in 0..100 {
            let random = timing(200).random_election_timeout().as_millis();
            assert!((700..=934).contains(&random), "{random}");
        }
        let default = Timing::new(&RaftOptions::default(), RoundTrips::default());
        assert!(default.promise() < default.election_timeout());
        assert!(default.takeover_patience() < default.handover_timeout(Duration::ZERO));
        assert!(3 * default.heartbeat() < default.election_timeout());
    }
}

//! Connections for which there is no slot. They are for probes only: those who look after a node get an answer however many
//! clients there are.

use crate::front::ClientAddress;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a connection is young: see [`ProbeConnections::make_room`]. A probe sends its request at once; this is a few
/// round trips and the time for the response.
const PROBE_TIME: Duration = Duration::from_millis(250);

/// The connections, oldest first.
#[derive(Default)]
pub(super) struct ProbeConnections(VecDeque<(ClientAddress, AbortHandle, Instant)>);

impl ProbeConnections {
    /// Makes room for one more connection of this client, so that there are at most `max`: the oldest connection of the
    /// client that has most of them is closed. It had its time, because a probe asks at once; and a client that connects
    /// again and again displaces itself. False if the new connection has to be closed: while its client has half of them,
    /// or each client has one, a young connection stays. To close a connection is cheap; to serve it first would delay
    /// those that wait to be accepted.
    pub fn make_room(&mut self, client: ClientAddress, max: usize) -> bool {
        self.0.retain(|(_, serving, _)| !serving.is_finished());
        while self.0.len() >= max.max(1) {
            let mut counts = HashMap::new();
            for (client, ..) in &self.0 {
                *counts.entry(*client).or_insert(0_usize) += 1;
            }
            let greatest = counts.values().max().copied().unwrap_or(0);
            // Of several such clients, the one with the oldest connection.
            let Some(victim) = self.0.iter().position(|(client, ..)| counts[client] == greatest) else {
                break;
            };
            let has_half = counts.get(&client).is_some_and(|count| *count >= max.div_ceil(2));
            if (has_half || greatest == 1) && self.0[victim].2.elapsed() < PROBE_TIME {
                return false;
            }
            if let Some((_, serving, _)) = self.0.remove(victim) {
                serving.abort();
            }
        }
        true
    }

    /// Adds a connection, which `serving` ends.
    pub fn add(&mut self, client: ClientAddress, serving: AbortHandle) {
        self.0.push_back((client, serving, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::task::JoinSet;
    use tokio::time::advance;

    fn client(number: u8) -> ClientAddress {
        ClientAddress::new([10, 0, 0, number].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_has_time_for_its_answer() {
        let mut probes = ProbeConnections::default();
        let mut tasks = JoinSet::new();
        for number in 0..3 {
            assert!(probes.make_room(client(number), 3));
            probes.add(client(number), tasks.spawn(pending::<()>()));
        }
        advance(PROBE_TIME - Duration::from_millis(1)).await;
        assert!(!probes.make_room(client(3), 3), "the new one is closed");
        advance(Duration::from_millis(1)).await;
        assert!(probes.make_room(client(3), 3), "the oldest one is closed");
        probes.add(client(3), tasks.spawn(async {}));
        assert!(tasks.join_next().await.expect("three").is_err_and(|error| error.is_cancelled()));
        tasks.join_next().await.expect("the one that was answered").expect("no panic");
        assert!(probes.make_room(client(4), 3), "one has ended");
        assert_eq!(probes.0.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_displaces_itself_and_makes_room_for_others() {
        let mut probes = ProbeConnections::default();
        let mut tasks = JoinSet::new();
        let mut come = |probes: &mut ProbeConnections, number| {
            let comes = probes.make_room(client(number), 4);
            if comes {
                probes.add(client(number), tasks.spawn(pending::<()>()));
            }
            comes
        };
        assert!([1, 2, 2, 2].into_iter().all(|number| come(&mut probes, number)));
        assert!(!come(&mut probes, 2), "it has more than half, and all are young");
        assert!(come(&mut probes, 3), "there is room for another client at once");
        advance(PROBE_TIME).await;
        assert!(come(&mut probes, 2), "its own oldest one is closed");
        let clients: Vec<ClientAddress> = probes.0.iter().map(|(client, ..)| *client).collect();
        assert_eq!(clients, [client(1), client(2), client(3), client(2)]);
    }
}

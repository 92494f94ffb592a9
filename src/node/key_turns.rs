//! Whose turn it is where several nodes keep changing the same key by what they have read of it. Without turns, the leader would
//! always be the quickest: it knows of its own change before the others do, and its next one comes before theirs.
//!
//! Nobody hands a turn out. Each node knows from the log that others were too late, and from the time of the log whose turn it is. So a turn is
//! advice: what makes the changes right is that each is carried out only if what it has read still holds.

use super::session::Session;
use crate::cache::Key;
use std::time::Duration;

/// How long it takes at most until each member has had its turn: less than commands wait.
const ROUND_MS_MAX: u64 = 2_000;

impl Session {
    /// How long to wait before something is proposed that holds only if this key is as it was read. Nothing, unless nodes have got into
    /// each other's way there.
    pub fn wait_for_key(&self, key: &Key) -> Duration {
        let Ok(key) = self.scope.stored_key(key) else { return Duration::ZERO };
        let replica = self.node.inner.consensus.replica();
        let now_ms = self.now_ms();
        let Some(turn_ms) = replica.turn_ms(&key, now_ms) else { return Duration::ZERO };
        let (_, stored) = replica.applied_state();
        let members: Vec<u64> = stored.membership.members.keys().copied().collect();
        let position = members.iter().position(|id| *id == self.node_id());
        position
            .map_or(Duration::ZERO, |position| wait(now_ms, turn_ms, position as u64, members.len() as u64))
    }
}

/// How long the member at this position waits, of so many. It begins nothing in the last part of its turn, so that what it has begun ends
/// before the next turn.
fn wait(now_ms: u64, turn_ms: u64, position: u64, members: u64) -> Duration {
    let turn_ms = turn_ms.min(ROUND_MS_MAX / members.max(1)).max(1);
    let round = turn_ms * members.max(1);
    let (begin, at) = (turn_ms * position, now_ms % round);
    let is_its_turn = members < 2 || (begin..begin + turn_ms * 6 / 10).contains(&at);
    Duration::from_millis(if is_its_turn { 0 } else { (begin + round - at) % round })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_member_at_a_time_begins_and_each_gets_its_turn() {
        for members in 2..=7 {
            for now_ms in 1_000_000..1_001_000 {
                let waits: Vec<u64> = (0..members)
                    .map(|position| wait(now_ms, 100, position, members).as_millis() as u64)
                    .collect();
                assert!(waits.iter().filter(|wait| **wait == 0).count() <= 1, "{now_ms}: {waits:?}");
                for (position, wait_ms) in (0..).zip(waits) {
                    assert!(wait_ms < 100 * members);
                    assert_eq!(wait(now_ms + wait_ms, 100, position, members), Duration::ZERO);
                }
            }
        }
        for members in 2..=9 {
            for now_ms in 1_000_000..1_003_000 {
                for position in 0..members {
                    assert!(wait(now_ms, 400, position, members) < Duration::from_millis(ROUND_MS_MAX));
                }
            }
        }
        assert_eq!(wait(5, 100, 0, 1), Duration::ZERO);
        assert_eq!(wait(99, 100, 0, 1), Duration::ZERO);
    }
}

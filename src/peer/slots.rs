//! Who may hold how many of this node's peer connections, and receive how many long frames on them at a time, by the node
//! number that a caller claims in its handshake. It keeps members that behave badly, or a network that loses connections,
//! from using up files and memory; it is no protection from an attacker.

use super::NodeId;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use tokio::sync::oneshot;

/// Connections of one member: one for each lane and purpose, and as many again that are dead and not known to be.
const MEMBER_MAX: usize = 16;
/// Connections of all together that this node does not know. A node that is behind does not know a leader that joined
/// later, and has to hear it.
const UNKNOWN_MAX: usize = 32;
/// A member's connections that are alive may each receive a long frame.
const MEMBER_LONG_FRAMES_MAX: usize = 8;
/// A few callers that are none may, so that half frames of strangers take little memory.
const UNKNOWN_LONG_FRAMES_MAX: usize = 4;

/// What each member holds, and those that are none, oldest first.
#[derive(Debug)]
pub(super) struct Slots {
    member_max: usize,
    unknown_max: usize,
    held: Mutex<HashMap<Option<NodeId>, VecDeque<oneshot::Sender<()>>>>,
}

impl Slots {
    /// For connections.
    pub(super) fn of_connections() -> Self {
        Self { member_max: MEMBER_MAX, unknown_max: UNKNOWN_MAX, held: Mutex::default() }
    }

    /// For long frames that are being received.
    pub(super) fn of_long_frames() -> Self {
        let (member_max, unknown_max) = (MEMBER_LONG_FRAMES_MAX, UNKNOWN_LONG_FRAMES_MAX);
        Self { member_max, unknown_max, held: Mutex::default() }
    }

    /// Takes a slot for a member, or for a caller that is none. Where there is none left the caller's oldest connection
    /// goes: it is the likeliest to be dead. A caller's number is what its handshake says, and nothing proves it: whoever reaches
    /// the peer port and knows the cluster can take the connections of any member. Only a network that keeps others away
    /// from that port prevents it. The receiver hears when this one has to.
    pub(super) fn enter(&self, member: Option<NodeId>) -> oneshot::Receiver<()> {
        let (holder, displaced) = oneshot::channel();
        let mut held = self.held.lock().expect("no panic while held");
        held.values_mut().for_each(|slots| slots.retain(|slot| !slot.is_closed()));
        held.retain(|_, slots| !slots.is_empty());
        let slots = held.entry(member).or_default();
        if slots.len() >= if member.is_some() { self.member_max } else { self.unknown_max } {
            slots.pop_front();
        }
        slots.push_back(holder);
        displaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_no_members_take_no_member_s_slot() {
        let slots = Slots::of_connections();
        let mut of_member: Vec<_> = (0..MEMBER_MAX).map(|_| slots.enter(Some(2))).collect();
        let mut unknown: Vec<_> = (0..10_000).map(|_| slots.enter(None)).collect();
        let empty = Err(oneshot::error::TryRecvError::Empty);
        let open = |all: &mut Vec<oneshot::Receiver<()>>| {
            all.iter_mut().map(|slot| usize::from(slot.try_recv() == empty)).sum::<usize>()
        };
        assert_eq!((open(&mut of_member), open(&mut unknown)), (MEMBER_MAX, UNKNOWN_MAX));
        let _newest = slots.enter(Some(2));
        assert_eq!(open(&mut of_member), MEMBER_MAX - 1, "its own oldest goes");
        drop(unknown);
        let mut after: Vec<_> = (0..UNKNOWN_MAX).map(|_| slots.enter(None)).collect();
        assert_eq!(open(&mut after), UNKNOWN_MAX, "what has ended holds nothing");
    }
}

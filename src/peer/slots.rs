//! Limits how many of this node's peer connections each caller may hold, and how many long frames it may send at a
//! time. A caller is identified by the node number in its handshake. The limits keep members that misbehave, and
//! networks that lose connections, from using up files and memory. They are no protection from an attacker.

use super::NodeId;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use tokio::sync::oneshot;

/// Most connections of one member: one for each lane and purpose, and as many again that are dead but not yet detected.
const MEMBER_MAX: usize = 16;
/// Most connections of all callers that are not members, together. They are accepted because a node that is behind may
/// not know a leader that joined later.
const UNKNOWN_MAX: usize = 32;
/// Most long frames that one member may send at a time: one on each of its live connections.
const MEMBER_LONG_FRAMES_MAX: usize = 8;
/// Most long frames of all callers that are not members. Few, so that the unfinished frames of strangers use little
/// memory.
const UNKNOWN_LONG_FRAMES_MAX: usize = 4;

/// The slots that each member holds, and those of all other callers under `None`, oldest first.
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

    /// Takes a slot for a member, or for another caller (`None`). If none is free, the same caller's oldest slot is
    /// taken away, because that connection is the most likely to be dead. The returned receiver resolves when this slot
    /// is taken away in turn.
    ///
    /// Nothing proves the number in a handshake: anybody who reaches the peer port and knows the cluster's id can
    /// displace the connections of any member. Only a network that keeps others away from that port prevents it.
    pub(super) fn acquire(&self, member: Option<NodeId>) -> oneshot::Receiver<()> {
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
    fn callers_that_are_not_members_displace_no_member() {
        let slots = Slots::of_connections();
        let mut of_member: Vec<_> = (0..MEMBER_MAX).map(|_| slots.acquire(Some(2))).collect();
        let mut unknown: Vec<_> = (0..10_000).map(|_| slots.acquire(None)).collect();
        let empty = Err(oneshot::error::TryRecvError::Empty);
        let open = |all: &mut Vec<oneshot::Receiver<()>>| {
            all.iter_mut().map(|slot| usize::from(slot.try_recv() == empty)).sum::<usize>()
        };
        assert_eq!((open(&mut of_member), open(&mut unknown)), (MEMBER_MAX, UNKNOWN_MAX));
        let _newest = slots.acquire(Some(2));
        assert_eq!(open(&mut of_member), MEMBER_MAX - 1, "its own oldest slot is taken away");
        drop(unknown);
        let mut after: Vec<_> = (0..UNKNOWN_MAX).map(|_| slots.acquire(None)).collect();
        assert_eq!(open(&mut after), UNKNOWN_MAX, "ended connections hold no slot");
    }
}

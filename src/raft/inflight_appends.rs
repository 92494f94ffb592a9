//! Append requests that wait for their responses.
//!
//! openraft matches responses by log id: one response acknowledges every request that ends at or before the log id in
//! it, and proves that the follower still followed when the last of these requests was created. A request without
//! entries, which only announces a commit, ends with the log id of the request before it. So the response to the
//! earlier request would acknowledge both: delayed until another leader was elected, it would let this deposed leader
//! serve a stale read. Such an ambiguous response is dropped. The next response says the same, and was sent later.
//!
//! A request counts from the moment when openraft creates it, not from when it is sent: a request that is delayed, or
//! suppressed because the next one says the same, counts as well.

use super::types::{LogId, Types};
use openraft::entry::RaftEntry;
use openraft::raft::AppendEntriesRequest;
use std::collections::VecDeque;
use std::sync::Mutex;

/// The requests of one stream, oldest first.
#[derive(Default)]
pub(super) struct InflightAppends(Mutex<VecDeque<Inflight>>);

struct Inflight {
    /// The log id that the request ends with.
    last: Option<LogId>,
    /// The request is never sent: the response to the next one is the response to both.
    suppressed: bool,
}

impl InflightAppends {
    /// Adds a request as soon as openraft has created it.
    pub fn add(&self, request: &AppendEntriesRequest<Types>) {
        let last = request.entries.last().map(RaftEntry::log_id).or(request.prev_log_id);
        self.requests().push_back(Inflight { last, suppressed: false });
    }

    /// Marks the newest request as suppressed: the next one is sent in its place.
    pub fn suppress_newest(&self) {
        if let Some(newest) = self.requests().back_mut() {
            newest.suppressed = true;
        }
    }

    /// Whether no request that was sent waits besides the newest.
    pub fn is_newest_alone(&self) -> bool {
        self.requests().iter().rev().skip(1).all(|request| request.suppressed)
    }

    /// Removes the request that the next response belongs to; `stored` is the log id in the response, if it has one.
    /// Returns whether openraft can take the response for that of this request only.
    pub fn is_unambiguous(&self, stored: Option<&Option<LogId>>) -> bool {
        let mut requests = self.requests();
        while requests.pop_front().is_some_and(|request| request.suppressed) {}
        stored.is_none_or(|stored| requests.front().is_none_or(|next| next.last > *stored))
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, VecDeque<Inflight>> {
        self.0.lock().expect("no panic while held")
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Entry, Vote};
    use super::*;

    fn id(index: u64) -> Option<LogId> {
        Some(LogId::new(1.into(), index))
    }

    fn request(prev: u64, entries: &[u64]) -> AppendEntriesRequest<Types> {
        let entry = |&index: &u64| Entry::new_blank(LogId::new(1.into(), index));
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: id(prev),
            entries: entries.iter().map(entry).collect(),
            leader_commit: None,
        }
    }

    /// R5: the response to a request is never taken for that to a later request without entries.
    #[test]
    fn a_response_that_could_be_taken_for_a_later_one_is_dropped() {
        let inflight = InflightAppends::default();
        inflight.add(&request(4, &[5, 6]));
        inflight.add(&request(6, &[7]));
        assert!(inflight.is_unambiguous(Some(&id(6))), "the next request ends later");
        inflight.add(&request(7, &[]));
        assert!(!inflight.is_unambiguous(Some(&id(7))), "a later request ends there, too");
        assert!(inflight.is_unambiguous(Some(&id(7))), "its own response");
        inflight.add(&request(7, &[8]));
        inflight.add(&request(8, &[]));
        assert!(inflight.is_unambiguous(None), "a refusal");
    }

    /// R5: nor for that to a suppressed request, which is never sent.
    #[test]
    fn a_suppressed_request_counts_until_the_next_response() {
        let inflight = InflightAppends::default();
        inflight.add(&request(4, &[5]));
        assert!(inflight.is_newest_alone());
        inflight.add(&request(5, &[]));
        assert!(!inflight.is_newest_alone());
        inflight.suppress_newest();
        inflight.add(&request(5, &[6]));
        assert!(!inflight.is_unambiguous(Some(&id(5))), "openraft would take it for the response to both");
        assert!(inflight.is_newest_alone());
        inflight.add(&request(6, &[7]));
        assert!(inflight.is_unambiguous(Some(&id(6))), "the response to the request that was sent instead");
        assert!(inflight.is_unambiguous(Some(&id(7))));
    }
}

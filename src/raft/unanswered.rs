//! Append requests that wait for their answers.
//!
//! openraft takes an answer for that to every request up to the log id in it, and trusts that the follower still
//! followed when the last of these was made. A request without entries, which only tells of a commit, ends with the
//! log id of the one before it. So the answer to the one before would stand for both: held up until another leader
//! was elected, it would let this one serve old reads. Such an answer is left out; the next one says the same, and was
//! given later.
//!
//! What counts is that openraft made a request, not that it was sent: one that is held back, or left out because
//! the next one says the same, is counted as well.

use super::types::{LogId, Types};
use openraft::entry::RaftEntry;
use openraft::raft::AppendEntriesRequest;
use std::collections::VecDeque;
use std::sync::Mutex;

/// The requests of one stream, oldest first.
#[derive(Default)]
pub(super) struct Unanswered(Mutex<VecDeque<Made>>);

struct Made {
    /// The log id that it ends with.
    last: Option<LogId>,
    /// Never sent: the answer to the next one is for both.
    left_out: bool,
}

impl Unanswered {
    /// Counts a request in, as soon as openraft has made it.
    pub fn made(&self, request: &AppendEntriesRequest<Types>) {
        let last = request.entries.last().map(RaftEntry::log_id).or(request.prev_log_id);
        self.requests().push_back(Made { last, left_out: false });
    }

    /// The newest request will not be sent, but the next one.
    pub fn leave_out_newest(&self) {
        if let Some(newest) = self.requests().back_mut() {
            newest.left_out = true;
        }
    }

    /// Whether nothing but the newest request waits.
    pub fn is_newest_alone(&self) -> bool {
        self.requests().iter().rev().skip(1).all(|made| made.left_out)
    }

    /// Takes the next answer in; `stored` is the log id in it, if it has one. Whether it is that to one request only, as
    /// far as openraft can tell.
    pub fn is_exact(&self, stored: Option<&Option<LogId>>) -> bool {
        let mut requests = self.requests();
        while requests.pop_front().is_some_and(|made| made.left_out) {}
        stored.is_none_or(|stored| requests.front().is_none_or(|next| next.last > *stored))
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, VecDeque<Made>> {
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

    /// R5: the answer to an earlier request never passes for that to one without entries behind it.
    #[test]
    fn an_answer_that_could_be_taken_for_a_later_one_is_left_out() {
        let unanswered = Unanswered::default();
        unanswered.made(&request(4, &[5, 6]));
        unanswered.made(&request(6, &[7]));
        assert!(unanswered.is_exact(Some(&id(6))), "the next request ends later");
        unanswered.made(&request(7, &[]));
        assert!(!unanswered.is_exact(Some(&id(7))), "a request that ends there too was made since");
        assert!(unanswered.is_exact(Some(&id(7))), "its own answer");
        unanswered.made(&request(7, &[8]));
        unanswered.made(&request(8, &[]));
        assert!(unanswered.is_exact(None), "a refusal");
    }

    /// R5: nor for that to one that was never sent.
    #[test]
    fn what_is_left_out_counts_until_the_next_answer() {
        let unanswered = Unanswered::default();
        unanswered.made(&request(4, &[5]));
        assert!(unanswered.is_newest_alone());
        unanswered.made(&request(5, &[]));
        assert!(!unanswered.is_newest_alone());
        unanswered.leave_out_newest();
        unanswered.made(&request(5, &[6]));
        assert!(!unanswered.is_exact(Some(&id(5))), "openraft would take it for both");
        assert!(unanswered.is_newest_alone());
        unanswered.made(&request(6, &[7]));
        assert!(unanswered.is_exact(Some(&id(6))), "the answer to what was sent instead");
        assert!(unanswered.is_exact(Some(&id(7))));
    }
}

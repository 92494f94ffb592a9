//! Coalesces commit notifications with entries. openraft notifies followers of each commit at once, with an append
//! request without entries if there are none to send. Under load the next entries follow immediately and carry the same
//! notification. Then the request without entries is suppressed, which saves a round of wake-ups on both sides.

use super::proposal_batcher::PendingProposals;
use super::types::Types;
use futures::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use std::time::Duration;
use tokio::time::timeout;

/// How long a commit notification waits for entries. If none come, it is sent alone.
const COALESCE_WAIT_MAX: Duration = Duration::from_millis(2);

/// The same requests without the redundant ones: each request starts where the one before it ends and carries the
/// newest commit index, so a request without entries says nothing that the next one does not say too. openraft takes the
/// response to a request for that to all requests before it.
pub(super) fn coalesce_commits<S>(
    requests: S,
    pending: PendingProposals,
) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    // Fused, because the end of the stream is polled twice if it comes while a request waits.
    stream::unfold((requests.fuse(), pending), |(mut requests, pending)| async move {
        let mut request = requests.next().await?;
        while request.entries.is_empty() && !pending.is_empty() {
            match timeout(COALESCE_WAIT_MAX, requests.next()).await {
                Ok(Some(next)) => request = next,
                // The time is up, or the stream has ended.
                Ok(None) | Err(_) => break,
            }
        }
        Some((request, (requests, pending)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::types::{Entry, LogId, Vote};
    use super::*;
    use futures::channel::mpsc;
    use openraft::entry::RaftEntry;

    fn request(prev: u64, entries: &[u64], commit: u64) -> AppendEntriesRequest<Types> {
        let id = |index| LogId::new(1.into(), index);
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(prev)),
            entries: entries.iter().map(|&index| Entry::new_blank(id(index))).collect(),
            leader_commit: Some(id(commit)),
        }
    }

    fn commit_of(request: Option<AppendEntriesRequest<Types>>) -> Option<u64> {
        request?.leader_commit.map(|id| id.index())
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_waits_for_pending_entries_and_no_longer() {
        let pending = PendingProposals::default();
        let (sender, receiver) = mpsc::unbounded();
        // Like openraft's stream, it panics when it is polled after its end.
        let requests =
            stream::unfold(receiver, async |mut receiver| Some((receiver.next().await?, receiver)));
        let mut sent = Box::pin(coalesce_commits(Box::pin(requests), pending.clone()));
        let send = |request| sender.unbounded_send(request).expect("the receiver is alive");

        send(request(5, &[], 5));
        assert_eq!(commit_of(sent.next().await), Some(5), "nothing is pending, so it is sent at once");

        assert!(pending.add(1));
        send(request(5, &[], 4));
        send(request(5, &[], 5));
        send(request(5, &[6, 7], 5));
        let both = sent.next().await.expect("a request");
        assert_eq!(both.entries.len(), 2, "the entries, with both commits");
        assert_eq!(commit_of(Some(both)), Some(5));

        send(request(7, &[], 7));
        let before = tokio::time::Instant::now();
        assert_eq!(commit_of(sent.next().await), Some(7), "the entries did not come");
        assert!(before.elapsed() <= 2 * COALESCE_WAIT_MAX, "after {:?}", before.elapsed());

        send(request(7, &[8], 7));
        send(request(8, &[], 7));
        send(request(8, &[9, 10], 8));
        assert_eq!(sent.next().await.expect("a request").entries.len(), 1, "entries are never held back");
        assert_eq!(sent.next().await.expect("a request").entries.len(), 2);

        send(request(10, &[], 10));
        drop(sender);
        assert_eq!(commit_of(sent.next().await), Some(10), "the last one is sent");
        assert!(sent.next().await.is_none());
    }
}

//! Coalesces commit notifications with entries. openraft notifies followers of each commit at once, with an append
//! request without entries if there are none to send. Under load the next entries follow immediately and carry the same
//! notification. Then the request without entries is suppressed, which saves a round of wake-ups on both sides.

use super::inflight_appends::InflightAppends;
use super::proposal_batcher::PendingProposals;
use super::types::Types;
use futures::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a commit notification waits for entries. If none come, it is sent alone.
const COALESCE_WAIT_MAX: Duration = Duration::from_millis(2);

/// The same requests without the redundant ones: each request starts where the one before it ends and carries the
/// newest commit index, so a request without entries says nothing that the next one does not say too.
///
/// When a request is suppressed, the response to the one before it becomes ambiguous and is dropped
/// ([`InflightAppends`]). So that nobody waits for that response, a request is suppressed only if no request before it
/// waits for a response, or if it announces that everything before it is committed.
pub(super) fn coalesce_commits<S>(
    requests: S,
    pending: PendingProposals,
    inflight: Arc<InflightAppends>,
) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    // Fused, because the end of the stream is polled twice if it comes while a request waits.
    let state = (requests.fuse(), pending, inflight);
    stream::unfold(state, |(mut requests, pending, inflight)| async move {
        let mut request = requests.next().await?;
        inflight.add(&request);
        while may_suppress(&request, &inflight) && !pending.is_empty() {
            match timeout(COALESCE_WAIT_MAX, requests.next()).await {
                Ok(Some(next)) => {
                    inflight.suppress_newest();
                    inflight.add(&next);
                    request = next;
                }
                // The time is up, or the stream has ended.
                Ok(None) | Err(_) => break,
            }
        }
        Some((request, (requests, pending, inflight)))
    })
}

fn may_suppress(request: &AppendEntriesRequest<Types>, inflight: &InflightAppends) -> bool {
    let all_committed = request.leader_commit >= request.prev_log_id;
    request.entries.is_empty() && (all_committed || inflight.is_newest_alone())
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
        let inflight = Arc::new(InflightAppends::default());
        let mut sent = Box::pin(coalesce_commits(Box::pin(requests), pending.clone(), inflight.clone()));
        let send = |request| sender.unbounded_send(request).expect("the receiver is alive");
        let answered = |index| inflight.is_unambiguous(Some(&Some(LogId::new(1.into(), index))));

        send(request(5, &[], 5));
        assert_eq!(commit_of(sent.next().await), Some(5), "nothing is pending, so it is sent at once");
        assert!(answered(5));

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
        assert!(!answered(7), "the response to the entries could be taken for that to the commit");
        assert!(answered(7), "the response to the commit");

        send(request(7, &[8], 7));
        send(request(8, &[], 7));
        send(request(8, &[9], 7));
        assert_eq!(sent.next().await.expect("a request").entries.len(), 1);
        let alone = sent.next().await.expect("a request");
        assert!(alone.entries.is_empty(), "without it, the leader would learn late that entry 8 is stored");
        assert_eq!(sent.next().await.expect("a request").entries.len(), 1);
        assert!(!answered(8), "it could be taken for the response to the next request");
        assert!(answered(8));

        send(request(9, &[], 9));
        send(request(9, &[10], 9));
        assert_eq!(sent.next().await.expect("a request").entries.len(), 1, "entry 9 is committed without it");
        assert!(!answered(9), "it could be taken for the response to the suppressed request");
        assert!(answered(10));

        send(request(10, &[], 10));
        drop(sender);
        assert_eq!(commit_of(sent.next().await), Some(10), "the last one is sent");
        assert!(sent.next().await.is_none());
    }
}

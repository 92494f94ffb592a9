//! News of a commit that rides along. openraft tells followers of each commit at once, in a request without entries
//! when there are none to send. Under load the next entries are right behind, and say the same: then such a request
//! is left out, and with it a round of wake-ups on both sides.

use super::proposals::Backlog;
use super::types::Types;
use super::unanswered::Unanswered;
use futures::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long news of a commit waits for entries, should they not come after all.
const WAIT_MAX: Duration = Duration::from_millis(2);

/// The same requests, except for those that say nothing but what the next one says too: each holds what all before
/// it held of the commit, and begins where the one before it ended.
///
/// For a request that is left out the answer to the one before is lost ([`Unanswered`]). So that nobody waits for that
/// answer, only such a request is left out that has none before it, or says itself that all up to here is committed.
pub(super) fn ride_along<S>(
    requests: S,
    backlog: Backlog,
    unanswered: Arc<Unanswered>,
) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    // Its end is met twice when it comes while a request waits.
    let state = (requests.fuse(), backlog, unanswered);
    stream::unfold(state, |(mut requests, backlog, unanswered)| async move {
        let mut request = requests.next().await?;
        unanswered.made(&request);
        while may_wait(&request, &unanswered) && !backlog.is_empty() {
            match timeout(WAIT_MAX, requests.next()).await {
                Ok(Some(next)) => {
                    unanswered.leave_out_newest();
                    unanswered.made(&next);
                    request = next;
                }
                // Time is up, or there will be no other.
                Ok(None) | Err(_) => break,
            }
        }
        Some((request, (requests, backlog, unanswered)))
    })
}

fn may_wait(request: &AppendEntriesRequest<Types>, unanswered: &Unanswered) -> bool {
    let all_committed = request.leader_commit >= request.prev_log_id;
    request.entries.is_empty() && (all_committed || unanswered.is_newest_alone())
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
    async fn a_commit_waits_for_entries_that_are_about_to_come_and_no_longer() {
        let backlog = Backlog::default();
        let (sender, receiver) = mpsc::unbounded();
        // Like openraft's, it must not be asked again after its end.
        let requests =
            stream::unfold(receiver, async |mut receiver| Some((receiver.next().await?, receiver)));
        let unanswered = Arc::new(Unanswered::default());
        let mut sent = Box::pin(ride_along(Box::pin(requests), backlog.clone(), unanswered.clone()));
        let send = |request| sender.unbounded_send(request).expect("somebody reads");
        let answered = |index| unanswered.is_exact(Some(&Some(LogId::new(1.into(), index))));

        send(request(5, &[], 5));
        assert_eq!(commit_of(sent.next().await), Some(5), "nobody writes, so it goes at once");
        assert!(answered(5));

        assert!(backlog.add(1));
        send(request(5, &[], 4));
        send(request(5, &[], 5));
        send(request(5, &[6, 7], 5));
        let both = sent.next().await.expect("a request");
        assert_eq!(both.entries.len(), 2, "the entries, and with them the commits");
        assert_eq!(commit_of(Some(both)), Some(5));

        send(request(7, &[], 7));
        let before = tokio::time::Instant::now();
        assert_eq!(commit_of(sent.next().await), Some(7), "the entries did not come");
        assert!(before.elapsed() <= 2 * WAIT_MAX, "after {:?}", before.elapsed());
        assert!(!answered(7), "the entries: it could be taken for the commit, too");
        assert!(answered(7), "the commit");

        send(request(7, &[8], 7));
        send(request(8, &[], 7));
        send(request(8, &[9], 7));
        assert_eq!(sent.next().await.expect("a request").entries.len(), 1);
        let alone = sent.next().await.expect("a request");
        assert!(alone.entries.is_empty(), "without it, nobody would hear soon that entry 8 is stored");
        assert_eq!(sent.next().await.expect("a request").entries.len(), 1);
        assert!(!answered(8), "it could be taken for the next one, too");
        assert!(answered(8));

        send(request(9, &[], 9));
        send(request(9, &[10], 9));
        assert_eq!(sent.next().await.expect("a request").entries.len(), 1, "entry 9 is committed without it");
        assert!(!answered(9), "it could be taken for one that was made since, and never sent");
        assert!(answered(10));

        send(request(10, &[], 10));
        drop(sender);
        assert_eq!(commit_of(sent.next().await), Some(10), "the last one is sent");
        assert!(sent.next().await.is_none());
    }
}

//! How far entries are applied, and those who wait for an index.
//!
//! Thousands of reads may wait while entries are applied a few at a time. Each is woken when its own index is reached, the
//! lowest first, and not with every step.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AppliedIndex {
    index: AtomicU64,
    waiters: Mutex<Waiters>,
}

/// Those who wait, by index and then in the order in which they came.
#[derive(Debug, Default)]
struct Waiters {
    queue: BTreeMap<(u64, u64), Waker>,
    /// The number that the next one gets.
    next: u64,
}

impl AppliedIndex {
    /// The index of the entry that was applied last.
    pub fn get(&self) -> u64 {
        self.index.load(Ordering::Acquire)
    }

    /// Entries up to this index are applied.
    pub fn set(&self, index: u64) {
        // Before the lock is taken: whoever looks under the lock either sees the new index or is in the queue by then.
        self.index.store(index, Ordering::Release);
        let reached = {
            let mut waiters = self.waiters();
            if waiters.queue.is_empty() {
                return;
            }
            let later = waiters.queue.split_off(&(index + 1, 0));
            std::mem::replace(&mut waiters.queue, later)
        };
        reached.into_values().for_each(Waker::wake);
    }

    /// Ready once the entry at `index` is applied.
    pub fn reached(&self, index: u64) -> Reached<'_> {
        Reached { applied: self, index, place: None }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().expect("no panic while held")
    }
}

/// Waits for an index. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Reached<'a> {
    applied: &'a AppliedIndex,
    index: u64,
    /// Where it is in the queue, if it was ever added.
    place: Option<(u64, u64)>,
}

impl Future for Reached<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.applied.get() >= self.index {
            return Poll::Ready(());
        }
        let mut waiters = self.applied.waiters();
        if self.applied.get() >= self.index {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or_else(|| {
            waiters.next += 1;
            (self.index, waiters.next)
        });
        waiters.queue.insert(place, context.waker().clone());
        drop(waiters);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.applied.waiters().queue.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Arc;
    use std::task::Wake;

    /// Notes the order in which it is woken.
    struct Noting(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Noting {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn each_is_woken_once_its_index_is_reached_the_lowest_first() {
        let (applied, woken) = (AppliedIndex::default(), Arc::default());
        let mut waiting: Vec<Reached<'_>> = [30, 10, 20, 40].map(|index| applied.reached(index)).into();
        for reached in &mut waiting {
            let waker = Waker::from(Arc::new(Noting(reached.index, Arc::clone(&woken))));
            assert!(reached.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        for (index, expected) in [(9, vec![]), (25, vec![10, 20]), (25, vec![10, 20]), (30, vec![10, 20, 30])]
        {
            applied.set(index);
            assert_eq!(*woken.lock().unwrap(), expected, "at {index}");
        }
        let waker = Waker::noop();
        assert!(waiting[0].poll_unpin(&mut Context::from_waker(waker)).is_ready());
        assert!(waiting[3].poll_unpin(&mut Context::from_waker(waker)).is_pending());
        drop(waiting);
        assert!(applied.waiters().queue.is_empty(), "one that gave up is not kept");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_sleeps_through_its_index() {
        let applied = Arc::new(AppliedIndex::default());
        let tasks: Vec<_> = (1..=20_000_u64)
            .map(|index| {
                let applied = applied.clone();
                tokio::spawn(async move { applied.reached(index).await })
            })
            .collect();
        for index in 1..=20_000 {
            applied.set(index);
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}
